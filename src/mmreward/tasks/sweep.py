"""The end of a training sweep: its finished runs are compared.

A callback and no part of a launcher: Hydra calls it once, whatever ran the jobs, and sweepers that
launch in batches are compared as a whole.
"""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from mmreward.config import COMMAND, build, load_run_config
from mmreward.errors import UserError


class CompareSweep(Callback):
    """Compares the runs of a sweep when the last one is done.

    Writes comparison.json, .md and .png and report.md and .html into the sweep folder, logs them
    as one more run in the tracker, and prints the table. Whatever fails here is said and changes
    nothing about the sweep.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from mmreward.tasks.compare import screen

        folder = Path(str(config.hydra.sweep.dir))
        console = screen()
        try:
            compare_sweep(folder, console)
        except UserError as error:
            console.print(f"no comparison: {error}", soft_wrap=True)
        except Exception:
            console.print(traceback.format_exc(), soft_wrap=True)
            console.print(
                f"The comparison failed, the runs did not; once this is mended, {COMMAND} "
                f"task=compare runs=[{folder}] makes it.",
                soft_wrap=True,
            )


def compare_sweep(folder: Path, console: Console) -> None:
    """See `CompareSweep`. Raises UserError if there is nothing to compare.

    What an earlier comparison left in the folder goes first: it is about other runs, and must not
    be taken for that of these, whatever becomes of theirs.
    """
    from mmreward.analysis.runs import read_runs, runs_of_sweep
    from mmreward.tasks.compare import report, track

    folders, left_out = runs_of_sweep(folder)
    forget_comparison(folder)
    if len(folders) < 2:
        raise UserError(f"{len(folders)} of the sweep's jobs left a run behind, which takes two")
    runs = read_runs(folders, left_out=left_out)
    comparison, files = report(folder, runs, left_out, console, by_variant=True)
    tracking = build(load_run_config(runs[0].folder)[1].tracking, "tracking")
    track(tracking, folder, runs, comparison, files, console)


def forget_comparison(folder: Path) -> None:
    """Removes what `report` and a tracker wrote into the folder, if they did. What the tracker's
    store has of it stays until there is another one."""
    from mmreward.report.comparison import COMPARISON
    from mmreward.report.page import FIGURES, REPORT
    from mmreward.report.variants import FIGURE, MARKDOWN
    from mmreward.tracking.base import SUMMARY

    if not (folder / COMPARISON).is_file():
        return  # then a report.md here is somebody else's
    page = Path(REPORT).with_suffix(".html")
    for name in (COMPARISON, MARKDOWN, FIGURE, REPORT, page, SUMMARY):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / FIGURES, ignore_errors=True)
