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

from mmreward.config import build
from mmreward.evaluation.comparison import common_sets
from mmreward.evaluation.comparison import compare as compare_runs
from mmreward.evaluation.comparison_report import comparison_tables, write_comparison
from mmreward.evaluation.runs import Run, read_runs
from mmreward.tracking.base import RUN_INFO, RunInfo, Tracking


def compare(cfg: DictConfig) -> None:
    """Compares `runs` and `tables`, the first one being the reference, and writes the report."""
    runs = read_runs(cfg.runs, cfg.tables)
    sets = common_sets(runs)
    comparison = compare_runs(runs, sets)
    folder = Path(HydraConfig.get().runtime.output_dir)
    page = write_comparison(folder, comparison, sets)
    console = Console()
    for table in comparison_tables(comparison):
        console.print(table)
    console.print(f"report: {page}", soft_wrap=True)
    if link := track(cfg, runs, comparison, folder):
        console.print(link, soft_wrap=True)


def track(
    cfg: DictConfig, runs: Sequence[Run], comparison: Mapping[str, Any], folder: Path
) -> str | None:
    """A summary run beside the runs that were compared, where those are tracked; see
    `Tracking.summary`."""
    tracking: Tracking = build(cfg.tracking, "tracking")
    tracked = [run for run in runs if tracking.holds(run.folder)]
    if not tracked:
        return None
    infos = [RunInfo.read(run.folder) for run in tracked if (run.folder / RUN_INFO).is_file()]
    sweeps = {info.tags.get("sweep") for info in infos}
    sweep = sweeps.pop() if len(sweeps) == 1 else None
    tags = {"sweep": sweep} if sweep else {}
    tags["compared"] = ", ".join(run.name for run in runs)
    metrics = {
        f"{name}/{run}/accuracy": row["metrics"]["accuracy"]
        for name, found in comparison["benchmarks"].items()
        for run, row in found["runs"].items()
    }
    left = ("report.md", "report.html", "figures", "comparison.json")
    return tracking.summary(folder, "comparison", metrics, tags, [folder / name for name in left])
