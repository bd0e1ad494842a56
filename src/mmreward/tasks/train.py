"""task=train: build, fit, keep the best weights as a bundle, evaluate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.table import Table

from mmreward.bundle import load_weights, save_bundle
from mmreward.config import build, load_run_config, save_config
from mmreward.curves import Curves
from mmreward.data.bad_records import left_out, write_bad_records
from mmreward.data.datamodule import PreferenceData
from mmreward.data.preparation import sample_text
from mmreward.data.skipping import SkippingCollate
from mmreward.data.sources.base import SPLITS, Source
from mmreward.errors import UserError
from mmreward.evaluation.audit import audit, one_line
from mmreward.evaluation.audit_wording import content_warnings
from mmreward.evaluation.report import print_summary
from mmreward.evaluation.tables import RECORDS, SCORES
from mmreward.lightning_module import RewardModule
from mmreward.model.backbone import count_parameters
from mmreward.tasks.assemble import (
    data_source,
    fresh_model,
    make_collate,
    optimizer_and_scheduler,
    quiet,
    sample,
)
from mmreward.tasks.benchmarks import sets_to_score
from mmreward.tasks.describe import run_info
from mmreward.tasks.evaluate import check_evaluation, evaluate_model, tell_sets
from mmreward.throughput import Throughput
from mmreward.tracking import SWEEP, Tracking
from mmreward.tracking.base import Status

# Records of each split that are looked at before training; task=audit looks at more.
AUDITED = 1000
LAST = "checkpoints/last.ckpt"
# What a resumed run may change on its command line: how long and where it trains, not what.
RESUMABLE = ("resume", "task", "trainer", "early_stopping", "checkpoint", "tracking", "hydra")


def train(cfg: DictConfig) -> float | None:
    """Trains what the configuration describes and returns its test accuracy (rank zero)."""
    quiet()
    # Hydra cannot tell us when called through its compose API; then the choices stay unknown.
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    folder, cfg = resume_run(cfg, overrides) if cfg.resume else new_run(cfg)
    check_evaluation(cfg.evaluation)  # now, not after hours of training
    console = Console(quiet=getattr(rank_zero_only, "rank", 0) != 0)

    source = data_source(cfg)
    loss = build(cfg.loss, "loss")
    loss.check(cfg.data.batch_size, sample(source))
    model = fresh_model(cfg)
    if cfg.init_from and not cfg.resume:  # a checkpoint overwrites them
        weights = load_run_config(cfg.init_from, "init_from")[0] / "model" / "model.safetensors"
        load_weights(model, weights)
    collate, why = make_collate(cfg, model, source)
    console.print(data_table(source))
    console.print(sample_text(source.split("train")), markup=False, highlight=False)
    if not console.quiet:
        found = audit(source, max_records=AUDITED)
        for line in (one_line(found), *(f"- {text}" for text in content_warnings(found))):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if source.unread_columns:
        console.print(f"columns not read: {', '.join(source.unread_columns)}", markup=False)
    sets = sets_to_score(cfg, cfg.benchmark, source, collate.encoder)
    if not console.quiet:
        write_bad_records(folder, source.bad_records)
        tell_sets(folder, sets, console)
    trainable, total = count_parameters(model)
    console.print(f"model: {trainable:,} trainable of {total:,} parameters")
    console.print(f"layout: {collate.layout} ({why})")

    tracking: Tracking = build(cfg.tracking, "tracking")
    info = run_info(cfg, folder, overrides, source, collate)
    status: Status = "FAILED"
    metrics: dict[str, Any] = {}
    if not console.quiet:
        info.write(folder)
    try:
        tracking.start(folder)
        trainer, throughput = make_trainer(cfg, folder)
        module = RewardModule(
            model,
            loss,
            *optimizer_and_scheduler(cfg),
            plain(cfg),
        )
        data = PreferenceData(
            source,
            SkippingCollate(collate, folder) if cfg.data.on_bad_record == "skip" else collate,
            cfg.data.batch_size,
            cfg.data.eval_batch_size,
            cfg.data.num_workers,
            cfg.seed,
        )
        try:
            start = str(folder / LAST) if cfg.resume else None
            trainer.fit(module, data, ckpt_path=start, weights_only=True)
        except MisconfigurationException as error:
            raise UserError(f"training cannot start: {error}") from error
        keep_best(module, data, trainer, folder / "checkpoints")
        if trainer.is_global_zero:
            # Lightning has moved it off the accelerator; it is scored where it was trained.
            model.to(trainer.strategy.root_device)
            for name in (RECORDS, SCORES):  # of the weights a resumed run had before
                (folder / name).unlink(missing_ok=True)
            save_bundle(folder / "model", model, plain(cfg.model), collate)
            metrics = evaluate_model(
                folder,
                cfg,
                model,
                collate,
                sets,
                cfg.evaluation,
                console,
                {
                    "parameters": total,
                    "trained_parameters": trainable,
                    **throughput.summary(trainer.global_step),
                },
            )
        status = "FINISHED"
    finally:
        if not console.quiet:
            info.end(folder, status)
        link = tracking.finish(folder)
    if not trainer.is_global_zero:
        return None
    print_summary(console, metrics)
    if throughput.cut:
        console.print(
            f"cut to data.max_length={collate.encoder.max_length}: {throughput.cut:,} records lost "
            "text from the left of their prompts (each time they were trained on)"
        )
    if line := left_out(folder):  # training may have met more than was known at its start
        console.print(line, soft_wrap=True)
    console.print(f"run folder: {folder}", soft_wrap=True)
    if link:
        console.print(link, soft_wrap=True)
    return metrics["benchmarks"][sets[0].name]["accuracy"]


# -- run folders ---------------------------------------------------------------------------


def new_run(cfg: DictConfig) -> tuple[Path, DictConfig]:
    """Claims a fresh run folder and writes config.yaml into it. The folder of a sweep's job may
    hold an earlier try of the same job: that is continued, or begun again if it has no checkpoint.

    Raises UserError if a run lives there already (`hydra.run.dir=` given twice).
    """
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    folder = Path(hydra.runtime.output_dir if hydra else os.getcwd())
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    if hydra:
        names = {k: v for k, v in hydra.runtime.choices.items() if not k.startswith("hydra/")}
        # A group chosen again inside another one (data/source@data.source.sources.first) is not
        # the run's choice of that group.
        inner = ("@data.source.", "@benchmark.")
        outer = {k: v for k, v in names.items() if not any(part in k for part in inner)}
        choices = {k.split("@")[0]: v for k, v in outer.items()}
        with open_dict(cfg):
            cfg.choices = choices
    # The launcher gives no two jobs one folder, and a finished job is not started again.
    of_sweep = SWEEP in os.environ
    if of_sweep and (folder / LAST).is_file():
        with open_dict(cfg):
            cfg.resume = str(folder)
        return resume_run(cfg, [])
    # Rank zero claims the folder; the ranks it starts come to the same one.
    if os.environ.get("LOCAL_RANK", "0") == "0":
        try:
            (folder / "config.yaml").touch(exist_ok=of_sweep)
        except FileExistsError:
            raise UserError(
                f"{folder} already holds a run; continue it with resume={folder} or choose "
                "another hydra.run.dir"
            ) from None
        save_config(cfg, folder / "config.yaml")
        given = list(hydra.overrides.task) if hydra else []
        (folder / "overrides.yaml").write_text(OmegaConf.to_yaml(given))
    return folder, cfg


def resume_run(cfg: DictConfig, overrides: list[str]) -> tuple[Path, DictConfig]:
    """(folder, its saved configuration with the command line's trainer settings).

    Raises UserError if the folder holds no checkpoint or the command line asks for another model
    or other data than the run has.
    """
    folder, saved = load_run_config(cfg.resume)
    if not (folder / LAST).is_file():
        raise UserError(
            f"resume={cfg.resume} has no checkpoints/last.ckpt to continue from; start anew"
        )
    for override in overrides:
        key = override.lstrip("+~").split("=")[0]
        if key.split(".")[0].split("/")[0] not in RESUMABLE:
            raise UserError(
                f"{key} cannot change when a run is resumed; leave it out, or start a new run "
                "with init_from= instead of resume="
            )
    with open_dict(saved):
        saved.resume = cfg.resume
        for key in sorted({override.lstrip("+~").split("=")[0] for override in overrides}):
            # Only what was named: every other setting stays as the run has it. `trainer=gpu`
            # names the whole group.
            if key.split(".")[0] in RESUMABLE[2:6]:
                OmegaConf.update(saved, key, OmegaConf.select(cfg, key), merge=False)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        save_config(saved, folder / "config.yaml")
    return folder, saved


def plain(node: Any) -> Any:
    """A config node as plain dicts and lists; what checkpoints may hold."""
    return OmegaConf.to_container(node, resolve=True)


# -- trainer -------------------------------------------------------------------------------


def make_trainer(cfg: DictConfig, folder: Path) -> tuple[pl.Trainer, Throughput]:
    """The Lightning trainer with its callbacks."""
    if (cfg.trainer.max_steps == -1) == (cfg.trainer.max_epochs == -1):
        raise UserError(
            "give one of trainer.max_steps and trainer.max_epochs and leave the other at -1: "
            "with both, Lightning ends a resumed run early"
        )
    throughput = Throughput()
    callbacks: list[pl.Callback] = [
        throughput,
        Curves(folder),
        *(
            build(node, f"checkpoint.{name}", dirpath=folder / "checkpoints")
            for name, node in cfg.checkpoint.items()
        ),
    ]
    if cfg.trainer.enable_progress_bar:
        callbacks.append(TQDMProgressBar(refresh_rate=10))
    stopping: EarlyStopping | None = build(cfg.early_stopping or None, "early_stopping")
    if stopping:
        callbacks.append(stopping)
    trainer: pl.Trainer = build(
        cfg.trainer,
        "trainer",
        callbacks=callbacks,
        logger=False,  # trackers read the curves from the run folder
        default_root_dir=folder,
    )
    return trainer, throughput


def keep_best(
    module: RewardModule, data: PreferenceData, trainer: pl.Trainer, folder: Path
) -> None:
    """Leaves the module with the best weights by the metric a checkpoint callback follows.

    The steps after the last validation count as well: the end of training is saved as the
    checkpoint to resume from, validated, and kept if it is better than what was saved.
    """
    trainer.save_checkpoint(folder / "last.ckpt")
    following = [c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None)]
    if following and isinstance(best := following[0], ModelCheckpoint):
        if module.validated_at != module.trainer.global_step:
            measured = trainer.validate(module, data, verbose=False)
            score = measured[0].get(str(best.monitor)) if measured else None  # no validation split
            if best.best_model_score is None or score is None:
                return
            sign = 1 if best.mode == "max" else -1
            if sign * score >= sign * float(best.best_model_score):
                return
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"], strict=False)


# -- what the screen shows -----------------------------------------------------------------


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
