"""`tracking=mlflow`: a run folder mirrored as a run of an MLflow store.

Tracking is a record of the work and never a reason to lose it: whatever goes wrong with the store
is a warning that says how to upload later, and training goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from mmreward.config import COMMAND
from mmreward.errors import UserError
from mmreward.ranks import is_rank_zero
from mmreward.tracking import upload
from mmreward.tracking.address import without_password
from mmreward.tracking.base import SUMMARY, RunInfo, Summary
from mmreward.tracking.find import download, is_copy
from mmreward.tracking.links import runs_page, where, where_compared
from mmreward.tracking.store import Store, known_ids, set_environment

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mmreward.tracking.follow import Follower, SystemMetrics

log = logging.getLogger(__name__)

# Prefix of the metrics of a summary: MLflow sorts by it, and this comes after `val`.
SUMMARIES = "variants"


class MLflowTracking:
    """One MLflow run a run.

    root:        folder for the sqlite store, its artifacts and the lock that guards a database
                 while it is opened, and for copies of runs that are found by their id. A server's
                 runs need it for the last alone.
    uri:         null for `sqlite:///<root>/mlflow.db`, else any address MLflow knows. Its plain
                 folder store is none of them: MLflow 3.13 put it into maintenance.
    experiment:  name of the MLflow experiment

    Runs are flat, never nested: MLflow's page shows a nested run as a collapsed row.

    Raises UserError for a `uri` without a scheme, or of a server with a user in it.
    """

    def __init__(self, root: str | Path, uri: str | None, experiment: str) -> None:
        self.store = Store(Path(root), uri, experiment)
        self._node = {
            "_target_": "mmreward.tracking.MLflowTracking",
            "root": str(Path(root).resolve()),
            "uri": uri,
            "experiment": experiment,
        }
        self._started = False
        self._away: Exception | None = None
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
            self.store.load()
            self._system = SystemMetrics(folder)
            failed = partial(self._warn, f"curves wait in {folder} until it answers")
            self._follower = Follower(partial(self._open, folder), folder, failed)
        except Exception as error:  # an MLflow that cannot be imported fails in many ways
            self._warn(f"the run goes on, and its metrics stay in {folder}", error)

    def finish(self, folder: Path) -> str | None:
        if not is_rank_zero() or not (self._started or self.holds(folder)):
            return None
        if self._system is not None:
            self._system.stop()
        try:
            all_sent = False
            if self._follower is not None:
                self._follower.stop(self.store.join)
                all_sent = self._follower.sent_all
            return self._mirror(folder, curves=not all_sent)
        except UserError as error:  # which says what to do
            log.warning("%s: %s", self.store, error)
            return None
        except Exception as error:  # stores fail in many types
            self._warn(_later(folder), error)
            return None
        finally:
            self._system = self._follower = None

    def holds(self, folder: Path) -> bool:
        if not known_ids(folder) or not self.store.exists():
            return False
        try:
            client, _ = self._reach()
            return self.store.within_patience(lambda: self.store.run_of(client, folder)) is not None
        except Exception as error:
            self._away = error
            return True

    def summary(
        self,
        folder: Path,
        name: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> str | None:
        Summary.write(folder, name, metrics, tags, artifacts, self._node)
        try:
            return self._mirror_summary(folder)
        except Exception as error:
            self._warn(_later(folder), error)
            return None

    def sync(self, folder: Path) -> str:
        try:
            if (folder / SUMMARY).is_file():
                return self._mirror_summary(folder)
            return self._mirror(folder, curves=True)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{self.store} did not take all of {folder} ({_in_short(error)}); once it "
                "answers, run this again, or name another store with tracking.uri="
            ) from error

    def find(self, name: str, key: str) -> Path | None:
        return download(self.store, name, key)

    def page(self, port: int) -> str:
        """Address of the run list; a store without a server is served at `port`.

        Raises UserError if the store cannot be reached.
        """
        try:
            return runs_page(self.store, self._reach()[1], port)
        except Exception as error:
            raise UserError(f"{self.store} cannot be reached ({_in_short(error)})") from error

    def _reach(self) -> tuple[MlflowClient, str]:
        """Connects. A store that could not be reached is not asked again, unless a run goes on
        meanwhile: of a sweep's runs each would wait for it."""
        if self._away is not None and not self._started:
            raise self._away
        try:
            return self.store.within_patience(self.store.connect)
        except Exception as error:
            self._away = error
            raise

    def _open(self, folder: Path) -> tuple[MlflowClient, str]:
        """The folder's run, with what is known of it before it has results."""
        client, experiment_id = self.store.connect()
        run_id = self._describe(client, experiment_id, folder, RunInfo.read(folder))
        client.update_run(run_id, status="RUNNING")
        for path in (folder / name for name in upload.AT_START):
            if path.is_file():
                upload.upload_file(client, run_id, path)
        return client, run_id

    def _describe(
        self, client: MlflowClient, experiment_id: str, folder: Path, info: RunInfo
    ) -> str:
        run_id = self.store.open_run(client, experiment_id, folder, info)
        tags = {**info.tags, "folder": str(folder.resolve())}  # where it has been moved to
        upload.describe(client, run_id, replace(info, tags=tags))
        return run_id

    def _mirror(self, folder: Path, curves: bool) -> str:
        """Everything the folder holds, the status last but for the files: those may be large."""
        if is_copy(folder):
            raise UserError(f"{folder} is a copy of what a store keeps; nothing of it is uploaded")
        info = RunInfo.read(folder)
        client, experiment_id = self._reach()

        def record() -> str:
            run_id = self._describe(client, experiment_id, folder, info)
            if curves:
                upload.upload_curves(client, run_id, folder)
            upload.upload_results(client, run_id, folder)
            if info.status != "RUNNING":
                client.set_terminated(run_id, info.status, info.ended)
            return run_id

        run_id = self.store.within_patience(record)
        upload.upload_files(client, run_id, folder, upload.FILES)
        experiment_id = client.get_run(run_id).info.experiment_id
        return where(self.store, experiment_id, info.tags.get("sweep"))

    def _mirror_summary(self, folder: Path) -> str:
        summary = Summary.read(folder)
        info = summary.run_info()
        # One section of charts below those of the runs, instead of a section a variant.
        flat = {f"{SUMMARIES}/{k.replace('/', ' ')}": v for k, v in summary.metrics.items()}
        client, experiment_id = self._reach()

        def record() -> str:
            run_id = self._describe(client, experiment_id, folder, info)
            if set(client.get_run(run_id).data.metrics) - {upload.allowed(name) for name in flat}:
                # Of a comparison of other variants; MLflow deletes no metric, but a run.
                client.delete_run(run_id)
                run_id = self._describe(client, experiment_id, folder, info)
            upload.write_final(client, run_id, flat, summary.ended)
            client.set_terminated(run_id, info.status, info.ended)
            return run_id

        run_id = self.store.within_patience(record)
        upload.upload_files(client, run_id, folder, summary.artifacts)
        sweep = info.tags.get("sweep")
        return where_compared(self.store, client, experiment_id, sweep, summary.sets)

    def _warn(self, consequence: str, reason: object) -> None:
        log.warning("%s: %s (%s)", self.store, consequence, _in_short(reason))


def _later(folder: Path) -> str:
    return f"upload the rest with: {COMMAND} task=sync run={folder}"


def _in_short(reason: object) -> str:
    return without_password(shorten(str(reason), 300))
