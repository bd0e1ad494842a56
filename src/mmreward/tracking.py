"""MLflow: what a run was given, how it went and what it left behind.

Importing this module imports neither MLflow nor torch. Tracking is a record of the work and
never a reason to lose it: whatever goes wrong with the store is one warning, and training goes
on.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Literal, Protocol

from mmreward.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger
    from mlflow import MlflowClient

    from mmreward.mlflow_logger import MLflowCurves

log = logging.getLogger(__name__)

Scalar = str | int | float | bool | None
Status = Literal["FINISHED", "FAILED"]

RUN_ID_FILE = "mlflow_run_id"

# Set by a launcher in each job's process: the sweep's name, by which its runs are found together.
SWEEP = "MMREWARD_SWEEP"

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # `finish` returns the link
    # MLflow's own patience is seven retries of 120 seconds, during which a run would stand still.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class Tracking(Protocol):
    """What the training task expects of `tracking=…`. Every rank calls the same methods; only
    rank zero writes."""

    def start(
        self,
        run_name: str,
        params: Mapping[str, Scalar],
        tags: Mapping[str, str],
        config_file: Path,
        run_folder: Path,
    ) -> None:
        """Opens the run, or the one that `run_folder` already belongs to.

        params: few, flat and short (MLflow compares runs by them); the whole configuration is
        attached as `config_file`.
        """

    def logger(self) -> list[Logger]:
        """Lightning loggers that write the run's curves; call after `start`."""

    def finish(
        self, metrics: Mapping[str, float], artifacts: Sequence[Path], status: Status
    ) -> str | None:
        """Logs the final metrics, uploads files and folders (those that exist: a failed run has
        no report) and ends the run. Belongs in a `finally`, so that no run stays RUNNING.

        Returns a line that says where to look at the run, None where nothing was tracked.
        """

    def summary(
        self,
        name: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> str | None:
        """Logs one finished run of its own, such as a sweep's comparison; needs no `start`.

        tags: `sweep` is the name that the runs compared here carry as well
        Returns a line that says where to look, None where nothing was tracked.
        """


class NoTracking:
    """`tracking=none`: the run folder alone."""

    def start(
        self,
        run_name: str,
        params: Mapping[str, Scalar],
        tags: Mapping[str, str],
        config_file: Path,
        run_folder: Path,
    ) -> None:
        pass

    def logger(self) -> list[Logger]:
        return []

    def finish(
        self, metrics: Mapping[str, float], artifacts: Sequence[Path], status: Status
    ) -> str | None:
        return None

    def summary(
        self,
        name: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> str | None:
        return None


class MLflowTracking:
    """`tracking=mlflow`: one MLflow run a run.

    root:        folder for the sqlite store and the artifacts, both used without a server only
    uri:         null for `sqlite:///<root>/mlflow.db`, else any address MLflow knows. Its plain
                 folder store is none of them: MLflow 3.13 put it into maintenance.
    experiment:  name of the MLflow experiment

    Runs are flat, never nested: MLflow's page shows a nested run as a collapsed row.

    Raises UserError for a `uri` without a scheme.
    """

    def __init__(self, root: str | Path, uri: str | None, experiment: str) -> None:
        if uri is not None and "://" not in uri:
            raise UserError(
                f"tracking.uri={uri} is not an address; give null, sqlite:///<file> or "
                "http://<host>:<port>"
            )
        for name, value in _ENVIRONMENT.items():  # read when MLflow is imported, so now
            os.environ.setdefault(name, value)
        self._root = Path(root).resolve()
        self._uri = uri or _sqlite(self._root)
        self._experiment = experiment
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._link: str | None = None
        self._curves: MLflowCurves | None = None

    def start(
        self,
        run_name: str,
        params: Mapping[str, Scalar],
        tags: Mapping[str, str],
        config_file: Path,
        run_folder: Path,
    ) -> None:
        from lightning.pytorch.utilities.rank_zero import rank_zero_only

        if getattr(rank_zero_only, "rank", 0) != 0:
            return
        with self._sparing("this run is not tracked"):
            client, experiment_id = self._connect()
            self._run_id = self._open_run(client, experiment_id, run_name, run_folder)
            self._client = client
            self._link = self._where(experiment_id, self._run_id)
        if self._client is not None:
            with self._sparing("parameters or configuration are not in the store"):
                self._describe(self._client, params, tags)
                self._client.log_artifact(self._run_id, str(config_file))

    def logger(self) -> list[Logger]:
        from mmreward.mlflow_logger import MLflowCurves

        # Every rank gets one, tracked or not: callbacks that ask for a logger must find the same
        # answer everywhere, or one rank stops while the others wait for it.
        if self._curves is None:
            failed = partial(self._warn, "curves are not (all) in the store")
            self._curves = MLflowCurves(self._client, self._run_id, failed)
        return [self._curves]

    def finish(
        self, metrics: Mapping[str, float], artifacts: Sequence[Path], status: Status
    ) -> str | None:
        if self._client is None:
            return None
        from mmreward.mlflow_logger import points, write

        if self._curves is not None:
            self._curves.close()
        with self._sparing("final metrics are not in the store"):
            write(self._client, self._run_id, points(metrics, step=0))
        with self._sparing("artifacts are not in the store"):
            _upload(self._client, self._run_id, artifacts)
        with self._sparing("the run keeps its status RUNNING there"):
            self._client.set_terminated(self._run_id, status)
        self._client = None
        return self._link

    def summary(
        self,
        name: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> str | None:
        from mmreward.mlflow_logger import points, write

        with self._sparing(f"{name} is not (all) in the store"):
            client, experiment_id = self._connect()
            run_id = client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id
            write(client, run_id, points(metrics, step=0))
            _upload(client, run_id, artifacts)
            client.set_terminated(run_id, "FINISHED")
            return self._where(experiment_id, run_id)
        return None

    @contextmanager
    def _sparing(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # stores fail in many types; see the module's first lines
            self._warn(consequence, error)

    def _warn(self, consequence: str, reason: object) -> None:
        message = f"MLflow at {self._uri}: {consequence} ({shorten(str(reason), 300)})"
        log.warning("%s", _without_password(message))

    def _connect(self) -> tuple[MlflowClient, str]:
        """The client and the experiment's id; makes what does not exist yet."""
        from filelock import FileLock
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # repeats our warnings
        remote = self._uri.startswith("http")
        self._root.mkdir(parents=True, exist_ok=True)
        # Jobs of a sweep start together, and MLflow neither creates its tables nor an experiment
        # in one step: without the lock most of them fail on a new store.
        with FileLock(self._root / "mlflow.lock", timeout=60):
            client = MlflowClient(self._uri)
            experiment = client.get_experiment_by_name(self._experiment)
            if experiment is not None:
                return client, experiment.experiment_id
            # MLflow's default for artifacts is the current folder, wherever the store is.
            place = None if remote else (self._root / "mlflow-artifacts").as_uri()
            return client, client.create_experiment(self._experiment, artifact_location=place)

    def _open_run(
        self, client: MlflowClient, experiment_id: str, run_name: str, run_folder: Path
    ) -> str:
        from mlflow.exceptions import MlflowException

        id_file = run_folder / RUN_ID_FILE
        if id_file.exists():
            run_id = id_file.read_text().strip()
            try:
                client.update_run(run_id, status="RUNNING")
                return run_id
            except MlflowException:
                log.info("run %s is not in this store (any more); a new one begins", run_id)
        run_id = client.create_run(experiment_id, run_name=run_name).info.run_id
        id_file.write_text(run_id + "\n")
        return run_id

    def _describe(
        self, client: MlflowClient, params: Mapping[str, Scalar], tags: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Param, RunTag

        from mmreward.mlflow_logger import allowed

        given = {allowed(key): str(value) for key, value in params.items()}
        known = client.get_run(self._run_id).data.params
        tags = dict(tags)
        # A store never changes a parameter, so what a resumed run changed is told in a tag.
        changed = [f"{k}={v}" for k, v in given.items() if known.get(k, v) != v]
        if changed:
            tags["resumed_with"] = " ".join(changed)
        new = [Param(key, value) for key, value in given.items() if key not in known]
        client.log_batch(self._run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        for begin in range(0, len(new), 100):  # MLflow's limit for one request
            client.log_batch(self._run_id, params=new[begin : begin + 100])

    def _where(self, experiment_id: str, run_id: str) -> str:
        page = f"#/experiments/{experiment_id}/runs/{run_id}"
        uri = _without_password(self._uri)
        if uri.startswith("http"):
            return f"{uri.rstrip('/')}/{page}"
        store = "" if self._uri == _sqlite(Path("outputs").resolve()) else f" MLFLOW_URI={uri}"
        return f"make ui{store}, then http://127.0.0.1:5000/{page}"


def _upload(client: MlflowClient, run_id: str, paths: Sequence[Path]) -> None:
    """Files, and folders under their names; a failed run lacks some, and those are left out."""
    for path in paths:
        if path.is_dir():
            client.log_artifacts(run_id, str(path), path.name)
        elif path.exists():
            client.log_artifact(run_id, str(path))


def _sqlite(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


def _without_password(text: str) -> str:
    return re.sub(r"://[^/@\s]*@", "://", text)
