import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import yaml
from scipy import stats
from score_tables import DATA, ROOT, make, table

from mmreward.analysis.comparison import common_sets, compare
from mmreward.analysis.intervals import wilson
from mmreward.analysis.paired import difference_interval, macro_difference_interval, sign_flip
from mmreward.analysis.runs import read_runs
from mmreward.errors import UserError


def compared(*folders, runs=()):
    read = read_runs(runs, folders)
    return compare(read, common_sets(read))


def questions(n, **fields):
    return [make(f"q{i}", category="ab"[i % 3 == 0], **fields) for i in range(n)]


def margins(records, values):
    """Scores whose margin in each record is the value."""
    return {"intact": [[float(v), 0.0] for v in values]}


def test_paired_numbers_by_hand(tmp_path):
    records = questions(60)
    rng = np.random.default_rng(0)
    first, second = rng.integers(-2, 3, (2, 60))
    table(tmp_path / "one", records, margins(records, first))
    table(tmp_path / "two", records, margins(records, second))
    found = compared(tmp_path / "one", tmp_path / "two")["benchmarks"]["b"]
    assert (found["n"], found["interval"]) == (60, "wilson")
    assert found["left_out"] == {"one": 0, "two": 0} and found["missing"] == []
    one, two = found["runs"]["one"], found["runs"]["two"]
    assert one["difference"] is None
    assert one["metrics"]["accuracy"] == pytest.approx(((np.sign(first) + 1) / 2).mean())
    assert one["strict_ci95"] == pytest.approx(list(wilson((first > 0).sum(), 60)))
    d = (np.sign(second) - np.sign(first)) / 2
    strict = (second > 0) * 1.0 - (first > 0)
    difference = two["difference"]
    assert difference["half"]["difference"] == pytest.approx(d.mean())
    assert difference["half"]["ci95"] == list(difference_interval(d, range(60)))
    assert difference["half"]["p"] == pytest.approx(sign_flip(d, range(60)))
    only_one, only_two = (strict < 0).sum(), (strict > 0).sum()
    assert (difference["only_first"], difference["only_this"]) == (only_one, only_two)
    assert difference["strict"]["p"] == pytest.approx(
        stats.binomtest(only_one, only_one + only_two).pvalue
    )
    assert difference["strict"]["test"] == "exact McNemar"
    assert difference["strict"]["p_holm"] == difference["strict"]["p"]
    category = np.array([r.category for r in records])
    by_category = [d[category == c].mean() for c in "ab"]
    assert difference["macro"]["difference"] == pytest.approx(np.mean(by_category))
    assert difference["macro"]["ci95"] == pytest.approx(
        list(macro_difference_interval(d, category, range(60)))
    )


def test_swapping_the_runs_turns_every_sign(tmp_path):
    records = questions(80)
    rng = np.random.default_rng(1)
    for name in ("one", "two"):
        table(tmp_path / name, records, margins(records, rng.integers(-3, 4, 80)))
    there = compared(tmp_path / "one", tmp_path / "two")["benchmarks"]["b"]["runs"]["two"]
    back = compared(tmp_path / "two", tmp_path / "one")["benchmarks"]["b"]["runs"]["one"]
    there, back = there["difference"], back["difference"]
    for kind in ("half", "strict", "macro"):
        assert there[kind]["difference"] == pytest.approx(-back[kind]["difference"])
        assert there[kind]["p"] == pytest.approx(back[kind]["p"])
        assert there[kind]["ci95"] == pytest.approx(
            [-b for b in back[kind]["ci95"][::-1]], abs=0.02
        )
    assert there["only_first"] == back["only_this"]
    assert there["kappa"] == pytest.approx(back["kappa"])


def test_groups_are_tested_whole(tmp_path):
    records = [replace(r, group=f"g{i // 6}") for i, r in enumerate(questions(120))]
    right = np.repeat(np.arange(20) % 3 > 0, 6)
    table(tmp_path / "one", records, margins(records, np.ones(120)))
    table(tmp_path / "two", records, margins(records, np.where(right, 1, -1)))
    difference = compared(tmp_path / "one", tmp_path / "two")["benchmarks"]["b"]["runs"]["two"][
        "difference"
    ]
    # Seven groups of twenty differ, all one way: 2 / 2^7, not 2 / 2^42.
    assert difference["strict"]["p"] == difference["half"]["p"] == pytest.approx(2 / 2**7)
    assert difference["strict"]["test"] == "exact sign flip of groups"


