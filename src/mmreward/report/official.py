"""Official numbers and published ones, in the report of a run and of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmreward.analysis.official import HALF, SHARED, WRONG
from mmreward.analysis.rules import TEXT_RULES
from mmreward.report.table import Table, numbers, texts
from mmreward.report.wording import count, label, percent, share

# {name of a run: its metrics of the set}
Runs = Mapping[str, Mapping[str, Any]]
Numbers = Mapping[str, Any]

TIES = {
    WRONG: "equal scores are wrong",
    HALF: "equal scores count one half",
    SHARED: "equal best scores share the point",
}
PUBLISHED = (
    "In per cent, as published and where published; none was published with an interval, and one "
    "would be about as wide as this run's. Where *differs* says something, the protocol is another "
    "one: read such a number as a neighbour, not as a rival."
)


def official_numbers(runs: Runs, reference: Numbers) -> Iterator[str]:
    """Markdown on the official numbers of one or more runs, and what others published beside them.

    reference: as in metrics.json
    """
    official = next(iter(runs.values()))["official"]
    if not official:
        return
    rules = sorted({TIES[number["ties"]] for number in official.values()})
    yield "### Official metrics"
    yield (
        f"As the benchmark's own script counts: {'; '.join(rules)}. The rules' ties count one half."
    )
    for variant, title in reference["variants"].items():
        keys = [key for key, number in official.items() if number["variant"] == variant]
        if keys:
            yield from _titled(title, _own_table(runs, keys))
    if not reference["published"]:
        return
    yield "### Published numbers, for reference"
    for variant, title in reference["variants"].items():
        lines = [line for line in reference["published"] if line["variant"] == variant]
        if lines:
            yield from _titled(title, _published_table(runs, variant, lines))
    yield PUBLISHED


def _titled(title: str, table: Table) -> Iterator[str]:
    if title:
        yield f"By the {title}:"
    yield table.markdown()


def _own_table(runs: Runs, keys: Sequence[str]) -> Table:
    first, *others = (metrics["official"] for metrics in runs.values())
    # Beside one run there is room for what its ties do.
    ties = not others and any(first[key]["half"] is not None for key in keys)
    rows = []
    for key in keys:
        number = first[key]
        shown = [own.get(key) for own in (first, *others)]
        half = None if number["half"] is None else percent(number["half"])
        rows.append([
            number["name"],
            f"{number['n']:,} {number['unit']}",
            *(share(own["value"], own["ci95"]) if own else None for own in shown),
            *([half] if ties else []),
            _best_rule(number["controls"]),
        ])  # fmt: skip
    heads = list(runs) if others else ["model", *(["with ties ½"] if ties else [])]
    return Table(texts("metric") + numbers("over", *heads, "best rule without a model"), rows)


def _best_rule(controls: Mapping[str, float]) -> str | None:
    known = [name for name in TEXT_RULES if name in controls]
    if not known:
        return None
    best = max(known, key=lambda name: controls[name])
    return f"{percent(controls[best])} ({label(best)})"


def _published_table(runs: Runs, variant: str, lines: Sequence[Numbers]) -> Table:
    first = next(iter(runs.values()))["official"]
    keys = list(dict.fromkeys(key for line in lines for key in line["values"]))
    found = {key: _number(first, variant, key) for key in keys}
    names = [str(n["name"]) if n else key.replace("_", " ") for key, n in found.items()]
    rows: list[list[str | None]] = []
    for run, metrics in runs.items():
        own = [_number(metrics["official"], variant, key) for key in keys]
        values = [f"**{100 * number['value']:.1f}**" if number else None for number in own]
        rows.append([f"**{run}**", *values, _own_protocol(metrics["rows"])])
    n_rows = min(metrics["n_records"] for metrics in runs.values())
    for line in lines:
        known = line["values"]
        values = [f"{100 * known[key]:.1f}" if key in known else None for key in keys]
        rows.append([line["system"], *values, _differs(line, n_rows), line["note"], line["source"]])
    return Table(texts("system") + numbers(*names) + texts("differs", "note", "source"), rows)


def _number(official: Numbers, variant: str, key: str) -> Numbers | None:
    """A number of a variant; what no variant changes is there once, under the official one."""
    return official.get(f"{variant}_{key}" if variant else key) or official.get(key)


def _own_protocol(rows: Numbers) -> str:
    """What of the benchmark a run was not scored on."""
    parts = ["without its images"] if rows.get("images") == "drop" else []
    unusable = sum(kind["n"] for kind in rows.get("unusable", ()))
    if unusable:
        parts.append(f"{count(rows['rows'] - unusable)} of {count(rows['rows'])} rows")
    return "; ".join(parts)


def _differs(line: Numbers, n_rows: int) -> str:
    rows = line["rows"]
    other = f"{rows:,} rows, here {n_rows:,}" if rows is not None and rows != n_rows else ""
    return "; ".join(part for part in (other, line["differs"]) if part)
