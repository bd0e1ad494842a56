"""What a comparison of variants found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmreward.report import wording


def headline(name: str, comparison: Mapping[str, Any]) -> str:
    """The finding in one line: digits: 2 of 5 variants are shown to differ from base (3 seeds
    each)."""
    variants = comparison["variants"]
    first, *others = variants
    shown = [other for other in others if differs(variants[other])]
    here = [other for other in others if differs_here(variants[other]) and other not in shown]
    seeds = f" ({seeds_each(variants)})"
    if not others:
        return f"{name}: {first} alone{seeds}"
    if len(others) == 1:
        if here:
            verdict = (
                f"{others[0]} differs from {first} with these seeds, is not shown to in general"
            )
        elif shown:
            verdict = _against(others[0], first, variants)
        else:
            verdict = f"{others[0]} is not shown to differ from {first}"
        return f"{name}: {verdict}{seeds}"
    if not shown:
        verdict = f"none of {len(others)} variants is shown to differ from {first}"
    elif len(shown) == 1:
        verdict = f"of {len(others)} variants only {_against(shown[0], first, variants)}"
    else:
        verdict = f"{len(shown)} of {len(others)} variants are shown to differ from {first}"
    more = f", {len(here)} {'more ' if shown else ''}with these seeds only" if here else ""
    return f"{name}: {verdict}{more}{seeds}"


def differs(row: Mapping[str, Any]) -> bool:
    """Whether a variant is shown to differ from the first: on other pairs and, if seeds can tell,
    with other seeds."""
    if not differs_here(row):
        return False
    over_seeds = row["difference"]["over_seeds_ci95"]
    return over_seeds is None or wording.differs(over_seeds)


def differs_here(row: Mapping[str, Any]) -> bool:
    """Whether other pairs would show the difference too, with these seeds; by Holm."""
    return row["difference"] is not None and row["difference"]["p_holm"] <= 0.05


def remarks(comparison: Mapping[str, Any]) -> list[str]:
    """A sentence for each job that left no run, each run that is no further seed, each p of fewer
    seeds than a variant has, and for code that is not the same in all runs."""
    sentences = [f"left out: {job}" for job in comparison["jobs_left_out"]]
    for values in comparison["benchmarks"].values():
        sentences += [
            f"left out: {run} has the same seed as {kept} and does not count again"
            for row in values["variants"].values()
            for run, kept in row["repeats"].items()
        ]
        sentences += _uneven(values["variants"])
    if len(code := comparison["code"]) > 1:
        states = "; ".join(f"{state}: {', '.join(runs)}" for state, runs in code.items())
        sentences.append(f"not all runs come from the same code: {states}")
    return list(dict.fromkeys(sentences))


def _uneven(variants: Mapping[str, Mapping[str, Any]]) -> list[str]:
    first = next(iter(variants), "")
    return [
        f"p of {name} is the largest of as many seeds as both have: {first} has {most}, "
        f"{name} {seeds}"
        for name, row in variants.items()
        if (seeds := row["seeds"]) != (most := variants[first]["seeds"])
    ]


def seeds_each(variants: Mapping[str, Mapping[str, Any]]) -> str:
    """3 seeds each; 1 to 3 seeds each"""
    least, most = (f(row["seeds"] for row in variants.values()) for f in (min, max))
    if most == 1:
        return "1 seed each"
    return f"{most} seeds each" if least == most else f"{least} to {most} seeds each"


def _against(variant: str, first: str, variants: Mapping[str, Mapping[str, Any]]) -> str:
    better = variants[variant]["difference"]["difference"] > 0
    return f"{variant} is shown to be {'better' if better else 'worse'} than {first}"
