"""The fork server: one process that has imported everything, from which jobs are forked."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hydra_plugins.mmreward_process import _preload
from mmreward.errors import UserError

CONTEXT = get_context("forkserver")


def modules(configs: Iterable[DictConfig]) -> list[str]:
    """The modules of all classes and functions that the configurations name as `_target_`."""
    found = {
        target.rpartition(".")[0]
        for config in configs
        for target in _targets(OmegaConf.to_container(config, resolve=False))
    }
    return sorted(found - {""})


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(target := node.get("_target_"), str):
            yield target
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def start(names: Iterable[str]) -> dict[str, str]:
    """Starts the server, once a process, and waits until it has imported `names`.

    Returns {module: why it could not be imported}; jobs that need it will say so themselves.
    Raises UserError if the server did not come up.
    """
    os.environ[_preload.MODULES] = " ".join(names)
    forkserver.set_forkserver_preload([_preload.__name__])
    # Ctrl-C goes to every process of the terminal; the server's jobs are ended by the launcher.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, handler)
        del os.environ[_preload.MODULES]
    reader, writer = CONTEXT.Pipe(duplex=False)
    try:
        probe = CONTEXT.Process(target=_report, args=(writer,))
        probe.start()
        writer.close()
        failed = reader.recv()
        probe.join()
    except (EOFError, OSError):
        raise UserError(
            "the process that loads the jobs' imports ended before it had; what it printed above "
            "says why, hydra/launcher=basic does without it"
        ) from None
    return failed


def _report(writer: Connection) -> None:
    by_server = _preload.process != os.getpid()
    writer.send(_preload.failed if by_server else {_preload.__name__: "it was not imported"})
