"""Where rows and images lie."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path

import huggingface_hub
import pytest
from bench_rows import own, write_parquet
from own_data import png, row, write_jsonl

from mmreward.benchmarks.files import FILES, JsonRows, download, find_files, open_file
from mmreward.benchmarks.hh_harmless import HHHarmless
from mmreward.benchmarks.media import MediaFiles, cell_name
from mmreward.errors import UserError
from mmreward.records import RecordError


def test_a_folder_is_searched_in_the_order_of_the_patterns(tmp_path) -> None:
    (tmp_path / "notes.json").write_text("[]")
    assert find_files(tmp_path, FILES, "benchmark.x") == [tmp_path / "notes.json"]
    rows = write_jsonl(tmp_path / "a.jsonl", [row()])
    assert find_files(tmp_path, FILES, "benchmark.x") == [rows]
    parts = [write_parquet(tmp_path / "data" / f"test-{i}.parquet", [row()]) for i in range(2)]
    assert find_files(tmp_path, FILES, "benchmark.x") == parts
    assert find_files(rows, FILES, "benchmark.x") == [rows]


def test_every_kind_of_file_gives_the_same_rows(tmp_path) -> None:
    given = [row(id="1"), row(id="2")]
    (tmp_path / "a.json").write_text(json.dumps({"pairs": given}))
    files = [
        tmp_path / "a.json",
        write_jsonl(tmp_path / "a.jsonl", given),
        write_jsonl(tmp_path / "a.jsonl.gz", given),
        write_parquet(tmp_path / "a.parquet", given),
    ]
    for file in files:
        rows = open_file(file)
        assert [rows[i] for i in range(len(rows))] == given, file
        assert rows.where(1) == f"{file} row 2"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p / "nothing", "benchmark.x.path=.*nothing does not exist"),
        (lambda p: p, "holds none of data/test-"),
        (lambda p: (write_jsonl(p / "a.jsonl", []), write_jsonl(p / "b.jsonl", []), p)[2],
         r"holds several files \(a.jsonl, b.jsonl\)"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(tmp_path, make, said) -> None:
    with pytest.raises(UserError, match=said):
        find_files(make(tmp_path), FILES, "benchmark.x")


@pytest.mark.parametrize("content", ["{", '"text"', '{"a": [1], "b": [2]}'])
def test_json_without_a_list_of_rows(tmp_path, content) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(UserError, match="a.json (cannot be read as JSON|is not a list of rows)"):
        JsonRows(path)
    path.write_text("[1]")
    with pytest.raises(RecordError, match="it is a JSON int, not an object"):
        JsonRows(path)[0]
    with pytest.raises(UserError, match="is of no known kind"):
        open_file(tmp_path / "a.tsv")


def test_the_hub_needs_a_commit_and_offline_says_what_to_do() -> None:
    with pytest.raises(UserError, match="give benchmark.x.revision, or a local copy with"):
        download("a/b", None, FILES, "benchmark.x")
    with pytest.raises(
        UserError, match=r"a/b cannot be fetched .* local copy with benchmark.x.path"
    ):
        download("a/b", "0" * 40, FILES, "benchmark.x")


def test_a_download_is_read_like_a_local_copy(tmp_path, monkeypatch) -> None:
    asked = {}

    def snapshot(hub: str, **options: object) -> str:
        asked.update(options, hub=hub)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    (tmp_path / "harmless-base").mkdir()
    text = "\n\nHuman: Hi\n\nAssistant: "
    write_jsonl(
        tmp_path / "harmless-base" / "test.jsonl.gz",
        [{"chosen": text + "Hello", "rejected": text + "No"}],
    )
    found = HHHarmless(None, "Anthropic/hh-rlhf", "f" * 40, rows=1).load(own())
    assert len(found.records) == 1
    assert (asked["hub"], asked["revision"]) == ("Anthropic/hh-rlhf", "f" * 40)
    assert asked["repo_type"] == "dataset"
    assert asked["allow_patterns"] == ["harmless-base/test.jsonl.gz"]  # not all of HH-RLHF
    info = found.info(["intact"])
    assert (info["hub"], info["revision"]) == ("Anthropic/hh-rlhf", "f" * 40)
    assert "path" not in info


def media(folder: Path, *roots: str, frames: int | None = None) -> MediaFiles:
    starts = [folder / root for root in roots or (".",)]
    return MediaFiles(folder, starts, frames, "benchmark.x.image_root")


def test_what_a_cell_may_hold(tmp_path) -> None:
    picture = png(shade=3)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.png").write_bytes(picture)
    encoded = base64.b64encode(picture).decode()
    files = media(tmp_path, "a", "b")
    cells = [
        "1.png",
        {"bytes": None, "path": "1.png"},
        {"bytes": picture, "path": "elsewhere.png"},
        picture,
        encoded,
        f"data:image/png;base64,{encoded}",
    ]
    (first, *others) = files.images(cells)
    assert {m.sha256 for m in others} == {first.sha256} and len(others) == 5
    for nothing in (None, "", [], {"bytes": None, "path": None}):
        assert files.images(nothing) == ()
    assert cell_name({"bytes": picture}) == cell_name(picture) != cell_name(encoded)
    assert cell_name(["1.png", "2.png"]) == "1.png 2.png" and cell_name(None) == ""


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("https://x.org/1.png", "is a URL; store the file beside the rows"),
        ("../1.png", r"lies outside .*; give benchmark.x.image_root the folder it is in"),
        ("/etc/hosts", "lies outside"),
        (3, "cannot be a number"),
        ({"url": "https://x.org/1.png"}, "is a URL; store the file beside the rows"),
        ({"src": "1.png"}, "the keys src"),
        ("loop.png", "loop"),
    ],
)
def test_cells_that_are_no_image(tmp_path, cell, said) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(RecordError, match=said):
        media(tmp_path).images(cell)[0].load()


def test_links_do_not_lead_out(tmp_path) -> None:
    clip = tmp_path / "in" / "clip"
    clip.mkdir(parents=True)
    (tmp_path / "1.png").write_bytes(png())
    (tmp_path / "in" / "1.png").symlink_to(tmp_path / "1.png")
    (clip / "1.png").symlink_to(tmp_path / "1.png")
    with pytest.raises(RecordError, match="lies outside"):
        media(tmp_path / "in").images("1.png")[0].load()
    with pytest.raises(RecordError, match="no folder of frames"):
        media(tmp_path / "in").video("clip")[0].load()
    assert media(tmp_path, "in").images("1.png")[0].load().size == (8, 6)


def test_the_hubs_cache_keeps_files_beside_its_snapshots(tmp_path) -> None:
    blob = tmp_path / "datasets--a--b" / "blobs" / "0123"
    snapshot = tmp_path / "datasets--a--b" / "snapshots" / "f00"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(png(shade=9))
    (snapshot / "images" / "clip").mkdir(parents=True)
    for link in ("images/1.png", "images/clip/1.png"):
        (snapshot / link).symlink_to(blob)
    files = media(snapshot, "images")
    for found in (files.images("1.png"), files.video("clip.mp4")):
        assert found[0].load().getpixel((0, 0)) == (9, 40, 200)
    (tmp_path / "secret.png").write_bytes(png())
    with pytest.raises(RecordError, match="lies outside"):
        files.images("../../../../secret.png")[0].load()


@pytest.mark.parametrize(("most", "shown"), [(None, 11), (20, 11), (2, 2), (1, 1), (6, 6)])
def test_frames_are_spaced_evenly(tmp_path, most, shown) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for i in range(11):
        (folder / f"frame{i}.png").write_bytes(png(shade=i))
    (folder / "audio.txt").write_text("")
    frames = media(tmp_path, frames=most).video("clip.mp4")
    numbers = [int(m.name.rsplit("frame", 1)[1].removesuffix(".png")) for m in frames]
    assert len(numbers) == shown and numbers == sorted(numbers) and numbers[0] == 0
    if shown > 1:
        assert numbers[-1] == 10
        assert max(b - a for a, b in itertools.pairwise(numbers)) <= 10 / (shown - 1)
    for cell in ("none.mp4", "", None):
        with pytest.raises(RecordError, match="video"):
            media(tmp_path).video(cell)[0].load()
