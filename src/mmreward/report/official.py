"""Official numbers and published ones as Markdown, for the report of a run and of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmreward.analysis.official import HALF, SHARED, WRONG, Published, reference
from mmreward.analysis.rules import TEXT_RULES
from mmreward.report.markdown import markdown_table
from mmreward.report.wording import label, percent, span

Runs = Mapping[str, Mapping[str, Any]]

TIES = {
    WRONG: "equal scores are wrong",
    HALF: "equal scores count one half",
    SHARED: "equal best scores share the point",
}


def official_lines(benchmark: str, runs: Runs) -> Iterator[str]:
    """The official numbers of one or more runs, and what others published beside them.

    benchmark: name of the set; runs: {name of a run: its metrics of the set}
    """
    numbers = next(iter(runs.values()))["official"]
    if not numbers:
        return
    rules = sorted({TIES[number["ties"]] for number in numbers.values()})
    yield from ("### Official metrics", "")
    yield (
        f"As the benchmark's own script counts: {'; '.join(rules)}. The rules' ties count one half."
    )
    yield ""
    variants = reference(benchmark).variants
    for variant, title in variants.items():
        keys = [key for key, number in numbers.items() if number["variant"] == variant]
        if keys:
            yield from _numbers(runs, keys, title)
    yield from _published(benchmark, runs)


def _numbers(runs: Runs, keys: list[str], title: str) -> Iterator[str]:
    first, *others = (metrics["official"] for metrics in runs.values())
    heads = ["model"] if not others else list(runs)
    # Beside one run there is room for what its ties do.
    ties = not others and any(first[key]["half"] is not None for key in keys)
    rows = []
    for key in keys:
        number = first[key]
        cells = [number["name"], f"{number['n']:,} {number['unit']}"]
        cells += [_shown(own.get(key)) for own in (first, *others)]
        if ties:
            cells.append("" if number["half"] is None else percent(number["half"]))
        rows.append([*cells, _best_rule(number["controls"])])
    if title:
        yield from (f"By the {title}:", "")
    extra = ["with ties ½"] if ties else []
    yield from markdown_table(("metric", "over", *heads, *extra, "best rule without a model"), rows)


def _shown(number: Mapping[str, Any] | None) -> str:
    return f"{percent(number['value'])} [{span(number['ci95'])}]" if number else ""


def _best_rule(controls: Mapping[str, float]) -> str:
    known = [name for name in TEXT_RULES if name in controls]
    if not known:
        return ""
    best = max(known, key=lambda name: controls[name])
    return f"{percent(controls[best])} ({label(best)})"


def _published(benchmark: str, runs: Runs) -> Iterator[str]:
    found = reference(benchmark)
    if not found.published:
        return
    yield from ("### Published numbers, for reference", "")
    for variant, title in found.variants.items():
        lines = [line for line in found.published if line.variant == variant]
        if lines:
            yield from _published_table(runs, variant, title, lines)
    yield (
        "In per cent, as published and where published; none was published with an interval, and "
        "one would be about as wide as this run's. Where *differs* says something, the protocol is "
        "another one: read such a number as a neighbour, not as a rival."
    )
    yield ""


def _published_table(runs: Runs, variant: str, title: str, lines: list[Published]) -> Iterator[str]:
    numbers = next(iter(runs.values()))["official"]
    keys = list(dict.fromkeys(key for line in lines for key in line.values))
    names = {key: _named(numbers, variant, key) for key in keys}
    own = [
        (
            f"**{run}**",
            *(_own(metrics["official"], variant, key) for key in keys),
            _own_protocol(metrics["rows"]),
            "",
            "",
        )
        for run, metrics in runs.items()
    ]
    n_rows = min(metrics["n_records"] for metrics in runs.values())
    others = [
        (
            line.system,
            *(f"{100 * line.values[key]:.1f}" if key in line.values else "" for key in keys),
            _differs(line, n_rows),
            line.note,
            line.source,
        )
        for line in lines
    ]
    if title:
        yield from (f"By the {title}:", "")
    headings = ("system", *names.values(), "differs", "note", "source")
    yield from markdown_table(headings, [*own, *others], right=range(1, 1 + len(keys)))


def _number(numbers: Mapping[str, Any], variant: str, key: str) -> Mapping[str, Any] | None:
    """A number of a variant; what no variant changes is there once, under the official one."""
    return numbers.get(f"{variant}_{key}" if variant else key) or numbers.get(key)


def _named(numbers: Mapping[str, Any], variant: str, key: str) -> str:
    number = _number(numbers, variant, key)
    return str(number["name"]) if number else key.replace("_", " ")


def _own(numbers: Mapping[str, Any], variant: str, key: str) -> str:
    number = _number(numbers, variant, key)
    return f"**{100 * number['value']:.1f}**" if number else ""


def _own_protocol(rows: Mapping[str, Any]) -> str:
    """What of the benchmark a run was not scored on."""
    parts = ["without its images"] if rows.get("images") == "drop" else []
    unusable = sum(kind["n"] for kind in rows.get("unusable", ()))
    if unusable:
        parts.append(f"{rows['rows'] - unusable:,} of {rows['rows']:,} rows")
    return "; ".join(parts)


def _differs(line: Published, n_rows: int) -> str:
    parts = [line.differs] if line.differs else []
    if line.rows is not None and line.rows != n_rows:
        parts.insert(0, f"{line.rows:,} rows, here {n_rows:,}")
    return "; ".join(parts)
