"""Reward models for text and images: train, evaluate, compare, score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmreward.scoring.load import LoadedModel


def load(run: str | Path, device: str | None = None) -> LoadedModel:
    """A finished run's model, to score answers with; see mmreward.scoring.load.load."""
    # Imported when asked for: the command line answers before torch is imported.
    from mmreward.scoring.load import load as load_model

    return load_model(run, device)
