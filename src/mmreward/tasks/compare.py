"""task=compare: several runs, or score tables, on the pairs that all of them have.

Nothing here needs a model; it runs on a machine without torch.
"""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from mmreward.evaluation.comparison import common_sets
from mmreward.evaluation.comparison import compare as compare_runs
from mmreward.evaluation.comparison_report import comparison_tables, write_comparison
from mmreward.evaluation.runs import read_runs


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
