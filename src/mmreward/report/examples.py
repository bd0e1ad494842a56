"""Pairs to look at, with their images: numbers say how often a model errs, these say at what.

Images that are no files (drawn, or bytes of a parquet file) are gone when the evaluation is over.
`keep` saves a small copy of those a model was wrong about: every pair on which two runs disagree
is among them, in the one run or the other.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from mmreward.analysis.comparison import CommonSet
from mmreward.analysis.pairs import MODEL, PairTable, judged_sets, pair_tables
from mmreward.errors import UserError
from mmreward.records import Media, Record
from mmreward.report.figures import BLACK, BLUE
from mmreward.report.page import FIGURES, quoted, save_figure
from mmreward.scoring.table import KEPT_IMAGES, ScoreTable, kept_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LARGEST = 360  # pixels of the longer side
SMALLEST = 120  # a smaller one is enlarged, pixel by pixel
MOST = 500  # pairs of a set, the clearest mistakes first

QUOTED = 3  # mistakes of a run
SHOWN = 6  # mistakes in the figure
COLUMNS = 3
LETTERS = 44  # a line below an image
WRONG = "#B35900"  # as dark as letters need

EACH = 2  # disagreements per run and direction
RUNS = 4


# -- images ----------------------------------------------------------------------------------


def keep(folder: Path, records: Iterable[Record], table: ScoreTable) -> None:
    """Saves the images of the pairs that the model has wrong into the table's folder, where they
    are no files, and tells the table."""
    known = {record.id: record for record in records}
    for pairs in judged_sets(pair_tables(table)).values():
        margins = pairs.margins[MODEL].to_numpy()
        wrong = [place for place in np.argsort(margins, kind="stable") if margins[place] <= 0]
        for place in pairs.pairs["row"].iloc[wrong[:MOST]]:
            row = pairs.records[place]
            record = known.get(row["record"])
            for media, line in zip(record.media if record else (), row["media"], strict=False):
                if not line["path"]:
                    path = folder / KEPT_IMAGES / kept_name(media.sha256)
                    path.parent.mkdir(exist_ok=True)
                    _small(media.load()).save(path, quality=85)
                    line["path"] = str(path)


def pictures(folder: Path, *records: Mapping[str, Any]) -> list[str]:
    """Links to small copies of a record's images, put among the figures of the report `folder`.

    records: the record's line in one or more tables; the first that knows an image's file gives it
    """
    lists = [record["media"] for record in records if record.get("media")]
    return [_picture(folder, alike) for alike in zip(*lists, strict=False)]


def _picture(folder: Path, alike: Sequence[Mapping[str, Any]]) -> str:
    paths = [Path(media["path"]) for media in alike if media["path"]]
    for path in paths:
        try:
            picture = _small(Media(path=path).load())
        except UserError:
            continue
        name = f"image_{alike[0]['sha256'] or path.stem}"[:40] + ".jpg"
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        picture.save(folder / FIGURES / name, quality=85)
        return f"![{path.name}]({FIGURES}/{name})"
    if paths:
        return f"(image `{paths[0]}` is not on this machine)"
    return f"(image {str(alike[0]['sha256'])[:16]} was not kept)"


def _small(picture: Image.Image) -> Image.Image:
    picture.thumbnail((LARGEST, LARGEST))
    times = -(-SMALLEST // max(picture.size))
    width, height = picture.size
    return picture.resize((times * width, times * height), Image.Resampling.NEAREST)


# -- mistakes of one run ---------------------------------------------------------------------


def worst_mistakes(table: PairTable, count: int) -> list[int]:
    """Places of the pairs with the lowest margins below 0, the lowest first."""
    margins = table.margins[MODEL].to_numpy()
    return [int(i) for i in np.argsort(margins, kind="stable")[:count] if margins[i] < 0]


def mistakes(folder: Path, name: str, table: PairTable) -> Iterator[str]:
    """Markdown on the worst mistakes on a set: the figure, and the first `QUOTED` in full."""
    figure = mistakes_figure(name, table)
    if figure is None:
        return
    yield from ("### Worst mistakes", save_figure(folder, f"{name} mistakes", figure))
    for number, place in enumerate(worst_mistakes(table, QUOTED), 1):
        pair = table.pairs.iloc[place]
        record = table.records[pair["row"]]
        yield (
            f"**{number}.** margin {table.margins[MODEL].iloc[place]:.3g}, category "
            f"{pair['category']}, record {record['record']}"
        )
        yield from _pair(folder, pair, "The model prefers", record)


def mistakes_figure(name: str, table: PairTable) -> Figure | None:
    """The worst mistakes of a set, each with its first image; None if there is no mistake."""
    from matplotlib.figure import Figure

    worst = worst_mistakes(table, SHOWN)
    if not worst:
        return None
    rows = -(-len(worst) // COLUMNS)
    figure = Figure(figsize=(10.0, 0.6 + 3.6 * rows))
    total = int((table.margins[MODEL] < 0).sum())
    title = f"{name}: the clearest of {total} mistakes"
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.02, ha="left")
    figure.subplots_adjust(0.02, 0.22 / rows, 0.98, 1 - 0.5 / (0.6 + 3.6 * rows), 0.08, 0.75)
    grid = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
    for axes, place in zip(grid, worst, strict=False):
        _mistake(axes, table, place)
    return figure


def _mistake(axes: Axes, table: PairTable, place: int) -> None:
    pair = table.pairs.iloc[place]
    record = table.records[pair["row"]]
    picture = _first_image(record.get("media") or ())
    if picture is not None:
        axes.imshow(picture, interpolation="nearest")
    answers = record["answers"]
    texts = [
        (_lines(record.get("prompt"), 2), BLACK),
        ("better: " + _lines(answers[pair["better"]].get("text"), 2), BLUE),
        ("preferred: " + _lines(answers[pair["worse"]].get("text"), 2), WRONG),
        (f"margin {table.margins[MODEL].iloc[place]:.3g}", BLACK),
    ]
    height = -0.04
    for text, colour in texts:
        axes.text(
            0, height, text, transform=axes.transAxes, color=colour, fontsize=8, va="top",
            parse_math=False,
        )  # fmt: skip
        height -= 0.085 * (1 + text.count("\n"))


def _lines(text: str | None, most: int) -> str:
    """Text as at most `most` short lines of printable signs."""
    text = "(text not stored)" if text is None else text
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    return textwrap.fill(textwrap.shorten(plain, most * LETTERS - 12, placeholder=" …"), LETTERS)


def _first_image(media: Sequence[dict[str, str]]) -> Image.Image | None:
    for entry in media:
        if entry["path"]:
            try:
                picture = Media(path=Path(entry["path"])).load()
                return ImageOps.pad(picture, (360, 360), Image.Resampling.NEAREST, "white")
            except UserError:
                continue
    return None


# -- pairs that divide two runs --------------------------------------------------------------


def gallery(folder: Path, common: CommonSet) -> Iterator[str]:
    """Markdown on the clearest disagreements of the first run with each other one (the first
    `RUNS` of them); images that exist are saved small into the report's figures."""
    first, *others = common.tables
    number = 0
    for run in others[:RUNS]:
        for right, wrong in ((run, first), (first, run)):
            for place in _clearest(common, right, wrong):
                number += 1
                yield f"**{number}. {right} is right, {wrong} is wrong**"
                yield from _disagreement(folder, common, place, (first, run))


