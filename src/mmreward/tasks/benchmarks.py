"""The benchmarks of a configuration as sets of records that a model can score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig

from mmreward.benchmarks.base import BenchmarkSet
from mmreward.benchmarks.loading import build_benchmarks, load_set
from mmreward.data.encoding import Encoder
from mmreward.data.skipping import encodable
from mmreward.data.sources.base import Source
from mmreward.errors import UserError
from mmreward.records import RecordError


def sets_to_score(
    run: DictConfig, nodes: Mapping[str, Any], own: Source, encoder: Encoder
) -> list[BenchmarkSet]:
    """The sets, of which every record can be encoded, in the order of the list.

    run: the run's configuration; own: its data

    Raises UserError for an empty list, a set without a usable row or pair and two sets of one
    name.
    """
    if not nodes:
        raise UserError("benchmark=[] leaves nothing to score; name at least one, or preference")
    sets: list[BenchmarkSet] = []
    for name, benchmark in build_benchmarks(nodes, run.data).items():
        found = load_set(name, benchmark, own)
        # The run's own bad rows are an error unless data.on_bad_record says otherwise.
        if not found.own or run.data.on_bad_record == "skip":
            found = _encodable(f"benchmark.{name}", found, encoder)
            found = replace(found, validation=encodable(found.validation, encoder)[0])
        if not found.records:
            raise UserError(_nothing(f"benchmark.{name}", found))
        if not any(record.pairs for record in found.records):
            raise UserError(
                f"{found.name} has no pair to judge: the answers of all its "
                f"{len(found.records):,} records tie"
            )
        if found.name in (other.name for other in sets):
            raise UserError(
                f"two of benchmark=[{', '.join(nodes)}] are sets called {found.name}; leave one out"
            )
        sets.append(found)
    return sets


def _encodable(key: str, found: BenchmarkSet, encoder: Encoder) -> BenchmarkSet:
    if encoder.processor is None and any(record.media for record in found.records):
        raise UserError(
            f"{found.name} has images, which a text backbone cannot read; score its text alone "
            f"with {key}.images=drop"
        )
    bad = {}
    for place, record in enumerate(found.records):
        try:
            encoder.encode(record)
        except RecordError as error:
            bad[place] = str(error)
    return found.without(bad) if bad else found


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
