"""Official numbers by the name in the table, published ones beside them."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from bench_rows import by_rank, metrics, own, scored
from own_data import REAL, write_jsonl
from score_tables import make, table

from mmreward import benchmarks
from mmreward.analysis.comparison import common_sets, compare
from mmreward.analysis.intervals import accuracy_interval, macro_interval, macro_mean
from mmreward.analysis.metrics import evaluate, write_metrics
from mmreward.analysis.official import Metric, official
from mmreward.analysis.runs import read_runs
from mmreward.benchmarks.mm_rlhf_rewardbench import MMRLHFRewardBench
from mmreward.benchmarks.mmrb2 import MMRB2
from mmreward.benchmarks.references import reference
from mmreward.benchmarks.vl_rewardbench import VARIANTS, VLRewardBench
from mmreward.config import CONF
from mmreward.report.comparison import write_comparison
from mmreward.report.official import official_numbers
from mmreward.report.run import summary_table, write_report
from mmreward.scoring.table import read_table

FOLDER = Path(benchmarks.__path__[0])
PUBLISHED = sorted(path.stem for path in FOLDER.glob("*.csv"))
TEXT = REAL / "vl_rewardbench" / "text.jsonl.gz"


def vl_rows(n: int = 12) -> list[dict[str, str]]:
    names = ("hallucination_pair-{}", "RLAIF-{}", "wildvision-{}", "mathverse_{}")
    return [
        {
            "id": names[i % 4].format(i),
            "prompt": f"p{i}",
            "chosen": f"good {i}",
            "rejected": f"a bad one {i}",
            "image": f"{i}.png",
        }
        for i in range(n)
    ]


def vl_set(folder: Path, n: int = 12):
    path = write_jsonl(folder / "rows.jsonl", vl_rows(n))
    return VLRewardBench(str(path), images="drop").load(own())


def test_the_name_in_the_table_decides_whoever_wrote_it(tmp_path) -> None:
    """A table of another project: official categories, no ids, nothing in scores.meta.json."""
    records = [
        make(f"q{i}", category=name)
        for i, name in enumerate(("general", "hallucination", "reasoning"))
    ]
    scores = {"intact": [[1, 0], [0, 1], [1, 1]]}
    found = evaluate(table(tmp_path, records, scores, benchmark="vl_rewardbench"), reference)
    numbers = found["vl_rewardbench"]["official"]
    assert {key: n["value"] for key, n in numbers.items()} == pytest.approx(
        {"overall": 1 / 3, "macro": 1 / 3, "general": 1, "hallucination": 0, "reasoning": 0}
    )
    assert numbers["overall"]["half"] == 0.5
    assert found["vl_rewardbench"]["rows"] == {}


@pytest.mark.parametrize("name", ["mine", "base", "../official", "os", "digits", "hh_harmless"])
def test_other_names_have_no_official_numbers(tmp_path, name) -> None:
    found = evaluate(table(tmp_path, [make("q")], {"intact": [[1, 0]]}, benchmark=name), reference)[
        name
    ]
    assert found["official"] == {}
    assert list(official_numbers({"this run": found}, found["reference"])) == []


def test_only_the_test_split_is_the_benchmark(tmp_path) -> None:
    records = [make("q", category="general")]
    one = table(tmp_path, records, {"intact": [[1, 0]]}, "vl_rewardbench", split="validation")
    assert evaluate(one, reference)["vl_rewardbench/validation"]["official"] == {}


def test_a_metric_is_a_mean_or_a_mean_of_means_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, 60).astype(float)
    clusters, categories = np.arange(60), np.arange(60) % 3
    plain = Metric("a", "A", values, clusters)
    assert plain.value() == values.mean()
    assert plain.interval() == accuracy_interval(values, clusters)
    macro = Metric("b", "B", values, clusters, categories=categories)
    assert macro.value() == pytest.approx(macro_mean(values, categories))
    assert macro.interval() == macro_interval(values, categories, clusters)
    low, high = Metric("c", "C", 3 * values, clusters, share=False).interval()
    assert low < 3 * values.mean() < high
    low, high = Metric(
        "d", "D", 3 * values, clusters, categories=categories, share=False
    ).interval()
    assert low < 3 * macro_mean(values, categories) < high


def test_a_control_that_misses_records_has_no_official_number(tmp_path) -> None:
    records = [make(f"q{i}", image=f"i{i}" if i else "", category="general") for i in range(3)]
    scores = {"intact": [[1, 0]] * 3, "blind_image": [None, [1, 0], [1, 0]]}
    found = evaluate(table(tmp_path, records, scores, "vl_rewardbench"), reference)[
        "vl_rewardbench"
    ]
    controls = found["official"]["overall"]["controls"]
    assert "blind_image" in found["controls"] and "blind_image" not in controls
    assert set(controls) == {"longer", "shorter", "newlines", "random", "first"}


OPTIONS = sorted(path.stem for path in (CONF / "benchmark").glob("*.yaml"))


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_its_class_and_its_module_have_one_name(name) -> None:
    """The name in records.jsonl finds the module; the key in the yaml makes lists compose."""
    nodes = {
        key: value
        for key, value in yaml.safe_load((CONF / "benchmark" / f"{name}.yaml").read_text()).items()
        if key != "defaults"
    }
    assert list(nodes) == [name]
    module, _, cls = nodes[name]["_target_"].rpartition(".")
    assert module == f"{benchmarks.__name__}.{name}"
    assert getattr(importlib.import_module(module), cls).name == name


def test_the_options_are_all_there() -> None:
    assert OPTIONS == [
        "digits", "hh_harmless", "mm_rlhf_rewardbench", "mmrb2", "multimodal_rewardbench",
        "preference", "rewardbench_2", "shapes", "videorewardbench", "vl_rewardbench",
    ]  # fmt: skip


# -- published numbers ---------------------------------------------------------------------


def test_which_benchmarks_have_published_numbers() -> None:
    assert PUBLISHED == [
        "mm_rlhf_rewardbench", "mmrb2", "multimodal_rewardbench", "rewardbench_2",
        "videorewardbench", "vl_rewardbench",
    ]  # fmt: skip
    assert reference("digits").published == [] and reference("nothing").published == ()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tables_are_whole(name) -> None:
    with (FOLDER / f"{name}.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(rows[0])}
    found = reference(name)
    assert len(found.published) == len(rows) - 1 >= 8
    for line in found.published:
        assert line.system and line.source and line.values
        assert line.variant in found.variants
        assert all(0 < value < 1 for value in line.values.values()), line


def test_published_categories_add_up_in_the_split_they_are_filed_under() -> None:
    """Proof of the split: 71.9 follows from R1-Reward's categories with 484/448/318 rows alone."""
    sizes = {"": (183, 749, 318), "r1": (484, 448, 318), "old": (631, 301, 318)}
    assert list(sizes) == list(VARIANTS)
    names = ("general", "hallucination", "reasoning")
    told = {line.system: line for line in reference("vl_rewardbench").published}

    def overall(system: str, variant: str) -> float:
        values = [told[system].values[name] for name in names]
        return float(np.dot(values, sizes[variant])) / 1250

    fits = [
        "Skywork-VL-Reward", "Gemini-1.5-Pro", "GPT-4o", "IXC-2.5-Reward-7B", "R1-Reward",
        "UnifiedReward-Think", "OmniReward-BT", "GEV-26B-Decide",
    ]  # fmt: skip
    for system in fits:
        published = told[system].values["overall"]
        assert overall(system, told[system].variant) == pytest.approx(published, abs=0.003)
    assert overall("R1-Reward", "") == pytest.approx(0.772, abs=1e-3)  # not .719
    assert overall("UnifiedReward-Think", "") == pytest.approx(0.718, abs=1e-3)  # not .738


