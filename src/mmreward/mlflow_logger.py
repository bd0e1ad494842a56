"""The Lightning logger behind `tracking=mlflow`: curves, written without making training wait."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from mlflow.entities import Metric

if TYPE_CHECKING:
    from mlflow import MlflowClient


def allowed(name: str) -> str:
    """`name` with what MLflow refuses in names (`&`, brackets, …) turned into underscores."""
    return re.sub(r"[^a-zA-Z0-9_/.\- ]", "_", name)


def points(metrics: Mapping[str, float], step: int) -> list[Metric]:
    """The values as MLflow stores them, stamped with the present time (in milliseconds)."""
    now = int(time.time() * 1000)
    return [Metric(allowed(name), float(value), now, step) for name, value in metrics.items()]


def write(client: MlflowClient, run_id: str, batch: list[Metric]) -> None:
    """Logs the points and waits until the store has them."""
    for begin in range(0, len(batch), 1000):  # MLflow's limit for one request
        client.log_batch(run_id, metrics=batch[begin : begin + 1000])


class MLflowCurves(Logger):
    """Collects points and hands them to one background thread every `seconds`.

    One thread keeps the points in order and one request in flight; points of a request that
    failed go out again with the next one, so a server may be away for a while. Lightning's
    own MLFlowLogger sends every step by itself and ends the run with the first `fit`, before
    the test split has been scored.

    client:      None collects nothing (an untracked run)
    on_failure:  called with the reason when the store first fails and when points are lost
    """

    def __init__(
        self,
        client: MlflowClient | None,
        run_id: str,
        on_failure: Callable[[object], None],
        seconds: float = 2.0,
    ) -> None:
        super().__init__()
        self._client = client
        self._run_id = run_id
        self._on_failure = on_failure
        self._seconds = seconds
        self._points: list[Metric] = []
        self._sent_at = time.monotonic()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._request: Future[list[Metric]] | None = None
        self._failed = False

    @property
    def name(self) -> str:
        return "mlflow"

    @property
    def version(self) -> str:
        return self._run_id

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: parameters are logged when the run starts, few and chosen."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._client is None:
            return
        self._points += points(metrics, step or 0)
        busy = self._request is not None and not self._request.done()
        if not busy and time.monotonic() - self._sent_at >= self._seconds:
            self._send()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Waits for what is collected; the run itself goes on (see `Tracking.finish`)."""
        if self._client is not None:
            self._send()
            self._collect_unsent()

    def close(self) -> None:
        """Sends the rest and ends the thread."""
        self.finalize("")
        self._thread.shutdown()
        self._client = None
        if self._points:
            self._on_failure(f"{len(self._points)} points were never taken")

    def _send(self) -> None:
        self._collect_unsent()
        batch, self._points = self._points, []
        if batch:
            self._request = self._thread.submit(self._try_to_write, batch)
        self._sent_at = time.monotonic()

    def _collect_unsent(self) -> None:
        if self._request is not None:
            self._points = self._request.result() + self._points
            self._request = None

    def _try_to_write(self, batch: list[Metric]) -> list[Metric]:
        """Writes; returns what has to go out again."""
        assert self._client is not None
        try:
            write(self._client, self._run_id, batch)
            return []
        except Exception as error:
            if not self._failed:
                self._on_failure(error)
                self._failed = True
            return batch
