"""Numbers in words: the same names and sentences on screen, in figures and in reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmreward.analysis.pairs import BLIND, NORMALISED
from mmreward.analysis.rules import TEXT_RULES

LABELS = {
    "intact": "model",
    "blind_image": "image greyed out",
    "swapped_image": "image of another record",
    "text_only": "without its image",
    "normalised": "white space collapsed",
    "untrained": "untrained model",
    "longer": "longer answer wins",
    "shorter": "shorter answer wins",
    "newlines": "more line breaks win",
    "random": "random",
    "first": "first answer wins",
}

INTERVALS = {
    "wilson": "Wilson; the pairs are independent",
    "clustered": "clustered by group, because the pairs of a group are not independent",
}

# How two of the warnings begin; a comparison tells both once for all its runs.
RULES_DO_BETTER = "What needs no model does as well or better"
ORDER_TELLS = "The data lists the better answer first"

# Groups below which intervals that treat groups as the units are known to be too narrow.
FEW_GROUPS = 20


def label(name: str) -> str:
    return LABELS.get(name, name)


def quantity(value: float | str | None) -> str:
    """1105793 -> '1,105,793', 734.62 -> '734.6', None -> ''"""
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else value or ""


def percent(share: float) -> str:
    """0.9632 -> '96.3 %'"""
    return f"{100 * share:.1f} %"


def span(interval: Sequence[float] | None) -> str:
    """[0.9412, 0.98] -> '94.1 to 98.0 %'"""
    if interval is None:
        return "unknown"
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def points(difference: float) -> str:
    """Percentage points with their sign: 0.462 -> '+46.2'"""
    return f"{100 * difference:+.1f}"


def points_span(interval: Sequence[float] | None) -> str:
    return "unknown" if interval is None else f"{points(interval[0])} to {points(interval[1])}"


def above_zero(interval: Sequence[float] | None) -> bool:
    """Whether an interval shows that a difference is positive."""
    return interval is not None and interval[0] > 0


def differs(interval: Sequence[float] | None) -> bool:
    """Whether an interval shows a difference in either direction."""
    return interval is not None and not interval[0] <= 0 <= interval[1]


def findings(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences on one set: the model, by the benchmark's own script too if it has one, its
    image, what needs no model or training, and, where it was measured, what the layout of the
    answers is worth."""
    return [
        _accuracy(metrics),
        *_official(metrics),
        image_finding(metrics),
        _rules(metrics),
        *_layout(metrics),
    ]


def warnings(metrics: Mapping[str, Any]) -> list[str]:
    """What forbids to read the accuracy as it stands; empty if nothing does."""
    found = _left_out(metrics["rows"])
    low, high = metrics["accuracy_ci95"]
    if low <= 0.5 <= high:
        found.append(
            f"The interval of the accuracy, {span((low, high))}, contains one half: the model "
            "cannot be told from a coin."
        )
    elif high < 0.5:
        found.append("The model is worse than a coin: it prefers the worse answers.")
    if "image_gain" in metrics:
        gain = metrics["image_gain"]
        if gain["ci95"] is None or gain["ci95"][0] <= 0 <= gain["ci95"][1]:
            found.append(
                f"The interval of the image gain, {points_span(gain['ci95'])} points, contains "
                "0: nothing shows that the model uses its images."
            )
        elif gain["difference"] < 0:
            found.append("The model does better without its images.")
    known = {name: metrics["controls"][name] for name in (*TEXT_RULES, "random")}
    better = [
        f"{label(name)!r} {percent(row['accuracy'])} [{span(row['accuracy_ci95'])}]"
        for name, row in known.items()
        if row["difference"] <= 0
    ]
    if better:
        found.append(
            f"{RULES_DO_BETTER}, over these {metrics['n']} pairs: {', '.join(better)}; the model "
            f"{percent(metrics['accuracy'])}."
        )
    first = metrics["controls"]["first"]
    if differs([bound - 0.5 for bound in first["accuracy_ci95"]]):
        found.append(
            f"{ORDER_TELLS} in {percent(first['accuracy'])} of the pairs: "
            "whatever sees the order of the answers can use that."
        )
    untrained = metrics["controls"].get("untrained")
    if untrained and not above_zero(untrained["difference_ci95"]):
        found.append(
            "Training is not shown to help: trained minus untrained is "
            f"{points(untrained['difference'])} points "
            f"[{points_span(untrained['difference_ci95'])}]."
        )
    if metrics["n_ties"] > metrics["n"] / 10:
        found.append(
            f"{metrics['n_ties']} of {metrics['n']} pairs have equal scores and count one half; "
            f"counted wrong, the accuracy is {percent(metrics['strict'])}."
        )
    if metrics["n_groups"] < FEW_GROUPS:
        found.append(
            f"Only {metrics['n_groups']} independent groups: the intervals may be too narrow."
        )
    return found