@pytest.mark.parametrize(
    ("name", "whole", "parts"),
    [
        ("rewardbench_2", "score",
         dict.fromkeys(("factuality", "precise_if", "math", "safety", "focus", "ties"), 1)),
        ("mmrb2", "overall", dict.fromkeys(("t2i", "edit", "interleaved", "reasoning"), 1)),
        ("videorewardbench", "overall",
         {"perception_long": 283, "perception_short": 413, "knowledge": 238, "reasoning": 278,
          "safety": 351}),
    ],
)  # fmt: skip
def test_published_parts_give_the_published_whole(name, whole, parts) -> None:
    for line in reference(name).published:
        weighted = sum(line.values[key] * weight for key, weight in parts.items())
        mean = weighted / sum(parts.values())
        assert mean == pytest.approx(line.values[whole], abs=0.0011), line.system


# -- reports -------------------------------------------------------------------------------


def report(folder: Path, one) -> str:
    numbers = write_metrics(folder, evaluate(one, reference))
    return write_report(folder, numbers, one).read_text()


def test_the_report_has_official_and_published_numbers(tmp_path) -> None:
    one = scored(tmp_path, vl_set(tmp_path), lambda r: [float("good 1" in r.responses[0].text), 0])
    text = report(tmp_path, one)
    # good 1, good 10 and good 11 are right, the others tie.
    assert "By the benchmark's own script: Overall 25.0 % [" in text
    assert "### Official metrics" in text and "equal scores are wrong" in text
    assert "By the split of R1-Reward's script, 484/448/318:" in text
    own_row = (
        "| Overall | 12 pairs | 25.0 % [8.9 to 53.2 %] | 62.5 % | 100.0 % (shorter answer wins) |"
    )
    assert own_row in text
    assert "| **this run** | **25.0** |" in text and "without its images" in text
    assert "| R1-Reward | 71.9 | 71.4 | 63.8 | 85.7 | 64.8 | 1,250 rows, here 12; judge" in text
    assert "The set was scored without its images (images=drop)" in text


