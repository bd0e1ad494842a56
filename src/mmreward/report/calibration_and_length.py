"""Two sections that the report of a run and that of a comparison both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmreward.report.table import Table, numbers, texts
from mmreward.report.wording import accuracy, percent

# {name of a run: its numbers}
Models = Mapping[str, Mapping[str, Any]]


def calibration(calibrations: Models, heading: str = "run") -> Iterator[str]:
    """Per model the errors before and after the temperature, and what that was fitted on."""
    rows = []
    for run, row in calibrations.items():
        t = row["temperature"]
        temperature = ["infinite" if t is None else f"{t:.3g}", row["temperature_from"]]
        rows.append([run, *_errors(row), *temperature, *_errors(row["scaled"])])
    errors = ("ECE (by chance)", "Brier", "log loss")
    columns = texts(heading) + numbers(*errors, "temperature", "from", *errors)
    yield from ("### Calibration", Table(columns, rows).markdown())
    yield (
        "sigma(margin) read as the probability that the better answer is better. A coin has Brier "
        "0.250 and log loss 0.693. In brackets, the ECE that a calibrated model would show on so "
        "few pairs. The last three columns are after dividing the margins by the temperature: one "
        "fitted on a validation split or, cross-fitted, on the other four fifths of the groups "
        "(the column then shows that of all)."
    )


def _errors(row: Mapping[str, Any]) -> list[str]:
    chance = f"{percent(row['ece'])} ({percent(row['ece_if_calibrated'])})"
    return [chance, f"{row['brier']:.3f}", f"{row['log_loss']:.3f}"]


def length(lengths: Models, heading: str = "run") -> Iterator[str]:
    """Does the margin of a model follow the length of the answers?"""
    rows = []
    for run, row in lengths.items():
        cells = [run, "", ""]
        if low_high := row["correlation_ci95"]:
            cells[1:] = f"{row['correlation']:+.2f}", f"{low_high[0]:+.2f} to {low_high[1]:+.2f}"
        parts = row["better_is_longer"], row["better_is_shorter"]
        rows.append([*cells, *(f"{accuracy(p)}, n = {p['n']}" if p else "" for p in parts)])
    columns = texts(heading) + numbers(
        "correlation with length", "95 % interval", "where the better is longer",
        "where it is shorter",
    )  # fmt: skip
    yield from ("### Length", Table(columns, rows).markdown())
    unit = next(iter(lengths.values()))["unit"]
    yield (
        f"Spearman's correlation of margin and length difference ({unit}), better answer minus "
        "the other: above 0 the model favours long answers, below 0 short ones."
    )
