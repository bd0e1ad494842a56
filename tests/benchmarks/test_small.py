"""hh_harmless, preference, digits and shapes."""

from __future__ import annotations

import pytest
from bench_rows import OwnData, own
from own_data import REAL, row, write_jsonl

from mmreward.benchmarks.digits import DigitsBenchmark
from mmreward.benchmarks.hh_harmless import HHHarmless
from mmreward.benchmarks.preference import Preference
from mmreward.benchmarks.shapes import ShapesBenchmark
from mmreward.data.sources.digits import Digits
from mmreward.data.sources.jsonl import Jsonl
from mmreward.data.sources.shapes import Shapes
from mmreward.errors import UserError

HH = REAL / "hh_harmless" / "pairs.jsonl.gz"


def test_hh_is_cut_at_its_last_answer(tmp_path) -> None:
    context = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Pens?"
    given = [
        {"chosen": f"{context}\n\nAssistant: No.", "rejected": f"{context}\n\nAssistant: Yes."},
        {"chosen": f"{context}\n\nAssistant: No.", "rejected": "\n\nHuman: Hi\n\nAssistant: Yes."},
    ]
    (tmp_path / "harmless-base").mkdir()
    write_jsonl(tmp_path / "harmless-base" / "test.jsonl.gz", given)
    found = HHHarmless(str(tmp_path), rows=2).load(own())
    (record,) = found.records
    assert [m.role for m in record.messages] == ["user", "assistant", "user"]
    assert [a.text for a in record.responses] == [" No.", " Yes."]
    assert found.unusable[0].reason == "chosen and rejected differ before their last answer"


@pytest.mark.skipif(not HH.is_file(), reason="no real data")
def test_the_real_transcripts() -> None:
    found = HHHarmless(str(HH), rows=1500).load(own("drop"))
    assert (len(found.records), len(found.unusable), found.images) == (1493, 7, "keep")
    with pytest.raises(UserError, match="has 1,500 rows, hh_harmless has 2,312"):
        HHHarmless(str(HH), rows=2312).load(own())


def test_preference_is_the_runs_own_test_split() -> None:
    found = Preference().load(own())
    assert (found.name, found.strict) == ("own", True)
    assert [record.prompt for record in found.records] == ["test 0", "test 1", "test 2"]
    assert [r.prompt[:-2] for r in Preference(split="validation").load(own()).records] == [
        "validation"
    ] * 3
    assert len(Preference(split="all").load(own()).records) == 9


def test_preference_of_another_source(tmp_path) -> None:
    given = [row(id=f"{i}", query=f"What is {i}?") for i in range(40)]
    source = Jsonl(str(write_jsonl(tmp_path / "mine.jsonl", given)), test=0.25)
    found = Preference(source).load(own(template="Q: {query}"))
    assert (found.name, found.strict, len(found.records)) == ("mine", False, 10)
    assert all(record.prompt.startswith("Q: What is") for record in found.records)
    assert len(Preference(source, "all").load(own()).records) == 40
    with pytest.raises(UserError, match="split=tests should be train, validation, test or all"):
        Preference(source, "tests")


def test_an_empty_split_says_so() -> None:
    class Empty(OwnData):
        def records(self, split: str) -> list:
            return []

    with pytest.raises(UserError, match="the test split of own is empty"):
        Preference().load(Empty())


def test_digits_and_shapes_are_the_sources_test_records() -> None:
    digits = DigitsBenchmark().load(own())
    assert [r.id for r in digits.records] == [r.id for r in Digits().split("test")]
    assert (digits.name, len(digits.records)) == ("digits", 1038)
    shapes = ShapesBenchmark(test_records=8, seed=3).load(own("drop"))
    assert [r.source_id for r in shapes.records] == [
        r.source_id for r in Shapes(test_records=8, seed=3).split("test")
    ]
    assert {len(r.media) for r in shapes.records} == {0} and shapes.images == "drop"
