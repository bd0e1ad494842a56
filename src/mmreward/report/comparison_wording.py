"""What a comparison found, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmreward.analysis.rules import TEXT_RULES
from mmreward.report.wording import (
    ORDER_TELLS,
    RULES_DO_BETTER,
    differs,
    label,
    percent,
    points,
    points_span,
    span,
    warnings,
)

# Runs that get a sentence of their own; the tables hold all.
TOLD = 8
TOLD_ONCE = (RULES_DO_BETTER, ORDER_TELLS)


def findings(comparison: Mapping[str, Any]) -> list[str]:
    """Which pairs were compared, what each run gained on the first, what needs no model."""
    first, *others = comparison["runs"]
    sentences = [_pairs(comparison)]
    for run in others[:TOLD]:
        sentences.append(_difference(first, run, comparison["runs"][run]["difference"]))
    if len(others) > TOLD:
        sentences.append(f"The table has the other {len(others) - TOLD} runs.")
    sentences.append(_rule(comparison))
    metrics = [row["metrics"] for row in comparison["runs"].values()]
    if metrics[0]["n_with_images"] and not any("image_gain" in m for m in metrics):
        sentences.append(
            "What the images contribute was not measured: no run has scores with the image greyed "
            "out."
        )
    order = rules(comparison)["first"]
    if differs([bound - 0.5 for bound in order["accuracy_ci95"]]):
        sentences.append(
            f"The order gives labels away: the answer that the data lists first is the better one "
            f"in {percent(order['accuracy'])} of the pairs. Whatever sees the order can use that."
        )
    return sentences


def run_warnings(comparison: Mapping[str, Any]) -> dict[str, list[str]]:
    """What forbids to read a run's accuracy as it stands, by run; runs without any left out.

    `findings` has already told which runs a rule beats, and of the answers' order.
    """
    found = {}
    for run, row in comparison["runs"].items():
        texts = [text for text in warnings(row["metrics"]) if not text.startswith(TOLD_ONCE)]
        if texts:
            found[run] = texts
    return found


def rules(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Accuracy of the rules that need no model on the common pairs; the same for every run."""
    controls = next(iter(comparison["runs"].values()))["metrics"]["controls"]
    return {name: controls[name] for name in (*TEXT_RULES, "first")}


def p_value(p: float) -> str:
    """0.5263 -> '.526'; never '.000'"""
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def p_text(p: float) -> str:
    """0.5263 -> 'p = .526'"""
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"


def left_out(comparison: Mapping[str, Any]) -> str:
    """Pairs that only some runs have, and runs that have none; empty if there are neither."""
    left = [f"{n:,} of {run}" for run, n in comparison["left_out"].items() if n]
    texts = []
    if left:
        texts.append(f"Pairs left out because another run lacks them: {', '.join(left)}.")
    if comparison["missing"]:
        texts.append(f"Not scored on this set: {', '.join(comparison['missing'])}.")
    return " ".join(texts)


def _pairs(comparison: Mapping[str, Any]) -> str:
    count = len(comparison["runs"])
    who = "Both runs" if count == 2 else f"All {count} runs"
    text = f"{who} were scored on {comparison['n']:,} pairs"
    return f"{text}. {left_out(comparison)}".strip()


def _difference(first: str, run: str, difference: Mapping[str, Any]) -> str:
    half = difference["half"]
    if half["p"] <= 0.05:
        verdict = f"{run} is {'better' if half['difference'] > 0 else 'worse'}"
        if half["p_holm"] > 0.05:
            verdict += ", but not after Holm's correction for the number of runs"
    else:
        verdict = "not distinguishable"
        if half["pairs_needed"]:
            verdict += f"; a difference of this size takes about {half['pairs_needed']:,} pairs"
    return (
        f"{run} minus {first}: {points(half['difference'])} points (95 % interval "
        f"{points_span(half['ci95'])}; {p_text(half['p'])}, by Holm {p_value(half['p_holm'])}). "
        f"{run} alone is right in {difference['only_this']} pairs, {first} alone in "
        f"{difference['only_first']}: {verdict}."
    )


def _rule(comparison: Mapping[str, Any]) -> str:
    runs, known = comparison["runs"], rules(comparison)
    rule = max(TEXT_RULES, key=lambda name: known[name]["accuracy"])
    control = known[rule]
    beaten = [run for run, row in runs.items() if row["metrics"]["accuracy"] <= control["accuracy"]]
    where = "below every run"
    if len(beaten) == len(runs):
        where = "as good as or better than every run"
    elif beaten:
        where = f"as good as or better than {', '.join(beaten)}"
    return (
        f"The best of the rules that need no model, {label(rule)!r}, is right in "
        f"{percent(control['accuracy'])} [{span(control['accuracy_ci95'])}] of these pairs: "
        f"{where}."
    )
