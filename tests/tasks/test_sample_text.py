"""What the screen shows of the data before a training."""

from __future__ import annotations

from helpers import image, record

from mmreward.tasks.sample_text import sample_text


def test_the_sample_shows_what_a_record_holds() -> None:
    one = record(
        "Is ",
        0,
        " red?\nSay.",
        media=(image(30, 20),),
        answers=("no", "y" * 400),
        ranks=(1, 0),
        where="pairs.jsonl row 4",
    )
    assert sample_text([one], most=20).splitlines() == [
        "pairs.jsonl row 4",
        "  user: Is [image 30x20] red… (26 characters)",
        "  rank 0: yyyyyyyyyyyyyyyyyyyy… (400 characters)",
        "  rank 1: no",
    ]
    loud = record("a\x1b[2J\r\tb\nc", answers=("\x1b]0;x\x07", "\u202eb"), where="x\x1b[1m")
    assert sample_text([loud]).splitlines() == [
        "x\\x1b[1m",
        "  user: a\\x1b[2J\\r\tb",
        "    c",
        "  rank 0: \\x1b]0;x\\x07",
        "  rank 1: \\u202eb",
    ]
    many = [record(f"q{n}", where=f"row {n}") for n in range(11)]
    assert [line for line in sample_text(many).splitlines() if line.startswith("row")] == [
        "row 0",
        "row 5",
        "row 10",
    ]
    assert sample_text([]) == ""
