"""task=compare: several runs, or score tables, on the pairs that all of them have.

Nothing here needs a model; it runs on a machine without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from mmreward.analysis.comparison import common_sets
from mmreward.analysis.comparison import compare as compare_runs
from mmreward.analysis.findings import remarks
from mmreward.analysis.runs import Run, expand, is_sweep, read_runs
from mmreward.benchmarks.references import reference
from mmreward.config import build
from mmreward.errors import UserError
from mmreward.report import variants
from mmreward.report.comparison import COMPARISON, screen_tables, write_comparison
from mmreward.report.page import FIGURES
from mmreward.report.variants import summary_metrics, write_variants
from mmreward.report.wording import words
from mmreward.tasks.sync import names_a_store, tracking_of
from mmreward.tracking.base import RUN_INFO, UNKNOWN, RunInfo, Tracking
from mmreward.tracking.no_tracking import NoTracking

# Narrower than this the tables would be folded past reading; a file can be as wide.
WIDTH = 110


def compare(cfg: DictConfig) -> None:
    """Compares `runs` and `tables`, the first one being the reference, and writes the report. One
    sweep alone is compared by its variants, as at its end."""
    folders, jobs_left_out = expand(cfg.runs)
    with_sweep = any(is_sweep(Path(run)) for run in cfg.runs)
    runs = read_runs(folders, cfg.tables, jobs_left_out if with_sweep else None)
    one_sweep = len(cfg.runs) == 1 and not cfg.tables
    folder = Path(HydraConfig.get().runtime.output_dir)
    console = screen()
    comparison, files = report(folder, runs, jobs_left_out, console, by_variant=one_sweep)
    trained = [run.folder for run in runs if run.variant is not None]
    tracking: Tracking = (
        tracking_of(cfg, trained[0]) if trained else build(cfg.tracking, "tracking")
    )
    if not names_a_store() and not any(tracking.holds(run.folder) for run in runs):
        tracking = NoTracking()  # the folder keeps what task=sync can upload
    track(tracking, folder, runs, comparison, files, console)


def screen() -> Console:
    """Standard output, for tables that may be as wide as they are in a file."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def report(
    folder: Path,
    runs: Sequence[Run],
    jobs_left_out: Sequence[str],
    console: Console,
    by_variant: bool,
) -> tuple[dict[str, Any], list[Path]]:
    """Writes the comparison into `folder` and prints its tables; returns the content of
    comparison.json and what was written.

    jobs_left_out: a sentence for each job of a sweep that left no run
    by_variant:    print a row per variant instead of one per run, and write comparison.md and .png
    """
    with console.status("comparing the runs"):
        sets = common_sets(runs)
        comparison = compare_runs(runs, sets, jobs_left_out, _code(runs), reference)
        page = write_comparison(folder, comparison, sets)
        files = [folder / COMPARISON, page, page.with_suffix(".md"), folder / FIGURES]
        figure = ""
        if by_variant:
            written = write_variants(folder, comparison, page)
            files += written
            figure = f" (figure: {written[-1]})"
    for table in (variants.screen_tables if by_variant else screen_tables)(comparison):
        console.print(table.rich())
    for remark in remarks(comparison):
        console.print(words(remark), soft_wrap=True)
    console.print(f"report: {page}{figure}", soft_wrap=True)
    return comparison, files


def track(
    tracking: Tracking,
    folder: Path,
    runs: Sequence[Run],
    comparison: Mapping[str, Any],
    files: Sequence[Path],
    console: Console,
) -> None:
    """Logs the comparison as a run of its own, beside the runs of a sweep if all are of that one;
    see `Tracking.summary`."""
    found = _infos(runs)
    sweeps = {info.tags.get("sweep") for info in found.values() if info}
    for run in (run for run, info in found.items() if info is None):
        console.print(f"{RUN_INFO} of {run} cannot be read: not known of which sweep it is")
    sweep = sweeps.pop() if len(sweeps) == 1 else None
    tags = {"task": "compare", "compared": ", ".join(run.name for run in runs)}
    name = "comparison"
    if sweep:
        tags["sweep"] = sweep
        name = f"comparison {sweep}"
    link = tracking.summary(folder, name, summary_metrics(comparison), tags, files)
    if link:
        console.print(link, soft_wrap=True)


def _infos(runs: Sequence[Run]) -> dict[str, RunInfo | None]:
    """What each run says of itself; None where that cannot be read, though its numbers could."""
    found: dict[str, RunInfo | None] = {}
    for run in runs:
        if (run.folder / RUN_INFO).is_file():
            try:
                found[run.name] = RunInfo.read(run.folder)
            except UserError:
                found[run.name] = None
    return found


def _code(runs: Sequence[Run]) -> dict[str, list[str]]:
    """{state of the code: the runs that were trained with it}, of those that say so."""
    found: dict[str, list[str]] = {}
    for run, info in _infos(runs).items():
        tags = info.tags if info else {}
        if tags.get("commit", UNKNOWN) != UNKNOWN:
            states = [tags[tag] for tag in ("commit", "resumed_commit") if tag in tags]
            found.setdefault(" then ".join(states), []).append(run)
    return found
