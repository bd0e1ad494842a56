"""Copies of what a store keeps of a run, whose own folder is elsewhere.

Both sides can get new results, such as those of an evaluation. A copy notes the run's tag `NEWEST`
each time the two are alike: where that differs from the tag, the run has got others since; a file
that is newer is the copy's own. The run's own folder needs no note: where the tag is newer than all
its files, a copy's have been uploaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmreward.errors import UserError
from mmreward.tracking.base import RUN_INFO
from mmreward.tracking.store import RUN_ID_FILE
from mmreward.tracking.upload_files import NEVER, NEWEST, newest_file, set_time

if TYPE_CHECKING:
    from mlflow.entities import Run

ALIKE = "mlflow_copy_of"


def make(folder: Path, run: Run) -> None:
    """Makes a folder that holds the run's files a copy of the run."""
    newest = _newest(run)
    for path in folder.rglob("*"):
        set_time(path, newest)  # what was downloaded is not new
    (folder / RUN_ID_FILE).write_text(f"{run.info.run_id}\n")
    note(folder, run.info.run_id, newest)


def note(folder: Path, run_id: str, newest: str) -> None:
    """Remembers that the folder holds what the run holds.

    newest: the run's tag `NEWEST`
    """
    (folder / ALIKE).write_text(f"{run_id} {newest}\n")


def copied_from(folder: Path) -> str | None:
    """The run that the folder is a copy of, None if it is the folder of a run itself."""
    return _noted(folder)[0] or None


def outdated(folder: Path, run: Run) -> bool:
    """Whether the run has got other files since its copy was alike."""
    return _noted(folder)[1] != _newest(run)


def has_own_results(folder: Path) -> bool:
    """Whether a copy has files that the run lacks."""
    return newest_file(folder) > _noted(folder)[1]


def check(folder: Path, run: Run) -> None:
    """Raises UserError if a folder of the run may not be uploaded: what is old in it would replace
    what is new."""
    if copied_from(folder) != run.info.run_id:
        if newest_file(folder) < _newest(run):
            raise UserError(
                f"{folder} is older than what its run holds, such as the results of a copy that "
                "was evaluated elsewhere; nothing of it is uploaded. To replace what the run "
                f"holds: touch {folder / RUN_INFO}"
            )
        return
    going_on = run.info.status == "RUNNING"
    if going_on or outdated(folder, run):
        raise UserError(
            f"{folder} is a copy of a run that "
            f"{'goes on' if going_on else 'has got other results since'}; nothing of it is "
            "uploaded: move away what you want to keep, delete the folder and begin again with "
            f"run={run.info.run_id}"
        )


def _noted(folder: Path) -> tuple[str, str]:
    path = folder / ALIKE
    run_id, _, newest = path.read_text().strip().partition(" ") if path.is_file() else ("", "", "")
    return run_id, newest


def _newest(run: Run) -> str:
    return str(run.data.tags.get(NEWEST, NEVER))