def test_rows_that_were_not_scored_are_in_every_result(tmp_path) -> None:
    rows = [
        {
            "pair_id": f"r{i}",
            "prompt_text": f"Q{i}",
            "prompt_images": [],
            "response_a_text": "a",
            "response_a_images": ["x.png"] if i < 3 else [],
            "response_b_text": "b",
            "response_b_images": [],
            "chosen": "A",
        }
        for i in range(5)
    ]
    write_jsonl(tmp_path / "reasoning.jsonl", rows)
    found = MMRB2(str(tmp_path), rows=5, tasks=["reasoning"]).load(own())
    one = scored(tmp_path, found, by_rank)
    numbers = evaluate(one, reference)["mmrb2"]
    assert numbers["rows"]["unusable"][0]["n"] == 3
    text = report(tmp_path, one)
    assert (
        "> **Warning.** 3 of 5 rows could not be scored: an answer holds images, which no model "
        "here reads (3). No number here is about them" in text
    )
    assert "2 of 5 rows" in text and "4,000 rows, here 2; judge in both orders" in text

    # The folder alone says so again, and so does a comparison.
    other = tmp_path / "other"
    other.mkdir()
    scored(other, found, lambda r: [0.0, 1.0])
    runs = read_runs([], [tmp_path, other])
    sets = common_sets(runs)
    comparison = compare(runs, sets, references=reference)
    page = write_comparison(tmp_path / "report", comparison, sets).with_suffix(".md").read_text()
    assert page.count("3 of 5 rows could not be scored") == 2
    rows_of = [
        row["metrics"]["rows"]["rows"] for row in comparison["benchmarks"]["mmrb2"]["runs"].values()
    ]
    assert rows_of == [5, 5]


def test_a_comparison_has_them_for_every_run(tmp_path) -> None:
    found = vl_set(tmp_path, 40)
    for name, share in (("half", 2), ("third", 3)):
        (tmp_path / name).mkdir()
        places = {record.id: i for i, record in enumerate(found.records)}
        scored(tmp_path / name, found, lambda r: [places[r.id] % share == 0, 0.5])  # noqa: B023
    runs = read_runs([], [tmp_path / "half", tmp_path / "third"])
    sets = common_sets(runs)
    comparison = compare(runs, sets, references=reference)
    values = {
        run: row["metrics"]["official"]["overall"]["value"]
        for run, row in comparison["benchmarks"]["vl_rewardbench"]["runs"].items()
    }
    assert values == {"half": 20 / 40, "third": 14 / 40}
    page = write_comparison(tmp_path / "report", comparison, sets).with_suffix(".md").read_text()
    assert "| metric | over | half | third | best rule without a model |" in page
    assert "| **half** | **50.0** |" in page and "| **third** | **35.0** |" in page


