from __future__ import annotations

import math

import numpy as np
import pytest
from bench_rows import by_rank, metrics, own, write_parquet
from own_data import write_jsonl

from mmreward.benchmarks.rewardbench_2 import RewardBench2, best_of, ties_score
from mmreward.errors import UserError
from mmreward.records import Record

SUBSETS = ("Factuality", "Precise IF", "Math", "Safety", "Focus")


def row(name: str, subset: str, good: int = 1, bad: int = 3) -> dict[str, object]:
    return {
        "id": name,
        "prompt": f"Question {name}",
        "chosen": [f"right {name} {i}" for i in range(good)],
        "rejected": [f"wrong {name} {i}" for i in range(bad)],
        "num_correct": good,
        "num_incorrect": bad,
        "total_completions": good + bad,
        "models": ["m"],
        "subset": subset,
        "additional_metadata": None,
    }


def rows() -> list[dict[str, object]]:
    found = [row(f"{n}-{i}", subset) for n, subset in enumerate(SUBSETS) for i in range(2)]
    return [
        *found,
        row("ref:0", "Ties", 1, 3),
        row("tied:0", "Ties", 3, 3),
        row("ref:1", "Ties", 1, 2),
        row("tied:1", "Ties", 2, 2),
    ]


SCORES = {
    # right answer first, then the wrong ones: 1, ½ of two maxima, 0, ¼ of all equal
    "0-0": [3, 1, 2, 0], "0-1": [2, 2, 1, 0], "1-0": [0, 1, 2, 3], "1-1": [1, 1, 1, 1],
    "2-0": [5, 1, 1, 1], "2-1": [5, 5, 5, 1], "3-0": [1, 0, 0, 0], "3-1": [1, 0, 0, 0],
    "4-0": [0, 1, 0, 0], "4-1": [0, 1, 1, 0],
    # gap 4; gap 2, spread 1: all terms, min(4, 2) / 1 - 1 = 1
    "ref:0": [8, 4, 1, 0], "tied:0": [6, 7, 6.5, 4, 0, 1],
    # gap 1; gap 1, spread 3: right but not preferred, min(1, 1) / 3 - 1 = -2/3
    "ref:1": [2, 1, 0], "tied:1": [5, 8, 4, 2],
}  # fmt: skip


def scorer(record: Record) -> list[float]:
    return [float(score) for score in SCORES[record.source_id]]


@pytest.mark.parametrize(
    ("scores", "right", "expected"),
    [
        ([3, 1, 2, 0], 0, 1),
        ([2, 2, 1, 0], 0, 1 / 2),
        ([2, 2, 2, 2], 3, 1 / 4),
        ([1, 2, 2, 2], 0, 0),
        ([-1.0, -2.0], 0, 1),
    ],
)
def test_best_of(scores, right, expected) -> None:
    assert best_of(scores, right) == expected


@pytest.mark.parametrize(
    ("ref", "tied", "expected"),
    [
        ((4, 0), (2, 1), 0.3 + 0.3 + 0.2 + 0.2 + 0.01 * math.tanh(1)),
        ((1, 0), (1, 3), 0.3 + 0.3 + 0.01 * math.tanh(-2 / 3)),
        # Preferred by the tied form alone: the reference's gap is smaller than the spread.
        ((0.5, 0), (2, 1), 0.3 + 0.3 + 0.2 + 0.01 * math.tanh(-0.5)),
        ((-1, 0), (2, 1), 0.3 + 0.2 + 0.01 * math.tanh(-2)),
        ((0, 0), (0, 0), 0),  # every answer has one score
        ((1, 0), (1, 0), 0.3 + 0.3 + 0.2 + 0.2 + 0.01),  # no spread at all
        ((1, 0), (-1, 0), 0.3 - 0.01),
    ],
)
def test_one_question_of_ties(ref, tied, expected) -> None:
    assert ties_score(ref, tied) == pytest.approx(expected)


def test_official_numbers_by_hand(tmp_path) -> None:
    path = write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows())
    found = RewardBench2(str(path), rows=14).load(own())
    assert not found.unusable
    assert [r.group for r in found.records][-4:] == ["Ties 0", "Ties 0", "Ties 1", "Ties 1"]
    result = metrics(tmp_path, found, scorer)
    ties = (
        (1.0 + 0.01 * math.tanh(1)) + (0.6 + 0.01 * math.tanh(-2 / 3))
    ) / 2  # of the two questions
    subsets = {
        "factuality": (1 + 1 / 2) / 2,
        "precise_if": (0 + 1 / 4) / 2,
        "math": (1 + 1 / 3) / 2,
        "safety": 1,
        "focus": 0,
    }
    expected = {
        **subsets,
        "ties": ties,
        "best_of_four": np.mean(list(subsets.values())),
        "score": (sum(subsets.values()) + ties) / 6,
    }
    numbers = result["official"]
    assert {key: number["value"] for key, number in numbers.items()} == pytest.approx(expected)
    assert numbers["factuality"]["ties"] == "shared"
    assert (numbers["best_of_four"]["n"], numbers["ties"]["n"], numbers["score"]["n"]) == (
        10,
        2,
        12,
    )
    low, high = numbers["score"]["ci95"]
    assert low < expected["score"] < high
    # Pairs are what the other numbers are about: 3 a prompt, and all right-wrong pairs of Ties.
    assert result["n"] == 10 * 3 + 3 + 9 + 2 + 4


def test_a_perfect_model_and_equal_scores(tmp_path) -> None:
    found = RewardBench2(str(write_jsonl(tmp_path / "a.jsonl", rows()))).load(own())
    perfect = metrics(tmp_path / "perfect", found, by_rank)["official"]
    assert perfect["score"]["value"] == pytest.approx((5 + 1.01) / 6)
    equal = metrics(tmp_path / "equal", found, lambda r: [0.0] * len(r.responses))["official"]
    assert equal["best_of_four"]["value"] == 0.25 and equal["ties"]["value"] == 0


def test_chance_is_a_quarter(tmp_path) -> None:
    given = [row(str(i), "Math") for i in range(2000)]
    found = RewardBench2(str(write_jsonl(tmp_path / "a.jsonl", given))).load(own())
    numbers = metrics(tmp_path, found, by_rank)["official"]
    low, _high = numbers["math"]["ci95"]
    assert low > 0.99
    assert numbers["math"]["controls"]["random"] == pytest.approx(0.25, abs=0.03)


def test_subsets_that_are_not_there_leave_the_score_out(tmp_path) -> None:
    found = RewardBench2(str(write_jsonl(tmp_path / "a.jsonl", rows()[:4]))).load(own())
    assert set(metrics(tmp_path, found, by_rank)["official"]) == {
        "best_of_four", "factuality", "precise_if"
    }  # fmt: skip


def test_bad_rows_and_counts(tmp_path) -> None:
    given = [rows()[0], {**rows()[1], "chosen": "text"}, {**rows()[2], "rejected": []}]
    path = write_jsonl(tmp_path / "a.jsonl", given)
    found = RewardBench2(str(path)).load(own("drop"))
    assert [row.reason for row in found.unusable] == [
        "chosen and rejected should be lists of answers",
        "a record needs at least 2 answers, this one has 1",
    ]
    assert found.images == "keep"  # there are none to drop
    with pytest.raises(UserError, match="has 3 rows, rewardbench_2 has 1,865"):
        RewardBench2(str(path), rows=1865).load(own())
