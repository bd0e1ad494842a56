"""What an audit found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmreward.analysis.rules import TEXT_RULES
from mmreward.report.wording import differs, label, percent, span

# A surface that decides so much of the pairs is called a problem.
TOO_MUCH = 0.6

SAME = {
    "same": "text and images",
    "near": "nearly the text, and images",
    "same_question": "prompt and images",
    "same_images": "an image",
    "same_text": "text, other images",
}
LEAKS = ("same", "near", "same_question", "same_images")


def findings(found: Mapping[str, Any]) -> list[str]:
    """What is in the data, what its surface decides, what it shares."""
    sizes = ", ".join(f"{v['n_records']:,} {name}" for name, v in found["splits"].items())
    texts = [f"{sizes} records."]
    for name, values in found["splits"].items():
        if not values["n_pairs"]:
            continue
        rule = best_rule(values)
        best = values["rules"][rule]
        text = (
            f"{name}: {values['n_pairs']:,} pairs; the best rule that needs no model, "
            f"{label(rule)!r}, is right in {percent(best['accuracy'])} "
            f"[{span(best['accuracy_ci95'])}]"
        )
        if values["classifier"]:
            classifier = values["classifier"]
            text += (
                f", surface features with a classifier in {percent(classifier['accuracy'])} "
                f"[{span(classifier['accuracy_ci95'])}]"
            )
        texts.append(text + ".")
    return texts


def warnings(found: Mapping[str, Any]) -> list[str]:
    """What should be put right, or known, before anyone trains on the data."""
    texts = []
    if found["left_out"]:
        count = sum(n for n, _ in found["left_out"].values())
        rows = "1 row" if count == 1 else f"{count:,} rows"
        texts.append(f"{rows} cannot be used; the table says why.")
    leaning = [
        f"{percent(values['rules']['first']['accuracy'])} of {name}"
        for name, values in found["splits"].items()
        if values["n_pairs"]
        and differs([bound - 0.5 for bound in values["rules"]["first"]["accuracy_ci95"]])
    ]
    if leaning:
        texts.append(
            f"The answer listed first is the better one in {', '.join(leaning)}. A model that "
            "scores answers one by one cannot use that; a judge that sees both can."
        )
    return texts + content_warnings(found)


def content_warnings(found: Mapping[str, Any]) -> list[str]:
    """The warnings that concern any model: what it may learn instead, or has seen already."""
    texts = [text for name, v in found["splits"].items() for text in _split_warnings(name, v)]
    for name, values in found["overlap"].items():
        left, right = name.split(" -> ")
        shared = [f"{values[kind]:,} ({SAME[kind]})" for kind in LEAKS if values[kind]]
        if shared:
            texts.append(
                f"Of the {values['n']:,} records of {right}, some are shared with {left}: "
                f"{', '.join(shared)}. Accuracy on them is partly memory."
            )
    return texts


def _split_warnings(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    if not values["n_pairs"]:
        return
    rule = best_rule(values)
    surfaces = [(values["rules"][rule], f"the rule {label(rule)!r}")]
    if values["classifier"]:
        surfaces.append((values["classifier"], "a classifier of surface features"))
    share, what = max(surfaces, key=lambda item: item[0]["accuracy"])
    if share["accuracy"] > TOO_MUCH and share["accuracy_ci95"][0] > 0.5:
        yield (
            f"{name}: {what} decides {percent(share['accuracy'])} of the pairs without image or "
            "meaning. A model can learn that instead."
        )
    for kind, text in (
        ("contradictions", "pairs prefer the opposite of an earlier pair"),
        ("duplicates", "pairs repeat an earlier one"),
        ("same_answers", "pairs have the same text on both sides, but for case and spaces"),
    ):
        if values[kind]:
            yield f"{name}: {values[kind]:,} of {values['n_pairs']:,} {text}."
    if values["images"] and values["images"]["unreadable"]:
        yield f"{name}: {values['images']['unreadable']:,} images cannot be read."
    for template in values["templates"]:
        interval = template["wins_ci95"]
        if interval and differs([bound - 0.5 for bound in interval]):
            total = template["wins"] + template["losses"]
            yield (
                f"{name}: one answer wins {template['wins']:,} of its {total:,} pairs whatever "
                f"is asked: `{inline(template['text'])}`."
            )


def best_rule(values: Mapping[str, Any]) -> str:
    return max(TEXT_RULES, key=lambda name: values["rules"][name]["accuracy"])


def inline(text: str) -> str:
    """Text that stays inside its backticks and its table cell."""
    return " ".join(text.replace("`", "'").split())[:160]
