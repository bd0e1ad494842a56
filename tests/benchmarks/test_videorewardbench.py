from __future__ import annotations

import pytest
from bench_rows import metrics, own
from own_data import png, write_jsonl

from mmreward.benchmarks.videorewardbench import VideoRewardBench
from mmreward.errors import UserError

CATEGORIES = ("Long-form Perception", "short-form perception", "Knowledge", "Reasoning", "Safety")


def row(number: int, category: str) -> dict[str, object]:
    return {
        "id": number,
        "prompt": "What happens?",
        "video": f"videos/{number}.mp4",
        "chosen": f"this {number}",
        "rejected": f"that {number}",
        "category": category,
    }


def test_frames_categories_and_numbers_by_hand(tmp_path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [row(i, name) for i, name in enumerate(CATEGORIES)])
    for number in range(4):  # nobody extracted the last one
        folder = tmp_path / "videos" / str(number)
        folder.mkdir(parents=True)
        for frame in range(number + 1):
            (folder / f"{frame}.png").write_bytes(png(shade=10 * number + frame))
        (folder / "times.txt").write_text("0.1")
    found = VideoRewardBench(str(path), rows=5, frames=3).load(own())
    assert [len(record.media) for record in found.records] == [1, 2, 3, 3]
    assert [record.category for record in found.records] == [
        "perception_long", "perception_short", "knowledge", "reasoning"
    ]  # fmt: skip
    (missing,) = found.unusable
    assert missing.category == "safety" and "no folder of frames" in missing.reason
    margins = {"0": 1.0, "1": 0.0, "2": -1.0, "3": 1.0}
    result = metrics(tmp_path, found, lambda r: [margins[r.source_id], 0.0])
    values = {key: number["value"] for key, number in result["official"].items()}
    assert values == {
        "overall": 2.5 / 4, "perception_long": 1, "perception_short": 0.5, "knowledge": 0,
        "reasoning": 1,
    }  # fmt: skip  # no macro: safety is missing
    assert result["rows"]["rows"] == 5
    assert [kind["n"] for kind in result["rows"]["unusable"]] == [1]


def test_columns_may_have_other_names(tmp_path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{**row(0, "safety"), "question": "Q?", "prompt": 0}])
    given = {"columns": {"prompt": "question"}, "images": "drop"}
    (record,) = VideoRewardBench(str(path), **given).load(own()).records
    assert record.prompt == "Q?" and record.group == "videos/0.mp4"
    unnamed = VideoRewardBench(str(path), columns={"chosen": "best"}, images="drop").load(own())
    assert unnamed.unusable[0].reason == (
        "it has no column 'best'; benchmark.videorewardbench.columns.chosen names another"
    )


def test_row_count(tmp_path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [row(0, "safety")])
    with pytest.raises(UserError, match="has 1 rows, videorewardbench has 1,563"):
        VideoRewardBench(str(path), rows=1563).load(own())
