import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from score_tables import DATA, make, published, table

from mmreward.analysis.intervals import mean_interval, wilson
from mmreward.analysis.metrics import correctness, evaluate, write_metrics
from mmreward.analysis.paired import difference_interval
from mmreward.analysis.pairs import pair_tables
from mmreward.errors import UserError
from mmreward.scoring.table import SCORES

ROOT = Path(__file__).parents[2]


def test_hand_computed(tmp_path):
    # Margins under intact: 2, -1, 0 (tie), 3; under blind_image: -1, 1, 1, none (no image).
    records = [
        make("a", image="1", category="x"),
        make("b", image="2", category="x"),
        make("c", image="3", category="y"),
        make("d", category="y"),
    ]
    intact = [[3, 1], [0, 1], [5, 5], [1, -2]]
    blind = [[0, 1], [1, 0], [2, 1], None]
    found = evaluate(table(tmp_path, records, {"intact": intact, "blind_image": blind}))["b"]
    assert (found["n"], found["n_records"], found["n_groups"]) == (4, 4, 4)
    assert (found["n_ties"], found["n_with_images"], found["n_duplicates"]) == (1, 3, 0)
    assert found["accuracy"] == 2.5 / 4 and found["strict"] == 2 / 4
    assert found["accuracy_ci95"] == pytest.approx(list(wilson(2.5, 4)))
    assert found["interval"] == "wilson"
    assert found["mean_margin"] == 1.0
    assert found["mean_margin_ci95"] == pytest.approx(list(mean_interval([2, -1, 0, 3], range(4))))
    assert found["categories"]["x"]["accuracy"] == 0.5 and found["categories"]["x"]["n"] == 2
    assert found["categories"]["y"]["accuracy"] == 0.75
    blinded = found["controls"]["blind_image"]
    assert (blinded["n"], blinded["accuracy"]) == (3, pytest.approx(2 / 3))
    # Paired over the three: (1 - 0), (0 - 1), (1/2 - 1).
    assert found["image_gain"]["n"] == 3
    assert found["image_gain"]["difference"] == pytest.approx(-0.5 / 3)
    assert found["image_gain"]["ci95"] == pytest.approx(
        list(difference_interval([1, -1, -0.5], range(3)))
    )


def test_rules_stand_beside_the_model(tmp_path):
    records = [
        make("a", ("longer\n", "short"), (0, 1)),
        make("b", ("longest", "b"), (1, 0)),
        make("c", ("same", "size"), (0, 1)),
    ]
    controls = evaluate(table(tmp_path, records, {"intact": [[1, 0]] * 3}))["b"]["controls"]
    assert controls["longer"]["accuracy"] == controls["shorter"]["accuracy"] == 0.5
    assert controls["newlines"]["accuracy"] == pytest.approx(2 / 3)
    assert controls["first"]["accuracy"] == pytest.approx(2 / 3)
    assert controls["random"]["n"] == 3
    assert "blind_image" not in controls
    # The model's 2/3 minus the rule, pair by pair: 0, 0, 0 for "first".
    assert controls["first"]["difference"] == 0
    # Three pairs without a difference do not show that there is none.
    low, high = controls["first"]["difference_ci95"]
    assert low < -0.3 and high > 0.3


def test_preference_is_read_from_pairs_not_from_position(tmp_path):
    records = [make("a"), make("a", ranks=(1, 0))]
    found = evaluate(table(tmp_path, records, {"intact": [[1, 0], [1, 0]]}))["b"]
    assert found["accuracy"] == 0.5


def test_every_pair_of_many_answers_counts_and_they_form_one_group(tmp_path):
    records = [
        make("a", ("1", "2", "3"), (0, 1, 1)),
        make("b", ("1", "2", "3"), (0, 1, 2)),
        make("c", ("1", "2"), (0, 0)),
    ]
    found = evaluate(table(tmp_path, records, {"intact": [[1, 0, 2], [3, 2, 1], [0, 0]]}))["b"]
    assert (found["n"], found["n_records"], found["n_groups"]) == (5, 2, 2)
    assert found["n_judged_equal"] == 2
    assert found["accuracy"] == 4 / 5
    assert found["interval"] == "clustered"


