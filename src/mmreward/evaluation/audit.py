"""What a data set holds besides preferences, before anyone trains on it.

`audit` gives, as plain JSON (audit.json):

source         name; `left_out`: {reason: [count, an example]} of rows that cannot be used
splits         {split: the numbers below, over `n_sampled` of its `n_records`}
  n_pairs, n_judged_equal, answers (how many a record has: {K: records}), n_with_images
  duplicates, contradictions   pairs whose prompt, images and answers occurred before, with the
                               same and with the opposite preference; examples
  same_answers                 pairs whose answers differ in case and spaces at most; examples
  rules                        accuracy of every rule that needs no model, with interval
  classifier                   see mmreward.evaluation.surface; null where there is too little
  templates                    answers that many records share, numbers and addresses masked:
                               text, n, wins, losses and the interval of wins, most frequent first
  lengths                      characters of prompt, better and worse answer: quantiles
  images                       distinct, per_record, shared (images of several records), width and
                               height quantiles, unreadable with examples; null without images
overlap        {"train -> test": see mmreward.evaluation.overlap, …}, also for every named other
               source
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmreward.data.bad_records import BadRecord
from mmreward.data.sources.base import SPLITS, Source
from mmreward.errors import UserError
from mmreward.evaluation.metrics import accuracy, correctness
from mmreward.evaluation.overlap import Content, content, overlap
from mmreward.evaluation.rules import RULES, TEXT_RULES
from mmreward.evaluation.statistics import wilson
from mmreward.evaluation.surface import classify
from mmreward.evaluation.wording import label, percent
from mmreward.records import Media, Record

EXAMPLES = 3
TEMPLATES = 8
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)

_MASKED = re.compile(r"0x[0-9a-f]+|\d+")


def audit(
    source: Source, others: Mapping[str, Source] | None = None, max_records: int | None = None
) -> dict[str, Any]:
    """The numbers the module describes.

    others:      sources whose records must not occur in `source`, by name
    max_records: a seeded sample of at most so many of every split is looked at

    Raises UserError if `source` has no pair at all.
    """
    records = {split: sample for split in SPLITS if (sample := _sample(source, split, max_records))}
    splits = {}
    for split, found in records.items():
        splits[split] = {"n_records": len(source.split(split)), **profile(found)}
    if not any(values["n_pairs"] for values in splits.values()):
        raise UserError(f"{source.name} has no pair: no record prefers one answer to another")
    contents = {split: [content(r) for r in found] for split, found in records.items()}
    overlaps = {
        f"{left} -> {right}": overlap(contents[left], contents[right])
        for left, right in (("train", "validation"), ("train", "test"), ("validation", "test"))
        if left in contents and right in contents
    }
    for name, other in (others or {}).items():
        theirs = _contents(other, max_records)
        for split, ours in contents.items():
            overlaps[f"{split} -> {name}"] = overlap(ours, theirs)
    return {
        "source": source.name,
        "left_out": _reasons(getattr(source, "bad_records", ())),
        "splits": splits,
        "overlap": overlaps,
    }


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


def one_line(found: Mapping[str, Any]) -> str:
    """The audit of what is trained on in one line, for the screen."""
    split = next(values for values in found["splits"].values() if values["n_pairs"])
    rule = max(TEXT_RULES, key=lambda name: split["rules"][name]["accuracy"])
    parts = [
        f"{split['n_pairs']:,} pairs",
        f"{label(rule)!r} is right in {percent(split['rules'][rule]['accuracy'])}",
    ]
    if split["classifier"]:
        parts.append(f"surface features alone in {percent(split['classifier']['accuracy'])}")
    parts += [
        f"{split[name]:,} {name.replace('_', ' ')}"
        for name in ("duplicates", "contradictions", "same_answers")
        if split[name]
    ]
    leaks = {
        name: values["same"] + values["near"]
        for name, values in found["overlap"].items()
        if values["same"] + values["near"]
    }
    parts += [
        f"{count:,} records in both {name.replace(' -> ', ' and ')}"
        for name, count in leaks.items()
    ]
    if found["left_out"]:
        parts.append(f"rows left out: {sum(n for n, _ in found['left_out'].values()):,}")
    return "data audit: " + "; ".join(parts)


# -- parts ---------------------------------------------------------------------------------


def _sample(source: Source, split: Any, most: int | None) -> list[Record]:
    records = source.split(split)
    places = range(len(records))
    if most is not None and len(records) > most:
        return [records[i] for i in sorted(random.Random(0).sample(places, most))]
    return [records[i] for i in places]


def _contents(source: Source, most: int | None) -> list[Content]:
    return [content(record) for split in SPLITS for record in _sample(source, split, most)]


def _reasons(bad: Sequence[BadRecord]) -> dict[str, list[Any]]:
    """Reasons by frequency; those that differ in numbers and names in quotes alone are one."""
    masked = [re.sub(r"\d+|'[^']*'|\"[^\"]*\"|\S*/\S*", "…", one.reason) for one in bad]
    first = dict(zip(reversed(masked), reversed(bad), strict=True))
    return {
        reason: [count, f"{first[reason].where}: {first[reason].reason}"]
        for reason, count in Counter(masked).most_common()
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
