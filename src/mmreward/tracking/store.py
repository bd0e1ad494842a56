"""An MLflow store: reaching it, opening runs in it, and the links to its pages."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mmreward.errors import UserError
from mmreward.tracking.base import RunInfo

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

RUN_ID_FILE = "mlflow_run_id"
PORT = 5000

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the tasks print the link
    # MLflow's own patience is seven retries of 120 seconds, during which a run would stand still.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def set_environment() -> None:
    """How MLflow is to behave, unless the user has said so; it reads this when it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


class Store:
    """root, uri, experiment: as in `MLflowTracking`.

    Raises UserError for a `uri` without a scheme.
    """

    def __init__(self, root: Path, uri: str | None, experiment: str) -> None:
        if uri is not None and "://" not in uri:
            raise UserError(
                f"tracking.uri={uri} is not an address; give null, sqlite:///<file> or "
                "http://<host>:<port>"
            )
        set_environment()
        self.root = root.resolve()
        self.uri = uri or _sqlite(self.root)
        self.experiment = experiment

    def __str__(self) -> str:
        return f"MLflow at {without_password(self.uri)}"

    @property
    def remote(self) -> bool:
        """Whether a server of its own answers at the address."""
        return self.uri.startswith("http")

    def exists(self) -> bool:
        """Whether there is something to connect to; False for a file that would be made anew."""
        path = self.uri.removeprefix("sqlite:///")
        return path == self.uri or Path(path).is_file()

    def connect(self) -> tuple[MlflowClient, str]:
        """The client and the experiment's id; makes what does not exist yet."""
        from filelock import FileLock
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # repeats our warnings
        self.root.mkdir(parents=True, exist_ok=True)
        # Jobs of a sweep start together, and MLflow neither creates its tables nor an experiment
        # in one step: without the lock most of them fail on a new store.
        with FileLock(self.root / "mlflow.lock", timeout=60):
            client = MlflowClient(self.uri)
            experiment = client.get_experiment_by_name(self.experiment)
            if experiment is not None:
                return client, experiment.experiment_id
            # MLflow's default for artifacts is the current folder, wherever the store is.
            place = None if self.remote else (self.root / "mlflow-artifacts").as_uri()
            return client, client.create_experiment(self.experiment, artifact_location=place)

    def open_run(
        self, client: MlflowClient, experiment_id: str, folder: Path, info: RunInfo
    ) -> str:
        """The id of the folder's run, made if there is none; the folder remembers it.

        A request can reach the store and its answer be lost. So a run of the same folder and
        start is taken for this one, even where the folder knows no id. One of another start is
        an earlier try, of which the folder has kept nothing; it goes to MLflow's trash, so that
        no run of a process that was killed stays RUNNING in the list.
        """
        if (run_id := known_id(folder)) and (known := self.run(client, run_id)):
            if known.info.start_time == info.started:
                return run_id
            client.delete_run(run_id)
        path = str(folder.resolve())
        same = client.search_runs([experiment_id], f"attributes.start_time = {info.started}")
        found = [run for run in same if run.data.tags.get("folder") == path]
        if not found:
            tags = {"folder": path}
            found = [client.create_run(experiment_id, info.started, tags, info.name)]
        run_id = found[0].info.run_id
        (folder / RUN_ID_FILE).write_text(run_id + "\n")
        return str(run_id)

    def open_summary(
        self, client: MlflowClient, experiment_id: str, folder: Path, name: str
    ) -> str:
        """The id of the run that sums up what is in the folder, made if there is none."""
        if (run_id := known_id(folder)) and self.run(client, run_id) is not None:
            return run_id
        run_id = str(client.create_run(experiment_id, run_name=name).info.run_id)
        (folder / RUN_ID_FILE).write_text(run_id + "\n")
        return run_id

    def run(self, client: MlflowClient, run_id: str) -> Run | None:
        """The run, None if the store has none (any more)."""
        from mlflow.exceptions import MlflowException

        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    # -- links -----------------------------------------------------------------------------

    def runs_page(self, experiment_id: str, sweep: str | None = None, port: int = PORT) -> str:
        """Address of the list of runs beside their charts, of one sweep's runs if it is named.

        Without these words in it MLflow 3 opens its pages for traces of language models.
        """
        page = f"#/experiments/{experiment_id}/runs"
        page += "?workflowType=machine_learning&compareRunsMode=CHART"
        if sweep:
            page += "&searchFilter=" + quote(f"tags.sweep = {json.dumps(sweep)}", safe="")
        base = without_password(self.uri).rstrip("/") if self.remote else f"http://127.0.0.1:{port}"
        return f"{base}/{page}"

    def where(self, experiment_id: str, sweep: str | None = None) -> str:
        """The line that a task ends with."""
        page = self.runs_page(experiment_id, sweep)
        if self.remote:
            return page
        default = self.uri == _sqlite(Path("outputs").resolve())
        store = "" if default else f" MLFLOW_URI={without_password(self.uri)}"
        return f"make ui{store}, then {page}"


def known_id(folder: Path) -> str | None:
    """The MLflow run that a run folder belongs to."""
    path = folder / RUN_ID_FILE
    return path.read_text().strip() if path.is_file() else None


def _sqlite(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


def without_password(text: str) -> str:
    return re.sub(r"://[^/@\s]*@", "://", text)