def test_holm_is_over_the_runs(tmp_path):
    records = questions(200)
    rng = np.random.default_rng(2)
    names = ["a", "b", "c", "d"]
    for k, name in enumerate(names):
        table(tmp_path / name, records, margins(records, rng.normal(0.15 * k, 1, 200)))
    runs = compared(*(tmp_path / n for n in names))["benchmarks"]["b"]["runs"]
    p = sorted(runs[n]["difference"]["half"]["p"] for n in names[1:])
    adjusted = sorted(runs[n]["difference"]["half"]["p_holm"] for n in names[1:])
    assert adjusted[0] == pytest.approx(min(1, 3 * p[0]))
    assert adjusted[1] == pytest.approx(min(1, max(3 * p[0], 2 * p[1])))


def test_only_pairs_that_all_have_are_compared(tmp_path):
    records = questions(50)
    table(tmp_path / "all", records, margins(records, np.arange(50) - 10))
    # Other rows, in another order.
    some = records[39:9:-1]
    table(tmp_path / "some", some, margins(some, np.ones(30)))
    other = [*records[:45], make("only here")]
    table(tmp_path / "other", other, margins(other, -np.ones(46)))
    found = compared(*(tmp_path / n for n in ("all", "some", "other")))["benchmarks"]["b"]
    assert found["n"] == 30
    assert found["left_out"] == {"all": 20, "some": 0, "other": 16}
    accuracies = {name: row["metrics"]["accuracy"] for name, row in found["runs"].items()}
    # Margins of records 10 to 39 are 0 to 29: one tie.
    assert accuracies == {"all": pytest.approx(29.5 / 30), "some": 1, "other": 0}
    own = found["runs"]["all"]["own"]
    assert own["n"] == 50 and own["accuracy"] == pytest.approx(39.5 / 50)


def test_a_record_that_a_set_holds_twice_is_matched_twice(tmp_path):
    records = [make("a"), make("b"), make("a", source_id="again")]
    table(tmp_path / "one", records, margins(records, [1, -1, 1]))
    table(tmp_path / "two", records[:2], margins(records[:2], [-1, 1]))
    found = compared(tmp_path / "one", tmp_path / "two")["benchmarks"]["b"]
    assert found["n"] == 2 and found["left_out"] == {"one": 1, "two": 0}
    found = compared(tmp_path / "two", tmp_path / "one")["benchmarks"]["b"]
    assert found["left_out"] == {"two": 0, "one": 1}


def test_image_gain_is_over_the_common_pairs(tmp_path):
    records = [make(f"q{i}", image=f"i{i}") for i in range(40)]
    intact = [[1.0, 0.0]] * 40
    blind = [[1.0, 0.0] if i < 20 else [0.0, 1.0] for i in range(40)]
    table(tmp_path / "one", records, {"intact": intact, "blind_image": blind})
    half = records[10:30]
    table(tmp_path / "two", half, {"intact": intact[:20]})
    runs = compared(tmp_path / "one", tmp_path / "two")["benchmarks"]["b"]["runs"]
    assert runs["one"]["metrics"]["image_gain"]["difference"] == 0.5
    assert runs["one"]["metrics"]["image_gain"]["n"] == 20
    assert "image_gain" not in runs["two"]["metrics"]


def test_the_temperature_comes_from_the_validation_split_where_there_is_one(tmp_path):
    rng = np.random.default_rng(3)
    records = questions(300)
    values = 3 * rng.normal(1, 1, 300)
    for name in ("one", "two"):
        table(tmp_path / name, records, margins(records, values))
    other = [make(f"v{i}") for i in range(300)]
    table(tmp_path / "two", other, margins(other, rng.normal(1, 1, 300)), split="validation")
    runs = compared(tmp_path / "one", tmp_path / "two")["benchmarks"]["b"]["runs"]
    one, two = (runs[name]["metrics"]["calibration"] for name in ("one", "two"))
    assert (one["temperature_from"], two["temperature_from"]) == ("cross-fitted", "b/validation")
    assert one["log_loss"] == two["log_loss"]
    # Its validation margins are a third of the test's: too small a temperature there.
    assert two["temperature"] < 0.6 * one["temperature"]
    assert one["scaled"]["log_loss"] < one["log_loss"]


