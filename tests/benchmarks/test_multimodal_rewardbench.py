from __future__ import annotations

import json

import pytest
from bench_rows import metrics, own, write_parquet
from own_data import png

from mmreward.benchmarks.multimodal_rewardbench import MultimodalRewardBench
from mmreward.errors import UserError

# Category, id, better, margin of output 1.
ROWS = [
    ("open_generation/correctness_task", "nocaps_1", "Output1", 1.0),
    ("open_generation/preference_task", "visitbench_1", "Output2", 1.0),
    ("knowledge", "mmmu-s_1", "Output1", 0.0),
    ("reasoning", "mathvista_1", "Output2", -1.0),
    ("reasoning", "EMMA-Coding_1", "Output1", -1.0),
    ("safety", "PAIRS_1", "Output1", 1.0),
    ("vqa", "MMBench_1", "Output2", -1.0),
]


def row(category: str, source_id: str, better: str, image: object) -> dict[str, object]:
    return {
        "ID": source_id,
        "Category": category,
        "Text": f"About {source_id}?",
        "Image": image,
        "Output1": "first",
        "Output2": "second",
        "Better": better,
    }


def rows() -> list[dict[str, object]]:
    return [
        row(category, name, better, {"bytes": png(shade=i), "path": None})
        for i, (category, name, better, _) in enumerate(ROWS)
    ]


def test_official_numbers_by_hand(tmp_path) -> None:
    path = write_parquet(tmp_path / "test-00000-of-00001.parquet", rows())
    found = MultimodalRewardBench(str(path), rows=7).load(own())
    assert [[a.rank for a in r.responses] for r in found.records][:2] == [[0, 1], [1, 0]]
    margins = {name: margin for _, name, _, margin in ROWS}
    result = metrics(tmp_path, found, lambda r: [margins[r.source_id], 0.0])
    values = {key: number["value"] for key, number in result["official"].items()}
    assert values == pytest.approx(
        {
            # A tie is what the script's coin makes of it: one half. 1 + 0 + ½ + 1 + 0 + 1 + 1
            "overall": 4.5 / 7,
            "macro": (1 + 0 + 0.5 + 0.5 + 1 + 1) / 6,
            "general_correctness": 1,
            "general_preference": 0,
            "knowledge": 0.5,
            "reasoning": 0.5,
            "reasoning/math": 1,
            "reasoning/coding": 0,
            "safety": 1,
            "safety/bias": 1,
            "vqa": 1,
        }
    )
    assert set(result["categories"]) == {
        "open_generation/correctness_task", "open_generation/preference_task", "knowledge",
        "reasoning/math", "reasoning/coding", "safety/bias", "vqa",
    }  # fmt: skip
    assert result["official"]["overall"]["ties"] == "half"
    assert result["official"]["overall"]["half"] is None


def test_the_repositorys_json_and_its_images(tmp_path) -> None:
    folder = tmp_path / "data" / "images" / "nocaps"
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_bytes(png())
    given = row(*ROWS[0][:3], "images/nocaps/1.jpg")
    (tmp_path / "data" / "all_data.json").write_text(json.dumps([given, {**given, "Better": "A"}]))
    found = MultimodalRewardBench(str(tmp_path), rows=2).load(own())
    assert [len(record.media) for record in found.records] == [1]
    (bad,) = found.unusable
    assert bad.reason == "Better is 'A', neither Output1 nor Output2"
    assert bad.where.endswith("all_data.json row 2")


def test_the_papers_number_of_rows_is_not_the_released_one(tmp_path) -> None:
    path = write_parquet(tmp_path / "a.parquet", rows())
    with pytest.raises(UserError, match="has 7 rows, multimodal_rewardbench has 4,711"):
        MultimodalRewardBench(str(path), rows=4711).load(own())
