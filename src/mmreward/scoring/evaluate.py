"""A set of records under conditions -> rows of the score table, whoever scores them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mmreward.data.batches import batches_of, estimated_size
from mmreward.records import Record, RecordError
from mmreward.scoring.conditions import Condition
from mmreward.scoring.scorer import Question, Rewards, Shown, Verdicts
from mmreward.scoring.table import Key, ScoreWriter
from mmreward.scoring.verdicts import (
    VerdictWriter,
    answer_scores,
    outcomes,
    questions,
)

# Of a chunk: views of so many records are held as tokens at once. A chunk is what an interrupted
# evaluation takes up whole, so that its numbers do not depend on where it was interrupted.
CHUNK_TOKENS = 16_384
CHUNK_RECORDS = 128

INTACT = "intact"
Progress = Callable[[int], None]


def show(records: Sequence[Record], conditions: Mapping[str, Condition]) -> list[Shown]:
    """Each record as the conditions show it, once where the set holds it twice."""
    columns = {name: condition.transform(records) for name, condition in conditions.items()}
    shown: dict[str, Shown] = {}
    for place, record in enumerate(records):
        if record.id in shown:
            continue
        views = {name: view for name, column in columns.items() if (view := column[place])}
        shown[record.id] = Shown(record, views)
    return list(shown.values())


def score_set(
    scorer: Rewards | Verdicts,
    records: Sequence[Record],
    conditions: Mapping[str, Condition],
    folder: Path,
    writer: ScoreWriter,
    progress: Progress = lambda views: None,
) -> dict[str, str]:
    """Scores what the folder's tables do not hold yet. Returns {id of a record that cannot be read
    as it is: why}.

    Rows are filed under the *original* record's id and appended as they come. A record that a
    condition leaves as it is takes over its intact scores; one that only a changed image makes
    unreadable is left out of that condition. progress: called with the number of views done.
    """
    shown = show(records, conditions)
    if isinstance(scorer, Rewards):
        unreadable = _rewards(scorer, shown, conditions, writer, progress)
    else:
        _verdicts(scorer, shown, conditions, folder, writer, progress)
        unreadable = {}
    return unreadable


def keys(record: Record, condition: str) -> list[Key]:
    """Those of a record's scores."""
    return [Key(record.id, answer, condition) for answer in range(len(record.responses))]


def _takes_over(shown: Shown, name: str, conditions: Mapping[str, Condition]) -> bool:
    """Whether the condition has nothing of its own to score: the model sees what it saw intact."""
    same = shown.views.get(INTACT) is shown.views[name]
    return name != INTACT and same and conditions[name].trained


def _rewards(
    scorer: Rewards,
    shown: Sequence[Shown],
    conditions: Mapping[str, Condition],
    writer: ScoreWriter,
    progress: Progress,
) -> dict[str, str]:
    own = [
        Shown(s.record, {n: v for n, v in s.views.items() if not _takes_over(s, n, conditions)})
        for s in shown
    ]
    # Long ones together: the padding of a batch follows its longest row.
    own.sort(key=lambda one: estimated_size(one.record).length)
    chunks = []
    for chunk in batches_of(
        own, lambda one: estimated_size(one.record), CHUNK_TOKENS, CHUNK_RECORDS
    ):
        left = [name for name in conditions if any(_missing(one, name, writer) for one in chunk)]
        if left:
            chunks.append(
                [Shown(s.record, {n: s.views[n] for n in left if n in s.views}) for s in chunk]
            )
    unreadable = {}
    for one, condition, rewards in scorer.rewards(chunks):
        progress(1)
        if not isinstance(rewards, RecordError):
            writer.append(zip(keys(one.record, condition), rewards, strict=True))
        elif condition == INTACT:
            unreadable[one.record.id] = str(rewards)
    for one in shown:
        for name in one.views:
            if _takes_over(one, name, conditions) and one.record.id not in unreadable:
                intact = [writer.scores[key] for key in keys(one.record, INTACT)]
                writer.append(zip(keys(one.record, name), intact, strict=True))
    return unreadable


def _missing(shown: Shown, name: str, writer: ScoreWriter) -> bool:
    return name in shown.views and any(k not in writer.scores for k in keys(shown.record, name))


def _verdicts(
    judge: Verdicts,
    shown: Sequence[Shown],
    conditions: Mapping[str, Condition],
    folder: Path,
    writer: ScoreWriter,
    progress: Progress,
) -> None:
    with VerdictWriter(folder) as verdicts:
        places = [(one, name) for one in shown for name in one.views]
        left = [
            Question(one, key)
            for one, name in places
            if not _takes_over(one, name, conditions)
            for key in questions(one.record, name, judge.samples)
            if key not in verdicts.verdicts
        ]
        for question, verdict in judge.verdicts(left):
            verdicts.write(question.key, verdict)
            progress(1)
        for one, name in places:
            if _takes_over(one, name, conditions):
                for key in questions(one.record, name, judge.samples):
                    verdicts.write(key, verdicts.verdicts[key._replace(condition=INTACT)])
        found = outcomes(verdicts.verdicts)
    for one, name in places:
        scores = answer_scores(found[one.record.id, name], len(one.record.responses))
        writer.append(zip(keys(one.record, name), scores, strict=True))
