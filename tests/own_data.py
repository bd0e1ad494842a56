"""Rows and files as a user would bring them, for the tests of the sources that read them."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from PIL import Image

from mmreward.config import CONF, build
from mmreward.data.sources.base import SPLITS, Source
from mmreward.records import Record

REAL = Path(os.environ.get("MMREWARD_DATA", CONF.parents[1] / "shared" / "data"))


def row(**changes: Any) -> dict[str, Any]:
    """A good row; None takes a column out."""
    whole = {
        "id": "a1",
        "query": "What colour is it?",
        "response": ["It is red.", "It is blue."],
        "human_ranking": [0, 1],
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def text_rows(number: int) -> list[dict[str, Any]]:
    """Good rows about different things."""
    return [row(id=f"t{n}", query=f"What is {n} plus {n}?") for n in range(number)]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A .jsonl or .jsonl.gz file."""
    text = "".join(json.dumps(one) + "\n" for one in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def png(width: int = 8, height: int = 6, shade: int = 0) -> bytes:
    """An encoded picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (shade, 40, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def source(*overrides: str) -> Any:
    """The source that a command line describes."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=["++data.on_bad_record=error", *overrides])
    return build(cfg.data.source, "data.source")


def all_records(one: Source) -> list[Record]:
    return [record for split in SPLITS for record in one.split(split)]


def sizes(one: Source) -> dict[str, int]:
    return {split: len(one.split(split)) for split in SPLITS}


def straddling(one: Source) -> set[str]:
    """Image hashes, or prompts of records without images, that occur in more than one split."""
    found = [
        {
            key
            for record in one.split(split)
            for key in ({media.sha256 for media in record.media} or {record.prompt})
        }
        for split in SPLITS
    ]
    return (found[0] & found[1]) | (found[0] & found[2]) | (found[1] & found[2])
