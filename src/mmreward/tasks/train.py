"""task=train: build, fit, keep the best weights as a bundle, evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from mmreward.audit.audit import audit
from mmreward.audit.findings import content_warnings, summary
from mmreward.benchmarks.base import BenchmarkSet
from mmreward.config import build, load_run_config
from mmreward.data.bad_records import left_out, write_bad_records
from mmreward.data.prefix import Collate
from mmreward.data.sources.base import SPLITS, Source
from mmreward.losses.base import Loss
from mmreward.model.backbone import count_parameters
from mmreward.model.bundle import load_weights, save_bundle
from mmreward.model.reward import RewardModel
from mmreward.ranks import is_rank_zero
from mmreward.report.run import print_summary
from mmreward.report.wording import words
from mmreward.scoring.lines import RECORDS, SCORES, VERDICTS
from mmreward.tasks.assemble import data_source, fresh_model, make_collate, quiet, sample
from mmreward.tasks.benchmarks import sets_to_score
from mmreward.tasks.describe import run_info
from mmreward.tasks.evaluate import (
    check_evaluation,
    evaluate_model,
    model_rewards,
    tell_sets,
)
from mmreward.tasks.fit import fit
from mmreward.tasks.run_folder import how_to_go_on, open_run
from mmreward.tasks.sample_text import sample_text
from mmreward.tracking import Tracking
from mmreward.tracking.base import Status
from mmreward.training.interruption import interruptible

# Records of each split that are looked at before training; task=audit looks at more.
AUDITED = 1000


@dataclass(frozen=True)
class Parts:
    """What a training is put together from.

    why: why the collate has its layout
    """

    source: Source
    model: RewardModel
    loss: Loss
    collate: Collate
    why: str


def train(cfg: DictConfig) -> float | None:
    """Trains what the configuration describes. Returns on rank zero what a search over settings may
    go by: the metric of the best weights on the validation split (`checkpoint.best.monitor`), None
    without one. The test split must not choose anything: a comparison of the winner on the pairs
    that chose it would flatter it."""
    quiet()
    build(cfg.tracking, "tracking")  # an address that is none shows before anything is written
    folder, cfg, overrides = open_run(cfg)
    rank_zero = is_rank_zero()
    console = Console(quiet=not rank_zero)
    check_evaluation(cfg.evaluation)  # now, not after hours of training
    parts = assemble(cfg)
    if rank_zero:
        tell(parts, folder, console)
    with console.status("reading what will be scored"):
        sets = sets_to_score(cfg, cfg.benchmark, parts.source, parts.collate.encoder)
    tracking: Tracking = build(cfg.tracking, "tracking")
    info = run_info(cfg, folder, overrides, parts.source, parts.collate)
    if rank_zero:
        tell_sets(folder, sets, console)
        info.write(folder)

    metrics: dict[str, Any] | None = None
    with interruptible() as received:
        status: Status = "FAILED"
        try:
            tracking.start(folder)
            fitted = fit(cfg, folder, parts.model, parts.loss, parts.source, parts.collate)
            if fitted.rank_zero:
                # Lightning has moved it off the accelerator; it is scored where it was trained.
                parts.model.to(fitted.device)
                metrics = keep_and_score(cfg, folder, parts, sets, fitted.cost, console)
            status = "FINISHED"
        finally:
            if received:
                status = "KILLED"
                console.print(f"ended by {received[0].name}; {how_to_go_on(folder)}")
            if rank_zero:
                info.end(folder, status)
            link = tracking.finish(folder)
    if metrics is None:
        return None

    print_summary(console, metrics)
    if cut := metrics["training"]["records_cut"]:
        console.print(
            f"cut to {parts.collate.encoder.max_length} tokens (data.max_length, or what the "
            f"backbone holds): {cut:,} records lost text from the left of their prompts, counted "
            "each time they were trained on",
            soft_wrap=True,
        )
    if line := left_out(folder):  # training may have met more than was known at its start
        console.print(line, soft_wrap=True)
    console.print(f"run folder: {folder}", soft_wrap=True)
    if link:
        console.print(link, soft_wrap=True)
    return fitted.validated


def assemble(cfg: DictConfig) -> Parts:
    """Everything a training needs, built and tried on the first records.

    Raises UserError for what cannot be trained.
    """
    source = data_source(cfg)
    loss: Loss = build(cfg.loss, "loss")
    loss.check(cfg.data.batch_size, sample(source))
    model = fresh_model(cfg)
    if cfg.init_from and not cfg.resume:  # a checkpoint overwrites them
        weights = load_run_config(cfg.init_from, "init_from")[0] / "model" / "model.safetensors"
        load_weights(model, weights)
    collate, why = make_collate(cfg, model, source)
    return Parts(source, model, loss, collate, why)


def keep_and_score(
    cfg: DictConfig,
    folder: Path,
    parts: Parts,
    sets: list[BenchmarkSet],
    cost: dict[str, Any],
    console: Console,
) -> dict[str, Any]:
    """Writes the bundle and evaluates it; returns the metrics."""
    for name in (RECORDS, SCORES, VERDICTS):  # of the weights a resumed run had before
        (folder / name).unlink(missing_ok=True)
    config: Any = OmegaConf.to_container(cfg.model, resolve=True)
    save_bundle(folder / "model", parts.model, config, parts.collate)
    scorer = model_rewards(cfg, parts.model, parts.collate, cfg.evaluation)
    return evaluate_model(folder, scorer, sets, cfg.evaluation, console, cost)


# -- what the screen shows -----------------------------------------------------------------


def tell(parts: Parts, folder: Path, console: Console) -> None:
    """What will be trained, on what and how; what the data give away, and which rows are bad."""
    source = parts.source
    console.print(data_table(source))
    console.print(sample_text(source.split("train")), markup=False, highlight=False)
    found = audit(source, max_records=AUDITED)
    told = [f"- {words(warning)}" for warning in content_warnings(found)]
    for line in (words(summary(found)), *told):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if source.unread_columns:
        console.print(f"columns not read: {', '.join(source.unread_columns)}", markup=False)
    write_bad_records(folder, source.bad_records)
    trainable, total = count_parameters(parts.model)
    console.print(f"model: {trainable:,} trainable of {total:,} parameters")
    console.print(f"layout: {parts.collate.layout} ({parts.why})")
    if names := parts.model.backbone.not_read:
        console.print(
            f"not read from {parts.model.backbone.path}: {', '.join(names)}. The head is a fresh "
            "one, whatever head the checkpoint has",
            markup=False, soft_wrap=True,
        )  # fmt: skip


def data_table(source: Source) -> Table:
    """The data in numbers, a row per split."""
    table = Table(title=f"data: {source.name}")
    for name in ("split", "records", "answers", "images"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split in SPLITS:
        records = source.split(split)
        # A lazy split of a million records is not walked through; its first hundred will do.
        head = [records[i] for i in range(min(100, len(records)))]
        answers = sorted({len(record.responses) for record in head})
        images = sorted({len(record.media) for record in head})
        table.add_row(split, f"{len(records):,}", _range(answers), _range(images))
    return table


def _range(values: list[int]) -> str:
    return "–" if not values else "–".join(str(v) for v in sorted({values[0], values[-1]}))