def test_restricted_pairs_keep_their_scores(tmp_path) -> None:
    """Official numbers of a comparison are about the common pairs."""
    write_jsonl(
        tmp_path / "a.jsonl",
        [
            {"id": f"g{i // 2}", "prompt": f"p{i}", "chosen": "a", "rejected": "b", "image": "mcq"}
            for i in range(8)
        ],
    )
    found = MMRLHFRewardBench(str(tmp_path / "a.jsonl"), images="drop").load(own())
    for name, rows in (("all", found.records), ("some", found.records[2:])):
        (tmp_path / name).mkdir()
        part = found.without({i: "" for i, r in enumerate(found.records) if r not in rows})
        scored(tmp_path / name, part, by_rank)
    sets = common_sets(read_runs([], [tmp_path / "all", tmp_path / "some"]))
    both = sets["mm_rlhf_rewardbench"].tables
    known = reference("mm_rlhf_rewardbench")
    assert [official(one, known)["acc_plus"]["n"] for one in both.values()] == [3, 3]
    assert official(sets["mm_rlhf_rewardbench"].own["all"], known)["acc_plus"]["n"] == 4


def test_the_screen_shows_headline_numbers_only(tmp_path) -> None:
    numbers = {"benchmarks": evaluate(scored(tmp_path, vl_set(tmp_path), by_rank), reference)}
    from rich.console import Console

    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(summary_table(numbers).rich())
    text = console.export_text()
    assert "official Overall" in text and "official Macro average" in text
    assert "General" not in text and "split" not in text


def test_a_macro_average_stands_beside_every_accuracy(tmp_path) -> None:
    records = [make(f"q{i}", category="a" if i < 3 else "b") for i in range(4)]
    one = table(tmp_path, records, {"intact": [[1, 0], [1, 0], [1, 1], [0, 1]]})
    macro = evaluate(one, reference)["b"]["macro"]
    assert macro["accuracy"] == pytest.approx((2.5 / 3 + 0) / 2)
    assert macro["strict"] == pytest.approx((2 / 3 + 0) / 2)
    assert macro["accuracy_ci95"][0] < macro["accuracy"] < macro["accuracy_ci95"][1]
    assert (
        evaluate(table(tmp_path / "x", records[:2], {"intact": [[1, 0]] * 2}))["b"]["macro"] is None
    )


def test_what_became_of_the_rows_is_read_from_the_folder(tmp_path) -> None:
    found = vl_set(tmp_path)
    scored(tmp_path, found, by_rank)
    again = read_table(tmp_path)
    assert again.sets["vl_rewardbench"]["images"] == "drop"
    # Another set added later does not remove it.
    more = MMRB2(str(write_jsonl(tmp_path / "reasoning.jsonl", [])), tasks=["reasoning"]).load(
        own()
    )
    assert more.n_rows == 0
    path = write_jsonl(tmp_path / "m.jsonl", [
        {"id": "g", "prompt": "p", "chosen": "a", "rejected": "b", "image": "mcq"}
    ])  # fmt: skip
    scored(tmp_path, MMRLHFRewardBench(str(path), images="drop").load(own()), by_rank)
    both = read_table(tmp_path)
    assert set(both.sets) == {"vl_rewardbench", "mm_rlhf_rewardbench"} == set(evaluate(both))


@pytest.mark.skipif(not TEXT.is_file(), reason="no real data")
def test_the_published_rule_rows_are_what_the_rows_give(tmp_path) -> None:
    found = VLRewardBench(str(TEXT)).load(own("drop"))
    numbers = metrics(tmp_path, found, by_rank)["official"]
    told = {line.system: line.values for line in reference("vl_rewardbench").published}
    for rule, system in (
        ("newlines", "more line breaks win (ties ½)"), ("longer", "longer answer wins (ties ½)")
    ):  # fmt: skip
        computed = {key: numbers[key]["controls"][rule] for key in told[system]}
        assert computed == pytest.approx(told[system], abs=6e-4)
