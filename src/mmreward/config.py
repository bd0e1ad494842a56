"""Configuration: the top-level schema, building objects from nodes, a run's saved config.

Light on purpose: `run.py --help` and `--cfg job` import this file, so it imports no torch.
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml
from hydra.utils import get_object, instantiate
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

from mmreward.errors import UserError
from mmreward.files import replace_file
from mmreward.schema import SyncConfig

# Of a checkout; where an installed package lies, two folders up is nothing of ours.
ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = (ROOT / "run.py").is_file()
COMMAND = "python run.py" if CHECKOUT else "mmreward"
# A link to the checkout's conf/, which a wheel holds as a folder.
CONF = (Path(__file__).parent / "conf").resolve()


def register_resolvers() -> None:
    """The one resolver: a resumed run stays in its folder, any other gets a fresh one."""

    def run_folder(resume: str | None, fresh: str) -> str:
        return "." if resume else fresh

    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)


@cache
def allowed_targets() -> frozenset[str]:
    """Exact dotted names that `build` may call: those that the shipped conf/ names.

    A configuration travels with checkpoints, so a `_target_` is code somebody else may have
    written. Whole names and not prefixes: `torch.` would admit `torch.load`.
    """
    pattern = re.compile(r"^\s*_target_:\s*[\"']?([\w.]+)", re.MULTILINE)
    names: set[str] = set()
    for path in sorted(CONF.rglob("*.yaml")):
        names.update(pattern.findall(path.read_text()))
    return frozenset(names)


def _targets(node: Any, key: str) -> Iterator[tuple[str, DictConfig]]:
    """Every node with a `_target_` in `node`, nested ones too, with its dotted key."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield key, node
        for name in node:
            yield from _targets(node[name], f"{key}.{name!s}")
    elif isinstance(node, ListConfig):
        for number, item in enumerate(node):
            yield from _targets(item, f"{key}[{number}]")


def build(node: Any, key: str, **late: Any) -> Any:
    """The object a config node describes.

    node: a node with `_target_` (nested ones are built as well), or None, which gives None
    key:  its dotted name in the configuration, for messages
    late: arguments known only now

    Raises UserError for a target outside `allowed_targets`, an argument the target does not
    take, a value of the wrong type and whatever the target itself refuses as a ValueError.
    """
    if node is None:
        return None
    node = node if isinstance(node, DictConfig) else OmegaConf.create(node)
    found = list(_targets(node, key))
    for where, child in found:
        if child["_target_"] not in allowed_targets():
            raise UserError(
                f"{where}._target_={child['_target_']} is not one of the classes that conf/ "
                "names; add a yaml for it if it is yours, do not build it if it is a stranger's"
            )
    for where, child in found:
        _check_arguments(get_object(child["_target_"]), child, where)
    try:
        return instantiate(node, **late)
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        # Lightning's MisconfigurationException is none of the built-in kinds.
        named = type(cause).__name__ == "MisconfigurationException"
        if named or isinstance(cause, ValueError | TypeError | OSError):
            raise UserError(f"{key} could not be built: {cause}") from error
        raise


def _check_arguments(target: Any, node: DictConfig, key: str) -> None:
    """Names and plain types of the arguments, before anything is built."""
    parameters = inspect.signature(target).parameters
    function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):  # names that only type checkers import
        hints = {}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for name in node:
        if str(name).startswith("_"):
            continue
        if name not in parameters:
            close = difflib.get_close_matches(str(name), parameters, n=1)
            hint = f"; did you mean {key}.{close[0]}?" if close else ""
            raise UserError(f"{key}.{name!s} is not an option of {node['_target_']}{hint}")
        kinds = _plain_types(hints.get(str(name)))
        if kinds and not isinstance(node[name], kinds):
            names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
            raise UserError(f"{key}.{name!s}={node[name]!r} should be of type {names}")


