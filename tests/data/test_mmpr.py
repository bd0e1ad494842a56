"""MMPR in the layout of its archives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from own_data import all_records, png, sizes, source, straddling, write_jsonl

from mmreward.data.sources.mmpr import Mmpr
from mmreward.errors import UserError
from mmreward.records import RecordError


@pytest.fixture
def mmpr(tmp_path: Path) -> Path:
    """MMPR/meta.json, two subsets with images, one of them of several, and one without."""
    folder = tmp_path / "MMPR"
    (folder / "annotations").mkdir(parents=True)
    for subset in ("charts", "scenes"):
        (folder / "images" / subset / "train").mkdir(parents=True)
        for n in range(20):
            image = folder / "images" / subset / "train" / f"{n}.png"
            image.write_bytes(png(shade=n if subset == "charts" else 100 + n))
    rows: dict[str, list[dict[str, Any]]] = {
        "charts": [row(n, f"train/{n % 20}.png") for n in range(40)],
        "scenes": [
            row(n, [f"train/{n}.png", f"train/{(n + 1) % 20}.png"]) for n in range(0, 20, 2)
        ],
        "words": [row(n, None) for n in range(10)],
    }
    meta = {}
    for subset, given in rows.items():
        write_jsonl(folder / "annotations" / f"{subset}.jsonl", given)
        meta[subset] = {
            "root": f"MMPR/images/{subset}",
            "annotation": f"MMPR/annotations/{subset}.jsonl",
            "data_augment": False,
            "repeat_time": 1,
            "length": len(given),
        }
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def row(number: int, image: Any) -> dict[str, Any]:
    places = "<image>\n" if number % 3 else ""
    count = len(image) if isinstance(image, list) else 0 if image is None else 1
    question = f"{places * count}Question {number}?"
    whole = {"image": image, "question": question, "chosen": f"yes {number}", "rejected": "no"}
    return {name: value for name, value in whole.items() if value is not None}


def test_every_subset_is_read(mmpr: Path) -> None:
    whole = source("data/source=mmpr", f"data.source.path={mmpr / 'meta.json'}")
    records = all_records(whole)
    counts = {name: sum(r.category == name for r in records) for name in ("charts", "scenes")}
    assert len(records) == 60 and counts == {"charts": 40, "scenes": 10}
    assert {(r.category, len(r.media)) for r in records} == {
        ("charts", 1),
        ("scenes", 2),
        ("words", 0),
    }
    assert whole.name == "mmpr" and {r.responses[0].rank for r in records} == {0}


def test_images_stand_at_their_places_or_before_the_question(mmpr: Path) -> None:
    records = Mmpr(str(mmpr / "meta.json"), validation=0, test=0).split("train")
    scenes = [r.messages[0].content for r in records if r.category == "scenes"]
    assert scenes[0] == (0, 1, "Question 0?")
    assert scenes[1] == (0, "\n", 1, "\nQuestion 2?")


def test_no_image_is_in_two_splits(mmpr: Path) -> None:
    whole = Mmpr(str(mmpr / "meta.json"), validation=0.1, test=0.1)
    assert sizes(whole) == {"train": 48, "validation": 6, "test": 6}
    assert straddling(whole) == set()


def test_paths_start_at_a_given_root(mmpr: Path, tmp_path: Path) -> None:
    meta = tmp_path / "far" / "away" / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_bytes((mmpr / "meta.json").read_bytes())
    with pytest.raises(UserError, match=r"entry charts: .*is not in .*data\.source\.root"):
        Mmpr(str(meta))
    assert sum(sizes(Mmpr(str(meta), root=str(tmp_path))).values()) == 60


def test_paths_may_be_relative_to_meta_json(mmpr: Path) -> None:
    text = (mmpr / "meta.json").read_text().replace("MMPR/", "")
    (mmpr / "meta.json").write_text(text)
    assert sum(sizes(Mmpr(str(mmpr / "meta.json"))).values()) == 60


def test_paths_may_not_lead_out(mmpr: Path) -> None:
    text = (mmpr / "meta.json").read_text()
    (mmpr / "meta.json").write_text(text.replace("MMPR/annotations/charts", "../../etc/charts"))
    with pytest.raises(UserError, match="entry charts: .*lies outside"):
        Mmpr(str(mmpr / "meta.json"))
    (mmpr / "meta.json").write_text(text.replace("MMPR/images/charts", "/"))
    with pytest.raises(UserError, match="entry charts: .*lies outside"):
        Mmpr(str(mmpr / "meta.json"))


def test_videos_are_bad_records(mmpr: Path) -> None:
    video = {"video": "a.mp4", "question": "<video>?", "chosen": "a", "rejected": "b"}
    write_jsonl(mmpr / "annotations" / "words.jsonl", [row(0, None), video])
    with pytest.raises(RecordError, match=r"words\.jsonl row 2: it holds a video"):
        Mmpr(str(mmpr / "meta.json")).split("train")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not the meta.json of MMPR"),
        ("[1]", "is not the meta.json of MMPR"),
        ("{}", "it names no subset"),
        ('{"a": {"root": "x"}}', "a names no root and annotation"),
        ('{"a": {"root": null, "annotation": "x"}}', "a names no root and annotation"),
        ('{"a": {"root": "x", "annotation": null}}', "a names no root and annotation"),
        ('{"a": ["root", "annotation"]}', "a names no root and annotation"),
        ('{"a": null}', "a names no root and annotation"),
        ("[" * 100_000, "is not the meta.json of MMPR"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(UserError, match=reason):
        Mmpr(str(tmp_path / "meta.json"))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"data\.source\.path=nowhere/meta\.json"):
        Mmpr("nowhere/meta.json")
