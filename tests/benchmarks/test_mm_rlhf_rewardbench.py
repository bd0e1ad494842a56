from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from bench_rows import by_rank, metrics, own
from own_data import png, write_jsonl

from mmreward.analysis.intervals import wilson
from mmreward.benchmarks.mm_rlhf_rewardbench import MMRLHFRewardBench
from mmreward.errors import UserError

# Pairs per group, and the path of each group's image or video.
GROUPS = {
    "g1": (3, "mcq/1.png"),
    "g2": (2, "long/2.png"),
    "g3": (2, "video/three"),
    "g4": (1, "safety/4.png"),
}


def rows() -> list[dict[str, str]]:
    return [
        {
            "id": name,
            "video" if path.startswith("video") else "image": path,
            "prompt": f"What about {name}?",
            "chosen": f"good {name} {i}",
            "rejected": f"bad {name} {i}",
        }
        for name, (count, path) in GROUPS.items()
        for i in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As on the hub: images and the frames of videos under images/."""
    write_jsonl(tmp_path / "mm_reward_bench.jsonl", rows())
    for name, (_, path) in GROUPS.items():
        file = tmp_path / "images" / path.removeprefix("video/")
        frames = [file / f"f_{i}.png" for i in range(12)] if "video" in path else [file]
        for shade, frame in enumerate(frames):
            frame.parent.mkdir(parents=True, exist_ok=True)
            frame.write_bytes(png(shade=10 * int(name[1]) + shade))
    return tmp_path


def test_groups_frames_and_categories(folder) -> None:
    found = MMRLHFRewardBench(str(folder), rows=8, frames=None).load(own())
    assert not found.unusable
    assert [record.group for record in found.records] == ["g1"] * 3 + ["g2"] * 2 + ["g3"] * 2 + [
        "g4"
    ]
    assert [r.category for r in found.records][2:7] == ["mcq", "long", "long", "video", "video"]
    video = found.records[5]
    # By number: f_2 before f_10.
    shades = [media.load().getpixel((0, 0))[0] for media in video.media]
    assert shades == [30 + i for i in range(12)]
    assert video.messages[0].content == (*range(12), "What about g3?")
    few = MMRLHFRewardBench(str(folder), rows=8, frames=4).load(own()).records[5]
    assert [media.load().getpixel((0, 0))[0] for media in few.media] == [30, 34, 37, 41]


def test_acc_and_acc_plus_by_hand(folder) -> None:
    found = MMRLHFRewardBench(str(folder)).load(own())
    # g1: right, right, wrong; g2: right, right; g3: right, tie; g4: right.
    margins = iter([1, 1, -1, 1, 1, 1, 0, 1])
    scores = {record.id: next(margins) for record in found.records}
    result = metrics(folder, found, lambda r: [scores[r.id], 0])
    numbers = result["official"]
    values = {key: number["value"] for key, number in numbers.items()}
    assert values == pytest.approx(
        {
            "acc": 6 / 8,
            "acc_plus": 2 / 4,
            "acc_mcq": 2 / 3,
            "acc_plus_mcq": 0,
            "acc_long": 1,
            "acc_plus_long": 1,
            "acc_video": 1 / 2,
            "acc_plus_video": 0,
            "acc_safety": 1,
            "acc_plus_safety": 1,
        }
    )
    assert numbers["acc"]["half"] == pytest.approx(6.5 / 8) == result["accuracy"]
    assert (numbers["acc"]["n"], numbers["acc"]["unit"]) == (8, "pairs")
    assert (numbers["acc_plus"]["n"], numbers["acc_plus"]["unit"]) == (4, "groups")
    assert numbers["acc_plus"]["ci95"] == pytest.approx(list(wilson(2, 4)))
    assert numbers["acc_plus"]["half"] is None
    # "good …" is longer than "bad …" by a letter, everywhere.
    assert numbers["acc_plus"]["controls"]["longer"] == 1
    assert numbers["acc_plus"]["controls"]["newlines"] == 0


def test_acc_plus_is_over_whole_groups(folder) -> None:
    """A group of which one pair cannot be read would be too easy."""
    broken = rows()
    broken[0]["rejected"] = " "
    write_jsonl(folder / "mm_reward_bench.jsonl", broken)
    found = MMRLHFRewardBench(str(folder)).load(own())
    assert [row.reason for row in found.unusable] == ["answer 1 is empty"] + [
        "another row of its group cannot be used"
    ] * 2
    numbers = metrics(folder, found, by_rank)["official"]
    assert (numbers["acc"]["n"], numbers["acc_plus"]["n"]) == (5, 3)
    # The same for what turns out later, when the records are encoded.
    later = found.without({0: "too long"})
    assert {record.group for record in later.records} == {"g3", "g4"}
    assert later.n_rows == 8


def test_rows_without_their_image_or_frames_are_counted(folder) -> None:
    for frame in (folder / "images" / "three").iterdir():
        frame.unlink()
    (folder / "images" / "three.mp4").write_bytes(b"a film")
    found = MMRLHFRewardBench(str(folder)).load(own())
    assert {row.category: row.reason for row in found.unusable} == {
        "video": "its video video/three has no folder of frames; extract them into one"
    }
    assert len(found.unusable) == 2
    # Scored as text, all are there.
    assert len(MMRLHFRewardBench(str(folder)).load(own("drop")).records) == 8


def test_counts_that_are_not_the_benchmarks(tmp_path) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "image": "mcq/1.png"}
    path = write_jsonl(tmp_path / "a.jsonl", [{**row, "id": f"g{i % 45}"} for i in range(170)])
    said = "has 170 pairs in 45 groups of one id, mm_rlhf_rewardbench has 46"
    with pytest.raises(UserError, match=re.escape(said)):
        MMRLHFRewardBench(str(path), rows=170).load(own("drop"))
    whole = [{**row, "id": f"g{i % 46}", "chosen": f"a{i}"} for i in range(170)]
    found = MMRLHFRewardBench(
        str(write_jsonl(tmp_path / "b.jsonl", whole)), rows=170, images="drop"
    ).load(own())
    assert len(found.records) == 170 and len({r.group for r in found.records}) == 46
    with pytest.raises(UserError, match=r"frames=0 must be at least 1"):
        MMRLHFRewardBench(str(path), frames=0)


def test_chance_of_acc_plus_depends_on_what_is_random(tmp_path) -> None:
    """With groups of two pairs that share an answer, a score per answer has the better answers
    on top more often than two coins: 1/3 against 1/4."""
    row = {"prompt": "p", "image": "long/1.png"}
    given = [
        {**row, "id": f"g{i}", "chosen": f"best {i}", "rejected": f"{word} {i}"}
        for i in range(3000)
        for word in ("other", "third")
    ]
    path = write_jsonl(tmp_path / "a.jsonl", given)
    found = MMRLHFRewardBench(str(path), images="drop").load(own())
    rng = np.random.default_rng(0)
    of_text = {a.text: rng.random() for r in found.records for a in r.responses}
    per_answer = metrics(tmp_path, found, lambda r: [of_text[a.text] for a in r.responses])
    assert per_answer["official"]["acc_plus"]["value"] == pytest.approx(1 / 3, abs=0.03)
    per_pair = per_answer["official"]["acc_plus"]["controls"]["random"]
    assert per_pair == pytest.approx(1 / 4, abs=0.03)
