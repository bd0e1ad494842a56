"""Threads that work beside training: one brings its curves to the store, one measures the machine.
Training itself only appends lines to files and never waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmreward.curve_file import CURVES, SYSTEM, append_row, read_rows
from mmreward.tracking.upload import missing, points, write

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

log = logging.getLogger(__name__)


class Beside:
    """Calls `work` in a thread: at once, every `seconds`, and once more at `stop`."""

    def __init__(self, work: Callable[[], None], seconds: float, name: str) -> None:
        self._work = work
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._work()
        while not self._stopped.wait(self._seconds):
            self._work()
        self._work()

    def stop(self, join: Callable[[threading.Thread], None] = threading.Thread.join) -> None:
        """Lets the last call begin and waits for the thread with `join`."""
        self._stopped.set()
        join(self._thread)


class Follower:
    """Opens a run and sends it new lines of curves.jsonl and system.jsonl, a batch every `seconds`.

    Lines of a request that failed go out again with the next one, so a server may be away for a
    while; a server that does not answer is asked less and less often. What an earlier process
    wrote (of a run that goes on) is sent where the run lacks it.

    open_run:   returns a client and the id of the run; called until it succeeds
    on_failure: called with the reason when the store first fails
    """

    def __init__(
        self,
        open_run: Callable[[], tuple[MlflowClient, str]],
        folder: Path,
        on_failure: Callable[[object], None],
        seconds: float = 2.0,
    ) -> None:
        self._open_run = open_run
        self._run: tuple[MlflowClient, str] | None = None
        self._on_failure = on_failure
        self._files = {folder / name: 0 for name in (CURVES, SYSTEM)}
        self._resumed = any(path.is_file() for path in self._files)
        self._failures = 0
        self._rounds_to_skip = 0
        self._thread = Beside(self._send_if_due, seconds, "mlflow curves")

    def stop(self, join: Callable[[threading.Thread], None] = threading.Thread.join) -> None:
        """Sends the rest, unless the store has just failed, and ends the thread; raises what
        `join` raises if it does not end."""
        self._thread.stop(join)

    @property
    def sent_all(self) -> bool:
        """Whether the store has taken every line there is."""
        return (
            self._run is not None
            and not self._failures
            and all(not read_rows(path, begin)[0] for path, begin in self._files.items())
        )

    def _send_if_due(self) -> None:
        if self._rounds_to_skip:
            self._rounds_to_skip -= 1
            return
        try:
            if self._run is None:
                self._run = self._open_run()
            client, run_id = self._run
            for path, begin in self._files.items():
                rows, end = read_rows(path, begin)
                new = points(rows)
                # Of a request that failed, nobody knows whether it came through.
                if self._resumed or self._failures:
                    new = missing(client, run_id, new)
                write(client, run_id, new)
                self._files[path] = end
            self._resumed, self._failures = False, 0
        except Exception as error:  # stores fail in many types
            if not self._failures:
                self._on_failure(error)
            self._failures += 1
            self._rounds_to_skip = min(2**self._failures, 30)


class SystemMetrics:
    """Appends what MLflow's own monitors read (processor, memory, disk, network, GPUs where NVML
    is there) to system.jsonl, every `seconds` and once at the end. A reading is of the whole
    machine, over the time since the one before. What cannot be read here is left out.
    """

    def __init__(self, folder: Path, seconds: float = 10.0) -> None:
        self._path = folder / SYSTEM
        self._step = len(read_rows(self._path)[0])
        self._monitors: list[BaseMetricsMonitor] | None = None
        self._thread = Beside(self._measure, seconds, "system metrics")

    def stop(self) -> None:
        self._thread.stop()

    def _measure(self) -> None:
        if self._monitors is None:
            # Here and not before: psutil measures the processor per thread that asks.
            self._monitors = _monitors()
            return
        values: dict[str, float] = {}
        for monitor in self._monitors:
            try:
                monitor.collect_metrics()
                values.update(monitor.aggregate_metrics())
                monitor.clear_metrics()
            except Exception as error:  # a file of the system that this container does not have
                log.debug("%s: %s", type(monitor).__name__, error)
        named = {f"system/{name}": value for name, value in values.items()}
        append_row(self._path, self._step, named)
        self._step += 1


def _monitors() -> list[BaseMetricsMonitor]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    found: list[BaseMetricsMonitor] = []
    for kind in (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor):
        try:
            monitor = kind()
            monitor.collect_metrics()  # the processor's first reading is since nothing
            monitor.clear_metrics()
            found.append(monitor)
        except Exception as error:  # no GPU, no NVML, no psutil, no /proc/net
            log.debug("%s: %s", kind.__name__, error)
    return found
