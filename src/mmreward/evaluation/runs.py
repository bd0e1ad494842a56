"""Folders -> runs that can be compared: their tables, their names, what they cost.

A run folder holds config.yaml, metrics.json and a score table; a score table alone will do. The
configuration is only read to name runs and to find those that differ in nothing but the seed. A
sweep's folder stands for the runs of its jobs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mmreward.config import load_run_config
from mmreward.errors import UserError
from mmreward.evaluation.metrics import METRICS
from mmreward.evaluation.pairs import PairTable, pair_tables
from mmreward.evaluation.tables import SCORES, read_table
from mmreward.sweep_file import DONE, SWEEP_FILE, Row, read_sweep

# What says where and how a run was kept, not what it is. `task` and `choices` only repeat; of
# `checkpoint` see `_described`.
_NO_VARIANT = (
    "task",
    "choices",
    "seed",
    "resume",
    "tracking",
    "checkpoint",
    "evaluation",
    "benchmark",
)


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
    names, variants = _names(folders, configs), _variants(configs)
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


def _variants(configs: Mapping[Path, DictConfig]) -> dict[Path, str]:
    """The variant of each configured run."""
    same = {folder: _but_seed(config) for folder, config in configs.items()}
    first: dict[str, Path] = {}
    for folder, kept in same.items():
        first.setdefault(kept, folder)
    names = dict(zip(first, _names(list(first.values()), configs, seeds=False), strict=True))
    return {folder: names[kept] for folder, kept in same.items()}


def _but_seed(config: DictConfig) -> str:
    return json.dumps(_described(config), sort_keys=True, default=str)


def _described(config: DictConfig) -> dict[str, Any]:
    """What a run is: all but its seed, and of its checkpoints only which weights were kept."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    kept = {str(name): value for name, value in plain.items() if name not in _NO_VARIANT}
    best = (plain.get("checkpoint") or {}).get("best") or {}
    return {**kept, "checkpoint": {name: best.get(name) for name in ("monitor", "mode")}}


def _names(
    folders: Sequence[Path], configs: Mapping[Path, DictConfig], seeds: bool = True
) -> list[str]:
    """enhanced s0 (`seeds`) or enhanced, or the folder's name; runs that share it add what tells
    them apart."""
    losses: dict[str, set[str]] = {}
    for config in configs.values():
        losses.setdefault(_choice(config, "model"), set()).add(_choice(config, "loss"))
    base = {folder: folder.resolve().name for folder in folders}
    for folder, config in configs.items():
        model = _choice(config, "model")  # which brings its loss
        loss = f"+{_choice(config, 'loss')}" if len(losses[model]) > 1 else ""
        seed = f" s{config.get('seed')}" if seeds else ""
        base[folder] = f"{model}{loss}{seed}"
    names = []
    for folder in folders:
        alike = [other for other in folders if base[other] == base[folder]]
        told = {other: _settings(other, alike, configs) for other in alike}
        # Two tell most runs apart; where they do not, all are named.
        two = Counter(tuple(settings[:2]) for settings in told.values())
        most = 2 if len(two) == len({tuple(settings) for settings in told.values()}) else None
        names.append(" ".join([base[folder], *told[folder][:most]]))
    repeated = {name for name, count in Counter(names).items() if count > 1}
    return [
        f"{name} ({_tail(folder, folders)})" if name in repeated else name
        for name, folder in zip(names, folders, strict=True)
    ]


def _choice(config: DictConfig, group: str) -> str:
    return str((config.get("choices") or {}).get(group, group))


def _settings(folder: Path, alike: Sequence[Path], configs: Mapping[Path, DictConfig]) -> list[str]:
    """pooling=attention lr=0.001: the choices, then the settings outside of them, that runs of one
    name all have and that differ."""
    if any(other not in configs for other in alike):
        return []
    told = {other: _told(configs[other]) for other in alike}
    own = told[folder]
    varied = [
        key
        for key in own
        if all(key in other for other in told.values())
        and len({str(other[key]) for other in told.values()}) > 1
    ]
    outside = [key for key in varied if not any(key.startswith(f"{other}.") for other in varied)]
    return [f"{key.rsplit('.', 1)[-1]}={own[key]}" for key in outside]


def _told(config: DictConfig) -> dict[str, Any]:
    """{group or key, with dots: its option or value}"""
    choices = {
        str(group).replace("/", "."): option
        for group, option in (config.get("choices") or {}).items()
        if group.split("/")[0] not in _NO_VARIANT
    }
    return {**choices, **dict(_flat(_described(config)))}


def _flat(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            if not name.startswith("_"):
                yield from _flat(value, f"{key}.{name}" if key else name)
    else:
        yield key, node


def _tail(folder: Path, folders: Sequence[Path]) -> str:
    """As much of the path's end as no other run of the comparison shares."""
    parts = folder.resolve().parts
    for length in range(1, len(parts)):
        tail = parts[-length:]
        if sum(other.resolve().parts[-length:] == tail for other in folders) == 1:
            return "/".join(tail)
    return str(folder)
