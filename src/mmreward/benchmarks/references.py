"""What is known of every benchmark here besides its data, by name.

A benchmark's module may define

    official(table: PairTable, column: str) -> list[Metric]

a function of the score table alone; `column` is a condition or a rule. Published numbers stand
beside the module in <name>.csv, in per cent:

    variant         which of the module's VARIANTS; empty for the official one
    system          what was scored
    <metric keys>   as in the metrics; empty where not published
    rows            how many rows that system was scored on, where known
    differs         what else its protocol does differently
    note            anything else to know
    source          where the numbers are from
"""

from __future__ import annotations

import csv
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mmreward import benchmarks
from mmreward.analysis.official import Published, Reference, base_name


@cache
def reference(name: str) -> Reference:
    """Script, variants and published numbers of a benchmark; empty for any other set.

    The name may come from anybody's table: it is looked up among the files that are here, never
    imported as it stands.
    """
    name = base_name(name)
    if name not in {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}:
        return Reference()
    module = importlib.import_module(f"{benchmarks.__name__}.{name}")
    path = Path(str(module.__file__)).with_suffix(".csv")
    lines = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            lines = [_published(row) for row in csv.DictReader(file)]
    script = getattr(module, "official", None)
    return Reference(script, getattr(module, "VARIANTS", {"": ""}), lines)


def _published(row: Mapping[str, str]) -> Published:
    known = ("variant", "system", "rows", "differs", "note", "source")
    return Published(
        variant=row["variant"],
        system=row["system"],
        values={k: float(v) / 100 for k, v in row.items() if k not in known and v},
        rows=int(row["rows"]) if row["rows"] else None,
        differs=row["differs"],
        note=row["note"],
        source=row["source"],
    )
