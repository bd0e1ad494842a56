"""Which job runs where: a job keeps the folder it has, a new one gets a free number."""

from __future__ import annotations

import sys
from collections.abc import Sequence, Set
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import cloudpickle
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.singleton import Singleton
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.mmreward_process._folder import Known, known_jobs
from hydra_plugins.mmreward_process._job import Job
from mmreward.errors import UserError

if TYPE_CHECKING:
    from hydra_plugins.mmreward_process.process_launcher import ProcessLauncher


def plan(
    launcher: ProcessLauncher, job_overrides: Sequence[Sequence[str]], first: int, sweep: Path
) -> tuple[list[Job], list[DictConfig], list[Job]]:
    """The jobs, finished ones marked, their configurations, and the jobs of earlier lines in this
    folder that are not among them.

    A job whose overrides ran in this sweep folder before goes where they ran. No other folder with
    something in it is used, and no other job's number, so nothing of an earlier sweep is lost.
    """
    known = known_jobs(sweep)
    numbers = {number for places in known.values() for number, _ in places}
    taken: set[Path] = set()
    jobs, configs = [], []
    loader = launcher.hydra_context.config_loader
    singletons = Singleton.get_state()
    for number, given in enumerate(job_overrides, first):
        overrides = list(given)
        config = loader.load_sweep_config(launcher.config, overrides)
        if before := known.get(tuple(overrides)):
            number, folder = before.pop(0)  # given twice, it runs twice
            _number(config, number)
        else:
            number, folder = _free(config, number, sweep, numbers, taken)
        numbers.add(number)
        taken.add(folder)
        argv = _command_line(config, overrides, number, folder)
        _make_single_run(config, folder)
        content = cloudpickle.dumps({
            "hydra_context": launcher.hydra_context,
            "task_function": launcher.task_function,
            "config": config,
            "singletons": singletons,
        })  # fmt: skip
        job = Job(number, overrides, sweep, folder, argv, content)
        job.skip_if_finished()
        jobs.append(job)
        configs.append(config)
    return jobs, configs, _earlier(known, sweep)


def _earlier(known: Known, sweep: Path) -> list[Job]:
    jobs = [
        Job(number, list(overrides), sweep, folder, argv=[], content=b"")
        for overrides, places in known.items()
        for number, folder in places
    ]
    for job in jobs:
        job.skip_if_finished()
        if not job.done:
            job.status, job.reason = "failed", "not finished by an earlier line of the sweep"
    return jobs


def constants(launcher: ProcessLauncher) -> set[str]:
    """The overrides that every job of the sweep has: those of its command line, and of its
    sweeper's parameters, that give one value. Sweepers may ask for a job at a time, so this cannot
    be seen from the jobs."""
    params: DictConfig | None = OmegaConf.select(launcher.config, "hydra.sweeper.params")
    plain = {k: v for k, v in (params or {}).items() if isinstance(v, str | int | float)}
    lines = [f"{key!s}={value}" for key, value in plain.items()]
    lines += launcher.config.hydra.overrides.task
    parser = OverridesParser.create(launcher.hydra_context.config_loader)
    found = {each.get_key_element(): each for each in parser.parse_overrides(lines)}
    return {
        f"{key}={each.get_value_element_as_str()}"
        for key, each in found.items()
        if not each.is_sweep_override()
    }


def label(jobs: Sequence[Job], constants: Set[str]) -> list[str]:
    """Labels the jobs with the overrides that vary; returns the others."""
    common = [o for o in jobs[0].overrides if o in constants]
    if common == jobs[0].overrides:
        common = []  # nothing varies, then all of them say what the job is
    for job in jobs:
        job.label = " ".join(o for o in job.overrides if o not in common)
    return common


def _free(
    config: DictConfig, number: int, sweep: Path, numbers: Set[int], taken: Set[Path]
) -> tuple[int, Path]:
    """The first number from `number` on that no other job has and on whose folder nothing lies
    in."""
    tried = set()
    for candidate in count(number):
        if candidate in numbers:
            continue
        _number(config, candidate)
        folder = _folder(config, sweep)
        if folder not in taken and not (folder.is_dir() and any(folder.iterdir())):
            return candidate, folder
        if folder in tried:
            raise UserError(
                f"{folder} belongs to another job; give another hydra.sweep.dir, or a "
                "hydra.sweep.subdir that differs from job to job"
            )
        tried.add(folder)
    raise AssertionError


def _number(config: DictConfig, number: int) -> None:
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.job.num = number
        config.hydra.job.id = str(number)


def _folder(config: DictConfig, sweep: Path) -> Path:
    """`hydra.sweep.subdir` may ask for anything of the job's own configuration."""
    hydra = HydraConfig.instance()
    before = hydra.cfg
    try:
        hydra.set_config(config)
        return sweep / str(OmegaConf.select(config, "hydra.sweep.subdir"))
    finally:
        hydra.cfg = before


def _make_single_run(config: DictConfig, folder: Path) -> None:
    """What the job sees is a run of its own in its folder. A trainer that starts more ranks tells
    them the folder by `hydra.run.dir`."""
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.mode = RunMode.RUN
        config.hydra.run.dir = str(folder)


def _command_line(
    config: DictConfig, overrides: Sequence[str], number: int, folder: Path
) -> list[str]:
    """The command line of the job without the sweep."""
    given = get_args_parser().parse_args(sys.argv[1:])
    options = [
        f"--{name.replace('_', '-')}={value}"
        for name in ("config_path", "config_name", "config_dir")
        if (value := getattr(given, name)) is not None
    ]
    return [
        sys.argv[0],
        *options,
        *config.hydra.overrides.hydra,
        *overrides,
        "hydra.mode=RUN",
        f"hydra.job.num={number}",
        f"hydra.job.id='{number}'",
        f"hydra.run.dir={QuotedString(str(folder), Quote.single).with_quotes()}",
    ]
