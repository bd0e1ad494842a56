import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from score_tables import DATA, drawn, make, published

from mmreward.audit.audit import OtherSet, audit
from mmreward.audit.findings import content_warnings, findings, summary, warnings
from mmreward.audit.profile import profile
from mmreward.audit.report import write_audit
from mmreward.data.bad_records import BadRecord
from mmreward.data.sources.digits import Digits
from mmreward.errors import UserError
from mmreward.report.wording import percent, span, words


class Records:
    """A source of given records."""

    def __init__(self, train=(), validation=(), test=(), bad=(), name="mine"):
        self.name, self.bad_records = name, list(bad)
        self._splits = {"train": train, "validation": validation, "test": test}

    def split(self, split):
        return self._splits[split]


def balanced(n, start=0):
    """Half the better answers are listed first, no rule helps."""
    texts = (("yes it is", "no it is not"), ("no it is not", "yes it is"))
    return [
        make(f"q{i}", texts[i % 2], (0, 1) if i // 2 % 2 else (1, 0))
        for i in range(start, start + n)
    ]


def test_pairs_that_repeat_contradict_or_say_the_same():
    records = [
        make("q", ("a", "b"), where="row 1"),
        make("Q ", ("A", " b"), where="row 2"),
        make("q", ("b", "a"), where="row 3"),
        make("q", ("b", "a"), image="other", where="row 4"),
        make("r", ("Same text", "same  text"), where="row 5"),
        make("s", ("1", "2", "3"), (0, 1, 1)),
    ]
    found = profile(records)
    assert (found["duplicates"], found["contradictions"], found["same_answers"]) == (1, 1, 1)
    assert found["examples"] == {
        "duplicates": [["row 1", "row 2"]],
        "contradictions": [["row 1", "row 3"]],
        "same_answers": [["row 5"]],
    }
    assert (found["n_pairs"], found["n_judged_equal"]) == (7, 1)
    told = content_warnings({"splits": {"train": found}, "overlap": {}})
    assert all("train: 1 of 7 pairs" in words(one) for one in told if "n_pairs" in one.numbers)
    repeats = {"contradictions", "duplicates", "same_answers"}
    assert repeats < {one.kind for one in told}
    assert found["answers"] == {"2": 5, "3": 1}


def test_rules_and_order_are_measured_and_warned_of():
    records = [make(f"q{i}", ("short\nlines\nwin", "long " * 10)) for i in range(80)]
    found = audit(Records(records))
    rules = found["splits"]["train"]["rules"]
    assert rules["newlines"]["accuracy"] == rules["first"]["accuracy"] == 1
    assert rules["longer"]["accuracy"] == 0 and rules["longer"]["n"] == 80
    text = " ".join(map(words, warnings(found)))
    assert "decides 100.0 % of the pairs without image or meaning" in text
    assert "listed first is the better one in 100.0 % of train" in text
    # Two rules tell everything; the line names the first of them.
    assert re.search(r"'(shorter answer wins|more line breaks win)' is right in 100\.0 %",
                     words(summary(found)))  # fmt: skip


def test_balanced_data_get_no_warning():
    found = audit(Records(balanced(80)))
    assert warnings(found) == []
    assert found["splits"]["train"]["rules"]["first"]["accuracy"] == 0.5


def test_answers_that_win_whatever_is_asked_are_found():
    always = [
        make(f"q{i}", (f"<object at 0x{i:08x}>", f"a real answer number {w}"), (1, 0))
        for i, w in enumerate(["red", "blue", "green", "black"] * 10)
    ]
    found = audit(Records(always))
    (template,) = [t for t in found["splits"]["train"]["templates"] if "object" in t["text"]]
    assert (template["n"], template["wins"], template["losses"]) == (40, 0, 40)
    told = [one.numbers for one in warnings(found) if one.kind == "answer_tells"]
    assert {**template, "split": "train"} in told


def test_records_shared_between_splits_and_with_another_source():
    train, test = balanced(60), balanced(20, start=100)
    leaked = [replace(train[7], where="test row 9"), make("elsewhere only")]
    other = OtherSet([train[3], *test[:2]])
    found = audit(Records(train, (), [*test, *leaked]), {"bench": other})
    assert set(found["overlap"]) == {"train -> test", "train -> bench", "test -> bench"}
    assert found["overlap"]["train -> test"]["same"] == 1
    assert found["overlap"]["train -> bench"]["same"] == 1
    assert found["overlap"]["test -> bench"]["same"] == 2
    text = " ".join(map(words, warnings(found)))
    assert "Of the 22 records of test, some are shared with train: 1 (text and images)" in text
    assert "records in both train and test: 1" in words(summary(found))


def test_records_whose_images_are_not_there_are_compared_by_text(tmp_path):
    train = [
        make(f"q{i}", ("good", "bad"), (i % 2, 1 - i % 2), image=f"picture {i}") for i in range(20)
    ]
    texts = [make("q3"), make("q4", ranks=(1, 0)), make("elsewhere")]
    found = audit(Records(train), {"bench": OtherSet([train[7], make("q5")], texts, 6)})
    overlap = found["overlap"]["train -> bench"]
    # q5 has no image at all in the other set, so it is not known to be the same question.
    assert (overlap["n"], overlap["same"], overlap["same_text"]) == (5, 3, 1)
    assert (overlap["text_only"], overlap["not_compared"]) == (3, 6)
    assert len(overlap["examples"]["same"]) == 3
    text = write_audit(tmp_path, found).with_suffix(".md").read_text()
    assert "3 records of bench were compared by text alone: their images are not there." in text
    assert "6 rows of bench cannot be read: not compared." in text


def test_left_out_rows_are_counted_by_reason():
    bad = [BadRecord(f"x.jsonl row {i}", f"image img_{i}/a.png does not exist") for i in range(4)]
    bad.append(BadRecord("x.jsonl row 9", "answer 1 is empty"))
    found = audit(Records(balanced(20), bad=bad))
    assert [count for count, _ in found["left_out"].values()] == [4, 1]
    assert next(iter(found["left_out"].values()))[1] == (
        "x.jsonl row 0: image img_0/a.png does not exist"
    )
    assert "5 rows cannot be used" in words(warnings(found)[0])
    assert "rows left out: 5" in words(summary(found))


def test_images_are_measured_and_missing_ones_named(tmp_path):
    for i, size in enumerate([(20, 10), (40, 30), (60, 50)]):
        Image.new("RGB", size, (i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    records = [make(f"q{i}", image=tmp_path / f"{i % 4}.png") for i in range(6)]
    images = profile(records)["images"]
    assert images["distinct"] == 4 and images["shared"] == 2
    assert images["width"][0] == 20 and images["width"][-1] == 60
    assert images["height"][3] == 30 and images["per_record"] == {"1": 6}
    assert images["unreadable"] == 1 and "3.png" in images["examples"][0]
    assert profile(balanced(4))["images"] is None


def test_a_sample_is_drawn_over_the_whole_split_and_said():
    records = balanced(400)
    found = audit(Records(records), max_records=100)
    train = found["splits"]["train"]
    assert (train["n_records"], train["n_sampled"], train["n_pairs"]) == (400, 100, 100)
    assert audit(Records(records), max_records=100) == found
    assert "100 pairs (100 of 400 records of train)" in words(summary(found))


def test_what_only_a_judge_could_use_is_no_warning_about_the_content():
    records = [replace(r, responses=r.responses[:: 1 if r.responses[0].rank == 0 else -1])
               for r in balanced(80)]  # fmt: skip
    found = audit(Records(records, test=records[:5], bad=[BadRecord("row 1", "it is empty")]))
    rows, order, *rest = warnings(found)
    assert (rows.kind, rows.numbers["n"], order.kind) == ("rows_left_out", 1, "first_is_better")
    assert rest and content_warnings(found) == rest
    assert "records_shared" in [warning.kind for warning in rest]


def test_nothing_to_learn_from_is_an_error():
    ties = [make("q", ("a", "b"), (0, 0))]
    with pytest.raises(UserError, match="mine has no pair"):
        audit(Records(ties))


def test_digits_cannot_be_solved_without_looking():
    found = audit(Digits(train_records=1200))
    for values in found["splits"].values():
        for name in ("longer", "shorter", "newlines", "first"):
            assert values["rules"][name]["accuracy"] == 0.5
        assert values["classifier"]["accuracy"] < 0.55
        assert values["contradictions"] == 0
    overlaps = found["overlap"].values()
    assert all(v["same"] == v["near"] == v["same_images"] == 0 for v in overlaps)
    assert found["overlap"]["train -> test"]["same_text"] > 500
    assert warnings(found) == []


def test_report_shows_the_numbers_and_figures(tmp_path):
    rng = np.random.default_rng(0)
    train = [
        make(f"q{i} <b>", ("good\n" * rng.integers(1, 4), "a | b `code` " * rng.integers(1, 9)))
        for i in range(90)
    ]
    bad = [BadRecord("file row 3", "it is not JSON <script>")]
    found = audit(Records(train, (), [train[0], *balanced(10)], bad=bad))
    page = write_audit(tmp_path, found)
    text = page.with_suffix(".md").read_text()
    assert json.loads((tmp_path / "audit.json").read_text()) == found
    for values in found["splits"].values():
        for rule in values["rules"].values():
            assert f"| {percent(rule['accuracy'])} | {span(rule['accuracy_ci95'])} |" in text
    for sentence in findings(found):
        assert f"- {words(sentence)}" in text
    for warning in warnings(found):
        assert f"> **Warning.** {words(warning)}" in text
    assert re.search(r"\| test \| train \| 11 \| 1 \| 0 \|", text)
    html = page.read_text()
    assert "<script>" not in html and "&lt;script&gt;" in html
    links = re.findall(r"\]\((figures/[^)]+\.png)\)", text)
    assert len(links) == 3
    for link in links:
        with Image.open(tmp_path / link) as figure:
            assert drawn(figure), link


@pytest.mark.skipif(not DATA.is_dir(), reason="real data are not here")
def test_real_pairs_give_the_known_rules():
    records, _ = published("base_1250.jsonl", 1250)
    found = profile([replace(r, media=(), messages=r.messages) for r in drop(records)])
    rules = found["rules"]
    assert rules["longer"]["accuracy"] == pytest.approx(0.431, abs=5e-4)
    assert rules["newlines"]["accuracy"] == pytest.approx(0.625, abs=5e-4)
    assert rules["first"]["accuracy"] == 1245 / 1250
    # A classifier finds at least what the best rule finds.
    assert found["classifier"]["accuracy"] > 0.625
    assert found["duplicates"] == 5 and found["contradictions"] == 0


def drop(records):
    """Without images: the texts' own duplicates show."""
    return [
        make(
            r.prompt,
            [a.text for a in r.responses],
            [a.rank for a in r.responses],
            category=r.category,
        )
        for r in records
    ]
