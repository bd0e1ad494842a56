"""OpenGVLab's MMPR: image, question, chosen and rejected, many subsets under one meta.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmreward.data.columns import Columns
from mmreward.data.images import ImageReader, inside
from mmreward.data.sources.jsonl import JsonLines
from mmreward.data.sources.rows import RowSource
from mmreward.data.sources.tables import Table
from mmreward.data.splitting import Fractions
from mmreward.errors import UserError
from mmreward.records import RecordError


class Mmpr(RowSource):
    """MMPR (Wang et al., arXiv:2411.10442) as its archives unpack.

    meta.json is {subset: {"root": folder of its images, "annotation": its .jsonl, …}}. A row is
    {"image": path, list of paths or absent, "question", "chosen", "rejected"}; rows with a
    "video" are bad records. Images without an <image> in the question go before it. A record's
    category is its subset. Other entries of meta.json (repeat_time, data_augment) are not
    applied: every row counts once.

    path:          meta.json
    root:          folder that the paths in meta.json start from; if None, that of meta.json, or
                   the one above it where the paths name its own folder
    allow_outside: paths may lead out of that folder
    The others:    see `FileSource`.
    """

    def __init__(
        self,
        path: str | None,
        root: str | None = None,
        validation: float = 0.05,
        test: float = 0.05,
        split_seed: int = 0,
        allow_outside: bool = False,
        name: str = "mmpr",
        on_bad_record: str = "error",
    ) -> None:
        subsets = read_meta(path)
        meta = Path(str(path))
        folders = [Path(root)] if root else [meta.parent, meta.resolve().parent.parent]
        tables = []
        for subset, entry in subsets.items():
            where = f"{path} entry {subset}"
            annotation, pictures = _find(folders, entry, allow_outside, where)
            reader = Columns({"prompt": "question"}, ImageReader(pictures, allow_outside))
            tables.append(Table("train", JsonLines(annotation), reader, category=subset))
        super().__init__(name, tables, Fractions(validation, test, split_seed), on_bad_record)


def read_meta(path: str | None) -> dict[str, dict[str, Any]]:
    """The subsets of a meta.json; UserError if it is none."""
    if path is None or not Path(path).is_file():
        raise UserError(f"data.source.path={path} is no file; give the meta.json of MMPR")
    try:
        subsets = json.loads(Path(path).read_text())
        bad = [name for name, entry in dict(subsets).items() if not _names_paths(entry)]
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not the meta.json of MMPR ({error})") from None
    if bad or not subsets:
        raise UserError(
            f"{path} is not the meta.json of MMPR: "
            + (f"{bad[0]} names no root and annotation" if bad else "it names no subset")
        )
    return dict(subsets)


def _names_paths(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(key), str) for key in ("root", "annotation")
    )


def _find(
    folders: list[Path], entry: dict[str, Any], allow_outside: bool, where: str
) -> tuple[Path, Path]:
    """(annotation file, folder of images) below the first folder that has the file."""
    annotation = entry["annotation"]
    try:
        for folder in folders:
            file = inside(folder.resolve(), annotation, allow_outside)
            if file.is_file():
                return file, inside(folder.resolve(), entry["root"], allow_outside)
    except RecordError as error:
        raise UserError(f"{where}: {error}") from None
    tried = " or ".join(str(folder) for folder in folders)
    raise UserError(f"{where}: {annotation} is not in {tried}; give data.source.root")