def _clearest(common: CommonSet, right: str, wrong: str) -> list[int]:
    """Pairs that `right` alone has right, where the less sure of the two runs is surest.

    Margins are in units of each model's own deviation.
    """
    sides = [common.tables[run].margins[MODEL].to_numpy() for run in (right, wrong)]
    a, b = (side / (side.std() or 1.0) for side in sides)
    clarity = np.minimum(a, -b)
    best = np.argsort(-clarity, kind="stable")[:EACH]
    return [int(i) for i in best if clarity[i] > 0]


def _disagreement(
    folder: Path, common: CommonSet, place: int, runs: tuple[str, str]
) -> Iterator[str]:
    tables = [common.tables[run] for run in runs]
    pair = tables[0].pairs.iloc[place]
    # The same record in both tables: one may know an image's file that the other does not.
    record, same = (table.records[table.pairs["row"].iloc[place]] for table in tables)
    margins = [f"{run} {common.tables[run].margins[MODEL].iloc[place]:+.3g}" for run in runs]
    yield f"Category {pair['category']}, record {record['record']}. Margins: {', '.join(margins)}."
    yield from _pair(folder, pair, "Other answer", record, same)


def _pair(
    folder: Path, pair: Any, other: str, record: Mapping[str, Any], *same: Mapping[str, Any]
) -> Iterator[str]:
    """Images, prompt and both answers; pair: its line in the table of pairs."""
    yield from pictures(folder, record, *same)
    yield from quoted("Prompt", record.get("prompt"))
    yield from quoted("Better answer", record["answers"][pair["better"]].get("text"))
    yield from quoted(other, record["answers"][pair["worse"]].get("text"))
