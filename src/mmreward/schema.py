"""The top level of every task's configuration: Hydra rejects any other key and any wrong type.

What stands below `model`, `loss` and so on are the arguments of the classes that conf/ names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class DataConfig:
    """Every key of `data`."""

    source: Any = MISSING
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    num_workers: int = MISSING
    images: str = MISSING
    prompt_template: str | None = None
    on_bad_record: str = MISSING
    max_length: int | None = None


@dataclass
class EvaluationConfig:
    """Every key of `evaluation`."""

    conditions: list[str] = MISSING
    batch_size: int = MISSING
    batch_tokens: int = MISSING
    num_workers: int | None = None


@dataclass
class TrainConfig:
    """Every top-level key of a training run; Hydra rejects any other and any wrong type."""

    task: Any = MISSING
    seed: int = MISSING
    layout: str = MISSING
    resume: str | None = None
    init_from: str | None = None
    model: Any = MISSING
    loss: Any = MISSING
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Any = MISSING
    checkpoint: Any = MISSING
    early_stopping: Any = MISSING
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    benchmark: dict[str, Any] = field(default_factory=dict)
    tracking: Any = MISSING
    # Which option of each group was chosen; filled in by the run, for names and tables.
    choices: Any = None


@dataclass
class EvaluateConfig:
    """Every top-level key of an evaluation. The model and its data come from the run folder,
    so there is no `model` here that could disagree with it."""

    task: Any = MISSING
    run: str = MISSING
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    benchmark: dict[str, Any] = field(default_factory=dict)
    tracking: Any = MISSING


@dataclass
class ScoreConfig:
    """Every top-level key of the scoring of a file."""

    task: Any = MISSING
    run: str = MISSING
    input: Any = MISSING
    output: str = MISSING
    format: str = MISSING
    log_samples: bool = MISSING
    on_bad_record: str = MISSING
    columns: dict[str, str | None] = field(default_factory=dict)
    image_root: str | None = None
    allow_outside: bool = MISSING
    fetch_urls: bool = MISSING
    batch_size: int = MISSING
    batch_tokens: int = MISSING
    num_workers: int = MISSING
    tracking: Any = MISSING


@dataclass
class CompareConfig:
    """Every top-level key of a comparison."""

    task: Any = MISSING
    runs: list[str] = MISSING
    tables: list[str] = MISSING
    tracking: Any = MISSING


@dataclass
class SyncConfig:
    """Every top-level key of an upload."""

    task: Any = MISSING
    run: str = MISSING
    tracking: Any = MISSING


@dataclass
class UiConfig:
    """Every top-level key of the page of all runs."""

    task: Any = MISSING
    port: int = MISSING
    tracking: Any = MISSING


@dataclass
class AuditConfig:
    """Every top-level key of an audit."""

    task: Any = MISSING
    data: DataConfig = field(default_factory=DataConfig)
    benchmark: dict[str, Any] = field(default_factory=dict)
    max_records: int | None = MISSING


def register_schemas() -> None:
    """As `schema_train`, `schema_evaluate` and so on: no group, which --help would list."""
    store = ConfigStore.instance()
    for node in (
        TrainConfig, EvaluateConfig, ScoreConfig, CompareConfig, AuditConfig, SyncConfig, UiConfig
    ):  # fmt: skip
        name = node.__name__.removesuffix("Config").lower()
        store.store(name=f"schema_{name}", node=node, package="_global_")
