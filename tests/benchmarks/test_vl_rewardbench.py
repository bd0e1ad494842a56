from __future__ import annotations

import re
from collections import Counter

import pytest
from bench_rows import by_rank, metrics, own, write_parquet
from own_data import REAL, png, write_jsonl

from mmreward.benchmarks.vl_rewardbench import (
    VLRewardBench,
    official_split,
    old_split,
    r1_split,
)
from mmreward.errors import UserError
from mmreward.records import Record

TEXT = REAL / "vl_rewardbench" / "text.jsonl.gz"
IDS = ("hallucination_pair-1", "RLAIF-2", "RLHF-V-3", "wildvision-4", "svit_5", "mathverse_6")


def hub_row(source_id: str, **changes: object) -> dict[str, object]:
    """As in the parquet files of the hub: the image is a struct."""
    number = int(re.sub(r"\D", "", source_id))
    return {
        "id": source_id,
        "query": f"What is in picture {number}?",
        "response": [f"A cat, {number}.", "A dog.\nOr two."],
        "image": {"bytes": png(shade=number), "path": f"{number}.png"},
        "human_ranking": [0, 1],
        "models": ["a", "b"],
        **changes,
    }


def text_row(source_id: str, number: int) -> dict[str, object]:
    """As in the text copy: paths of images."""
    return {
        "id": source_id,
        "prompt": "Describe it.",
        "chosen": f"A cat, {number}.",
        "rejected": "A dog.",
        "image": f"vl_reward/img/image_{number}.png",
    }


def test_parquet_with_image_structs_as_the_hub_lays_it_out(tmp_path) -> None:
    rows = [hub_row(name) for name in IDS]
    rows[3]["human_ranking"] = [1, 0]
    write_parquet(tmp_path / "data" / "test-00000-of-00002.parquet", rows[:4])
    write_parquet(tmp_path / "data" / "test-00001-of-00002.parquet", rows[4:])
    # One revision has the same rows under train as well.
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    found = VLRewardBench(str(tmp_path), rows=6).load(own())
    assert (found.n_rows, len(found.unusable)) == (6, 0)
    assert [r.category for r in found.records] == [
        "hallucination", "hallucination", "hallucination", "general", "general", "reasoning"
    ]  # fmt: skip
    assert [[a.rank for a in r.responses] for r in found.records][2:4] == [[0, 1], [1, 0]]
    first = found.records[0]
    assert first.messages[0].content == (0, "What is in picture 1?")
    assert first.media[0].load().getpixel((0, 0)) == (1, 40, 200)
    assert first.group == first.media[0].sha256[:16]
    assert found.info(["intact"])["path"] == str(tmp_path)


def test_jsonl_beside_a_folder_of_images(tmp_path) -> None:
    write_jsonl(tmp_path / "data.jsonl", [text_row(name, i) for i, name in enumerate(IDS)])
    folder = tmp_path / "vl_reward" / "img"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"image_{number}.png").write_bytes(png(shade=number))
    found = VLRewardBench(str(tmp_path), rows=6).load(own())
    assert len(found.records) == 5
    (missing,) = found.unusable
    assert missing.category == "reasoning" and "image_5.png does not exist" in missing.reason
    assert found.info(["intact"])["unusable"][0] == {
        "category": "reasoning",
        "reason": missing.reason,
        "n": 1,
        "example": f"{missing.where}: {missing.reason}",
    }
    elsewhere = VLRewardBench(str(tmp_path / "data.jsonl"), image_root=str(tmp_path)).load(own())
    assert [r.id for r in elsewhere.records] == [r.id for r in found.records]


def test_the_text_alone_needs_no_images(tmp_path) -> None:
    path = write_jsonl(tmp_path / "text.jsonl.gz", [text_row("RLHF-1", 1), text_row("RLHF-1", 2)])
    for benchmark, images in (
        (VLRewardBench(str(path)), "drop"),
        (VLRewardBench(str(path), images="drop"), "keep"),
    ):
        found = benchmark.load(own(images))
        assert found.images == "drop" and not found.unusable
        assert [r.media for r in found.records] == [(), ()]
        # The same question about different images; duplicate ids make no group.
        assert [r.group for r in found.records] == [
            "vl_reward/img/image_1.png", "vl_reward/img/image_2.png"
        ]  # fmt: skip
    assert len(VLRewardBench(str(path), images="keep").load(own("drop")).unusable) == 2


def test_the_runs_template_goes_around_the_prompt(tmp_path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [hub_row(IDS[0])])
    (record,) = VLRewardBench(str(path)).load(own(template="Q: {query}\nA:")).records
    assert record.messages[0].content == (0, "Q: What is in picture 1?\nA:")


def test_placeholders_in_a_prompt_are_text(tmp_path) -> None:
    """One question of the benchmark names parts of its single image <image 2>, <image 3>."""
    row = hub_row(IDS[5], query="Which?\nA. <image 2>\nB. <image 3>")
    path = write_parquet(tmp_path / "a.parquet", [row])
    (record,) = VLRewardBench(str(path)).load(own()).records
    assert record.messages[0].content == (0, "Which?\nA. <image 2>\nB. <image 3>")


