"""What a training run tells about itself in a few words: name, parameters, tags, data set."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mmreward.config import CHECKOUT, COMMAND, CONF, ROOT
from mmreward.data.digest import data_digest
from mmreward.data.prefix import Collate
from mmreward.data.sources.base import SPLITS, Source
from mmreward.ranks import is_rank_zero
from mmreward.report.figures import COLOURS
from mmreward.tracking.base import (
    RUN_INFO,
    SWEEP,
    SWEEP_COMMON,
    UNKNOWN,
    RunInfo,
    Scalar,
    sweep_name,
)

# What a name need not say: it has a place of its own there, or is nobody's question.
_UNNAMED = {"task", "model", "loss", "seed"}
_UNNAMED_GROUPS = {"resume", "hydra", "tracking"}
# Nor, unless a sweep varies it, what changes nothing about the result.
_WITHOUT_EFFECT = {
    "trainer", "trainer.accelerator", "trainer.devices", "trainer.enable_progress_bar",
    "trainer.log_every_n_steps", "data.num_workers", "data.eval_batch_size",
}  # fmt: skip
_GROUPS_WITHOUT_EFFECT = {"checkpoint", "evaluation"}
_WHICH_WEIGHTS = {"checkpoint.best.monitor", "checkpoint.best.mode"}
_NAMED_AT_MOST = 4
# Between the states of the code that a run was trained with.
THEN = " then "

# Of a sweep's jobs: the colours that figures have, then lighter and darker ones.
_COLOURS = (
    *COLOURS, "#7FB8E0", "#A87200", "#7FD1B8", "#7A3E60", "#1F6E99", "#F2A37A", "#6B6400",
    "#ADADAD", "#003F66", "#F7D08A", "#005C43", "#E8BED5",
)  # fmt: skip


def run_info(
    cfg: DictConfig, folder: Path, overrides: Sequence[str], source: Source, collate: Collate
) -> RunInfo:
    """The description of a run that begins, or of one that goes on and keeps what it was called."""
    tags = run_tags(cfg, folder, collate)
    if cfg.resume and (folder / RUN_INFO).is_file():
        begun = RunInfo.read(folder)
        # A sweep goes on with its own line; a person may ask for something else.
        changed = {o: _key(o).split(".")[0] for o in overrides}
        if "resume" in changed.values():
            said = [o for o, key in changed.items() if key not in ("resume", "tracking")]
            tags |= {"resumed_with": " ".join(said)} if said else {}
        # The code may have changed between the run's parts.
        first, later = begun.tags.get("commit"), begun.tags.get("resumed_commit")
        states = [first or tags["commit"], *(later.split(THEN) if later else ())]
        if tags["commit"] != states[-1]:
            states.append(tags["commit"])
        tags |= {"commit": states[0]}
        tags |= {"resumed_commit": THEN.join(states[1:])} if states[1:] else {}
        return RunInfo(
            begun.name,
            begun.params,
            {**begun.tags, **tags},
            begun.command,
            begun.dataset,
            started=begun.started,
        )
    return RunInfo(
        run_name(cfg, overrides, common_overrides()),
        run_params(cfg),
        tags,
        command(overrides),
        dataset(cfg, source),
    )


def run_name(cfg: DictConfig, overrides: Sequence[str], common: Sequence[str] | None = None) -> str:
    """What varied, in a few words: `enhanced s1`, `enhanced+contrastive s1 lr=1e-3`.

    The loss is named where it is not the model's own.

    common: overrides that all jobs of the sweep have, and that are not named; None for a run of
            its own, of which the first few overrides are named
    """
    choices = cfg.choices or {}
    model, loss = choices.get("model", "model"), choices.get("loss", "loss")
    name = model if loss == _own_loss(model) else f"{model}+{loss}"
    unnamed, groups = _UNNAMED, _UNNAMED_GROUPS
    if common is None:
        unnamed, groups = unnamed | _WITHOUT_EFFECT, groups | _GROUPS_WITHOUT_EFFECT
    said = []
    for override in overrides:
        key = _key(override)
        parts = key.split(".")
        kept = key not in unnamed and (parts[0] not in groups or key in _WHICH_WEIGHTS)
        if kept and override not in (common or ()):
            said.append((parts, override.partition("=")[2]))
    last = [parts[-1] for parts, _ in said]
    words = [
        f"{'.'.join(parts[-2:]) if last.count(parts[-1]) > 1 else parts[-1]}"
        f"={value.strip('/').rsplit('/', 1)[-1][:24]}"
        for parts, value in said
    ]
    return " ".join([name, f"s{cfg.seed}", *(words[:_NAMED_AT_MOST] if common is None else words)])


def _key(override: str) -> str:
    """The key or group that an override changes, with dots."""
    return override.lstrip("+~").partition("=")[0].split("@")[0].replace("/", ".")


def common_overrides() -> list[str] | None:
    """The overrides that all jobs of this sweep have; None if this is no job of a sweep."""
    if (told := os.environ.get(SWEEP_COMMON)) is not None:
        return list(json.loads(told))
    folder = _multirun()
    if folder is None:
        return None
    # Hydra's own sweeper leaves the sweep's line here, and writes what varies not like this.
    path = folder / "multirun.yaml"
    if not path.is_file():
        return []
    line = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["overrides"]["task"]
    return [
        f"{override.get_key_element()}={override.get_value_element_as_str()}"
        for override in OverridesParser.create().parse_overrides(line)
        if not override.is_sweep_override()
    ]


def _multirun() -> Path | None:
    """The folder of the sweep whose job this is, where the launcher is one of Hydra's."""
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir)


