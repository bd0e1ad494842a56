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

from mmreward.data.sources.rows import FileSource
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


class Jsonl(FileSource):
    """Your own comparisons from .jsonl or .jsonl.gz files.

    A row is {"id", "query", "image", "response": [K texts], "human_ranking": [K ranks]}: rank 0 is
    best, equal ranks are a tie. Other columns, several turns, chosen and rejected answers: see
    `Columns`; settings: see `FileSource`.
    """

    def rows(self, file: Path) -> JsonLines:
        return JsonLines(file)