def _accuracy(metrics: Mapping[str, Any]) -> str:
    return (
        f"The model prefers the better answer in {percent(metrics['accuracy'])} of "
        f"{metrics['n']} pairs (95 % interval {span(metrics['accuracy_ci95'])}); a coin would in "
        "50 %."
    )


def _official(metrics: Mapping[str, Any]) -> list[str]:
    told = [
        f"{number['name']} {percent(number['value'])} [{span(number['ci95'])}] of {number['n']:,} "
        f"{number['unit']}"
        for number in metrics["official"].values()
        if number["headline"]
    ]
    return [f"By the benchmark's own script: {'; '.join(told)}."] if told else []


def _left_out(rows: Mapping[str, Any]) -> list[str]:
    """Which rows of the set its numbers are not about."""
    found = []
    unusable = rows.get("unusable", ())
    if unusable:
        count = sum(kind["n"] for kind in unusable)
        counts: dict[str, int] = {}
        for kind in unusable:
            counts[kind["reason"]] = counts.get(kind["reason"], 0) + kind["n"]
        why = "; ".join(f"{reason} ({n:,})" for reason, n in counts.items())
        found.append(
            f"{count:,} of {rows['rows']:,} rows could not be scored: {why}. No number here is "
            "about them, and none is that of the whole set."
        )
    if rows.get("images") == "drop":
        found.append(
            "The set was scored without its images (images=drop): its numbers are about the text "
            "alone."
        )
    return found


def image_finding(metrics: Mapping[str, Any]) -> str:
    """What the images of a set are worth to the model, and whether that is shown."""
    if metrics["rows"].get("images") == "drop":
        return "Its images were taken away before it was scored."
    if not metrics["n_with_images"]:
        return "No record of this set has an image."
    if "image_gain" not in metrics:
        return "What the images contribute was not measured: no scores with the image greyed out."
    gain, blind = metrics["image_gain"], metrics["controls"][BLIND]
    verdict = "the model uses them" if above_zero(gain["ci95"]) else "no use of them is shown"
    return (
        f"Its images are worth {points(gain['difference'])} points (95 % interval "
        f"{points_span(gain['ci95'])}; {percent(blind['accuracy'])} of {gain['n']} pairs with "
        f"them greyed out): {verdict}."
    )


def _rules(metrics: Mapping[str, Any]) -> str:
    controls = metrics["controls"]
    best = max(TEXT_RULES, key=lambda name: controls[name]["accuracy"])
    control = controls[best]
    where = "below" if control["difference"] > 0 else "not below"
    text = (
        f"The best rule that needs no model, {label(best)!r}, is right in "
        f"{percent(control['accuracy'])} [{span(control['accuracy_ci95'])}] of {control['n']} "
        f"pairs, {where} the model"
    )
    if "untrained" in controls:
        untrained = controls["untrained"]
        text += (
            f"; training brought {points(untrained['difference'])} points "
            f"[{points_span(untrained['difference_ci95'])}] over {untrained['n']} pairs"
        )
    return text + "."


def _layout(metrics: Mapping[str, Any]) -> Iterator[str]:
    control = metrics["controls"].get(NORMALISED)
    if control is None:
        return
    if control["n_changed"] == 0:
        yield "Collapsing the white space of the answers changes none of them."
        return
    verdict = "no use of the layout is shown"
    if differs(control["difference_ci95"]):
        gain = control["difference"] > 0
        verdict = "the model goes by layout too" if gain else "the layout misleads the model"
    changed = "" if control["n_changed"] is None else f"; {control['n_changed']} pairs change"
    if control["n_same"]:
        changed += f", {control['n_same']} of them into the same text twice, a tie"
    yield (
        f"Line breaks and indents of the answers are worth {points(control['difference'])} points "
        f"(95 % interval {points_span(control['difference_ci95'])}; "
        f"{percent(control['accuracy'])} of {control['n']} pairs with white space collapsed"
        f"{changed}): {verdict}."
    )