def _own_loss(model: str) -> str | None:
    """The loss that conf/model/<model>.yaml brings, or one that it inherits from; None if there is
    no such file."""
    path = CONF / "model" / f"{model}.yaml"
    if not path.is_file():
        return None
    entries = yaml.safe_load(path.read_text(encoding="utf-8")).get("defaults", ())
    for entry in entries:
        for key, value in entry.items() if isinstance(entry, dict) else ():
            if key.removeprefix("override ") == "/loss@_global_.loss":
                return str(value)
    names = (entry.split("@")[0] for entry in entries if isinstance(entry, str))
    inherited = (_own_loss(name.removeprefix("/model/")) for name in names)
    return next((loss for loss in inherited if loss), None)


def run_params(cfg: DictConfig) -> dict[str, Scalar]:
    """Few, flat and short, in the order a run's page reads best."""
    choices = dict(cfg.choices or {})
    kinds = ("model", "loss", "model/backbone", "model/head", "model/pooling")
    params: dict[str, Any] = {kind.split("/")[-1]: choices.get(kind) for kind in kinds}
    params |= {"lr": cfg.optimizer.lr, "batch": cfg.data.batch_size, "seed": cfg.seed}
    params |= {"data": choices.get("data/source")}
    return {name: value for name, value in params.items() if value is not None}


def run_tags(cfg: DictConfig, folder: Path, collate: Collate) -> dict[str, str]:
    """Where and from what state of the code the run comes."""
    sweep = os.environ.get(SWEEP)
    if sweep is None and (multirun := _multirun()):
        sweep = sweep_name(multirun)
    return {
        **({"sweep": sweep} if sweep else {}),
        **_colour(),
        "commit": _commit(),
        "host": socket.gethostname(),
        "layout": collate.layout,
        "folder": str(folder.resolve()),
    }


def _colour() -> dict[str, str]:
    """The colour of a sweep's job in MLflow's charts.

    MLflow colours by run id, and of six runs two are mostly alike.
    """
    if not HydraConfig.initialized() or OmegaConf.is_missing(HydraConfig.get().job, "num"):
        return {}
    return {"mlflow.runColor": _COLOURS[HydraConfig.get().job.num % len(_COLOURS)]}


def _commit() -> str:
    """The commit, with `-dirty` where files differ from it; of a checkout alone."""
    if not CHECKOUT:
        return UNKNOWN
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT)
    except OSError:  # a machine without git
        return UNKNOWN
    return done.stdout.strip() or UNKNOWN


def command(overrides: Sequence[str]) -> str:
    """The line that repeats the run. Where it was tracked is left out: it may hold a password."""
    said = [o for o in overrides if _key(o) != "tracking.uri"]
    return shlex.join([*COMMAND.split(), *said])


def dataset(cfg: DictConfig, source: Source) -> dict[str, Any]:
    """Name, digest, source and counts of the data, as `RunInfo.dataset`."""
    if not is_rank_zero():  # nobody reads it there
        return {}
    return {
        "name": source.name,
        "digest": data_digest(source),
        "source": OmegaConf.to_container(cfg.data.source, resolve=True),
        "counts": {split: len(source.split(split)) for split in SPLITS},
    }
