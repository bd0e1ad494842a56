"""The folder of a training run: claimed by a new run, taken up again by a resumed one."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from mmreward.config import COMMAND, load_run_config, save_config
from mmreward.curve_file import CURVES, SYSTEM
from mmreward.errors import UserError
from mmreward.ranks import is_rank_zero
from mmreward.tracking import SWEEP

LAST = "checkpoints/last.ckpt"
# What a resumed run may change on its command line: how long and where it trains, not what.
CHANGEABLE = ("trainer", "early_stopping", "checkpoint", "tracking")
# What else may stand there: it is about this start of the run.
OF_THE_START = ("resume", "task", "hydra")


def open_run(cfg: DictConfig) -> tuple[Path, DictConfig, list[str]]:
    """(folder, configuration to train with, overrides of the command line) of the run that `cfg`
    asks for. See `new_run` and `resume_run`."""
    # Hydra cannot tell us when called through its compose API; then the overrides stay unknown.
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    folder, cfg = resume_run(cfg, overrides) if cfg.resume else new_run(cfg, overrides)
    return folder, cfg, overrides


def new_run(cfg: DictConfig, overrides: list[str]) -> tuple[Path, DictConfig]:
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
    if is_rank_zero():
        try:
            (folder / "config.yaml").touch(exist_ok=of_sweep)
        except FileExistsError:
            way = f"continue it with resume={folder}"
            if not (folder / LAST).is_file():
                way = "it left no checkpoint to continue from; delete the folder"
            raise UserError(
                f"{folder} already holds a run; {way} or choose another hydra.run.dir"
            ) from None
        for name in (CURVES, SYSTEM):  # of a try that left no checkpoint
            (folder / name).unlink(missing_ok=True)
        _save(cfg, folder)
        (folder / "overrides.yaml").write_text(OmegaConf.to_yaml(overrides))
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
        if key.split(".")[0].split("/")[0] not in (*CHANGEABLE, *OF_THE_START):
            raise UserError(
                f"{key} cannot change when a run is resumed; leave it out, or start a new run "
                "with init_from= instead of resume="
            )
    with open_dict(saved):
        saved.resume = cfg.resume
        for key in sorted({override.lstrip("+~").split("=")[0] for override in overrides}):
            # Only what was named: every other setting stays as the run has it. `trainer=gpu`
            # names the whole group.
            if key.split(".")[0] in CHANGEABLE:
                OmegaConf.update(saved, key, OmegaConf.select(cfg, key), merge=False)
    if is_rank_zero():
        _save(saved, folder)
    return folder, saved


def _save(cfg: DictConfig, folder: Path) -> None:
    """Writes config.yaml, by which the run's store is found from any folder."""
    kept = cfg.copy()
    if root := (kept.get("tracking") or {}).get("root"):
        kept.tracking.root = str(Path(root).resolve())
    save_config(kept, folder / "config.yaml")


def how_to_go_on(folder: Path) -> str:
    """What to do about a run that was ended."""
    if (folder / LAST).is_file():
        return f"{COMMAND} resume={folder} goes on from its last checkpoint"
    return "it had no checkpoint yet and has to begin again"
