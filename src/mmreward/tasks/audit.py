"""task=audit: reads a data set before anyone trains on it. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from mmreward.config import build
from mmreward.data.preparation import Prepared
from mmreward.evaluation.audit import audit as audit_source
from mmreward.evaluation.audit import one_line
from mmreward.evaluation.audit_report import write_audit
from mmreward.evaluation.audit_wording import warnings


def audit(cfg: DictConfig) -> None:
    """Audits `data.source`, beside `against` if it is given, and writes the report."""
    source = Prepared(
        build(cfg.data.source, "data.source"), cfg.data.images, cfg.data.prompt_template
    )
    other = build(cfg.against, "against")
    console = Console()
    with console.status("reading the data"):
        found = audit_source(source, {other.name: other} if other else {}, cfg.max_records)
    page = write_audit(Path(HydraConfig.get().runtime.output_dir), found)
    console.print(one_line(found), markup=False, soft_wrap=True)
    for warning in warnings(found):
        console.print(f"- {warning}", markup=False, soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True)
