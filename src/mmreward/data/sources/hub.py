"""Data sets of the Hugging Face hub, or local copies of them, through the `datasets` library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmreward.data.columns import Columns
from mmreward.data.images import ImageReader
from mmreward.data.sources.base import SPLITS, Split
from mmreward.data.sources.parquet import ArrowRows
from mmreward.data.sources.rows import RowSource
from mmreward.data.sources.tables import Table, data_name
from mmreward.data.splitting import Fractions
from mmreward.errors import UserError

# How `datasets` calls the readers of single files.
_READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}


class DatasetRows(ArrowRows):
    """The rows of a `datasets.Dataset`, mapped from disk. Images stay encoded."""

    def __init__(self, dataset: Any, name: str) -> None:
        # As Arrow: every other format decodes images, one library call per nested column.
        super().__init__(dataset.with_format("arrow"), name)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        row: dict[str, Any] = self.table[index].to_pylist()[0]
        return row


class Hub(RowSource):
    """Any data set that the `datasets` library reads (an optional dependency).

    path:       an id of the hub, or a local copy: a folder written by `save_to_disk`, a folder
                laid out as on the hub, or one .parquet, .jsonl, .json or .csv file, the
                last three also as .gz
    revision:   commit of a hub id; without one a run could not be repeated
    config:     name of a subset, for data sets that have several
    splits:     our split -> the data set's; None for one to be held out of train
    validation, test: fractions to hold out where `splits` names none
    columns:    field -> column (see `Columns`); answers as text or as conversations
    image_root: folder for images that are given as paths; that of a local copy if None
    The others: see `FileSource`.

    Nothing that comes with a data set is executed.
    """

    def __init__(
        self,
        path: str | None,
        revision: str | None = None,
        config: str | None = None,
        splits: Mapping[Split, str | None] | None = None,
        validation: float = 0.05,
        test: float = 0.1,
        split_seed: int = 0,
        columns: Mapping[str, str | None] | None = None,
        image_root: str | None = None,
        allow_outside: bool = False,
        fetch_urls: bool = False,
        name: str | None = None,
        on_bad_record: str = "error",
    ) -> None:
        if path is None:
            raise UserError("data.source.path is missing; give a hub id or a local copy")
        wanted_splits = check_splits(splits)
        found = load(path, revision, config)
        local = Path(path)
        folder = local if local.is_dir() else local.parent
        # Paths in somebody's hub data set must not name files of this machine.
        root = Path(image_root) if image_root else folder if local.exists() else None
        reader = Columns(columns or {}, ImageReader(root, allow_outside, fetch_urls))
        tables = []
        for split, wanted in wanted_splits.items():
            if wanted not in found:
                raise UserError(
                    f"data.source.splits.{split}={wanted} is not a split of {path}; it has "
                    f"{', '.join(map(str, found))}"
                )
            rows = DatasetRows(found[wanted], f"{path} {wanted}")
            tables.append(Table(split, rows, reader))
        super().__init__(
            data_name(name, path),
            tables,
            Fractions(validation, test, split_seed),
            on_bad_record,
        )


def check_splits(splits: Mapping[Split, str | None] | None) -> dict[Split, str]:
    """our split -> the data set's, those of None left out; UserError if none is to train on."""
    given = {"train": "train"} if splits is None else splits
    if unknown := [split for split in given if split not in SPLITS]:
        raise UserError(
            f"data.source.splits.{unknown[0]} is not a split; the splits are {', '.join(SPLITS)}"
        )
    named = {split: name for split in SPLITS if (name := given.get(split)) is not None}
    if "train" not in named:
        raise UserError(
            "data.source.splits.train=null leaves nothing to train on; name a split of the data set"
        )
    return named


def load(path: str, revision: str | None, config: str | None) -> dict[str, Any]:
    """split -> `datasets.Dataset` of a hub id or local copy.

    Raises UserError if `datasets` is not installed, a hub id has no revision, or it cannot be
    loaded.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            "data/source=hub needs the datasets library; install it with "
            "pip install 'mmreward[data]'"
        ) from None
    local = Path(path)
    if not local.exists() and revision is None:
        raise UserError(
            f"data.source.path={path} is no local file or folder, so it is taken for a hub id; "
            "pin data.source.revision to a commit"
        )
    try:
        if (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
            loaded = datasets.load_from_disk(path)
        elif local.is_file():
            reader = _READERS[Path(path.lower().removesuffix(".gz")).suffix]
            loaded = datasets.load_dataset(reader, data_files={"train": path})
        else:
            loaded = datasets.load_dataset(path, config, revision=revision)
    except KeyError:
        raise UserError(
            f"data.source.path={path} is a file of no known kind ({', '.join(_READERS)})"
        ) from None
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"data.source.path={path} cannot be loaded ({error})") from None
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
