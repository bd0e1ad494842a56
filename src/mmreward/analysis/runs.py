"""Folders -> runs that can be compared: their tables, their names, what they cost.

A run folder holds config.yaml, metrics.json and a score table; a score table alone will do. The
configuration is only read to name runs and to find those that differ in nothing but the seed. A
sweep's folder stands for the runs of its jobs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreward.analysis.metrics import METRICS
from mmreward.analysis.pairs import PairTable, pair_tables
from mmreward.analysis.run_names import run_names, run_variants
from mmreward.config import load_run_config
from mmreward.errors import UserError
from mmreward.scoring.table import SCORES, read_table
from mmreward.sweep_file import DONE, SWEEP_FILE, Row, read_sweep


@dataclass(frozen=True)
class Run:
    """One side of a comparison.

    name:     short, unlike that of any other run of the comparison
    sets:     the pairs of every benchmark it was scored on
    training: what its training cost, as in metrics.json; empty for a score table alone
    variant:  the same short name for runs that differ in nothing but the seed; None without
              config.yaml
    seed:     None without config.yaml
    """

    name: str
    folder: Path
    sets: Mapping[str, PairTable]
    training: Mapping[str, Any]
    variant: str | None = None
    seed: int | None = None


def is_sweep(folder: Path) -> bool:
    """Whether the folder is no run but holds runs."""
    return (
        folder.is_dir()
        and not (folder / "config.yaml").is_file()
        and ((folder / SWEEP_FILE).is_file() or bool(_inside(folder, "config.yaml")))
    )


def runs_of_sweep(folder: Path) -> tuple[list[Path], list[str]]:
    """The run folders in the order of the jobs, and a sentence for each job that left none.

    Launchers other than `process` keep no list of jobs. There it is all the runs that lie in the
    folder, or one folder deeper.
    """
    jobs = read_sweep(folder)
    if jobs is None:
        done = _inside(folder, METRICS)
        begun = [path for path in _inside(folder, "config.yaml") if path not in done]
        return done, [f"{path} did not come to its end: it has no {METRICS}" for path in begun]
    runs, left_out, compared = [], [], []
    common = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:
        run = _moved(folder, Path(job["folder"]))
        if job["status"] not in DONE:
            why = f"{job['reason'] or job['status']}; see {job['log']}"
        elif not (run / SCORES).is_file():
            why = f"there is no {SCORES} in {run}; without its folder, the same sweep runs it again"
        else:
            runs.append(run)
            compared.append(_but_seed_override(job))
            continue
        varied = [override for override in job["overrides"] if override not in common]
        left_out.append(f"job {job['job']} ({' '.join(varied)}): {why}")
    if compared and _but_seed_override(jobs[0]) not in compared:
        left_out.append("every run of the first variant, so that the next one is the reference")
    # A sweeper may have asked for the same job twice.
    return list(dict.fromkeys(runs)), left_out


def _but_seed_override(job: Row) -> list[str]:
    return [override for override in job["overrides"] if not override.startswith("seed=")]


def expand(runs: Sequence[str | Path]) -> tuple[list[Path], list[str]]:
    """The run folders that `runs` names, those of sweeps in their order, and a sentence for each
    job of a sweep that left none."""
    folders, left_out = [], []
    for run in map(Path, runs):
        inside, missing = runs_of_sweep(run) if is_sweep(run) else ([run], [])
        folders += inside
        left_out += missing
    return folders, left_out


def read_runs(
    runs: Sequence[str | Path],
    tables: Sequence[str | Path] = (),
    left_out: list[str] | None = None,
) -> list[Run]:
    """The runs (folders with config.yaml) and the bare score tables.

    left_out: gets a sentence for each that cannot be read; without it such a one is an error

    Raises UserError for fewer than two, the same folder twice, and whatever `read_table` and
    `pair_tables` refuse.
    """
    folders = [Path(folder) for folder in (*runs, *tables)]
    if len(folders) < 2:
        raise UserError(
            f"a comparison needs two runs or score tables, this one has {len(folders)}; give "
            "runs=[outputs/…,outputs/…] or tables=[folder_a,folder_b]"
        )
    ((twice, count),) = Counter(folder.resolve() for folder in folders).most_common(1)
    if count > 1:
        raise UserError(f"{twice} is named twice; a run cannot be compared with itself")
    content, configs = {}, {}
    for number, folder in enumerate(folders):
        try:
            config = load_run_config(folder, "runs")[1] if number < len(runs) else None
            content[folder] = pair_tables(read_table(folder)), _training(folder)
            if config is not None:
                configs[folder] = config
        except UserError as error:
            if left_out is None:
                raise
            left_out.append(str(error))
    folders = list(content)
    if len(folders) < 2:
        raise UserError(f"{len(folders)} of the runs can be read: {'; '.join(left_out or ())}")
    names, variants = run_names(folders, configs), run_variants(configs)
    return [
        Run(
            name=name,
            folder=folder,
            sets=content[folder][0],
            training=content[folder][1],
            variant=variants.get(folder),
            seed=configs[folder].get("seed") if folder in configs else None,
        )
        for name, folder in zip(names, folders, strict=True)
    ]


def _inside(folder: Path, name: str) -> list[Path]:
    """The folders in this one, or one deeper, with a file of that name, by number."""
    found = {path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{name}")}

    def place(path: Path) -> list[tuple[int, str]]:
        return [(len(part), part) for part in path.relative_to(folder).parts]

    return sorted(found, key=place)


def _moved(sweep: Path, job: Path) -> Path:
    """The job's folder inside `sweep`, wherever that lay when the job ran. One that is gone from
    there is not looked for where a copy of the sweep may have it."""
    tails = (sweep.joinpath(*job.parts[i:]) for i in range(1, len(job.parts)))
    return next((path for path in tails if path.is_dir()), sweep / job.name)


def _training(folder: Path) -> dict[str, Any]:
    path = folder / METRICS
    if not path.is_file():
        return {}
    try:
        training = json.loads(path.read_text(encoding="utf-8")).get("training", {})
        if isinstance(training, dict):
            return training
    except (ValueError, AttributeError):
        pass
    raise UserError(f"{path} cannot be read; task=evaluate run={folder} writes it anew")
