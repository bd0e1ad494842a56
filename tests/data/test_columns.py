"""Turns and answers that a row tells in more than one way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from own_data import row, write_jsonl

from mmreward.config import ROOT
from mmreward.data.columns import Columns
from mmreward.data.images import ImageReader
from mmreward.records import Record, RecordError


def turns(*told: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in told]


def read(**cells: Any) -> Record:
    """A row's record; its columns have the names of the fields."""
    return Columns({"prompt": "prompt"}, ImageReader(None)).record(cells)


def said(record: Record) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in record.messages]


SYSTEM, HI = ("system", "Answer in French."), ("user", "Hi")
HELLO, WHY = ("assistant", "Hello."), ("user", "Why?")


@pytest.mark.parametrize(
    ("prompt", "before"),
    [
        ([SYSTEM, HI], []),
        ([SYSTEM, HI], [HI]),
        ([SYSTEM, HI], [SYSTEM, HI]),
        ([HI], [SYSTEM, HI]),
        ([SYSTEM], [HI]),
        ([], [SYSTEM, HI]),
    ],
)
@pytest.mark.parametrize("column", ["prompt", "messages"])
def test_no_turn_is_lost(
    prompt: list[tuple[str, str]], before: list[tuple[str, str]], column: str
) -> None:
    answers = {name: turns(*before, ("assistant", name)) for name in ("chosen", "rejected")}
    record = read(**{column: turns(*prompt)}, **answers)
    assert said(record) == [SYSTEM, HI]
    assert [r.text for r in record.responses] == ["chosen", "rejected"]


def test_tellings_that_overlap_are_one_conversation() -> None:
    answers = {n: turns(HI, HELLO, WHY, ("assistant", n)) for n in ("chosen", "rejected")}
    assert said(read(prompt=turns(SYSTEM, HI), **answers)) == [SYSTEM, HI, HELLO, WHY]
    assert said(read(prompt=turns(HI), messages=turns(SYSTEM, HI), chosen="a", rejected="b")) == [
        SYSTEM,
        HI,
    ]


def test_tellings_that_differ_are_refused() -> None:
    answers = {name: turns(HI, ("assistant", name)) for name in ("chosen", "rejected")}
    with pytest.raises(RecordError, match=r"data\.source\.columns\.prompt=null"):
        read(prompt=turns(SYSTEM, WHY), **answers)
    whole = Columns({"prompt": None}, ImageReader(None)).record({"prompt": 3, **answers})
    assert said(whole) == [HI]


def test_json_in_a_cell_of_text_is_read() -> None:
    answers = {name: json.dumps(turns(HI, ("assistant", name))) for name in ("chosen", "rejected")}
    for prompt in ("Hi", json.dumps(turns(HI)), None):
        record = read(prompt=prompt, **answers)
        assert said(record) == [HI]
        assert [r.text for r in record.responses] == ["chosen", "rejected"]
    one = json.dumps({"role": "assistant", "content": "alone"})
    assert read(prompt="Hi", chosen=one, rejected="b").responses[0].text == "alone"
    lists = {"response": '["a", "b", "c"]', "human_ranking": "[1, 0, 1]", "pairs": "[[1, 0]]"}
    record = read(messages=json.dumps(turns(SYSTEM, HI)), **lists)
    assert said(record) == [SYSTEM, HI]
    assert [(r.text, r.rank) for r in record.responses] == [("a", 1), ("b", 0), ("c", 1)]
    assert record.judged == ((1, 0),)
    parts = json.dumps([{"type": "text", "text": "Look: "}, {"type": "text", "text": "this"}])
    assert said(read(messages=turns(("user", parts)), chosen="a", rejected="b")) == [
        ("user", "Look: this")
    ]


@pytest.mark.parametrize(
    "text", ['{"type": "object"}', '[{"role": "admin"}]', '["a"]', "[{'role': 1", '{"role": "x"}']
)
def test_other_json_is_an_answer(text: str) -> None:
    record = read(prompt=text, chosen=text, rejected="b")
    assert record.prompt == text and record.responses[0].text == text
    assert read(prompt="a", response=[text, "b"], human_ranking=[0, 1]).responses[0].text == text


def test_turns_as_text_that_nobody_can_read_are_refused() -> None:
    python = str(turns(HI, ("assistant", "a")))
    for cells in ({"prompt": python, "chosen": "a"}, {"prompt": "Hi", "chosen": python}):
        with pytest.raises(RecordError, match="not as JSON"):
            read(**cells, rejected="b")
    given = [json.dumps(turns(HI, ("assistant", "a"))), "b"]
    with pytest.raises(RecordError, match="answer 0 is turns written as JSON"):
        read(prompt="Hi", response=given, human_ranking=[0, 1])


def test_the_command_line_reads_or_refuses_each_by_row(tmp_path: Path) -> None:
    good = [row(query=f"Number {n}?") for n in range(4)]
    packed = json.dumps(turns(SYSTEM, ("user", "Packed?"), ("assistant", "yes")))
    packed_row = {"query": "Packed?", "chosen": packed, "rejected": packed.replace("yes", "no")}
    repeated = row(query="How are you?", response=["How are you? Well.", "How are you? Bad."])
    odd = {"messages": turns(SYSTEM, HI), "chosen": turns(WHY, HELLO), "rejected": turns(WHY, HI)}
    odd["rejected"][-1] = {"role": "assistant", "content": "No."}
    path = write_jsonl(tmp_path / "rows.jsonl", [*good, packed_row, repeated, odd])
    command = [sys.executable, str(ROOT / "run.py"), "task=audit", "data/source=jsonl"]
    command += [f"data.source.path={path}", "data.source.validation=0", "data.source.test=0"]
    command += [f"hydra.run.dir={tmp_path / 'out'}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert found["splits"]["train"]["n_records"] == 5
    left_out = [
        (n, example.removeprefix(f"{path} ")[:6]) for n, example in found["left_out"].values()
    ]
    assert left_out == [(1, "row 6:"), (1, "row 7:")]
    command.append("data.on_bad_record=error")
    stopped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert stopped.returncode == 1
    assert "rows.jsonl row 6: every answer begins with the whole prompt" in stopped.stderr