def _plain_types(hint: Any) -> tuple[type, ...]:
    """What isinstance may check of an annotation; nothing for any that is not all plain types."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if not all(part in (int, float, bool, str, type(None)) for part in parts):
        return ()
    return (*parts, int) if float in parts and int not in parts else parts


def check_keys(cfg: DictConfig) -> None:
    """Refuses what can be seen at once: top-level keys the task does not have (Hydra lets
    `+key=value` add any), keys without a value, run folders that are none."""
    schema: Any = OmegaConf.get_type(cfg)
    known = {f.name for f in fields(schema)}
    unknown = sorted(str(key) for key in set(cfg) - known)
    if unknown:
        raise UserError(
            f"{unknown[0]} is not a key of this task; it has {', '.join(sorted(known))}"
        )
    missing = sorted(_without_value(OmegaConf.to_container(cfg, resolve=False)))
    if missing:
        raise UserError(f"{missing[0]} must be given: add {missing[0]}=… to the command line")
    for key in ("run", "resume", "init_from"):  # before seconds of imports
        if cfg.get(key) and schema is not SyncConfig:  # which takes the folder of a sweep too
            load_run_config(cfg[key], key)


def _without_value(node: Any, key: str = "") -> Iterator[str]:
    """Dotted keys whose value is missing. What refers to another key is left alone: a source inside
    a benchmark refers to `data`, which an evaluation takes from its run."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _without_value(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from _without_value(child, f"{key}[{number}]")
    elif node == MISSING:
        yield key


# Lines of Hydra's and OmegaConf's messages that say nothing to a user.
_NOISE = re.compile(
    "object_type=|reference_type=|Config search path|provider=|To append to your|Set the env"
)


def one_sentence(error: Exception) -> str:
    """What an error has to say, on one line, with the way out where the libraries leave it out."""
    if isinstance(error, UserError):
        return str(error)
    missing = re.match(r"Could not override '([^']+)'", str(error))
    listed = missing and re.match(r"benchmark\.(\w+)", missing.group(1))
    if missing and listed and (CONF / "benchmark" / f"{listed.group(1)}.yaml").is_file():
        return (
            f"{missing.group(1)} is not a key of this task; choose the benchmark as well, "
            f"benchmark=[{listed.group(1)}], or see its keys in conf/benchmark"
        )
    if missing and missing.group(1) == "sweep":  # the one group of which nothing is in a default
        return "sweep has to be added; write +sweep=…"
    if missing:
        return (
            f"{missing.group(1)} is neither a key nor a group of this task; {COMMAND} "
            "--cfg job lists the keys, --help the groups"
        )
    # An option of a list: Hydra leaves out what there is.
    unknown = re.search(r"Could not load '([\w/]+)/([^/']*)'", str(error))
    if unknown:
        options = sorted(path.stem for path in (CONF / unknown.group(1)).glob("*.yaml"))
        return (
            f"{unknown.group(1)}={unknown.group(2)} is not one of the options, which are "
            f"{', '.join(options)}"
        )
    # Hydra says which override failed, the cause says why.
    said = f"{error}\n{error.__cause__ or ''}"
    lines = [line.strip() for line in said.splitlines()]
    text = " ".join(line for line in lines if line and not _NOISE.match(line))
    available = re.search(r"Available options in '[^']*': (.*)", text)
    if available:
        return text.replace(available.group(1), ", ".join(available.group(1).split()))
    return text


def save_config(cfg: DictConfig, path: Path) -> None:
    """Writes the resolved configuration: plain values, nothing left to interpolate."""
    replace_file(path, OmegaConf.to_yaml(cfg, resolve=True))


def load_run_config(run: str | Path, key: str = "run") -> tuple[Path, DictConfig]:
    """(folder, configuration) of a finished or interrupted run.

    Raises UserError if the folder does not exist or holds no run, or its config.yaml is damaged.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise UserError(f"{key}={run} does not exist; give the folder that a training run printed")
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{key}={run} is not a run folder: it has no config.yaml")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{path} cannot be read; put a copy of it back") from None
    _forget_retired(content)
    return folder, plain_config(content, path)


def _forget_retired(node: Any) -> None:
    """Takes out, in place, the `images` of sources in older runs: always those of data.images."""
    if isinstance(node, dict):
        if str(node.get("_target_")).startswith("mmreward.data.sources."):
            node.pop("images", None)
        for child in node.values():
            _forget_retired(child)


def plain_config(content: Any, path: Path) -> DictConfig:
    """A configuration read from a file that may be a stranger's.

    Raises UserError if it is none or holds an interpolation: what we save has none left, and
    `${oc.env:…}` in somebody else's would read this machine's environment.
    """
    cfg = OmegaConf.create(content) if isinstance(content, dict) else None
    if not isinstance(cfg, DictConfig):
        raise UserError(f"{path} does not hold a configuration")
    if "${" in json.dumps(OmegaConf.to_container(cfg, resolve=False)):
        raise UserError(f"{path} holds an interpolation (${{…}}), which no saved run does")
    return cfg
