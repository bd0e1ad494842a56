"""Copies of what a store keeps of a run, whose own folder is elsewhere.

Both sides can get new results, such as those of an evaluation, and neither may replace the other's.
So every folder notes the run's tag `NEWEST` each time the two are alike: where the tag is newer,
the run has got results of another folder since; a file that is newer is the folder's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmreward.errors import UserError
from mmreward.files import replace_file
from mmreward.tracking.base import DOWNLOADS, RUN_INFO
from mmreward.tracking.store import RUN_ID_FILE
from mmreward.tracking.upload_files import NEVER, NEWEST, newest_file, set_time

if TYPE_CHECKING:
    from mlflow.entities import Run

# A line for each run that the folder was brought to: its id and the tag.
ALIKE = "mlflow_alike"


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
    noted = {**_noted(folder), run_id: newest}
    replace_file(folder / ALIKE, "".join(f"{name} {time}\n" for name, time in noted.items()))


def copied_from(folder: Path) -> str | None:
    """The run that the folder is a copy of, None if it is the folder of a run itself."""
    folder = folder.resolve()
    return folder.name if folder.parent.name == DOWNLOADS else None


def outdated(folder: Path, run: Run) -> bool:
    """Whether the run has got files of another folder since this one was like it."""
    # A folder that was never like it has what it has; the run may still have something newer.
    noted = _noted(folder).get(run.info.run_id) or newest_file(folder)
    return noted < _newest(run)


def has_own_results(folder: Path, run: Run) -> bool:
    """Whether the folder has files that the run lacks."""
    return newest_file(folder) > _noted(folder).get(run.info.run_id, NEVER)


def check(folder: Path, run: Run) -> None:
    """Raises UserError if the folder may not be uploaded: what is in it would replace what another
    folder of the run has brought."""
    run_id = run.info.run_id
    copy = copied_from(folder) == run_id
    if copy and run.info.status == "RUNNING":
        raise UserError(f"{folder} is a copy of a run that goes on; nothing of it is uploaded")
    if outdated(folder, run):
        way_out = (
            f"move away what you want to keep, delete the folder and begin again with run={run_id}"
            if copy
            else f"to replace them all the same, delete {folder / ALIKE}, then touch "
            f"{folder / RUN_INFO} and use task=sync"
        )
        whose = "its folder" if copy else "a copy of it"
        raise UserError(
            f"the run of {folder} has got other results since, from {whose} elsewhere; nothing is "
            f"uploaded: {way_out}"
        )


def _noted(folder: Path) -> dict[str, str]:
    path = folder / ALIKE
    rows = path.read_text().splitlines() if path.is_file() else []
    return {run_id: newest for run_id, _, newest in (row.partition(" ") for row in rows)}


def _newest(run: Run) -> str:
    return str(run.data.tags.get(NEWEST, NEVER))
