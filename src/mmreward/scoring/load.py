"""A finished run as something that scores, from Python.

import mmreward
model = mmreward.load("outputs/train/…")
model.score("Which digit?", images=["7.png"], answers=["seven", "two"])   # [1.93, -2.2]
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from mmreward.config import load_run_config
from mmreward.data.columns import Columns
from mmreward.data.images import ImageReader
from mmreward.data.prefix import Collate
from mmreward.data.transforms import Transform
from mmreward.model.bundle import load_bundle
from mmreward.records import Record, RecordError
from mmreward.scoring.score import DEFAULT, Batching, Rewarded, score


@dataclass(frozen=True)
class LoadedModel:
    """A run's model with everything it was trained with.

    name:        which option of `model` it is
    temperature: what rewards are divided by before they are read as log-odds; None where none was
                 fitted
    """

    folder: Path
    name: str
    model: nn.Module
    collate: Collate
    precision: str
    transform: Transform
    temperature: float | None
    batching: Batching = DEFAULT

    def score(
        self, prompt: str | Sequence[Any], answers: str | Sequence[str], images: Any = ()
    ) -> list[float]:
        """A reward for each answer, higher is better.

        prompt: text, or turns ({"role": …, "content": …}) that end with the user's; <image> in it
                stands for the next image, without any the images go before its text
        answers, images: one or several; an image is a path or encoded bytes

        Raises UserError for an empty or over-long answer and an image that cannot be read.
        """
        reader = ImageReader(Path.cwd(), allow_outside=True)
        one = isinstance(images, str | bytes | Path)
        pictures = [_plain(image) for image in ([images] if one else images)]
        texts = answers if isinstance(answers, str) else list(answers)
        row = {"query": prompt, "response": texts, "image": pictures}
        record = Columns({}, reader, ranked=False).record(row)
        ((_, rewards),) = self.rewards([record])
        if isinstance(rewards, Exception):
            raise rewards
        return rewards

    def prepare(self, record: Record) -> Record:
        """A record as those of the run's test split were shown. RecordError for images that the
        model cannot read."""
        shown = self.transform(record, "test")
        if shown.media and self.collate.encoder.processor is None:
            raise RecordError(f"{record.name}: it has images, which this model of text cannot read")
        return shown

    def rewards(self, records: Sequence[Record]) -> Iterator[tuple[int, Rewarded]]:
        """(number of the record, its answers' rewards or why it has none); see `score`."""
        shown = [self.prepare(record) for record in records]
        return score(self.model, self.collate, shown, self.precision, self.batching)

    def probabilities(self, rewards: Sequence[float]) -> list[float] | None:
        """How probably each answer is the best of its prompt's: Bradley and Terry's odds, for more
        than two answers Luce's choice. None for one answer, or without a temperature."""
        if self.temperature is None or len(rewards) < 2:
            return None
        top = max(rewards)
        odds = [math.exp((reward - top) / self.temperature) for reward in rewards]
        return [odd / sum(odds) for odd in odds]


def load(run: str | Path, device: str | None = None) -> LoadedModel:
    """The model of a run folder, on a GPU where there is one.

    Raises UserError if the folder holds no finished run.
    """
    folder, cfg = load_run_config(run)
    model, collate = load_bundle(folder / "model")
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return LoadedModel(
        folder,
        model_name(folder, cfg),
        model,
        collate,
        cfg.trainer.precision,
        Transform(cfg.data.images, cfg.data.prompt_template),
        fitted_temperature(folder),
    )


def model_name(folder: Path, run: DictConfig) -> str:
    """Which option of `model` a run chose; its folder's name where it does not say."""
    return str((run.get("choices") or {}).get("model") or folder.resolve().name)


def fitted_temperature(folder: Path) -> float | None:
    """The run's temperature, from a validation split if there was one; None if none was fitted."""
    try:
        sets = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["benchmarks"]
        found = [one["calibration"] for one in sets.values()]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    found.sort(key=lambda one: one["temperature_from"] == "cross-fitted")
    return next((one["temperature"] for one in found if one["temperature"]), None)


def _plain(image: Any) -> Any:
    return str(image) if isinstance(image, Path) else image