def run_folder(folder, records, values, seed, **changes):
    """A training run's folder, as far as a comparison reads it."""
    table(folder, records, margins(records, values))
    config = {
        "seed": seed,
        "choices": {
            "model": changes.pop("model", "base"),
            "loss": changes.pop("loss", "bradley_terry"),
        },
        "optimizer": {"lr": 0.001, **changes},
        "resume": None,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.json").write_text('{"benchmarks": {}, "training": {"seconds": 61.5}}')
    return folder


def test_runs_that_differ_in_the_seed_alone_are_one_variant(tmp_path):
    rng = np.random.default_rng(4)
    records = questions(100)
    folders = [
        run_folder(tmp_path / "sweep" / str(i), records, rng.normal(0.3 * (i > 2), 1, 100), i % 3,
                   lr=0.001 if i < 3 else 0.01)
        for i in range(6)
    ]  # fmt: skip
    read = read_runs(folders)
    assert [r.name for r in read][:2] == [
        "base s0 lr=0.001", "base s1 lr=0.001"
    ]  # fmt: skip
    assert read[0].training == {"seconds": 61.5}
    comparison = compare(read, common_sets(read))
    assert comparison["runs"][5]["training"] == {"seconds": 61.5}
    runs = comparison["benchmarks"]["b"]["runs"]
    (first, one), (_, two) = comparison["benchmarks"]["b"]["variants"].items()
    assert first == "base lr=0.001" and one["difference"] is None
    assert one["runs"] == [r.name for r in read[:3]]
    accuracies = [runs[name]["metrics"]["accuracy"] for name in one["runs"]]
    assert one["accuracy"] == pytest.approx(np.mean(accuracies))
    assert one["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert two["difference"]["difference"] == pytest.approx(two["accuracy"] - one["accuracy"])


def test_names_say_what_tells_runs_apart(tmp_path):
    records = questions(5)
    a = run_folder(tmp_path / "x" / "1", records, np.ones(5), 0)
    b = run_folder(tmp_path / "x" / "2", records, np.ones(5), 0, model="enhanced")
    assert [r.name for r in read_runs([a, b])] == [
        "base s0", "enhanced s0"
    ]  # fmt: skip
    again = run_folder(tmp_path / "y" / "1", records, np.ones(5), 0)
    assert [r.name for r in read_runs([a, again])] == [
        "base s0 (x/1)", "base s0 (y/1)"
    ]  # fmt: skip
    assert [r.name for r in read_runs([a], [b])] == ["base s0", "2"]
    margin = run_folder(tmp_path / "x" / "3", records, np.ones(5), 0, loss="margin")
    assert [r.name for r in read_runs([a, margin])] == ["base+bradley_terry s0", "base+margin s0"]


def test_sets_that_one_run_lacks(tmp_path):
    records = questions(20)
    for name in ("one", "two", "three"):
        table(tmp_path / name, records, margins(records, np.ones(20)))
    for name in ("one", "two"):
        table(tmp_path / name, records, margins(records, np.ones(20)), benchmark="other")
    table(tmp_path / "three", records, margins(records, np.ones(20)), benchmark="alone")
    found = compared(*(tmp_path / n for n in ("one", "two", "three")))["benchmarks"]
    assert list(found) == ["b", "other"]
    assert found["other"]["missing"] == ["three"] and found["b"]["missing"] == []


def test_what_cannot_be_compared_is_said(tmp_path):
    records = questions(10)
    table(tmp_path / "one", records, margins(records, np.ones(10)))
    with pytest.raises(UserError, match="two runs or score tables, this one has 1"):
        compared(tmp_path / "one")
    with pytest.raises(UserError, match=r"one is named twice"):
        compared(tmp_path / "one", tmp_path / "one")
    with pytest.raises(UserError, match=r"runs=.*none does not exist"):
        compared(tmp_path / "one", runs=[tmp_path / "none"])
    with pytest.raises(UserError, match=r"records\.jsonl cannot be read"):
        compared(tmp_path / "one", tmp_path / "none")
    table(tmp_path / "elsewhere", records, margins(records, np.ones(10)), benchmark="c")
    with pytest.raises(UserError, match="one has b; elsewhere has c"):
        compared(tmp_path / "one", tmp_path / "elsewhere")
    others = [make(f"other {i}") for i in range(7)]
    table(tmp_path / "others", others, margins(others, np.ones(7)))
    with pytest.raises(UserError, match=r"share no pair of 'b' \(one has 10, others has 7\)"):
        compared(tmp_path / "one", tmp_path / "others")


def test_tables_that_describe_the_same_pairs_differently_are_refused(tmp_path):
    records = questions(10)
    table(tmp_path / "one", records, margins(records, np.ones(10)))
    renamed = [replace(r, category="visual") if r.category == "a" else r for r in records]
    table(tmp_path / "two", renamed, margins(renamed, np.ones(10)))
    with pytest.raises(UserError, match=r"6 of 10 pairs of 'b' under another category.*'a' and 'v"):
        compared(tmp_path / "one", tmp_path / "two")
    grouped = [replace(r, group="g") for r in records]
    table(tmp_path / "three", grouped, margins(grouped, np.ones(10)))
    with pytest.raises(UserError, match="10 of 10 pairs of 'b' under another group"):
        compared(tmp_path / "one", tmp_path / "three")
    path = tmp_path / "four" / "records.jsonl"
    table(tmp_path / "four", records, margins(records, np.ones(10)))
    path.write_text(path.read_text().replace('"pairs": [[0, 1', '"pairs": [[1, 0'))
    with pytest.raises(UserError, match="disagree on which answer of record"):
        compared(tmp_path / "one", tmp_path / "four")


def test_unfinished_scores_are_refused(tmp_path):
    records = questions(10)
    table(tmp_path / "one", records, margins(records, np.ones(10)))
    table(tmp_path / "two", records, {"intact": [[1.0, 0.0]] * 8 + [[1.0], None]})
    with pytest.raises(UserError, match="lacks 3 of 20 answers"):
        compared(tmp_path / "one", tmp_path / "two")


def make_tables(out):
    """What the study's script makes of the published files."""
    path = ROOT / "experiments" / "seed-results" / "make_tables.py"
    spec = importlib.util.spec_from_file_location("make_tables", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    texts = script.read(DATA / "vl_rewardbench" / "text.jsonl.gz")
    for scores in (DATA / "seed_scores").glob("*.jsonl"):
        script.make_table(scores, texts, out / scores.stem)


@pytest.mark.skipif(not DATA.is_dir(), reason="real data are not here")
def test_the_published_comparison_is_reproduced(tmp_path):
    make_tables(tmp_path)
    names = ("base_reward_model_500", "enhanced_500", "base_1250")
    found = compared(*(tmp_path / n for n in names))["benchmarks"]["vl_rewardbench"]
    trained, enhanced, base = found["runs"].values()
    assert found["n"] == 500 and found["left_out"]["base_1250"] == 750

    # As published: equal scores are wrong.
    assert base["own"]["n"] == 1250 and base["own"]["strict"] == 0.488
    assert base["own"]["accuracy"] == 0.5
    assert base["metrics"]["strict"] == pytest.approx(0.544)
    assert base["metrics"]["accuracy"] == pytest.approx(0.560)
    assert trained["metrics"]["strict"] == trained["metrics"]["accuracy"] == 0.536
    assert trained["strict_ci95"] == pytest.approx([0.492, 0.579], abs=5e-4)
    assert enhanced["metrics"]["strict"] == 0.558
    assert enhanced["metrics"]["accuracy"] == 0.559
    assert enhanced["strict_ci95"] == pytest.approx([0.514, 0.601], abs=5e-4)

    difference = enhanced["difference"]
    assert (difference["only_first"], difference["only_this"]) == (119, 130)
    assert difference["strict"]["p"] == pytest.approx(0.526, abs=5e-4)
    assert difference["strict"]["test"] == "exact McNemar"
    assert difference["strict"]["ci95"] == pytest.approx([-0.040, 0.084], abs=2e-3)
    assert difference["strict"]["pairs_needed"] == pytest.approx(8000, rel=0.01)
    assert difference["agreement"] == 0.502
    assert difference["kappa"] == pytest.approx(-0.004, abs=5e-4)
    # Ties one half: one tie moves the difference by a twentieth of a point.
    assert difference["half"]["difference"] == pytest.approx(0.023)
    assert difference["half"]["ci95"] == pytest.approx([-0.040, 0.085], abs=2e-3)
    assert 0.4 < difference["half"]["p"] < 0.526
    assert (base["difference"]["only_this"], base["difference"]["only_first"]) == (122, 118)
    assert base["difference"]["strict"]["p"] == pytest.approx(0.847, abs=5e-4)

    newlines = trained["metrics"]["controls"]["newlines"]
    assert newlines["accuracy"] == pytest.approx(0.812)
