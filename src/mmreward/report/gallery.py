"""Pairs on which two runs disagree, with their images: numbers say how often, these say what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmreward.analysis.comparison import CommonSet
from mmreward.analysis.pairs import MODEL
from mmreward.report.markdown import quoted
from mmreward.report.pictures import pictures

EACH = 2  # examples per run and direction
RUNS = 4


def gallery(folder: Path, common: CommonSet) -> Iterator[str]:
    """Markdown on the clearest disagreements of the first run with each other one (the first
    `RUNS` of them); images that exist are saved small into the report's figures."""
    first, *others = common.tables
    number = 0
    for run in others[:RUNS]:
        for places, sentence in (
            (_clearest(common, run, first), f"{run} is right, {first} is wrong"),
            (_clearest(common, first, run), f"{first} is right, {run} is wrong"),
        ):
            for place in places:
                number += 1
                yield from (f"**{number}. {sentence}**", "")
                yield from _pair(folder, common, place, (first, run))


def _clearest(common: CommonSet, right: str, wrong: str) -> list[int]:
    """Pairs that `right` alone has right, where the less sure of the two runs is surest.

    Margins are in units of each model's own deviation.
    """
    sides = [common.tables[run].margins[MODEL].to_numpy() for run in (right, wrong)]
    a, b = (side / (side.std() or 1.0) for side in sides)
    clarity = np.minimum(a, -b)
    best = np.argsort(-clarity, kind="stable")[:EACH]
    return [int(i) for i in best if clarity[i] > 0]


def _pair(folder: Path, common: CommonSet, place: int, runs: tuple[str, str]) -> Iterator[str]:
    table = common.tables[runs[0]]
    pair = table.pairs.iloc[place]
    record = table.records[pair["row"]]
    margins = [f"{run} {common.tables[run].margins[MODEL].iloc[place]:+.3g}" for run in runs]
    yield f"Category {pair['category']}, record {record['record']}. Margins: {', '.join(margins)}."
    yield ""
    others = common.tables[runs[1]]
    same = others.records[others.pairs["row"].iloc[place]]
    for picture in pictures(folder, record, same):
        yield from (picture, "")
    yield from quoted("Prompt", record.get("prompt"))
    yield from quoted("Better answer", record["answers"][pair["better"]].get("text"))
    yield from quoted("Other answer", record["answers"][pair["worse"]].get("text"))
