"""Rows that share anything stay together; the rest is a fixed, seeded choice."""

from __future__ import annotations

import random

import pytest

from mmreward.data.splitting import Fractions, connected, split_rows
from mmreward.errors import UserError


def chain_and_singles(number: int) -> list[tuple[str, ...]]:
    """Rows 0-5 form a chain in which neighbours share an image; the others share nothing."""
    chain = [(f"image {n}", f"image {n + 1}") for n in range(6)]
    return chain + [(f"prompt {n}",) for n in range(number - 6)]


def test_rows_are_connected_through_other_rows() -> None:
    labels = connected([("a", "b"), ("c",), ("b", "d"), ("e",), ("d",)])
    assert labels[0] == labels[2] == labels[4]
    assert len({labels[0], labels[1], labels[3]}) == 3


def test_connected_agrees_with_merging_sets_by_hand() -> None:
    rng = random.Random(0)
    keys = [tuple(str(rng.randrange(80)) for _ in range(rng.randint(1, 3))) for _ in range(60)]
    groups = [({n}, set(names)) for n, names in enumerate(keys)]
    merged = True
    while merged:
        merged = False
        for i in range(len(groups)):
            for j in range(i):
                if groups[i][1] & groups[j][1]:
                    groups[j] = (groups[j][0] | groups[i][0], groups[j][1] | groups[i][1])
                    del groups[i]
                    merged = True
                    break
            if merged:
                break
    labels = connected(keys)
    found = {frozenset(n for n in range(60) if labels[n] == label) for label in labels}
    assert found == {frozenset(rows) for rows, _ in groups}


@pytest.mark.parametrize("seed", range(5))
def test_no_group_straddles_and_sizes_are_as_asked(seed: int) -> None:
    keys = chain_and_singles(200)
    splits = split_rows(keys, Fractions(0.1, 0.2, seed))
    assert len(set(splits[:6])) == 1
    assert [splits.count(s) for s in ("train", "validation", "test")] == [140, 20, 40]


def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    keys = chain_and_singles(60)
    splits = dict(zip(keys, split_rows(keys, Fractions(0.2, 0.2)), strict=True))
    shuffled = random.Random(1).sample(keys, len(keys))
    assert dict(zip(shuffled, split_rows(shuffled, Fractions(0.2, 0.2)), strict=True)) == splits
    other = dict(zip(keys, split_rows(keys, Fractions(0.2, 0.2, seed=1)), strict=True))
    assert other != splits


def test_a_group_larger_than_a_held_out_split_is_trained_on() -> None:
    keys = [("describe",)] * 40 + [(str(n),) for n in range(60)]
    for seed in range(5):
        splits = split_rows(keys, Fractions(0.1, 0.2, seed))
        assert set(splits[:40]) == {"train"}
        assert splits.count("validation") == 10 and splits.count("test") == 20


def test_four_rows_still_leave_one_for_each_held_out_split() -> None:
    splits = split_rows([(str(n),) for n in range(4)], Fractions(0.05, 0.1))
    assert sorted(splits) == ["test", "train", "train", "validation"]


def test_a_split_that_stays_empty_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.source\.validation=0\.1.*validation_path"):
        split_rows([("same",)] * 20, Fractions(0.1, 0.0))


def test_nothing_is_held_out_at_zero() -> None:
    assert split_rows([("a",), ("b",)], Fractions(0.0, 0.0)) == ["train", "train"]


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.1), (0.1, -0.1), (0.5, 0.5), (1.0, 0.0)])
def test_fractions_must_leave_something_to_train_on(validation: float, test: float) -> None:
    with pytest.raises(UserError, match=r"data\.source\.validation"):
        Fractions(validation, test)
