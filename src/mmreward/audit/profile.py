"""What one split of a data set holds besides preferences.

`profile` gives, as plain JSON:

n_sampled, n_pairs, n_judged_equal, n_with_images
answers        how many a record has: {K: records}
duplicates, contradictions   pairs whose prompt, images and answers occurred before, with the
                             same and with the opposite preference; examples
same_answers                 pairs whose answers differ in case and spaces at most; examples
rules                        accuracy of every rule that needs no model, with interval
classifier                   see mmreward.audit.surface; null where there is too little
templates                    answers that many records share, numbers and addresses masked:
                             text, n, wins, losses and the interval of wins, most frequent first
lengths                      characters of prompt, better and worse answer: quantiles
images                       distinct, per_record, shared (images of several records), width and
                             height quantiles, unreadable with examples; null without images
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmreward.analysis.intervals import wilson
from mmreward.analysis.metrics import accuracy, correctness
from mmreward.analysis.rules import RULES
from mmreward.audit.overlap import content
from mmreward.audit.surface import classify
from mmreward.errors import UserError
from mmreward.records import Media, Record

EXAMPLES = 3
TEMPLATES = 8
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)

_MASKED = re.compile(r"0x[0-9a-f]+|\d+")


def profile(records: Sequence[Record]) -> dict[str, Any]:
    """The numbers of one split."""
    groups = [record.group or _implied_group(record) for record in records]
    n_pairs = sum(len(record.pairs) for record in records)
    return {
        "n_sampled": len(records),
        "n_pairs": n_pairs,
        "n_judged_equal": sum(len(record.ties) for record in records),
        "answers": _counts(len(record.responses) for record in records),
        "n_with_images": sum(bool(record.media) for record in records),
        **_repeated(records),
        "rules": _rules(records, groups) if n_pairs else {},
        "classifier": classify(records, groups) if n_pairs else None,
        "templates": _templates(records),
        "lengths": _lengths(records),
        "images": _images(records),
    }


def _implied_group(record: Record) -> str:
    return record.media[0].sha256 if record.media else record.prompt


def _counts(values: Any) -> dict[str, int]:
    return {str(value): n for value, n in sorted(Counter(values).items())}


def _repeated(records: Sequence[Record]) -> dict[str, Any]:
    """duplicates, contradictions and same_answers, with examples."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[list[str]]] = {}
    seen: dict[Any, str] = {}

    def note(kind: str, *wheres: str) -> None:
        counts[kind] += 1
        if counts[kind] <= EXAMPLES:
            examples.setdefault(kind, []).append(list(wheres))

    for record in records:
        one = content(record)
        for pair in record.pairs:
            better, worse = one.answers[pair.better], one.answers[pair.worse]
            if better == worse:
                note("same_answers", one.where)
                continue
            key = (one.prompt, one.images)
            if (key, better, worse) in seen:
                note("duplicates", seen[key, better, worse], one.where)
            elif (key, worse, better) in seen:
                note("contradictions", seen[key, worse, better], one.where)
            seen.setdefault((key, better, worse), one.where)
    kinds = ("duplicates", "contradictions", "same_answers")
    return {**{kind: counts[kind] for kind in kinds}, "examples": examples}


def _rules(records: Sequence[Record], groups: Sequence[str]) -> dict[str, Any]:
    margins: dict[str, list[float]] = {name: [] for name in RULES}
    clusters = []
    for number, (record, group) in enumerate(zip(records, groups, strict=True)):
        answers = [{"chars": len(r.text), "newlines": r.text.count("\n")} for r in record.responses]
        row = {"record": f"{number}", "answers": answers}
        scores = {name: rule(row) for name, rule in RULES.items()}
        for pair in record.pairs:
            clusters.append(group)
            for name, values in scores.items():
                margins[name].append(values[pair.better] - values[pair.worse])
    names = np.array(clusters)
    return {name: accuracy(correctness(np.array(m)), names) for name, m in margins.items()}


def _templates(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Answers that occur in at least 1 % of the records, and in ten."""
    wins: Counter[str] = Counter()
    losses: Counter[str] = Counter()
    occurs: Counter[str] = Counter()
    example: dict[str, str] = {}
    for record in records:
        masked = [_MASKED.sub("#", " ".join(r.text.lower().split())) for r in record.responses]
        occurs.update(set(masked))
        for text, response in zip(masked, record.responses, strict=True):
            example.setdefault(text, response.text)
        for pair in record.pairs:
            wins[masked[pair.better]] += 1
            losses[masked[pair.worse]] += 1
    common = [
        text for text, n in occurs.most_common(TEMPLATES) if n >= max(10, 0.01 * len(records))
    ]
    return [
        {
            "text": example[text][:200],
            "n": occurs[text],
            "wins": wins[text],
            "losses": losses[text],
            "wins_ci95": list(wilson(wins[text], wins[text] + losses[text]))
            if wins[text] + losses[text]
            else None,
        }
        for text in common
    ]


def _lengths(records: Sequence[Record]) -> dict[str, list[float]]:
    found: dict[str, list[int]] = {"prompt": [], "better": [], "worse": []}
    for record in records:
        found["prompt"].append(len(record.prompt))
        for pair in record.pairs:
            found["better"].append(len(record.responses[pair.better].text))
            found["worse"].append(len(record.responses[pair.worse].text))
    return {name: _quantiles(values) for name, values in found.items() if values}


def _images(records: Sequence[Record]) -> dict[str, Any] | None:
    media: dict[str, Media] = {}
    used: Counter[str] = Counter()
    for record in records:
        for one in record.media:
            media.setdefault(one.sha256, one)
        used.update({one.sha256 for one in record.media})
    if not media:
        return None
    sizes, unreadable = [], []
    for one in media.values():
        try:
            sizes.append(one.size)
        except UserError as error:
            unreadable.append(str(error))
    return {
        "distinct": len(media),
        "per_record": _counts(len(record.media) for record in records),
        "shared": sum(count > 1 for count in used.values()),
        "width": _quantiles([width for width, _ in sizes]),
        "height": _quantiles([height for _, height in sizes]),
        "unreadable": len(unreadable),
        "examples": unreadable[:EXAMPLES],
    }


def _quantiles(values: Sequence[int]) -> list[float]:
    return [float(q) for q in np.quantile(values, QUANTILES)] if values else []
