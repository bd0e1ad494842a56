"""What makes a row bad that is well-formed by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import record
from own_data import row, text_rows, write_jsonl

from mmreward.data.row_checks import check_answers
from mmreward.data.sources.jsonl import Jsonl
from mmreward.records import Message, Record, RecordError, Response

ASK = "Which of them is red?"
TRANSCRIPT = f"\n\nHuman: {ASK}\n\nAssistant:"


@pytest.mark.parametrize(
    ("prompt", "answers"),
    [
        (ASK, (f"{ASK} The left.", f"{ASK}\nNone.")),
        (TRANSCRIPT, (f"{TRANSCRIPT} a", f"{TRANSCRIPT} b")),
        (ASK, (f"Human: {ASK}\n\nAssistant: a", f"User: {ASK} b")),
        (f"Question: {ASK}", (f"  {ASK} a", f"{ASK} b")),
    ],
)
def test_answers_that_repeat_the_prompt_are_refused(prompt: str, answers: tuple[str, str]) -> None:
    with pytest.raises(RecordError, match="begins with the whole prompt"):
        check_answers(record(prompt, answers=answers))


@pytest.mark.parametrize(
    ("prompt", "answers"),
    [
        (ASK, (f"{ASK} The left.", "None.")),
        (ASK, ("Which of them is blue?", "Which of them is green?")),
        (ASK, (f"I wonder: {ASK}", f"Hm. {ASK}")),
        ("Why?", ("Why? Because.", "Why? So.")),
        ("Is this question hard?", ("Is this hard? Yes.", "Is this hard? No.")),
        ("", ("a", "b")),
    ],
)
def test_answers_that_share_some_of_it_are_not(prompt: str, answers: tuple[str, str]) -> None:
    check_answers(record(prompt, answers=answers))


def test_answers_that_repeat_a_whole_conversation_are_refused() -> None:
    turns = (Message("user", ("Say a.",)), Message("assistant", ("a",)), Message("user", ("Why?",)))
    told = "Human: Say a.\n\nAssistant: a\n\nHuman: Why?\n\nAssistant: "
    with pytest.raises(RecordError, match="begins with the whole prompt"):
        check_answers(Record(turns, (Response(f"{told}So.", 0), Response(f"{told}No.", 1))))


def test_a_row_with_one_answer_is_bad_for_training(tmp_path: Path) -> None:
    alone = row(response=["a"], human_ranking=[0])
    path = write_jsonl(tmp_path / "a.jsonl", [*text_rows(3), alone])
    with pytest.raises(RecordError, match="row 4: a record needs at least 2 answers, .* has 1"):
        Jsonl(str(path), validation=0, test=0).split("train")
    skipping = Jsonl(str(path), validation=0, test=0, on_bad_record="skip")
    assert len(skipping.split("train")) == 3
    assert [bad.where for bad in skipping.bad_records] == [f"{path} row 4"]
