"""One JSON object a line: query, image, answers and their ranks."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmreward.data.fields import Fields
from mmreward.data.images import ImageReader
from mmreward.data.sources.base import Split
from mmreward.data.sources.rows import RowSource
from mmreward.data.sources.tables import Table, data_name, file_tables
from mmreward.data.splitting import Fractions
from mmreward.errors import UserError, kind
from mmreward.records import RecordError


class JsonLines:
    """The objects of a .jsonl or .jsonl.gz file; rows are lines, blank ones are skipped.

    Of a plain file only where its lines begin is kept in memory, so that it may hold images as
    base64; a compressed one cannot be entered in the middle and is kept as text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[bytes] | None = [] if path.suffix == ".gz" else None
        self._offsets = array("q")
        self._numbers = array("q")
        try:
            if self._lines is None:
                with path.open("rb") as file:
                    self._index(file)
            else:
                with gzip.open(path) as file:
                    self._index(file)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path} cannot be read ({error})") from None
        if other := self._other_format():
            raise UserError(f"{path} is no file of JSON lines but {other}")

    def _index(self, file: Iterable[bytes]) -> None:
        offset = 0
        for number, line in enumerate(file, 1):
            if line.strip():
                self._numbers.append(number)
                self._offsets.append(offset)
                if self._lines is not None:
                    self._lines.append(line)
            offset += len(line)

    def _other_format(self) -> str:
        """What the file is if it holds no JSON lines, and the source that reads it."""
        first = self._line(0).strip() if len(self) else b""
        if first.startswith(b"PAR1"):
            return "parquet; read it with data/source=parquet"
        if self.path.suffix.lower() == ".csv":
            return "a table of text; read it with data/source=hub"
        if first.startswith(b"[") and (len(self) == 1 or first == b"[" or first.endswith(b",")):
            return "one JSON list; read it with data/source=hub"
        return ""

    def _line(self, index: int) -> bytes:
        if self._lines is not None:
            return self._lines[index]
        # Opened each time: workers that share an open file would move each other's position.
        with self.path.open("rb") as file:
            file.seek(self._offsets[index])
            return file.readline()

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        try:
            row = json.loads(self._line(index))
        except json.JSONDecodeError as error:
            raise RecordError(f"it is not JSON ({error.msg}, character {error.pos})") from None
        except UnicodeDecodeError as error:
            raise RecordError(f"it is not UTF-8 ({error.reason}, byte {error.start})") from None
        except ValueError:  # the only other one that json.loads raises
            limit = sys.get_int_max_str_digits()
            raise RecordError(f"it holds a whole number of more than {limit:,} digits") from None
        if not isinstance(row, dict):
            raise RecordError(f"it is JSON but {kind(row)}, not an object")
        return row

    def where(self, index: int) -> str:
        return f"{self.path} row {self._numbers[index]}"


class Jsonl(RowSource):
    """Your own comparisons from .jsonl or .jsonl.gz files.

    A row is {"id", "query", "image", "response": [K texts], "human_ranking": [K ranks]}: rank 0 is
    best, equal ranks are a tie. Other columns, several turns, chosen and rejected answers: see
    `Fields`; what an image may be: see `ImageReader`; what is checked when: see `RowSource`.

    path:            the training rows
    validation_path, test_path: files of their own; without one, rows of `path` are held out
    validation, test: fractions of the rows to hold out
    split_seed:      of that choice
    columns:         field -> column, where it is not the one of `fields.COLUMNS`
    image_root:      folder that image paths start from; that of the file if None
    allow_outside:   image paths may leave it
    fetch_urls:      image URLs are fetched
    name:            of the data in reports; the file's if None
    on_bad_record:   "error" or "skip"
    images:          "drop" if they need not exist; see `RowSource`
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
        def open_file(file: Path, split: Split) -> list[Table]:
            root = Path(image_root) if image_root else file.parent
            reader = ImageReader(root, allow_outside, fetch_urls, images)
            return [Table(split, JsonLines(file), Fields(columns or {}, reader))]

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
