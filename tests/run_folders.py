"""Run folders as a training leaves them, written without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmreward.curve_file import CURVES, append_row
from mmreward.tracking.base import RunInfo

CONTROL = {"accuracy": 0.5, "accuracy_ci95": [0.4, 0.6], "n": 100}
RESULTS = {
    "benchmarks": {
        "digits": {
            "n": 100,
            "accuracy": 0.9,
            "accuracy_ci95": [0.85, 0.95],
            "controls": {"blind_image": CONTROL, "longer": CONTROL},
            "image_gain": {"n": 100, "difference": 0.4, "ci95": [0.3, 0.5]},
            "calibration": {"ece": 0.1, "log_loss": 0.3},
        }
    },
    "training": {"seconds": 12.5, "steps": 40},
}


def run_folder(folder: Path, **fields: Any) -> Path:
    """A folder with what is there when training begins; fields: of its run.json."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "overrides.yaml").write_text("- model=base\n")
    info = {
        "name": "base s0",
        "params": {"model": "base", "lr": 1e-3, "seed": 0},
        "tags": {"sweep": "s1", "folder": str(folder.resolve())},
        "command": "python run.py model=base",
        "dataset": {
            "name": "digits",
            "digest": "0123456789abcdef",
            "source": {"path": "somewhere"},
            "counts": {"train": 64, "test": 24},
        },
        **fields,
    }
    RunInfo(**info).write(folder)
    return folder


def train(folder: Path, *steps: int) -> None:
    """Writes the curves that training for these steps would."""
    for step in steps:
        append_row(folder / CURVES, step, {"train/loss": 1.0 / (step + 1), "train/lr": 0.1})


def end(folder: Path, status: Any = "FINISHED", results: dict[str, Any] = RESULTS) -> None:
    """Writes what the end of a run leaves."""
    if status == "FINISHED":
        (folder / "metrics.json").write_text(json.dumps(results))
        (folder / "report.md").write_text("# Report\n")
        (folder / "figures").mkdir(exist_ok=True)
        (folder / "figures" / "margins.png").write_bytes(b"png")
    RunInfo.read(folder).end(folder, status)
