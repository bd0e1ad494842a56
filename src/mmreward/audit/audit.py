"""What a data set holds besides preferences, before anyone trains on it.

`audit` gives, as plain JSON (audit.json):

source         name; `left_out`: {reason: [count, an example]} of rows that cannot be used
splits         {split: n_records, and the numbers of mmreward.audit.profile over
               `n_sampled` of them}
overlap        {"train -> test": see mmreward.audit.overlap, …}, also for every other set; then
               also `text_only`, how many of `n` were compared by text alone because their images
               are not there, and `not_compared`, rows besides `n` that cannot be read
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmreward.audit.overlap import KINDS, Content, content, overlap
from mmreward.audit.profile import profile
from mmreward.data.bad_records import reasons
from mmreward.data.sources.base import SPLITS, Source
from mmreward.errors import UserError
from mmreward.records import Record


@dataclass(frozen=True)
class OtherSet:
    """Records that must not occur in the audited data.

    text_only:    records whose images are not there
    not_compared: how many rows are missing altogether
    """

    records: Sequence[Record]
    text_only: Sequence[Record] = ()
    not_compared: int = 0


def audit(
    source: Source, others: Mapping[str, OtherSet] | None = None, max_records: int | None = None
) -> dict[str, Any]:
    """The numbers the module describes.

    others:      sets whose records must not occur in `source`, by name
    max_records: a seeded sample of at most so many of every split of `source` is looked at

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
        for split, ours in contents.items():
            overlaps[f"{split} -> {name}"] = _overlap(ours, other)
    return {
        "source": source.name,
        "left_out": {reason: list(found) for reason, found in reasons(source.bad_records).items()},
        "splits": splits,
        "overlap": overlaps,
    }


def _sample(source: Source, split: Any, most: int | None) -> list[Record]:
    records = source.split(split)
    places = range(len(records))
    if most is not None and len(records) > most:
        return [records[i] for i in sorted(random.Random(0).sample(places, most))]
    return [records[i] for i in places]


def _overlap(ours: Sequence[Content], other: OtherSet) -> dict[str, Any]:
    """`overlap`, where records without their images are compared with ours without theirs."""
    found = overlap(ours, [content(record) for record in other.records])
    if other.text_only:
        texts = [replace(one, images=frozenset()) for one in ours]
        more = overlap(texts, [content(record) for record in other.text_only])
        found |= {kind: found[kind] + more[kind] for kind in ("n", *KINDS)}
        for kind, examples in more["examples"].items():
            found["examples"].setdefault(kind, []).extend(examples)
    found |= {"text_only": len(other.text_only), "not_compared": other.not_compared}
    return found
