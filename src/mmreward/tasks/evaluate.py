"""task=evaluate: score a run on benchmarks, and everything that follows from the scores."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from importlib.metadata import version
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
from mmreward.errors import UserError
from mmreward.model.bundle import load_bundle
from mmreward.model.reward import RewardModel
from mmreward.report.examples import keep as keep_images
from mmreward.report.run import print_summary, write_report
from mmreward.scoring.conditions import Condition, find_condition
from mmreward.scoring.evaluate import score_set
from mmreward.scoring.score import Batching, ModelRewards
from mmreward.scoring.scorer import Rewards, Verdicts
from mmreward.scoring.table import ScoreWriter, read_table, record_row, write_records, write_sets
from mmreward.tasks.assemble import data_source, fresh_model, quiet
from mmreward.tasks.benchmarks import name_sets, readable, sets_to_score, told
from mmreward.tasks.progress import Scoring
from mmreward.tasks.sync import tracking_of
from mmreward.tracking import NoTracking, RunInfo, Tracking
from mmreward.tracking.base import Status
from mmreward.tracking.find import is_copy, own_folder
from mmreward.training.curves import read_curves
from mmreward.training.interruption import interruptible


def evaluate(cfg: DictConfig) -> float:
    """Scores `run` on `benchmark` under `evaluation.conditions`; returns the accuracy on the first.

    Scores that the run folder already holds are not computed again. What is found out about a copy
    of a run whose folder is elsewhere gets a run folder of its own.
    """
    quiet()
    folder, run = load_run_config(cfg.run)
    check_evaluation(cfg.evaluation)
    console = Console()
    if not is_copy(folder):
        return _evaluate(cfg, folder, run, console, tracking_of(cfg, folder))
    folder = own_folder(folder)
    tracking = tracking_of(cfg, folder)
    status: Status = "FAILED"
    with interruptible() as received:
        tracking.start(folder)
        try:
            accuracy = _evaluate(cfg, folder, run, console, NoTracking())
            status = "FINISHED"
        finally:
            RunInfo.read(folder).end(folder, "KILLED" if received else status)
            if link := tracking.finish(folder):
                console.print(link, soft_wrap=True)
    return accuracy


def _evaluate(
    cfg: DictConfig, folder: Path, run: DictConfig, console: Console, tracking: Tracking
) -> float:
    model, collate = load_bundle(folder / "model")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    sets = sets_to_score(run, cfg.benchmark, data_source(run), collate.encoder)
    tell_sets(folder, sets, console)
    scorer = model_rewards(run, model, collate, cfg.evaluation)
    metrics = evaluate_model(folder, scorer, sets, cfg.evaluation, console)
    print_summary(console, metrics)
    console.print(f"run folder: {folder}", soft_wrap=True)
    if link := tracking.finish(folder):
        console.print(link, soft_wrap=True)
    # Sets that were scored now stand after those of earlier evaluations.
    name = list(metrics["benchmarks"])[-len(sets)]
    return metrics["benchmarks"][name]["accuracy"]


def tell_sets(folder: Path, sets: list[BenchmarkSet], console: Console) -> None:
    """Says what will be scored and lists what cannot be."""
    for found in sets:
        console.print(told(found), markup=False)
    tell_left_out(folder, sets, console)


def tell_left_out(folder: Path, sets: list[BenchmarkSet], console: Console) -> None:
    """Lists the rows that cannot be scored, and says how many there are."""
    unusable = [BadRecord(row.where, row.reason) for found in sets for row in found.unusable]
    if left_out := write_bad_records(folder, unusable):
        console.print(left_out, soft_wrap=True)


def model_rewards(
    run: DictConfig, model: RewardModel, collate: Collate, options: DictConfig
) -> ModelRewards:
    """A run's model as evaluation sees it; dropout off."""
    workers = run.data.num_workers if options.num_workers is None else options.num_workers
    return ModelRewards(
        model.eval(),
        collate,
        _meta(run, model, collate),
        partial(fresh_model, run),
        run.trainer.precision,
        Batching(options.batch_tokens, options.batch_size, workers),
    )


def evaluate_model(
    folder: Path,
    scorer: Rewards | Verdicts,
    sets: list[BenchmarkSet],
    options: DictConfig,
    console: Console,
    training: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes scores.jsonl, records.jsonl, metrics.json, report.md; returns the metrics.

    sets:     scored under every condition; their validation records only as they are, for the
              temperature
    training: cost of the training, if it has just ended; else the run's own is kept
    """
    conditions = check_evaluation(options)
    conditions = {name: c for name, c in conditions.items() if name in scorer.conditions}
    intact = {MODEL: conditions[MODEL]}
    scored, validated = [], []
    with ScoreWriter(folder, scorer.meta) as writer, Scoring(console) as progress:
        for found in sets:
            advance = progress.begin(found.name, len(found.records) * len(conditions))
            bad = score_set(scorer, found.records, conditions, folder, writer, advance)
            scored.append(readable(found, bad))
            advance = progress.begin(f"{found.name}, validation", len(found.validation))
            bad = score_set(scorer, found.validation, intact, folder, writer, advance)
            validated.append([record for record in found.validation if record.id not in bad])
    if any(
        len(after.records) < len(before.records) for before, after in zip(sets, scored, strict=True)
    ):
        tell_left_out(folder, scored, console)
    named = name_sets(folder, scored)
    rows, infos = [], {}
    for found, validation in zip(named, validated, strict=True):
        parts = [("test", found.records)]
        if any(record.pairs for record in validation):
            parts.append(("validation", validation))
        rows += [
            record_row(r, found.name, split, [scorer.tokens(a.text) for a in r.responses])
            for split, records in parts
            for r in records
        ]
        infos[found.name] = found.info(list(conditions))
    write_records(folder, rows)
    write_sets(folder, infos)
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
    for key in ("batch_size", "batch_tokens"):
        if options[key] < 1:
            raise UserError(f"evaluation.{key}={options[key]} must be at least 1")
    names = sorted(options.conditions, key=lambda name: name != "intact")
    return {name: find_condition(name) for name in names}


def _meta(run: DictConfig, model: RewardModel, collate: Collate) -> dict[str, Any]:
    """What scores.meta.json says: scores of two different models must not share a table."""
    config = OmegaConf.to_container(run.model, resolve=True)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    return {
        "model": config["_target_"] if isinstance(config, dict) else "",
        "model_config": digest.hexdigest()[:16],
        "weights": weights_digest(model),
        "base": model.backbone.base,
        "seed": run.seed,
        "layout": collate.layout,
        "precision": run.trainer.precision,
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
