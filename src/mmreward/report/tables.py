"""Tables that the report of a run and that of a comparison both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmreward.report.markdown import markdown_table
from mmreward.report.wording import percent, span


def calibration_table(
    calibrations: Mapping[str, Mapping[str, Any]], heading: str = "run"
) -> Iterator[str]:
    """One row per model: errors before and after the temperature, and what it was fitted on."""
    rows = []
    for run, row in calibrations.items():
        scaled, t = row["scaled"], row["temperature"]
        rows.append((
            run,
            f"{percent(row['ece'])} ({percent(row['ece_if_calibrated'])})",
            f"{row['brier']:.3f}",
            f"{row['log_loss']:.3f}",
            "infinite" if t is None else f"{t:.3g}",
            row["temperature_from"],
            f"{percent(scaled['ece'])} ({percent(scaled['ece_if_calibrated'])})",
            f"{scaled['brier']:.3f}",
            f"{scaled['log_loss']:.3f}",
        ))  # fmt: skip
    yield from markdown_table(
        (heading, "ECE (by chance)", "Brier", "log loss", "temperature", "from", "ECE (by chance)",
         "Brier", "log loss"), rows
    )  # fmt: skip
    yield (
        "sigma(margin) read as the probability that the better answer is better. A coin has Brier "
        "0.250 and log loss 0.693. In brackets, the ECE that a calibrated model would show on so "
        "few pairs. The last three columns are after dividing the margins by the temperature: one "
        "fitted on a validation split or, cross-fitted, on the other four fifths of the groups "
        "(the column then shows that of all)."
    )
    yield ""


def length_table(lengths: Mapping[str, Mapping[str, Any]], heading: str = "run") -> Iterator[str]:
    """One row per model: does its margin follow the length of the answers?"""
    rows = []
    for run, row in lengths.items():
        low_high = row["correlation_ci95"]
        correlation = "" if low_high is None else f"{row['correlation']:+.2f}"
        interval = "" if low_high is None else f"{low_high[0]:+.2f} to {low_high[1]:+.2f}"
        parts = [row["better_is_longer"], row["better_is_shorter"]]
        cells = [
            f"{percent(p['accuracy'])} [{span(p['accuracy_ci95'])}], n = {p['n']}" if p else ""
            for p in parts
        ]
        rows.append((run, correlation, interval, *cells))
    yield from markdown_table(
        (heading, "correlation with length", "95 % interval", "where the better is longer",
         "where it is shorter"), rows
    )  # fmt: skip
    unit = next(iter(lengths.values()))["unit"]
    yield (
        f"Spearman's correlation of margin and length difference ({unit}), better answer minus "
        "the other: above 0 the model favours long answers, below 0 short ones."
    )
    yield ""
