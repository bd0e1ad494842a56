"""An MLflow store: reaching it, opening runs in it, and the links to its pages."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mmreward.files import replace_file
from mmreward.tracking.address import check_address, without_password
from mmreward.tracking.base import ARTIFACTS, RunInfo

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

T = TypeVar("T")

RUN_ID_FILE = "mlflow_run_id"

# Seconds. Above what one request to a server may take with the limits below, for databases, which
# have none of their own.
PATIENCE = 60.0

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # one for each file
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the tasks print the link
    # MLflow's own patience is seven retries of 120 seconds, during which a run would stand still.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


# Said at each start, or what our own warnings say as well.
_LOGGERS = {
    "mlflow.store.db.utils": logging.WARNING,
    "urllib3.connectionpool": logging.ERROR,
}


def set_environment() -> None:
    """How MLflow is to behave, unless the user has said so; it reads this when it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


class Store:
    """root, uri, experiment: as in `MLflowTracking`.

    Raises UserError for a `uri` without a scheme, or of a server with a user in it.
    """

    def __init__(self, root: Path, uri: str | None, experiment: str) -> None:
        if uri is not None:
            check_address(uri)
        set_environment()
        self.root = root.resolve()
        self.uri = uri or sqlite_uri(self.root)
        self.experiment = experiment
        self._connection: tuple[MlflowClient, str] | None = None
        self._answered = 0.0  # when, on the monotonic clock

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

    def load(self) -> None:
        """Imports what `connect` needs, in the thread that calls this: a thread of its own may be
        in the middle of an import when training forks its workers."""
        import_module(f"mlflow.store.tracking.{'rest' if self.remote else 'sqlalchemy'}_store")

    def connect(self) -> tuple[MlflowClient, str]:
        """The client and the experiment's id, asked for until there was an answer; makes what does
        not exist yet."""
        if self._connection is None:
            from mlflow import MlflowClient

            for name, level in _LOGGERS.items():
                logging.getLogger(name).setLevel(level)
            with self._alone():
                client = cast(MlflowClient, _Noting(MlflowClient(self.uri), self._note))
                self._connection = client, self._experiment_id(client)
        return self._connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Jobs of a sweep start together, and MLflow does not create the tables of a database in
        one step: without a lock most of them fail on a new one. A server does that by itself."""
        from filelock import FileLock

        if self.remote:
            yield
            return
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / "mlflow.lock", timeout=PATIENCE):
            yield

    def _experiment_id(self, client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            # MLflow's default for artifacts is the current folder, wherever the store is.
            place = None if self.remote else (self.root / ARTIFACTS).as_uri()
            try:
                return client.create_experiment(self.experiment, artifact_location=place)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another job just did
                    raise
            found = client.get_experiment_by_name(self.experiment)
            assert found is not None
        return str(found.experiment_id)

    # -- patience --------------------------------------------------------------------------

    def _note(self) -> None:
        self._answered = time.monotonic()

    def join(self, thread: threading.Thread) -> None:
        """Waits for a thread that talks to the store as long as it gets answers.

        Raises TimeoutError if it has had none for `PATIENCE` seconds; the thread is left behind.
        """
        self._note()
        while thread.is_alive():
            left = self._answered + PATIENCE - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer for {PATIENCE:g} s")
            thread.join(left)

    def within_patience(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises; see `join`."""
        returned: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                returned.append(work())
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run, name="mlflow", daemon=True)
        thread.start()
        self.join(thread)
        if raised:
            raise raised[0]
        return returned[0]

    # -- runs ------------------------------------------------------------------------------

    def open_run(
        self, client: MlflowClient, experiment_id: str, folder: Path, info: RunInfo
    ) -> str:
        """The id of the folder's run, made if there is none; the folder remembers it.

        A request can reach the store and its answer be lost. So a run of the same folder and
        start is taken for this one, even where the folder knows no id. One of another start is
        an earlier try, of which the folder has kept nothing; it goes to MLflow's trash, so that
        no run of a process that was killed stays RUNNING in the list.
        """
        if known := self.run_of(client, folder):
            if known.info.start_time == info.started:
                return str(known.info.run_id)
            client.delete_run(known.info.run_id)
        path = str(folder.resolve())
        same = client.search_runs([experiment_id], f"attributes.start_time = {info.started}")
        found = [run for run in same if run.data.tags.get("folder") == path]
        if not found:
            tags = {"folder": path}
            found = [client.create_run(experiment_id, info.started, tags, info.name)]
        run_id = str(found[0].info.run_id)
        replace_file(folder / RUN_ID_FILE, "\n".join([*known_ids(folder), run_id, ""]))
        return run_id

    def run_of(self, client: MlflowClient, folder: Path) -> Run | None:
        """The run of this store that the folder belongs to, None if there is none. The run of a
        folder that this one was copied from is none, as long as that is there."""
        found = (self.run(client, run_id) for run_id in reversed(known_ids(folder)))
        return next((run for run in found if run is not None and _belongs(folder, run)), None)

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


def known_ids(folder: Path) -> list[str]:
    """The MLflow runs that a folder belongs to, one of each store it was brought to; none where
    it cannot be read, such as in somebody else's home."""
    try:
        return (folder / RUN_ID_FILE).read_text().split()
    except OSError:
        return []


def _belongs(folder: Path, run: Run) -> bool:
    home = Path(run.data.tags.get("folder", folder))
    return run.info.run_id not in known_ids(home) or home.samefile(folder)


def sqlite_uri(root: Path) -> str:
    """The store that a folder holds where no other is named."""
    return f"sqlite:///{root / 'mlflow.db'}"


class _Noting:
    """A client that tells of its answers, failures among them."""

    def __init__(self, client: MlflowClient, answered: Callable[[], None]) -> None:
        self._client = client
        self._answered = answered

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            finally:
                self._answered()

        return ask
