"""task=audit: reads a data set before anyone trains on it. Needs no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from mmreward.audit.audit import OtherSet
from mmreward.audit.audit import audit as audit_source
from mmreward.audit.findings import summary, warnings
from mmreward.audit.report import write_audit
from mmreward.benchmarks.base import Benchmark
from mmreward.benchmarks.loading import build_benchmarks, load_set
from mmreward.config import build
from mmreward.data.sources.base import Source
from mmreward.data.transforms import Transform
from mmreward.errors import UserError
from mmreward.report.wording import words


def audit(cfg: DictConfig) -> None:
    """Audits `data.source`, also beside every set of `benchmark`, and writes the report."""
    source: Source = build(cfg.data.source, "data.source")
    source = source.through(Transform(cfg.data.images, cfg.data.prompt_template))
    console = Console()
    with console.status("reading the data"):
        others = {}
        for name, benchmark in build_benchmarks(cfg.benchmark, cfg.data).items():
            called, other = _other(name, benchmark, source)
            others[called] = other
        found = audit_source(source, others, cfg.max_records)
    page = write_audit(Path(HydraConfig.get().runtime.output_dir), found)
    console.print(words(summary(found)), markup=False, soft_wrap=True)
    for warning in warnings(found):
        console.print(f"- {words(warning)}", markup=False, soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True)


def _other(name: str, benchmark: Benchmark, source: Source) -> tuple[str, OtherSet]:
    """(name of the set, its records; those whose images are not there as text)."""
    found = load_set(name, benchmark, source)
    if found.strict:
        raise UserError(
            "benchmark=preference is the test split of the data itself; name another source with "
            "data/source@benchmark.preference.source="
        )
    texts = []
    if found.unusable:
        missing = {row.where for row in found.unusable}
        blind = load_set(name, benchmark, source.through(replace(source.transform, images="drop")))
        texts = [record for record in blind.records if record.where in missing]
    return found.name, OtherSet(found.records, texts, len(found.unusable) - len(texts))
