"""HH-RLHF: one conversation, two last answers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from own_data import REAL, all_records, sizes, source, straddling, write_jsonl

from mmreward.data.sources.hh_rlhf import ANSWER, HHRLHF, Transcripts
from mmreward.records import Record, RecordError

REAL_FILE = REAL / "hh_harmless" / "pairs.jsonl.gz"


def transcript(*turns: str) -> str:
    """Turns of a person and an assistant, a person first."""
    speakers = ("Human", "Assistant")
    return "".join(f"\n\n{speakers[n % 2]}: {text}" for n, text in enumerate(turns))


def pair(*context: str, chosen: str = "Yes.", rejected: str = "No.") -> dict[str, Any]:
    return {"chosen": transcript(*context, chosen), "rejected": transcript(*context, rejected)}


def read(given: dict[str, Any]) -> Record:
    return Transcripts().record(given)


def test_turns_become_messages_and_answers_stay_as_they_are() -> None:
    record = read(pair("Hi", "Hello.\n\n1. A list", " Why? ", chosen="So.\n\nHuman said: x "))
    assert [(m.role, m.text) for m in record.messages] == [
        ("user", "Hi"),
        ("assistant", "Hello.\n\n1. A list"),
        ("user", "Why?"),
    ]
    assert [(r.text, r.rank) for r in record.responses] == [
        (" So.\n\nHuman said: x ", 0),
        (" No.", 1),
    ]


def test_the_last_answer_is_cut_off_not_the_first() -> None:
    record = read(pair("Q", "first", "And?", chosen="second", rejected="other"))
    assert [r.text for r in record.responses] == [" second", " other"]
    assert record.messages[1].text == "first"


def test_an_image_tag_in_a_chat_is_text() -> None:
    assert read(pair("What does <image> do in HTML?")).prompt == "What does <image> do in HTML?"


def test_speakers_need_not_alternate() -> None:
    start = "\n\nHuman: a\n\nAssistant: b\n\nAssistant: c\n\nHuman: d"
    record = read({"chosen": f"{start}{ANSWER} e", "rejected": f"{start}{ANSWER} f"})
    assert [m.role for m in record.messages] == ["user", "assistant", "assistant", "user"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"chosen": transcript("a", "b")}, "rejected should be text"),
        ({"chosen": "a", "rejected": "b"}, r'chosen holds no "\\n\\nAssistant:"'),
        (
            {"chosen": transcript("a", "b"), "rejected": transcript("x", "b")},
            "chosen and rejected differ before their last answer",
        ),
        (
            {"chosen": transcript("a", "b", "c", "d"), "rejected": transcript("a", "b")},
            "chosen and rejected differ before their last answer",
        ),
        (pair("a", chosen=" "), "answer 0 is empty"),
        (
            {name: f"{transcript('a', 'b')}{ANSWER} {name}" for name in ("chosen", "rejected")},
            'no conversation that a "Human:" turn ends',
        ),
        ({"chosen": ANSWER + " a", "rejected": ANSWER + " b"}, "no conversation"),
        (pair("a", chosen="same", rejected="same"), "answers 0 and 1 are the same text"),
    ],
)
def test_transcripts_that_do_not_fit(tmp_path: Path, given: dict[str, Any], reason: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl.gz", [pair("ok"), given])
    with pytest.raises(RecordError, match=f"a.jsonl.gz row 2: .*{reason}"):
        HHRLHF(str(path), validation=0, test=0).split("train")


def test_the_command_line_builds_it_and_prompts_do_not_straddle(tmp_path: Path) -> None:
    rows = [pair("Hi", "Yes?", f"q{n // 2}", chosen=f"a{n}") for n in range(40)]
    path = write_jsonl(tmp_path / "a.jsonl.gz", rows)
    built = source("data/source=hh_rlhf", f"data.source.path={path}", "data.source.test=0.2")
    assert sizes(built) == {"train": 30, "validation": 2, "test": 8}
    assert straddling(built) == set()


@pytest.mark.skipif(not REAL_FILE.is_file(), reason="no real data")
def test_harmless() -> None:
    real = HHRLHF(str(REAL_FILE), on_bad_record="skip")
    assert sizes(real) == {"train": 1269, "validation": 75, "test": 149}
    assert straddling(real) == set()
    bad = [(int(b.where.rsplit(" ", 1)[1]), b.reason) for b in real.bad_records]
    differ = "chosen and rejected differ before their last answer"
    assert bad == [
        (54, "answer 0 is empty"),
        (332, "answer 0 is empty"),
        (723, "answer 0 is empty"),
        (818, differ),
        (1261, differ),
        (1262, differ),
        (1318, differ),
    ]
    lines = gzip.decompress(REAL_FILE.read_bytes()).splitlines()
    records = all_records(real)
    assert len({r.id for r in records}) == len(records) == 1493
    for record in records:
        given = json.loads(lines[int(record.where.rsplit(" ", 1)[1]) - 1])
        for response, name in zip(record.responses, ("chosen", "rejected"), strict=True):
            assert given[name].endswith(ANSWER + response.text)
            assert all(message.text in given[name] for message in record.messages)
