"""Pictures for reports: small copies of the images that an example shows.

Images that are no files (drawn, or bytes of a parquet file) are gone when the evaluation is over.
`keep` saves a small copy of those a model was wrong about: every pair on which two runs disagree
is among them, in the one run or the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmreward.analysis.pairs import MODEL, judged_sets, pair_tables
from mmreward.errors import UserError
from mmreward.records import Media, Record
from mmreward.report.markdown import FIGURES
from mmreward.scoring.table import KEPT_IMAGES, ScoreTable, kept_name

LARGEST = 360  # pixels of the longer side
SMALLEST = 120  # a smaller one is enlarged, pixel by pixel
MOST = 500  # pairs of a set, the clearest mistakes first


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
