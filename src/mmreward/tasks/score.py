"""task=score: a file of prompts and answers -> a file of rewards."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from mmreward.config import load_run_config
from mmreward.data.bad_records import check_policy
from mmreward.data.columns import COLUMNS, Columns
from mmreward.data.images import ImageReader
from mmreward.data.row_checks import check_repeats
from mmreward.data.sources.jsonl import JsonLines
from mmreward.data.sources.parquet import read_parquet
from mmreward.data.sources.tables import Rows as TableRows
from mmreward.data.sources.tables import Table
from mmreward.errors import UserError
from mmreward.records import Record
from mmreward.scoring.files import Rows, State, output_of, score_rows
from mmreward.scoring.load import LoadedModel, load, model_name
from mmreward.scoring.score import Batching
from mmreward.tasks.assemble import quiet
from mmreward.tasks.progress import Scoring

PATTERNS = ("*.jsonl", "*.jsonl.gz", "*.parquet")
FORMATS = ("rewards", "seed")
# What columns may be called instead, where the settings do not say; of each row the first that has
# something in it.
ALIASES = {
    "prompt": ("prompt", "question"),
    "responses": ("responses", "answers", "answer"),
    "image": ("images",),
}


def score(cfg: DictConfig) -> None:
    """Writes rewards of the rows of `input` to `output`; see conf/task/score.yaml."""
    quiet()
    check_policy(cfg.on_bad_record)
    if cfg.format not in FORMATS:
        raise UserError(f"format={cfg.format} should be {' or '.join(FORMATS)}")
    output = Path(cfg.output)
    inputs = find_inputs(cfg.input)
    folder, run = load_run_config(cfg.run)
    state_path = output.with_name(f"{output.name}.state.json")
    name = ""
    if cfg.format == "seed":
        name = f"{output.stem}_{model_name(folder, run)}_{datetime.now():%Y-%m-%d_%H-%M-%S}.jsonl"
    state = State.take_up(state_path, output, _what(cfg, folder, inputs), name)
    written = output.with_name(state.output)
    console = Console()
    if state.finished:
        console.print(f"nothing is left to score: {written} is whole", soft_wrap=True)
        return
    batching = Batching(cfg.batch_tokens, cfg.batch_size, cfg.num_workers)
    model = replace(load(folder), batching=batching)
    rows = Rows([_table(cfg, path) for path in inputs], model.prepare)
    line = {"rewards": rewards_line, "seed": seed_line}[cfg.format]
    left, began = len(rows) - state.rows, time.monotonic()
    with Scoring(console) as progress:
        advance = progress.begin(written.name, len(rows), "rows", state.rows)
        score_rows(
            model, rows, state, state_path, partial(line, model, rows, cfg.log_samples), advance,
            fatal=cfg.on_bad_record == "error",
        )  # fmt: skip
    speed = left / max(time.monotonic() - began, 1e-9)
    scored = f"scored {len(rows) - state.bad:,} of {len(rows):,} rows"
    console.print(f"{scored} ({speed:,.1f} rows/s): {written}", soft_wrap=True)
    if state.bad:
        listed = f"listed in {written}.bad.jsonl"
        if state.bad == len(rows):
            raise UserError(f"none of the {len(rows):,} rows could be scored; they are {listed}")
        console.print(f"left out: {state.bad:,} rows, {listed}", soft_wrap=True)


def find_inputs(given: str | Sequence[str]) -> list[Path]:
    """The files of a path, folder, pattern or list of them, without those that an earlier call has
    written into a folder; UserError for what names none."""
    found: list[Path] = []
    for one in [given] if isinstance(given, str) else given:
        path = Path(one)
        if path.is_file():
            found.append(path)
            continue
        if path.is_dir():
            files = sorted(file for pattern in PATTERNS for file in path.glob(pattern))
        else:
            files = [Path(name) for name in sorted(glob(one))]
        files = [file for file in files if not written_here(file)]
        if not files:
            raise UserError(
                f"input={one} names no file; give a .jsonl, .jsonl.gz or .parquet file, a folder "
                "of them, or a pattern"
            )
        found += files
    return found


def written_here(file: Path) -> bool:
    """Whether the file is what a call of this task has written."""
    name = file.name.removesuffix(".bad.jsonl")
    states = file.parent.glob("*.state.json")
    return any(name in (path.name.removesuffix(".state.json"), output_of(path)) for path in states)


def rewards_line(
    model: LoadedModel, rows: Rows, samples: bool, number: int, rewards: list[float]
) -> dict[str, Any]:
    """A row's rewards, with probabilities where the model has a temperature."""
    record = rows.record(number)
    line = {**asdict(rows.place(number)), "id": record.source_id, "rewards": rewards}
    if model.temperature is not None:
        line["probabilities"] = model.probabilities(rewards)
    return {**line, **_sample(model, record)} if samples else line


def seed_line(
    model: LoadedModel, rows: Rows, samples: bool, number: int, rewards: list[float]
) -> dict[str, Any]:
    """The same as the result files of other reward-model trainers have it. human_ranking: null
    for answers without ranks; correct: whether every better answer has the higher reward."""
    record = rows.record(number)
    images = [str(media.path) if media.path else None for media in record.media]
    return {
        "id": record.source_id,
        "query": record.prompt,
        "image": images[0] if len(images) == 1 else images or None,
        "response": [response.text for response in record.responses],
        "rewards": rewards,
        "human_ranking": [response.rank for response in record.responses]
        if record.pairs or record.ties
        else None,
        "correct": all(rewards[pair.better] > rewards[pair.worse] for pair in record.pairs)
        if record.pairs
        else None,
        **(_sample(model, record) if samples else {}),
    }


def _sample(model: LoadedModel, record: Record) -> dict[str, Any]:
    text = model.collate.encoder.text(model.prepare(record))
    return {"prompt": text, "answers": [response.text for response in record.responses]}


def _what(cfg: DictConfig, folder: Path, inputs: Sequence[Path]) -> dict[str, Any]:
    """What an output file belongs to: only the same is added to it. A run may have been moved."""
    weights = folder / "model" / "model.safetensors"
    read = ("format", "log_samples", "columns", "image_root")
    return {
        "model": _version(weights) if weights.is_file() else None,
        "input": [[str(path.resolve()), *_version(path)] for path in inputs],
        **{key: OmegaConf.to_object(cfg[key]) if key == "columns" else cfg[key] for key in read},
    }


def _version(path: Path) -> list[int]:
    """Size and time of a file."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _table(cfg: DictConfig, path: Path) -> Table:
    rows: TableRows = read_parquet(path) if path.suffix == ".parquet" else JsonLines(path)
    root = Path(cfg.image_root) if cfg.image_root else path.parent
    reader = _Reader(cfg.columns, ImageReader(root, cfg.allow_outside, cfg.fetch_urls))
    return Table("test", rows, reader)


class _Reader(Columns):
    """Reads rows whose columns are called as they often are."""

    def __init__(self, columns: Mapping[str, str | None], images: ImageReader) -> None:
        super().__init__(columns, images, ranked=False)
        self.aliases = {
            str(COLUMNS[field]): names for field, names in ALIASES.items() if field not in columns
        }

    def record(self, row: Mapping[str, Any]) -> Record:
        changed = dict(row)
        for column, names in self.aliases.items():
            for name in (column, *names):
                if row.get(name) not in (None, []):
                    changed[column] = row[name]
                    break
        record = super().record(changed)
        if len(record.responses) > 1:  # one alone may well take its question up
            check_repeats(record)
        return record
