"""The columns of `jsonl` in parquet files, images as bytes, structs or paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmreward.data.fields import Fields
from mmreward.data.images import ImageReader
from mmreward.data.sources.base import Split
from mmreward.data.sources.rows import RowSource
from mmreward.data.sources.tables import Table, data_name, file_tables
from mmreward.data.splitting import Fractions
from mmreward.errors import UserError


class ArrowRows:
    """The rows of an Arrow table as plain Python values.

    name: what `where` calls the table
    """

    def __init__(self, table: pa.Table, name: str) -> None:
        self.table = table
        self.name = name

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        row: dict[str, Any] = self.table.slice(index, 1).to_pylist()[0]
        return row

    def where(self, index: int) -> str:
        return f"{self.name} row {index + 1}"


class Parquet(RowSource):
    """Your own comparisons from parquet: files, or folders of *.parquet files.

    Columns, images and settings are those of `Jsonl`; an image is bytes, a path or a struct of
    both. The tables are held in memory. For more than fits there, `hub` reads local parquet
    files too and maps them from disk.
    """

    def __init__(
        self,
        path: str | None,
        validation_path: str | None = None,
        test_path: str | None = None,
        validation: float = 0.05,
        test: float = 0.1,
        split_seed: int = 0,
        columns: Mapping[str, str | None] | None = None,
        image_root: str | None = None,
        allow_outside: bool = False,
        fetch_urls: bool = False,
        name: str | None = None,
        on_bad_record: str = "error",
        images: str = "keep",
    ) -> None:
        def open_file(given: Path, split: Split) -> list[Table]:
            files = sorted(given.glob("*.parquet")) if given.is_dir() else [given]
            if not files:
                raise UserError(f"{given} holds no *.parquet files; give the folder that does")
            root = Path(image_root) if image_root else files[0].parent
            reader = Fields(columns or {}, ImageReader(root, allow_outside, fetch_urls, images))
            return [Table(split, read_parquet(file), reader) for file in files]

        tables = file_tables(
            {"train": path, "validation": validation_path, "test": test_path}, open_file
        )
        super().__init__(
            data_name(name, str(path)),
            tables,
            Fractions(validation, test, split_seed),
            on_bad_record,
            images,
        )


def read_parquet(path: Path) -> ArrowRows:
    """The rows of one file; UserError if it is no parquet file."""
    try:
        return ArrowRows(pq.ParquetFile(path).read(), str(path))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as parquet ({error})") from None
