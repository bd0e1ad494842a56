"""The benchmarks of a configuration as sets of records that a model can score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mmreward.benchmarks.base import BenchmarkSet
from mmreward.benchmarks.loading import build_benchmarks, load_set
from mmreward.data.encoding import Encoder
from mmreward.data.sources.base import Source
from mmreward.errors import UserError
from mmreward.records import RecordError
from mmreward.scoring.table import set_name


def sets_to_score(
    run: DictConfig, nodes: Mapping[str, Any], own: Source, encoder: Encoder
) -> list[BenchmarkSet]:
    """The sets in the order of the list, each with a record that can be read; the others are met
    when they are scored (see `readable`).

    run: the run's configuration; own: its data

    Raises UserError for an empty list, a set without a usable row or pair and two sets of one
    name.
    """
    if not nodes:
        raise UserError("benchmark=[] leaves nothing to score; name at least one, or preference")
    sets: list[BenchmarkSet] = []
    for name, benchmark in build_benchmarks(nodes, run.data).items():
        key = f"benchmark.{name}"
        found = load_set(name, benchmark, own)
        found = replace(found, strict=found.strict and run.data.on_bad_record == "error")
        if encoder.processor is None and any(record.media for record in found.records):
            raise UserError(
                f"{found.name} has images, which a text backbone cannot read; score its text alone "
                f"with {key}.images=drop"
            )
        if bad := _unreadable(found, encoder):
            found = found.without(bad)
        if not found.records:
            raise UserError(_nothing(key, found))
        _check_pairs(found)
        if found.name in (other.name for other in sets):
            raise UserError(
                f"two of benchmark=[{', '.join(nodes)}] are sets called {found.name}; leave one out"
            )
        sets.append(found)
    return sets


def _unreadable(found: BenchmarkSet, encoder: Encoder) -> dict[int, str]:
    """Why none of the set's records can be read; empty as soon as one can."""
    bad = {}
    for place, record in enumerate(found.records):
        try:
            encoder.encode(record)
        except RecordError as error:
            bad[place] = str(error)
        else:
            return {}
    return bad


def readable(found: BenchmarkSet, unreadable: Mapping[str, str]) -> BenchmarkSet:
    """The set without the records that turned out to be unreadable, by their ids.

    Raises UserError where they may not be left out, or nothing to judge is left.
    """
    bad = {n: unreadable[r.id] for n, r in enumerate(found.records) if r.id in unreadable}
    if not bad:
        return found
    if found.strict:
        raise RecordError(next(iter(bad.values())))
    left = found.without(bad)
    _check_pairs(left)
    return left


def _check_pairs(found: BenchmarkSet) -> None:
    if not any(record.pairs for record in found.records):
        raise UserError(
            f"{found.name} has no pair to judge: the answers of all its "
            f"{len(found.records):,} records tie"
        )


def name_sets(folder: Path, sets: Sequence[BenchmarkSet]) -> list[BenchmarkSet]:
    """The sets under names that no other content has in the folder's table."""
    ids = [[record.id for record in found.records] for found in sets]
    return [
        replace(found, name=set_name(folder, found.name, "test", own))
        for found, own in zip(sets, ids, strict=True)
    ]


def _nothing(key: str, found: BenchmarkSet) -> str:
    if not found.unusable:
        return f"{found.name} has no rows"
    first = found.unusable[0]
    text = f"none of the {found.n_rows:,} rows of {found.name} can be scored; {first.where}: "
    text += first.reason
    if found.images == "keep" and ("does not exist" in first.reason or "no image" in first.reason):
        text += (
            f"; name the folder of the images with {key}.image_root, or score the text alone with "
            f"{key}.images=drop"
        )
    return text


def told(found: BenchmarkSet) -> str:
    """One line for the screen: how much of the set is scored."""
    rows = f"{len(found.records):,}"
    if found.unusable:
        rows += f" of {found.n_rows:,}"
    dropped = ", without their images" if found.images == "drop" else ""
    return f"to score: {rows} records of {found.name}{dropped}"
