"""task=evaluate: score a run on benchmarks, and everything that follows from the scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from mmreward.analysis.metrics import METRICS, write_metrics
from mmreward.analysis.metrics import evaluate as compute_metrics
from mmreward.analysis.pairs import MODEL
from mmreward.benchmarks.base import BenchmarkSet
from mmreward.benchmarks.references import reference
from mmreward.config import load_run_config
from mmreward.data.bad_records import BadRecord, write_bad_records
from mmreward.data.prefix import Collate
from mmreward.data.sources.base import Split
from mmreward.errors import UserError
from mmreward.model.bundle import load_bundle
from mmreward.model.reward import RewardModel
from mmreward.records import Record
from mmreward.report.examples import keep as keep_images
from mmreward.report.run import print_summary, write_report
from mmreward.scoring.evaluate import Condition, find_condition, score_condition
from mmreward.scoring.table import SETS, ScoreWriter, read_table, record_row, write_records
from mmreward.tasks.assemble import data_source, fresh_model, quiet
from mmreward.tasks.benchmarks import sets_to_score, told
from mmreward.tasks.progress import Scoring
from mmreward.tasks.sync import tracking_of
from mmreward.training.curves import read_curves


def evaluate(cfg: DictConfig) -> float:
    """Scores `run` on `benchmark` under `evaluation.conditions`; returns the accuracy on the first.

    Scores that the run folder already holds are not computed again.
    """
    quiet()
    folder, run = load_run_config(cfg.run)
    check_evaluation(cfg.evaluation)
    model, collate = load_bundle(folder / "model")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    console = Console()
    sets = sets_to_score(run, cfg.benchmark, data_source(run), collate.encoder)
    tell_sets(folder, sets, console)
    metrics = evaluate_model(folder, run, model, collate, sets, cfg.evaluation, console)
    print_summary(console, metrics)
    console.print(f"run folder: {folder}", soft_wrap=True)
    if link := tracking_of(cfg, folder).finish(folder):
        console.print(link, soft_wrap=True)
    return metrics["benchmarks"][sets[0].name]["accuracy"]


def tell_sets(folder: Path, sets: list[BenchmarkSet], console: Console) -> None:
    """Says what will be scored and lists what cannot be."""
    for found in sets:
        console.print(told(found), markup=False)
    unusable = [BadRecord(row.where, row.reason) for found in sets for row in found.unusable]
    if left_out := write_bad_records(folder, unusable):
        console.print(left_out, soft_wrap=True)


def evaluate_model(
    folder: Path,
    run: DictConfig,
    model: RewardModel,
    collate: Collate,
    sets: list[BenchmarkSet],
    options: DictConfig,
    console: Console,
    training: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes records.jsonl, scores.jsonl, metrics.json, report.md; returns the metrics.

    sets:     scored under every condition; their validation records, if these have a pair, only as
              they are, for the temperature
    training: cost of the training, if it has just ended; else the run's own is kept
    """
    conditions = check_evaluation(options)
    parts: list[tuple[str, Split, Sequence[Record]]] = []
    for found in sets:
        parts.append((found.name, "test", found.records))
        if any(record.pairs for record in found.validation):
            parts.append((found.name, "validation", found.validation))
    tokenize = collate.encoder.tokenize
    write_records(
        folder,
        [
            record_row(r, name, split, [len(tokenize(a.text)) for a in r.responses])
            for name, split, records in parts
            for r in records
        ],
    )
    # Evaluation is deterministic: dropout off.
    model.eval()
    meta = {**_meta(run, model, collate), SETS: {found.name: found.info() for found in sets}}
    with ScoreWriter(folder, meta) as writer, Scoring(console) as progress:
        for trained in (True, False):
            chosen = [n for n, c in conditions.items() if c.trained is trained]
            if not chosen:
                continue
            scorer = model if trained else _untrained(run, model)
            for condition, (name, split, records) in product(chosen, parts):
                if split == "test" or condition == MODEL:
                    advance = progress.begin(f"{name}, {split}: {condition}", len(records))
                    score_condition(
                        condition, scorer, collate, records, writer, options.batch_size, advance
                    )
    table = read_table(folder)
    keep_images(folder, (record for found in sets for record in found.records), table)
    if training is None:
        training = _cost(folder)
    metrics = write_metrics(folder, compute_metrics(table, reference), training)
    write_report(folder, metrics, table, read_curves(folder))
    return metrics


def _cost(folder: Path) -> dict[str, Any]:
    """What metrics.json says of the training; nothing where it cannot be read."""
    try:
        cost = json.loads((folder / METRICS).read_text(encoding="utf-8"))["training"]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return cost if isinstance(cost, dict) else {}


def check_evaluation(options: DictConfig) -> dict[str, Condition]:
    """The conditions by name, intact first: others take scores over from it.

    Raises UserError for an unknown one, none, or no batch.
    """
    if "intact" not in options.conditions:
        raise UserError(
            "evaluation.conditions must contain intact; every other condition is read beside it"
        )
    if options.batch_size < 1:
        raise UserError(f"evaluation.batch_size={options.batch_size} must be at least 1")
    names = sorted(options.conditions, key=lambda name: name != "intact")
    return {name: find_condition(name) for name in names}


def _untrained(run: DictConfig, model: RewardModel) -> RewardModel:
    device = next(model.parameters()).device
    return fresh_model(run).to(device).eval()


def _meta(run: DictConfig, model: RewardModel, collate: Collate) -> dict[str, Any]:
    """What scores.meta.json says: scores of two different models must not share a table."""
    config = OmegaConf.to_container(run.model, resolve=True)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    return {
        "model": config["_target_"] if isinstance(config, dict) else "",
        "model_config": digest.hexdigest()[:16],
        "weights": weights_digest(model),
        "seed": run.seed,
        "layout": collate.layout,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "versions": {name: version(name) for name in ("mmreward", "torch", "transformers")},
    }


def weights_digest(model: RewardModel) -> str:
    """16 hex digits that name the trained weights."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            digest.update(name.encode())
            digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
