"""The numbers that a benchmark's own script reports, and those that others published.

Both are known by the name that stands in records.jsonl, so that any table of that set gets its
numbers, also one that another project wrote. Nothing here knows a benchmark: whoever asks for
numbers hands over what looks one up (mmreward.benchmarks.references does).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmreward.analysis.intervals import (
    Interval,
    accuracy_interval,
    macro_interval,
    macro_mean,
    mean_interval,
)
from mmreward.analysis.paired import macro_difference_interval

if TYPE_CHECKING:
    from mmreward.analysis.pairs import PairTable

Values = NDArray[np.float64]
Labels = NDArray[Any]

# How a script counts equal scores: wrong, one half (or it has no such case: a judge's verdict), or
# shared among the answers that are best.
WRONG, HALF, SHARED = "wrong", "half", "shared"


@dataclass(frozen=True)
class Metric:
    """An official number before it is summed up: the mean of `values`, or of their category means.

    key, name: short and official name; variant: one of the module's VARIANTS
    values:    (n,) what the script gives every pair, prompt or group (`unit`)
    clusters:  (n,) labels of units that are not independent
    categories: (n,) labels; the number is then the mean over categories of their means
    ties:      how equal scores count; half: (n,) the values with ties one half, if that differs
    headline:  belongs in a summary
    share:     values lie in [0, 1]
    """

    key: str
    name: str
    values: Values
    clusters: Labels
    categories: Labels | None = None
    unit: str = "pairs"
    ties: str = HALF
    half: Values | None = None
    variant: str = ""
    headline: bool = False
    share: bool = True

    @property
    def full_key(self) -> str:
        return f"{self.variant}_{self.key}" if self.variant else self.key

    def value(self, values: Values | None = None) -> float:
        shown = self.values if values is None else values
        if self.categories is None:
            return float(shown.mean())
        return macro_mean(shown, self.categories)

    def interval(self) -> Interval | None:
        """95 %; see mmreward.analysis.intervals."""
        if self.categories is None:
            of = accuracy_interval if self.share else mean_interval
            return of(self.values, self.clusters)
        if self.share:
            return macro_interval(self.values, self.categories, self.clusters)
        return macro_difference_interval(self.values, self.categories, self.clusters)


@dataclass(frozen=True)
class Published:
    """A line of a benchmark's table of published numbers; `values` in [0, 1], by metric key."""

    variant: str
    system: str
    values: Mapping[str, float]
    rows: int | None
    differs: str
    note: str
    source: str


@dataclass(frozen=True)
class Reference:
    """What is known of a benchmark besides its data.

    script:    (table, condition or rule) -> the numbers of its own script; None without one
    variants:  {variant: its title}, the official one first
    published: lines of the table
    """

    script: Callable[[PairTable, str], list[Metric]] | None = None
    variants: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    published: Sequence[Published] = ()

    def told(self) -> dict[str, Any]:
        """What a report shows of it, as JSON."""
        return {"variants": dict(self.variants), "published": [asdict(p) for p in self.published]}


# Looks up what is known of the set of a name.
References = Callable[[str], Reference]


def nothing_known(name: str) -> Reference:
    """The references of a project without benchmarks."""
    return Reference()


def official(table: PairTable, reference: Reference) -> dict[str, dict[str, Any]]:
    """{key: name, variant, value, ci95, n, unit, ties, half, headline}, empty for a set that has no
    official numbers. half: the value with ties one half, null where it is that already or there
    is no such thing. controls: that of every condition and rule that was scored on all of the set,
    with ties one half where that exists (rules tie often, and a coin would decide).
    """
    if reference.script is None:
        return {}
    script = reference.script
    controls = {
        column: {metric.full_key: metric.value(metric.half) for metric in script(table, column)}
        for column in map(str, table.margins)
        if column != "intact" and not table.margins[column].isna().any()
    }
    numbers = {}
    for metric in script(table, "intact"):
        interval = metric.interval()
        numbers[metric.full_key] = {
            "name": metric.name,
            "variant": metric.variant,
            "value": metric.value(),
            "ci95": None if interval is None else list(interval),
            "n": len(metric.values),
            "unit": metric.unit,
            "ties": metric.ties,
            "half": None if metric.half is None else metric.value(metric.half),
            "headline": metric.headline,
            "controls": {column: values[metric.full_key] for column, values in controls.items()},
        }
    return numbers


def accuracies(
    table: PairTable,
    column: str,
    labels: Labels,
    names: Mapping[str, str],
    strict: bool,
    overall: str = "Overall",
    **fields: Any,
) -> list[Metric]:
    """Overall, macro and one accuracy per category, the shape that most benchmarks report.

    labels: (n,) category of every pair; names: {category: official name}, in order. The macro
    average is there only if all of them are.
    strict: the script counts equal scores as wrong
    """
    margins = table.margins[column].to_numpy()
    clusters = table.pairs["cluster"].to_numpy()
    half = (np.sign(margins) + 1) / 2
    values = (margins > 0).astype(float) if strict else half
    common = {"ties": WRONG if strict else HALF, **fields}

    def metric(key: str, name: str, mask: NDArray[np.bool_], **more: Any) -> Metric:
        return Metric(
            key, name, values[mask], clusters[mask], half=half[mask] if strict else None,
            **common, **more,
        )  # fmt: skip

    every = np.isin(labels, list(names))
    main = not fields.get("variant")
    found = [metric("overall", overall, np.ones(len(values), dtype=bool), headline=main)]
    if set(names) <= set(labels):
        found.append(
            metric("macro", "Macro average", every, categories=labels[every], headline=main)
        )
    found += [
        metric(key, name, labels == key) for key, name in names.items() if (labels == key).any()
    ]
    return found


def categories_of(table: PairTable) -> Labels:
    """(n,) the category of every pair as a text."""
    return table.pairs["category"].to_numpy(dtype=str)


def source_ids(table: PairTable) -> list[str]:
    """(n,) the id that every pair's row had in the data; "" where it is not known."""
    return [str(table.records[row].get("source_id") or "") for row in table.pairs["row"]]


def base_name(name: str) -> str:
    """What a set was called before `mmreward.scoring.table.set_name` told it from another one."""
    return name.partition("@")[0]
