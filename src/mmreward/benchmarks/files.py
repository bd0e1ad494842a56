"""Where a benchmark's rows lie: a local copy as somebody downloaded it, or the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreward.data.sources.jsonl import JsonLines
from mmreward.data.sources.parquet import read_parquet
from mmreward.data.sources.tables import Rows
from mmreward.errors import UserError
from mmreward.records import RecordError

# What a folder is searched for where a benchmark names nothing of its own, first come first served.
FILES = (
    "data/test-*.parquet",
    "test-*.parquet",
    "test/*.parquet",
    "*.parquet",
    "*.jsonl",
    "*.jsonl.gz",
    "*.json",
)


class JsonRows:
    """The objects of one JSON document: a list of them, or an object that holds one list."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as JSON ({error})") from None
        if isinstance(content, dict):
            lists = [value for value in content.values() if isinstance(value, list)]
            content = lists[0] if len(lists) == 1 else None
        if not isinstance(content, list):
            raise UserError(f"{path} is not a list of rows; give the file that holds the benchmark")
        self._rows = content

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        row = self._rows[index]
        if not isinstance(row, dict):
            raise RecordError(f"it is a JSON {type(row).__name__}, not an object")
        return row

    def where(self, index: int) -> str:
        return f"{self.path} row {index + 1}"


def find_files(path: Path, patterns: Sequence[str], key: str) -> list[Path]:
    """The files that hold the rows: `path` itself, or in a folder those of the first pattern
    that finds any. Parquet may come in several parts.

    key: the benchmark's dotted name in the configuration, for messages

    Raises UserError if there is no such path, nothing is found, or several files that are not
    parts of one table.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{key}.path={path} does not exist; give a file or folder that does")
    for pattern in patterns:
        found = sorted(path.glob(pattern))
        if len(found) > 1 and found[0].suffix != ".parquet":
            names = ", ".join(file.name for file in found[:5])
            raise UserError(f"{key}.path={path} holds several files ({names}); give the right one")
        if found:
            return found
    raise UserError(
        f"{key}.path={path} holds none of {', '.join(patterns)}; give the file or the folder of "
        "the download"
    )


def open_file(path: Path) -> Rows:
    """The rows of a .parquet, .jsonl, .jsonl.gz or .json file; UserError for any other."""
    if path.suffix == ".parquet":
        return read_parquet(path)
    if path.suffix == ".json":
        return JsonRows(path)
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return JsonLines(path)
    raise UserError(f"{path} is of no known kind; give .parquet, .jsonl, .jsonl.gz or .json")


def download(hub: str, revision: str | None, patterns: Sequence[str], key: str) -> Path:
    """The folder with a commit of a hub data set, from the hub's cache if it is there.

    patterns: which of its files

    Raises UserError without a commit, and if it cannot be fetched.
    """
    if revision is None:
        raise UserError(
            f"no commit of {hub} is known to be the published benchmark; give {key}.revision, or "
            f"a local copy with {key}.path"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(
            snapshot_download(
                hub, repo_type="dataset", revision=revision, allow_patterns=list(patterns)
            )
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        said = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"{hub} cannot be fetched from the Hugging Face hub ({said}); give a local copy with "
            f"{key}.path"
        ) from None
