"""The columns of `jsonl` in parquet files, images as bytes, structs or paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmreward.data.sources.rows import FileSource
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


class Parquet(FileSource):
    """Your own comparisons from parquet: files, or folders of *.parquet files.

    Columns are those of `Jsonl`; an image is bytes, a path or a struct of both; settings: see
    `FileSource`. The tables are held in memory. For more than fits there, `hub` reads local
    parquet files too and maps them from disk.
    """

    def rows(self, file: Path) -> ArrowRows:
        return read_parquet(file)

    def files(self, path: Path) -> list[Path]:
        found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not found:
            raise UserError(f"{path} holds no *.parquet files; give the folder that does")
        return found


def read_parquet(path: Path) -> ArrowRows:
    """The rows of one file; UserError if it is no parquet file."""
    try:
        return ArrowRows(pq.ParquetFile(path).read(), str(path))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as parquet ({error})") from None
