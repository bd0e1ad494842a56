"""Kinds of findings by the numbers that make them, and that each has words."""

import pytest

from mmreward.analysis.findings import Finding, comparison_findings, findings, warnings
from mmreward.report.wording import words


def rule(accuracy=0.4, difference=0.5):
    low, high = accuracy - 0.05, accuracy + 0.05
    return {
        "n": 100, "accuracy": accuracy, "accuracy_ci95": [low, high],
        "difference": difference, "difference_ci95": [difference - 0.1, difference + 0.1],
    }  # fmt: skip


def metrics(accuracy=0.9, gain=0.4, layout=None):
    """A set of 100 pairs with images that a model has right in most cases."""
    controls = {name: rule() for name in ("longer", "shorter", "newlines", "random")}
    controls |= {"first": rule(0.5, 0.4), "blind_image": rule(accuracy - gain, gain)}
    if layout:
        controls["normalised"] = {**rule(), "n_changed": 9, "n_same": 0, **layout}
    return {
        "n": 100, "n_groups": 100, "n_ties": 0, "n_with_images": 100, "strict": accuracy,
        "accuracy": accuracy, "accuracy_ci95": [accuracy - 0.05, accuracy + 0.05],
        "image_gain": {"n": 100, "difference": gain, "ci95": [gain - 0.1, gain + 0.1]},
        "rows": {}, "official": {}, "controls": controls,
    }  # fmt: skip


def kinds(found):
    assert all(words(finding) for finding in found)
    return [finding.kind for finding in found]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"accuracy": 0.53}, ["coin"]),
        ({"accuracy": 0.3}, ["worse_than_coin"]),
        ({"gain": 0.05}, ["image_gain_unshown"]),
        ({"gain": -0.3}, ["better_without_images"]),
    ],
)
def test_a_warning_has_the_kind_that_its_numbers_show(changed, expected):
    assert kinds(warnings(metrics(**changed))) == expected


@pytest.mark.parametrize(("n", "expected"), [(20, []), (19, ["few_groups"])])
def test_groups_are_few_below_twenty(n, expected):
    assert kinds(warnings(metrics() | {"n_groups": n})) == expected


@pytest.mark.parametrize(("n", "expected"), [(10, []), (11, ["ties"])])
def test_ties_are_many_above_a_tenth(n, expected):
    assert kinds(warnings(metrics() | {"n_ties": n})) == expected


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({"n_changed": 0}, "layout_even"),
        ({"difference": 0.3, "difference_ci95": [0.2, 0.4]}, "layout_used"),
        ({"difference": -0.3, "difference_ci95": [-0.4, -0.2]}, "layout_misleads"),
        ({"difference": 0.3, "difference_ci95": [-0.1, 0.7]}, "layout_unused"),
        ({"difference": 0.3, "difference_ci95": None}, "layout_unused"),
    ],
)
def test_layout_is_used_where_the_interval_shows_it(layout, expected):
    assert kinds(findings(metrics(layout=layout)))[-1] == expected


def test_a_comparison_tells_of_eight_runs_and_counts_the_others():
    half = {"difference": 0.1, "ci95": [0.0, 0.2], "p": 0.04, "p_holm": 0.3, "pairs_needed": 7}
    difference = {"half": half, "only_this": 12, "only_first": 2}
    rows = {f"run {i}": {"metrics": metrics(), "difference": difference} for i in range(11)}
    comparison = {"runs": rows, "n": 100, "left_out": dict.fromkeys(rows, 0), "missing": []}
    found = comparison_findings(comparison)
    assert kinds(found) == ["compared", *["difference"] * 8, "more_runs", "best_rule_of_runs"]
    assert found[-2].numbers == {"n": 2}
    assert "All 11 runs" in words(found[0]) and "Pairs left out" not in words(found[0])
    assert "run 3 is better, but not after Holm's correction" in words(found[3])


def test_what_has_no_words_or_lacks_a_number_is_no_sentence():
    with pytest.raises(KeyError):
        words(Finding("no such kind"))
    with pytest.raises(Exception, match="n_groups"):
        words(Finding("few_groups"))
