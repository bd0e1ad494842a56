"""(model, records, condition) -> rows of the score table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from mmreward.data.encoding import EncodedRecord
from mmreward.data.prefix import Collate
from mmreward.errors import UserError
from mmreward.model.reward import RewardModel
from mmreward.records import Record, RecordError
from mmreward.scoring.conditions import (
    blind_image,
    normalise_answers,
    swap_images,
    without_images,
)
from mmreward.scoring.table import Key, ScoreWriter

Transform = Callable[[Sequence[Record]], list[Record | None]]


# Of a batch: records times the square of the longest one's characters. 128 of 1,000 fit.
MOST_WORK = 128e6


def _each(change: Callable[[Record], Record | None]) -> Transform:
    return lambda records: [change(record) for record in records]


@dataclass(frozen=True)
class Condition:
    """How a set is scored.

    transform: the records as the model sees them, aligned with the originals; None leaves one out
    trained:   False scores with the weights the configuration starts from (not `init_from`'s)
    """

    transform: Transform
    trained: bool = True


CONDITIONS: dict[str, Condition] = {
    "intact": Condition(list),
    "blind_image": Condition(_each(blind_image)),
    "swapped_image": Condition(swap_images),
    "text_only": Condition(_each(without_images)),
    "normalised": Condition(_each(normalise_answers)),
    "untrained": Condition(list, trained=False),
}


def find_condition(name: str) -> Condition:
    """The condition of that name; UserError with the possible ones for any other."""
    if name not in CONDITIONS:
        raise UserError(
            f"evaluation.conditions names {name}, which is not one of {', '.join(CONDITIONS)}"
        )
    return CONDITIONS[name]


def score_condition(
    name: str,
    model: RewardModel,
    collate: Collate,
    records: Sequence[Record],
    writer: ScoreWriter,
    batch_size: int,
    progress: Callable[[float], None] = lambda share: None,
) -> int:
    """Scores what the table does not hold yet; returns how many records the model was given.

    Rows are filed under the *original* record's id and appended batch by batch, so that an
    interrupted evaluation continues where it stopped. A record that the condition leaves as it is
    takes over its intact scores. Answers with the same text get the same score, the first one's:
    branches of one row differ in the last digits, which must not decide a pair.

    progress: called after every batch with its share of the records that had to be scored
    """
    device = next(model.parameters()).device
    condition = find_condition(name)
    waiting = []
    for original, shown in zip(records, condition.transform(records), strict=True):
        if shown is None or _scored(original, name, writer):
            continue
        if condition.trained and shown is original and _scored(original, "intact", writer):
            writer.append(
                (key, writer.scores[key._replace(condition="intact")])
                for key in _keys(original, name)
            )
        else:
            waiting.append((original.id, shown))
    # Long rows together: the padding of a batch follows its longest row.
    waiting.sort(key=lambda item: _length(item[1]))
    scored = 0
    for chunk in batches(waiting, batch_size):
        encoded = list(_encoded(name, chunk, collate))
        if not encoded:
            continue
        batch = collate.batch([item for _, item in encoded]).to(device)
        with torch.inference_mode():
            scores = model(batch).scores.tolist()
        first = 0
        for record_id, item in encoded:
            texts = [response.text for response in item.record.responses]
            writer.append(
                (Key(record_id, answer, name), scores[first + texts.index(text)])
                for answer, text in enumerate(texts)
            )
            first += len(texts)
        scored += len(encoded)
        progress(len(chunk) / len(waiting))
    return scored


def batches(
    waiting: Sequence[tuple[str, Record]], batch_size: int
) -> Iterator[list[tuple[str, Record]]]:
    """At most `batch_size` records each, fewer of long ones: what attention takes grows with the
    square of the length, and a batch is as long as its longest row."""
    chunk: list[tuple[str, Record]] = []
    for item in waiting:
        length = _length(item[1])
        if chunk and (len(chunk) == batch_size or (len(chunk) + 1) * length**2 > MOST_WORK):
            yield chunk
            chunk = []
        chunk.append(item)
    if chunk:
        yield chunk


def _length(record: Record) -> int:
    """Characters of a record's prompt and answers."""
    return len(record.prompt) + sum(len(response.text) for response in record.responses)


def _encoded(
    name: str, chunk: Sequence[tuple[str, Record]], collate: Collate
) -> Iterator[tuple[str, EncodedRecord]]:
    """The chunk as tokens. A record that only a changed image makes too long (a larger one than
    its own) is left out of that condition; the metrics say how many it has."""
    for record_id, shown in chunk:
        try:
            yield record_id, collate.encoder.encode(shown)
        except RecordError:
            if name == "intact":
                raise


def _keys(record: Record, condition: str) -> list[Key]:
    return [Key(record.id, answer, condition) for answer in range(len(record.responses))]


def _scored(record: Record, condition: str, writer: ScoreWriter) -> bool:
    return all(key in writer.scores for key in _keys(record, condition))
