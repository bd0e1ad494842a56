"""Verdicts of both orders -> outcomes of pairs -> scores of answers."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from mmreward.errors import UserError
from mmreward.scoring.lines import VERDICTS
from mmreward.scoring.verdicts import (
    Verdict,
    VerdictKey,
    VerdictWriter,
    answer_scores,
    outcomes,
    read_verdicts,
)


def asked(first: int, second: int, *said: int | None, parsed: bool = True) -> dict:
    """Verdicts of one order, a sample each."""
    return {
        VerdictKey("r", first, second, "intact", sample): Verdict(verdict, parsed)
        for sample, verdict in enumerate(said)
    }


@pytest.mark.parametrize(
    ("forth", "back", "outcome"),
    [
        ((1,), (2,), 1.0),
        ((2,), (1,), 0.0),
        ((1,), (1,), 0.5),  # always the first one shown
        ((2,), (2,), 0.5),
        ((1,), (None,), 0.5),
        ((None,), (None,), 0.5),
        ((1, 1, 2), (2, 1, 2), 1.0),  # the majority of each order
        ((1, 2), (2, 2), 0.5),  # a draw is no verdict
        ((1, None, None), (2, 2, None), 1.0),
        ((1,), (), 1.0),  # asked in one order alone
        ((2, 2, 1), (), 0.0),
    ],
)
def test_outcome_of_a_pair(forth: tuple, back: tuple, outcome: float) -> None:
    found = outcomes(asked(0, 1, *forth) | asked(1, 0, *back))
    assert found == {("r", "intact"): {(0, 1): outcome, (1, 0): 1 - outcome}}


def test_what_was_not_parsed_has_no_vote() -> None:
    found = outcomes(asked(0, 1, 1, parsed=False) | asked(1, 0, 2))
    assert found["r", "intact"][0, 1] == 0.5


def test_scores_are_means_over_a_round_robin() -> None:
    """0 beats 1 and 2, 1 and 2 draw: the difference of scores would call 1 and 2 alike, too, but
    not say by how little 0 is ahead."""
    found = outcomes(
        asked(0, 1, 1) | asked(1, 0, 2) | asked(0, 2, 1) | asked(2, 0, 2)
        | asked(1, 2, 1) | asked(2, 1, 1)
    )  # fmt: skip
    assert answer_scores(found["r", "intact"], 3) == [1.0, 0.25, 0.25]


def test_each_condition_and_record_by_itself() -> None:
    verdicts = {
        VerdictKey(record, *order, condition): Verdict(1 if order == (0, 1) else 2)
        for record, condition, order in product("ab", ("intact", "blind_image"), ((0, 1), (1, 0)))
    }
    verdicts[VerdictKey("b", 1, 0, "intact")] = Verdict(1)
    found = {place: pairs[0, 1] for place, pairs in outcomes(verdicts).items()}
    assert found == {
        ("a", "intact"): 1.0, ("a", "blind_image"): 1.0,
        ("b", "intact"): 0.5, ("b", "blind_image"): 1.0,
    }  # fmt: skip


def test_an_answer_is_paid_for_once(tmp_path: Path) -> None:
    key = VerdictKey("r", 0, 1, "intact", 3)
    with VerdictWriter(tmp_path) as writer:
        writer.write(key, Verdict(1, True, 12, "stop", "because \ud800"))
        writer.write(key, Verdict(2))
    with VerdictWriter(tmp_path) as writer:
        writer.write(key, Verdict(2))
        assert writer.verdicts == {key: Verdict(1, True, 12, "stop", "because \ud800")}
    assert len((tmp_path / VERDICTS).read_text().splitlines()) == 1


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    keys = [VerdictKey("r", 0, 1, "intact", sample) for sample in range(3)]
    with VerdictWriter(tmp_path) as writer:
        for key in keys:
            writer.write(key, Verdict(1))
    whole = (tmp_path / VERDICTS).read_bytes()
    (tmp_path / VERDICTS).write_bytes(whole[:-7])
    assert set(read_verdicts(tmp_path)) == set(keys[:2])
    with VerdictWriter(tmp_path) as writer:
        assert set(writer.verdicts) == set(keys[:2])
        writer.write(keys[2], Verdict(1))
    assert (tmp_path / VERDICTS).read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [({"first": "0"}, "line 2 has the first '0'"), ({"verdict": "one"}, "line 2 has the verdict"),
     ({}, "twice")],
)  # fmt: skip
def test_broken_lines_are_named(tmp_path: Path, change: dict, message: str) -> None:
    with VerdictWriter(tmp_path) as writer:
        writer.write(VerdictKey("r", 0, 1, "intact"), Verdict(1))
    row = json.loads((tmp_path / VERDICTS).read_text())
    with (tmp_path / VERDICTS).open("a") as file:
        file.write(json.dumps(row | change) + "\n\n")
    with pytest.raises(UserError, match=message):
        read_verdicts(tmp_path)
