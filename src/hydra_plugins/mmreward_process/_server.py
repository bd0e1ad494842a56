"""The fork server: one process that has imported everything, from which jobs are forked."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hydra_plugins.mmreward_process import _preload
from hydra_plugins.mmreward_process._stop import SIGNALS
from mmreward.errors import UserError

CONTEXT = get_context("forkserver")

_pid = 0  # of the server


def targets(configs: Iterable[DictConfig]) -> list[str]:
    """All classes and functions that the configurations name as `_target_`."""
    found = {
        target
        for config in configs
        for target in _targets(OmegaConf.to_container(config, resolve=False))
    }
    return sorted(target for target in found if "." in target)


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
    """Starts the server, once a process, and waits until it has imported what `names` need.

    Returns {module: why it could not be imported}; jobs that need it will say so themselves.
    Raises UserError if the server did not come up.
    """
    global _pid
    # It stays there for a server that has to be started again.
    os.environ[_preload.TARGETS] = " ".join(names)
    forkserver.set_forkserver_preload([_preload.__name__])
    _run()
    reader, writer = CONTEXT.Pipe(duplex=False)
    try:
        probe = CONTEXT.Process(target=_report, args=(writer,))
        probe.start()
        writer.close()
        _pid, failed = reader.recv()
        probe.join()
    except (EOFError, OSError):
        raise UserError(
            "the process that loads the jobs' imports ended before it had; what it printed above "
            "says why, hydra/launcher=basic does without it"
        ) from None
    return failed


def fork(process: ForkServerProcess) -> None:
    """Starts the process. A server that was killed is started again, with the same imports."""
    try:
        if not _ended(os.WNOHANG):
            process.start()
            return
    except (ConnectionError, EOFError):  # it is just ending
        _ended()
    start(os.environ[_preload.TARGETS].split())
    process.start()


def _ended(options: int = 0) -> bool:
    """Waits for the server's end, or looks for it with os.WNOHANG; multiprocessing collects it."""
    return os.waitid(os.P_PID, _pid, os.WEXITED | os.WNOWAIT | options) is not None


def _run() -> None:
    """Signals that go to all processes of a terminal or a group are the launcher's to act on."""
    with _ignored():
        forkserver.ensure_running()


@contextmanager
def _ignored() -> Iterator[None]:
    """What is ignored here is ignored in processes that start meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals cannot be set here
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN)
        for number in SIGNALS
        if signal.getsignal(number) is not None  # else it could not be put back
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(writer: Connection) -> None:
    by_server = _preload.process != os.getpid()
    failed = _preload.failed if by_server else {_preload.__name__: "it was not imported"}
    writer.send((os.getppid(), failed))
