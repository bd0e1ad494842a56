"""The end of a training sweep: its finished runs are compared.

A callback and no part of a launcher: Hydra calls it once, whatever ran the jobs, and sweepers that
launch in batches are compared as a whole.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from mmreward.config import build, load_run_config
from mmreward.errors import UserError

# Narrower than this the tables would be folded past reading; a file can be as wide.
WIDTH = 110


class CompareSweep(Callback):
    """Compares the runs of a sweep when the last one is done.

    Writes comparison.json, .md and .png and report.md and .html into the sweep folder, logs them
    as one more run in the tracker, and prints the table. Whatever fails here is said and changes
    nothing about the sweep.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(str(config.hydra.sweep.dir))
        console = Console(highlight=False, markup=False)
        if not console.is_terminal:
            console.width = WIDTH
        try:
            compare_sweep(folder, console)
        except UserError as error:
            console.print(f"no comparison: {error}", soft_wrap=True)
        except Exception:
            console.print(traceback.format_exc(), soft_wrap=True)
            console.print(
                f"The comparison failed, the runs did not; once this is mended, python run.py "
                f"task=compare runs=[{folder}] makes it.",
                soft_wrap=True,
            )


def compare_sweep(folder: Path, console: Console) -> None:
    """See `CompareSweep`. Raises UserError if there is nothing to compare."""
    from mmreward.evaluation.comparison import common_sets, compare
    from mmreward.evaluation.comparison_report import COMPARISON, write_comparison
    from mmreward.evaluation.runs import read_runs
    from mmreward.evaluation.variants_report import (
        summary_metrics,
        variants_tables,
        write_variants,
    )

    runs, left_out = finished_runs(folder)
    if len(runs) < 2:
        raise UserError(f"{len(runs)} of the sweep's jobs left a run behind, which takes two")
    with console.status("comparing the runs"):
        read = read_runs(runs)
        sets = common_sets(read)
        comparison = compare(read, sets) | {"left_out": left_out}
        page = write_comparison(folder, comparison, sets)
        written = write_variants(folder, comparison, page, left_out)
    for table in variants_tables(comparison):
        console.print(table)
    for sentence in left_out:
        console.print(f"left out: {sentence}", soft_wrap=True)
    console.print(f"report: {page} (figure: {written[-1]})", soft_wrap=True)

    tracking = build(load_run_config(runs[0])[1].tracking, "tracking")
    name = folder.resolve().name
    artifacts = [folder / COMPARISON, *written, page, page.with_suffix(".md"), folder / "figures"]
    tags = {"sweep": name, "task": "compare"}
    metrics = summary_metrics(comparison)
    link = tracking.summary(folder, f"comparison {name}", metrics, tags, artifacts)
    if link:
        console.print(link, soft_wrap=True)


def finished_runs(folder: Path) -> tuple[list[Path], list[str]]:
    """The run folders in the order of the jobs, and a sentence for each job that has none.

    Launchers other than `process` keep no list of jobs; then it is all the runs there are.
    """
    listed = folder / "sweep.json"
    if not listed.is_file():
        found = [path.parent for path in folder.glob("*/metrics.json")]
        return sorted(found, key=lambda path: (len(path.name), path.name)), []
    jobs: Sequence[Mapping[str, Any]] = json.loads(listed.read_text(encoding="utf-8"))["jobs"]
    done = [job for job in jobs if job["status"] in ("done", "done before")]
    left_out = [
        f"job {job['job']} ({' '.join(job['overrides'])}): {job['reason'] or job['status']}; "
        f"see {job['log']}"
        for job in jobs
        if job not in done
    ]
    # A sweeper may have asked for the same job twice.
    return list(dict.fromkeys(Path(job["folder"]) for job in done)), left_out
