"""Short names for runs: the model, the loss if that varies, the seed, and what else differs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

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


def run_variants(configs: Mapping[Path, DictConfig]) -> dict[Path, str]:
    """The variant of each configured run."""
    same = {folder: _but_seed(config) for folder, config in configs.items()}
    first: dict[str, Path] = {}
    for folder, kept in same.items():
        first.setdefault(kept, folder)
    names = dict(zip(first, run_names(list(first.values()), configs, seeds=False), strict=True))
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


def run_names(
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
    return [f"{key.rsplit('.', 1)[-1]}={_short(own[key])}" for key in outside]


def _short(value: Any) -> str:
    """A search proposes 6.304187027644861e-05."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