def test_the_group_of_the_data_is_the_cluster(tmp_path):
    records = [make(f"q{i}", group=f"scan {i // 4}") for i in range(200)]
    right = [[1, 0] if (i // 4) % 2 else [0, 1] for i in range(200)]
    found = evaluate(table(tmp_path, records, {"intact": right}))["b"]
    assert (found["n_groups"], found["interval"]) == (50, "clustered")
    # 50 coin flips, four copies of each: as wide as 50 pairs, twice as wide as 200.
    low, high = found["accuracy_ci95"]
    narrow, wide = wilson(100, 200), wilson(25, 50)
    assert high - low == pytest.approx(wide[1] - wide[0], rel=0.1)
    assert high - low > 1.8 * (narrow[1] - narrow[0])


def test_exact_duplicates_all_count_and_share_one_group(tmp_path):
    records = [make("a"), make("b"), make("a", source_id="again")]
    found = evaluate(table(tmp_path, records, {"intact": [[1, 0], [0, 1], [1, 0]]}))["b"]
    assert (found["n"], found["n_records"], found["n_groups"]) == (3, 3, 2)
    assert found["n_duplicates"] == 1
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert len((tmp_path / SCORES).read_text().splitlines()) == 4


def test_sets_and_splits_are_kept_apart(tmp_path):
    table(tmp_path, [make("a")], {"intact": [[1, 0]]})
    table(tmp_path, [make("b")], {"intact": [[0, 1]]}, split="train")
    found = evaluate(table(tmp_path, [make("c")], {"intact": [[1, 1]]}, benchmark="other"))
    assert {name: m["accuracy"] for name, m in found.items()} == {
        "b": 1.0, "b/train": 0.0, "other": 0.5
    }  # fmt: skip
    assert found["b"]["categories"] == {}


def test_missing_answers_are_an_error_that_counts_them(tmp_path):
    records = [make(f"q{i}") for i in range(5)]
    intact = [[1, 0], [1, 0], [1], None, [1, 0]]
    with pytest.raises(UserError, match=rf"lacks 3 of 10 .*'intact', first answer 1 of record "
                       f"{records[2].id}"):  # fmt: skip
        evaluate(table(tmp_path, records, {"intact": intact}))


def test_a_control_scored_in_part_is_an_error_unless_records_cannot_have_it(tmp_path):
    records = [make("a", image="1"), make("b", image="2"), make("c")]
    intact = [[1, 0]] * 3
    unfinished = {"intact": intact, "blind_image": [[1, 0], None, None]}
    with pytest.raises(UserError, match=r"lacks 2 of 6 .*'blind_image'"):
        evaluate(table(tmp_path / "1", records, unfinished))
    with pytest.raises(UserError, match=r"'untrained'"):
        evaluate(
            table(tmp_path / "2", records, {"intact": intact, "untrained": [[1, 0], None, None]})
        )
    half_a_record = {"intact": intact, "swapped_image": [[1, 0], [1], None]}
    with pytest.raises(UserError, match=r"lacks 1 of 6 .*'swapped_image'"):
        evaluate(table(tmp_path / "4", records, half_a_record))
    no_donor = {"intact": intact, "swapped_image": [[1, 0], None, None]}
    controls = evaluate(table(tmp_path / "3", records, no_donor))["b"]["controls"]
    assert controls["swapped_image"]["n"] == 1


def test_a_set_needs_pairs_and_scores_of_the_model(tmp_path):
    with pytest.raises(UserError, match="no pair to judge in 'b'"):
        evaluate(table(tmp_path / "1", [make("a", ranks=(0, 0))], {"intact": [[1, 0]]}))
    with pytest.raises(UserError, match="no score of 'b' under 'intact'"):
        evaluate(table(tmp_path / "2", [make("a")], {"untrained": [[1, 0]]}))


def test_a_condition_without_pairs_is_left_out(tmp_path):
    records = [make("a"), make("b", ranks=(0, 0), image="1")]
    scores = {"intact": [[1, 0]] * 2, "blind_image": [None, [1, 0]]}
    found = evaluate(table(tmp_path, records, scores))["b"]
    assert "blind_image" not in found["controls"] and "image_gain" not in found


def test_the_validation_split_gives_the_temperature_and_is_no_set_of_its_own(tmp_path):
    rng = np.random.default_rng(0)

    def add(benchmark, split, n, size):
        records = [make(f"{benchmark} {split} {i}") for i in range(n)]
        scores = [[float(v), 0.0] for v in size * rng.normal(0.5, 1, n)]
        return table(tmp_path, records, {"intact": scores}, benchmark, split)

    add("b", "test", 80, 4.0)
    assert evaluate(add("other", "test", 60, 4.0))["b"]["calibration"]["temperature_from"] == (
        "cross-fitted"
    )
    found = evaluate(add("b", "validation", 70, 1.0))
    assert list(found) == ["b", "other"]
    for metrics in found.values():  # the temperature is the model's, not the set's
        assert metrics["calibration"]["temperature_from"] == "b/validation"
    assert found["b"]["calibration"]["temperature"] == found["other"]["calibration"]["temperature"]
    found = evaluate(add("other", "validation", 70, 9.0))
    temperatures = [metrics["calibration"]["temperature"] for metrics in found.values()]
    assert temperatures[1] > 3 * temperatures[0]
    # With two of them nobody knows which is the model's own.
    found = evaluate(add("third", "test", 60, 4.0))
    assert found["third"]["calibration"]["temperature_from"] == "cross-fitted"
    # Without its test split it is a set like any other.
    assert "fourth/validation" in evaluate(add("fourth", "validation", 30, 1.0))


def test_length_bias_is_among_the_metrics(tmp_path):
    texts = [("long answer", "short") if i % 2 else ("short", "long answer") for i in range(60)]
    records = [make(f"q{i}", both) for i, both in enumerate(texts)]
    follows_length = [[float(len(t)) for t in both] for both in texts]
    found = evaluate(table(tmp_path, records, {"intact": follows_length}))["b"]["length"]
    assert found["unit"] == "characters" and found["correlation"] > 0.99
    assert found["better_is_longer"]["accuracy"] == 1
    assert found["better_is_shorter"]["accuracy"] == 0


def test_what_collapsing_white_space_did_is_counted(tmp_path):
    records = [
        make("a", ("one\ntwo", "three")),
        make("b", ("one\n two", "one two ")),
        make("c", ("same", "same")),  # not by collapsing
        make("d", ("x", "y  z", "y z"), (0, 1, 1)),
    ]
    scores = [[1, 0], [1, 0], [0, 0], [2, 1, 0]]
    normalised = [[1, 0], [0, 0], [0, 0], [0, 1, 1]]
    scored = table(tmp_path, records, {"intact": scores, "normalised": normalised})
    found = evaluate(scored)["b"]["controls"]["normalised"]
    assert (found["n_changed"], found["n_same"]) == (3, 1)
    assert found["accuracy"] == pytest.approx((1 + 0.5 + 0.5 + 0 + 0) / 5)
    assert found["difference"] == pytest.approx((0 + 0.5 + 0 + 1 + 1) / 5)
    del scored.records[0]["answers"][0]["text"]
    found = evaluate(scored)["b"]["controls"]["normalised"]
    assert (found["n_changed"], found["n_same"]) == (None, None)


def test_metrics_file_is_plain_json_even_for_one_pair(tmp_path):
    found = evaluate(table(tmp_path, [make("a")], {"intact": [[1, 0]]}))
    written = write_metrics(tmp_path, found, {"steps": 3})
    assert json.loads((tmp_path / "metrics.json").read_text()) == written
    assert written["benchmarks"]["b"]["mean_margin_ci95"] is None
    assert written["training"] == {"steps": 3}


def test_evaluation_needs_no_torch():
    package = ROOT / "src" / "mmreward"
    paths = [path for name in ("analysis", "report") for path in (package / name).glob("*.py")]
    modules = [f"{path.parent.name}.{path.stem}" for path in paths if path.stem != "__init__"]
    assert len(modules) > 15
    code = "".join(f"import mmreward.{m}\n" for m in modules)
    code += "import sys; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.skipif(not DATA.is_dir(), reason="real data are not here")
def test_published_scores_are_reproduced(tmp_path):
    expected = {
        "base_1250.jsonl": (1250, 0.500, 0.488, 30),
        "base_reward_model_500.jsonl": (500, 0.536, 0.536, 0),
        "enhanced_500.jsonl": (500, 0.559, 0.558, 1),
    }
    for name, (n, accuracy, strict, ties) in expected.items():
        records, scores = published(name, n)
        found = evaluate(table(tmp_path / name, records, scores, "vl"))["vl"]
        assert (found["n"], found["n_groups"], found["n_ties"]) == (n, n, ties)
        assert (found["accuracy"], found["strict"]) == pytest.approx((accuracy, strict))
    assert found["controls"]["newlines"]["accuracy"] == pytest.approx(0.812)


@pytest.mark.skipif(not DATA.is_dir(), reason="real data are not here")
def test_surface_rules_on_real_pairs(tmp_path):
    records, scores = published("base_1250.jsonl", 1250)
    scored = table(tmp_path, records, scores, "vl")
    found = evaluate(scored)["vl"]
    counts = {name: row["n"] for name, row in found["categories"].items()}
    assert counts == {"general": 183, "hallucination": 749, "reasoning": 318}
    assert found["controls"]["longer"]["accuracy"] == pytest.approx(0.431, abs=5e-4)
    assert found["controls"]["newlines"]["accuracy"] == pytest.approx(0.625, abs=5e-4)
    assert found["controls"]["first"]["accuracy"] == 1245 / 1250
    pairs = pair_tables(scored)["vl"]
    hallucination = (pairs.pairs["category"] == "hallucination").to_numpy()
    newlines = correctness(pairs.margins["newlines"].to_numpy())
    assert np.mean(newlines[hallucination]) == pytest.approx(0.705, abs=5e-4)
