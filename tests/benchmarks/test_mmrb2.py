from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_rows import metrics, own, write_parquet
from own_data import png, write_jsonl

from mmreward.benchmarks.mmrb2 import MMRB2
from mmreward.errors import UserError

TASKS = ("t2i", "edit", "interleaved", "reasoning")


def image(shade: int) -> dict[str, object]:
    return {"bytes": png(shade=shade), "path": None}


def hub_row(name: str, **changes: object) -> dict[str, object]:
    return {
        "pair_id": name,
        "prompt_text": f"Look at <image_0> and <image_1>. What of {name}?",
        "prompt_images": [image(1), image(2)],
        "response_a_text": "An answer.",
        "response_a_images": [],
        "response_b_text": "Another.",
        "response_b_images": None,
        "chosen": "B",
        "prompt_source": "x",
        "human_annotations": "{}",
        **changes,
    }


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Two rows a task; only text answers in reasoning, one in interleaved, none elsewhere."""
    drawn = {"response_a_images": [image(9)], "response_a_text": "<image_0>"}
    rows = {
        "t2i": [hub_row(f"t{i}", prompt_text="A cat", prompt_images=[], **drawn) for i in range(2)],
        "edit": [hub_row(f"e{i}", **drawn) for i in range(2)],
        "interleaved": [hub_row("i0", **drawn), hub_row("i1")],
        "reasoning": [hub_row("r0"), hub_row("r1", chosen="a")],
    }
    for task, given in rows.items():
        write_parquet(tmp_path / task / "test-00000-of-00001.parquet", given)
    return tmp_path


def test_images_in_answers_are_counted_by_task(hub, tmp_path) -> None:
    found = MMRB2(str(hub), rows=2).load(own())
    assert [record.source_id for record in found.records] == ["i1", "r0", "r1"]
    assert [[a.rank for a in r.responses] for r in found.records] == [[1, 0], [1, 0], [0, 1]]
    info = found.info(["intact"])
    assert {kind["category"]: kind["n"] for kind in info["unusable"]} == {
        "t2i": 2, "edit": 2, "interleaved": 1
    }  # fmt: skip
    assert {kind["reason"] for kind in info["unusable"]} == {
        "an answer holds images, which no model here reads"
    }
    result = metrics(tmp_path, found, lambda r: [0.0, 1.0])
    values = {key: number["value"] for key, number in result["official"].items()}
    assert values == {"overall": 2 / 3, "interleaved": 1, "reasoning": 0.5}
    assert result["rows"]["rows"] == 8 and result["n_records"] == 3
    # Taking the prompts' images away does not make such an answer text.
    assert len(MMRB2(str(hub)).load(own("drop")).unusable) == 5


@pytest.mark.parametrize(
    ("text", "images", "content"),
    [
        ("See <image_0>: <image_1>?", 2, ("See ", 0, ": ", 1, "?")),
        ("<image_1> before <image_0>", 2, (0, " before ", 1)),
        ("<image_1> and <image_2>", 2, (0, " and ", 1)),
        ("No place", 2, ("No place", 0, 1)),
        ("<image> or <image>", 2, (0, " or ", 1)),
        ("One of <image_0>", 2, ("One of ", 0, 1)),
    ],
)
def test_where_images_stand_in_a_prompt(hub, text, images, content) -> None:
    cells = [image(10 * (i + 1)) for i in range(images)]
    row = hub_row("r0", prompt_text=text, prompt_images=cells)
    write_parquet(hub / "reasoning" / "test-00000-of-00001.parquet", [row])
    (record,) = MMRB2(str(hub), tasks=["reasoning"]).load(own()).records
    assert record.messages[0].content == content
    shades = [media.load().getpixel((0, 0))[0] for media in record.media]
    assert shades == ([20, 10] if "before" in text else [10, 20])
    (dropped,) = MMRB2(str(hub), tasks=["reasoning"]).load(own("drop")).records
    assert dropped.prompt == "".join(part for part in content if isinstance(part, str))


def test_a_placeholder_without_an_image_is_counted(hub) -> None:
    row = hub_row("r0", prompt_text="<image_0> <image_5>")
    write_parquet(hub / "reasoning" / "test-00000-of-00001.parquet", [row])
    (bad,) = MMRB2(str(hub), tasks=["reasoning"]).load(own()).unusable
    assert bad.reason == "its prompt places the images [0, 5], but it has 2 of them"
    (dropped,) = MMRB2(str(hub), tasks=["reasoning"]).load(own("drop")).records
    assert dropped.prompt == " " and not dropped.media


def test_the_repositorys_json(tmp_path) -> None:
    (tmp_path / "input_images").mkdir()
    (tmp_path / "input_images" / "1.jpg").write_bytes(png(shade=7))

    def pair(name: str, answer: list[list[str]]) -> dict[str, object]:
        return {
            "id": name,
            "prompt_content": [["text", "Count:"], ["image", "input_images/1.jpg"]],
            "response_a": {"model_name": "m", "response_content": answer},
            "response_b": {"model_name": "n", "response_content": [["text", "two"]]},
            "chosen": "A",
        }

    rows = [
        pair("1", [["text", "one"], ["text", "or more"]]),
        pair("2", [["text", "see"], ["image", "images/x.jpg"]]),
    ]
    (tmp_path / "reasoning.json").write_text(json.dumps({"pairs": rows}))
    for path in (tmp_path, tmp_path / "reasoning.json"):
        found = MMRB2(str(path), rows=2, tasks=["reasoning"]).load(own())
        (record,) = found.records
        assert record.messages[0].content == ("Count:", 0)
        assert [a.text for a in record.responses] == ["one\n\nor more", "two"]
        assert record.category == "reasoning" and len(found.unusable) == 1


def test_counts_and_choices(hub, tmp_path) -> None:
    with pytest.raises(UserError, match="t2i in .* has 2 rows, mmrb2 has 1,000"):
        MMRB2(str(hub), rows=1000).load(own())
    with pytest.raises(UserError, match=r"mmrb2.tasks=\['video'\] should name some of t2i"):
        MMRB2(str(hub), tasks=["video"])
    file = write_jsonl(tmp_path / "reasoning.jsonl", [])
    with pytest.raises(UserError, match="is one file; give the folder"):
        MMRB2(str(file)).load(own())
