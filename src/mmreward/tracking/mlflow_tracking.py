"""`tracking=mlflow`: a run folder mirrored as a run of an MLflow store.

Tracking is a record of the work and never a reason to lose it: whatever goes wrong with the store
is a warning that says how to upload later, and training goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from mmreward.errors import UserError
from mmreward.ranks import is_rank_zero
from mmreward.tracking import upload
from mmreward.tracking.base import RunInfo
from mmreward.tracking.download import download
from mmreward.tracking.store import Store, known_id, set_environment, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mmreward.tracking.follow import Follower, SystemMetrics

log = logging.getLogger(__name__)

# Prefix of the metrics of a summary: MLflow sorts by it, and this comes after `val`.
SUMMARIES = "variants"


class MLflowTracking:
    """One MLflow run a run.

    root:        folder for the sqlite store and the artifacts, both used without a server only,
                 and for copies of runs that are found by their id
    uri:         null for `sqlite:///<root>/mlflow.db`, else any address MLflow knows. Its plain
                 folder store is none of them: MLflow 3.13 put it into maintenance.
    experiment:  name of the MLflow experiment

    Runs are flat, never nested: MLflow's page shows a nested run as a collapsed row.

    Raises UserError for a `uri` without a scheme.
    """

    def __init__(self, root: str | Path, uri: str | None, experiment: str) -> None:
        self.store = Store(Path(root), uri, experiment)
        self._started = False
        self._follower: Follower | None = None
        self._system: SystemMetrics | None = None

    @staticmethod
    def preload_imports() -> None:
        """Imports what a run uses, for processes that are forked from this one."""
        set_environment()
        import mlflow.store.tracking.sqlalchemy_store
        import mlflow.system_metrics.metrics.cpu_monitor
        import mlflow.tracking.client  # noqa: F401

    def start(self, folder: Path) -> None:
        if not is_rank_zero():
            return
        from mmreward.tracking.follow import Follower, SystemMetrics

        self._started = True
        try:
            self._system = SystemMetrics(folder)
            client, run_id = self._describe(folder)
            client.update_run(run_id, status="RUNNING")
            failed = partial(self._warn, f"curves wait in {folder} until it answers again")
            self._follower = Follower(client, run_id, folder, failed)
        except Exception as error:  # stores fail in many types
            self._warn(f"the run goes on, and its metrics stay in {folder}", error)

    def finish(self, folder: Path) -> str | None:
        if not is_rank_zero() or not (self._started or self.holds(folder)):
            return None
        if self._system is not None:
            self._system.stop()
        all_sent = False
        if self._follower is not None:
            self._follower.stop()
            all_sent = self._follower.sent_all
        self._system = self._follower = None
        try:
            return self._mirror(folder, curves=not all_sent)
        except Exception as error:
            later = f"upload the rest with: python run.py task=sync run={folder}"
            self._warn(later, error)
        return None

    def holds(self, folder: Path) -> bool:
        run_id = known_id(folder)
        if run_id is None or not self.store.exists():
            return False
        try:
            return self.store.run(self.store.connect()[0], run_id) is not None
        except Exception as error:
            self._warn(f"what {folder} has of it is not known", error)
            return False

    def summary(
        self,
        folder: Path,
        name: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> str | None:
        try:
            client, experiment_id = self.store.connect()
            run_id = self.store.open_summary(client, experiment_id, folder, name)
            # One section of charts below those of the runs, instead of a section a variant.
            flat = {f"{SUMMARIES}/{k.replace('/', ' ')}": v for k, v in metrics.items()}
            upload.write(client, run_id, upload.measured_now(flat))
            upload.write_tags(client, run_id, tags)
            upload.upload_files(client, run_id, artifacts)
            client.set_terminated(run_id, "FINISHED")
        except Exception as error:
            self._warn(f"{name} is not (all) in the store", error)
            return None
        return self.store.where(experiment_id, tags.get("sweep"))

    def sync(self, folder: Path) -> str:
        RunInfo.read(folder)  # its own sentence, if it is none
        try:
            return self._mirror(folder, curves=True)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{self.store} did not take all of {folder} ({_in_short(error)}); once it "
                "answers, run this again, or name another store with tracking.uri="
            ) from error

    def find(self, run_id: str, key: str) -> Path:
        return download(self.store, run_id, key)

    def page(self, port: int) -> str:
        """Address of the run list; a store without a server is served at `port`.

        Raises UserError if the store cannot be reached.
        """
        try:
            return self.store.runs_page(self.store.connect()[1], port=port)
        except Exception as error:
            raise UserError(f"{self.store} cannot be reached ({_in_short(error)})") from error

    def _describe(self, folder: Path) -> tuple[MlflowClient, str]:
        """The folder's run, with what is known of it before it has results."""
        info = RunInfo.read(folder)
        client, experiment_id = self.store.connect()
        run_id = self.store.open_run(client, experiment_id, folder, info)
        upload.describe(client, run_id, info)
        upload.upload_files(client, run_id, [folder / name for name in upload.AT_START])
        return client, run_id

    def _mirror(self, folder: Path, curves: bool) -> str:
        """Everything the folder holds, the status last but for the files: those may be large."""
        info = RunInfo.read(folder)
        client, run_id = self._describe(folder)
        if curves:
            upload.upload_curves(client, run_id, folder)
        upload.upload_results(client, run_id, folder)
        if info.status != "RUNNING":
            client.set_terminated(run_id, info.status, info.ended)
        upload.upload_files(client, run_id, [folder / name for name in upload.AT_END])
        return self.store.where(client.get_run(run_id).info.experiment_id, info.tags.get("sweep"))

    def _warn(self, consequence: str, reason: object) -> None:
        log.warning("%s: %s (%s)", self.store, consequence, _in_short(reason))


def _in_short(reason: object) -> str:
    return without_password(shorten(str(reason), 300))