def test_unusable_rows_are_counted_with_their_reasons(tmp_path) -> None:
    rows = [
        hub_row(IDS[0]),
        hub_row(IDS[1], image=None),
        hub_row(IDS[2], image={"bytes": b"no image", "path": None}),
        hub_row(IDS[3], response=["alone"], human_ranking=[0]),
        hub_row(IDS[4], response=[" ", "b"]),
        hub_row(IDS[5], human_ranking=[0, 0]),
    ]
    found = VLRewardBench(str(write_parquet(tmp_path / "a.parquet", rows))).load(own())
    assert len(found.records) == 1
    assert [row.reason.split(" (")[0] for row in found.unusable] == [
        "it has no image",
        "image",
        "it has no two answers with the ranks 0 and 1",
        "answer 0 is empty",
        "it has no two answers with the ranks 0 and 1",
    ]
    assert next(row.where for row in found.unusable) == f"{tmp_path / 'a.parquet'} row 2"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([1250, 1247], "has 2 rows, vl_rewardbench has 1,250 or 1,247; give the whole of it, or"),
        (3, "benchmark.vl_rewardbench.rows=2 to score what is there"),
    ],
)
def test_another_number_of_rows_is_one_sentence(tmp_path, rows, said) -> None:
    path = write_parquet(tmp_path / "a.parquet", [hub_row(name) for name in IDS[:2]])
    with pytest.raises(UserError, match=re.escape(said)):
        VLRewardBench(str(path), rows=rows).load(own())
    for accepted in (2, [1, 2], None):
        assert VLRewardBench(str(path), rows=accepted).load(own()).n_rows == 2


def test_official_numbers_by_hand(tmp_path) -> None:
    """Right: 1, 4, 6; a tie: 2; wrong: 3, 5."""
    path = write_parquet(tmp_path / "a.parquet", [hub_row(name) for name in IDS])
    found = VLRewardBench(str(path)).load(own())
    margins = dict(zip(IDS, (1.0, 0.0, -1.0, 2.0, -1.0, 0.5), strict=True))
    result = metrics(tmp_path, found, lambda r: [margins[r.source_id], 0.0])
    numbers = result["official"]
    expected = {
        "overall": (3 / 6, 3.5 / 6),
        "general": (1 / 2, 1 / 2),
        "hallucination": (1 / 3, 1.5 / 3),
        "reasoning": (1, 1),
        "macro": ((1 / 2 + 1 / 3 + 1) / 3, (1 / 2 + 1 / 2 + 1) / 3),
        # R1-Reward's script: RLAIF and RLHF are general.
        "r1_general": (1 / 4, 1.5 / 4),
        "r1_hallucination": (1, 1),
        "r1_macro": ((1 / 4 + 1 + 1) / 3, (1.5 / 4 + 1 + 1) / 3),
        # Before the correction: POVID's rows are general.
        "old_general": (2 / 3, 2 / 3),
        "old_hallucination": (0, 1 / 4),
        "old_macro": ((2 / 3 + 0 + 1) / 3, (2 / 3 + 1 / 4 + 1) / 3),
    }
    assert set(numbers) == set(expected)
    for key, (value, half) in expected.items():
        assert numbers[key]["value"] == pytest.approx(value), key
        assert numbers[key]["half"] == pytest.approx(half), key
    assert numbers["overall"]["ties"] == "wrong" and numbers["overall"]["n"] == 6
    assert [key for key, number in numbers.items() if number["headline"]] == ["overall", "macro"]
    assert (result["accuracy"], result["strict"]) == (pytest.approx(3.5 / 6), 3 / 6)
    assert result["macro"]["accuracy"] == pytest.approx(numbers["macro"]["half"])
    assert result["macro"]["strict"] == pytest.approx(numbers["macro"]["value"])
    # "A cat, 1." against "A dog.\nOr two.": more line breaks lose everywhere.
    assert numbers["overall"]["controls"]["newlines"] == 0
    assert numbers["r1_general"]["controls"]["shorter"] == 1


def test_a_category_that_is_not_there_leaves_the_macro_average_out(tmp_path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [hub_row(name) for name in IDS[:3]])
    numbers = metrics(tmp_path, VLRewardBench(str(path)).load(own()), by_rank)["official"]
    # R1-Reward's split of the same rows has two of the three categories.
    assert set(numbers) == {
        "overall", "hallucination", "r1_general", "r1_hallucination", "old_general",
        "old_hallucination",
    }  # fmt: skip


@pytest.mark.skipif(not TEXT.is_file(), reason="no real data")
def test_the_real_rows(tmp_path) -> None:
    found = VLRewardBench(str(TEXT), rows=[1250, 1247]).load(own("drop"))
    ids = [record.source_id for record in found.records]
    assert len(ids) - len(set(ids)) == 25
    assert [
        [Counter(map(split, ids))[name] for name in ("general", "hallucination", "reasoning")]
        for split in (official_split, r1_split, old_split)
    ] == [[183, 749, 318], [484, 448, 318], [631, 301, 318]]
    assert len({record.id for record in found.records}) == 1245
    # The text is the same in five pairs of rows, the image is not: they stay apart.
    assert len({record.group for record in found.records}) == 1250

    result = metrics(tmp_path, found, lambda r: [a.text.count("\n") for a in r.responses])
    half = {key: number["half"] for key, number in result["official"].items()}
    expected = {"overall": 0.625, "hallucination": 0.705, "general": 0.473, "reasoning": 0.525}
    assert half == pytest.approx(half | expected | {"macro": 0.568}, abs=5e-4)
    assert result["accuracy"] == pytest.approx(0.6252)
    assert result["controls"]["newlines"]["difference"] == 0
    assert result["controls"]["longer"]["accuracy"] == pytest.approx(0.431, abs=5e-4)
    rules = result["official"]["overall"]["controls"]
    assert (rules["longer"], rules["shorter"]) == pytest.approx((0.4308, 0.5692))

    # Whoever has the text only and a model that wants images gets all of them counted.
    blind = VLRewardBench(str(TEXT)).load(own())
    assert len(blind.unusable) == 1250 and not blind.records
    assert isinstance(found.records[0], Record)
