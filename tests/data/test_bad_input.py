"""What is wrong with a row is said in one sentence with file and row, or the row is left out."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from own_data import all_records, png, row, sizes, text_rows, write_jsonl
from PIL import Image
from PIL.ImageFile import ImageFile

import mmreward.data.images
from mmreward.data.bad_records import BadRecord, read_bad_records, reasons, write_bad_records
from mmreward.data.encoding import Encoder
from mmreward.data.prefix import Collate
from mmreward.data.skipping import SkippingCollate, encodable
from mmreward.data.sources.jsonl import Jsonl
from mmreward.errors import UserError
from mmreward.losses.bradley_terry import BradleyTerry
from mmreward.model.reward import RewardOutput
from mmreward.model.tiny import tiny_processor, tiny_tokenizer
from mmreward.records import Media, Record, RecordError

TWO_IMAGES = "the prompt has 2 image placeholders (<image1>, <image2>) but the row has 1 image"

PREFERRED = {"response": None, "human_ranking": None, "chosen": "good", "rejected": "bad"}

# What is changed in a good row, and what is said about it.
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no image file", {"image": "none.png"}, "image file .*none.png does not exist"),
    ("no image", {"image": "text.png"}, "text.png cannot be read"),
    ("empty image file", {"image": "empty.png"}, "empty.png cannot be read"),
    ("a folder", {"image": "folder"}, "folder cannot be read"),
    ("no pixels", {"image": "flat.bmp"}, "flat.bmp"),
    ("too many pixels", {"image": "huge.png"}, "huge.png claims 9000x9000 pixels"),
    ("far too many", {"image": "bomb.png"}, "bomb.png claims more than the 67108864 pixels"),
    ("broken base64", {"image": "/9j/4AAQ*"}, "not valid base64"),
    ("a loop of links", {"image": "loop.png"}, "loop"),
    ("a long name", {"image": "a" * 9000 + ".png"}, r"a{80}… \(9,004 characters\)|a… .*too long"),
    ("a name that moves the cursor", {"image": "\x1b[2Ja.png"}, r"\\x1b\[2Ja.png does not exist"),
    ("half a character in a path", {"image": "\ud83d.png"}, r"\\ud83d"),
    ("an image of odd keys", {"image": {"src": "good.png"}}, "the keys src .*bytes, path or url"),
    ("a struct with a URL", {"image": {"url": "https://example.org/a.png"}}, "is a URL.*fetch"),
    ("odd keys in a list", {"image": [{"src": "good.png"}]}, "the keys src"),
    ("number as image", {"image": 7}, "an image cannot be a number"),
    ("hole in a list", {"image": ["good.png", None]}, "image 1 of 2 is empty"),
    ("NUL in a path", {"image": "a\0.png"}, "is not a path"),
    ("outside by dots", {"image": "../secret.png"}, "lies outside"),
    ("outside by name", {"image": "/etc/passwd"}, "lies outside"),
    ("outside by link", {"image": "link.png"}, "lies outside"),
    ("a URL", {"image": "https://example.org/a.png"}, "is a URL.*fetch_urls=true"),
    ("fewer images", {"query": "<image1> <image2>", "image": "good.png"}, re.escape(TWO_IMAGES)),
    (
        "more images",
        {"query": "<image> ?", "image": ["good.png"] * 2},
        "1 image placeholder .*2 im",
    ),
    ("images nowhere", {"query": "What is in <image>?"}, "1 image placeholder .* has 0 images"),
    (
        "wrong numbers",
        {"query": "<image2>", "image": "good.png"},
        "numbered 2; every number from 1",
    ),
    ("mixed", {"query": "<image> <image1>", "image": ["good.png"] * 2}, "numbered -, 1; every"),
    ("empty answer", {"response": ["It is red.", " \n"]}, "answer 1 is empty"),
    ("object as answer", {"response": ["a", "<x.Y object at 0x1f>"]}, "answer 1 is the name of"),
    ("no text", {"response": ["a", None]}, "answer 1 should be text, not nothing"),
    ("half a character", {"response": ["a", "\ud83d"]}, "answer 1 holds half a character"),
    ("one answer", {"response": ["a"], "human_ranking": [0]}, "at least 2 answers, this one has 1"),
    ("no answer", {"response": [], "human_ranking": []}, "at least 1 answer, this one has 0"),
    ("answers no list", {"response": "ab"}, "the answers should be a list"),
    ("short ranks", {"human_ranking": [0]}, "2 answers need as many ranks, not 1"),
    ("long ranks", {"human_ranking": [0, 1, 2]}, "2 answers need as many ranks, not 3"),
    ("no ranks", {"human_ranking": None}, "2 answers need as many ranks, not nothing"),
    ("ranks of text", {"human_ranking": ["0", "1"]}, "ranks should be whole numbers"),
    ("a rank of 31 digits", {"human_ranking": [0, 10**30]}, "ranks should be whole numbers"),
    ("ranks of truth", {"human_ranking": [True, False]}, "ranks should be whole numbers"),
    (
        "no answers at all",
        {"response": None},
        "no answers: neither response nor chosen with rejected is there; its columns are",
    ),
    ("only chosen", {"response": None, "chosen": "a"}, "no answers"),
    ("equal answers", {"response": ["same", "same"]}, "answers 0 and 1 are the same text"),
    ("pair of one", {"pairs": [[0]]}, "pairs should be a list"),
    ("pair of fractions", {"pairs": [[0.9, 1.2]]}, "pairs should be a list"),
    ("pair of text", {"pairs": [["0", "1"]]}, "pairs should be a list"),
    ("pair of truth", {"pairs": [[False, True]]}, "pairs should be a list"),
    ("pair twice", {"pairs": [[0, 1], [0, 1]]}, r"pair \[0, 1\] is given twice"),
    ("pair of strangers", {"pairs": [[0, 5]]}, r"pair \(0, 5\) names an answer"),
    ("pair upside down", {"pairs": [[1, 0]]}, r"pair \[1, 0\] does not agree with the ranks"),
    (
        "scores upside down",
        {**PREFERRED, "score_chosen": 1, "score_rejected": 5},
        r"answer 0 is preferred to answer 1 but has the lower score \(1 against 5\)",
    ),
    ("a huge score", {**PREFERRED, "score_chosen": 10**400, "score_rejected": 0}, "finite numbers"),
    (
        "a score no float32 holds",
        {**PREFERRED, "score_chosen": 1e300, "score_rejected": 0},
        "finite numbers",
    ),
    ("half a character as id", {"id": "\ud83d"}, "its id holds half a character"),
    ("half a character as category", {"category": "\ud83d"}, "its category holds half a char"),
    ("half a character as group", {"group": "\ud83d"}, "its group holds half a character"),
    (
        "no prompt",
        {"query": None, "Question": "?"},
        "no prompt: neither query nor messages is there; its columns are Question, human_ranking, "
        "id, response",
    ),
    ("turns as text", {"messages": '[{"role": "user"}]'}, "messages is text, not a list of turns"),
    (
        "part without text",
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "turn 0 should be text, not nothing",
    ),
    (
        "part with a struct of odd keys",
        {"messages": [{"role": "user", "content": [{"type": "image", "image": {"src": "a"}}]}]},
        "the keys src",
    ),
    (
        "part with a URL",
        {"messages": [{"role": "user", "content": [{"type": "image", "url": "http://a/b"}]}]},
        "is a URL",
    ),
    ("number as prompt", {"query": 5}, "the prompt should be text or turns"),
    ("role", {"messages": [{"role": "boss", "content": "x"}]}, "turn 0 has the role 'boss'"),
    ("last turn", {"messages": [{"role": "assistant", "content": "x"}]}, "end with a user turn"),
    ("turn of text", {"messages": ["x"]}, "turn 0 is not a role with content"),
    ("audio", {"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "of type 'audio'"),
    ("video", {"video": "a.mp4"}, "it holds a video"),
]


def claiming(side: int) -> bytes:
    """A small PNG whose header claims side x side pixels."""
    whole = bytearray(png())
    whole[16:24] = side.to_bytes(4) * 2
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4)
    return bytes(whole)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with images of every kind, and a picture outside of it."""
    data = tmp_path / "data"
    (data / "folder").mkdir(parents=True)
    (data / "good.png").write_bytes(png())
    (data / "text.png").write_text("not a picture")
    (data / "empty.png").write_bytes(b"")
    flat = bytearray(b"BM" + bytes(52))
    flat[10], flat[14], flat[26], flat[28] = 54, 40, 1, 24
    (data / "flat.bmp").write_bytes(flat)
    (data / "huge.png").write_bytes(claiming(9000))
    (data / "bomb.png").write_bytes(claiming(20000))
    (tmp_path / "secret.png").write_bytes(png())
    (data / "loop.png").symlink_to(data / "loop.png")
    (data / "link.png").symlink_to(tmp_path / "secret.png")
    return data


def jsonl(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Jsonl:
    path = write_jsonl(folder / "pairs.jsonl", rows)
    return Jsonl(str(path), **{"validation": 0, "test": 0, **options})


@pytest.mark.parametrize(("changes", "reason"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_row_stops_or_is_left_out(folder: Path, changes: dict[str, Any], reason: str) -> None:
    rows = [*text_rows(2), row(**{"id": "bad", **changes}), *text_rows(4)[2:]]
    where = f"{folder / 'pairs.jsonl'} row 3"
    with pytest.raises(RecordError) as caught:
        jsonl(folder, rows).split("train")
    message = str(caught.value)
    assert re.search(f"^{re.escape(where)}: .*{reason}", message), message
    assert message.count(where) == 1 and message.isprintable() and len(message) < 1000
    assert message.endswith("data.on_bad_record=skip")

    left = jsonl(folder, rows, on_bad_record="skip")
    assert [r.source_id for r in left.split("train")] == ["t0", "t1", "t2", "t3"]
    (bad,) = left.bad_records
    assert bad.where == where and re.search(reason, bad.reason)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": 1, ', "it is not JSON .*character"),
        (b"[1, 2]", "it is JSON but a list, not an object"),
        (b"[" * 100_000 + b"]" * 100_000, "its lists are nested too deeply"),
        (
            b'{"human_ranking": [0, ' + b"1" * 5000 + b"]}",
            "it holds a whole number of more than 4,300 digits",
        ),
        (b'{"query": "\xff"}', "it is not UTF-8"),
    ],
)
def test_a_line_that_is_no_row(tmp_path: Path, line: bytes, reason: str) -> None:
    good = [json.dumps(one).encode() for one in text_rows(3)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([good[0], line, *good[1:]]))
    with pytest.raises(RecordError, match=rf"a\.jsonl row 2: {reason}"):
        Jsonl(str(tmp_path / "a.jsonl")).split("train")


def test_the_error_counts_the_other_bad_rows(folder: Path) -> None:
    rows = [row(response=["a"]), *text_rows(3), row(query=None)]
    with pytest.raises(RecordError, match=r"row 1: .* \(2 of 5 rows are bad\)"):
        jsonl(folder, rows).split("train")


def test_a_policy_that_does_not_exist(folder: Path) -> None:
    with pytest.raises(UserError, match="data.on_bad_record=ignore"):
        jsonl(folder, text_rows(3), on_bad_record="ignore")


# -- rows against each other -----------------------------------------------------------------


def test_contradictions_are_found_wherever_they_stand(folder: Path) -> None:
    turned = row(response=["It is blue.", "It is red."], human_ranking=[0, 1])
    rows = [*text_rows(3), row(), row(id="again"), turned, *text_rows(4)[3:]]
    with pytest.raises(
        RecordError, match=r"row 4: it contradicts .*row 6: same prompt and answers"
    ):
        jsonl(folder, rows).split("train")
    left = jsonl(folder, rows, on_bad_record="skip")
    assert [r.source_id for r in left.split("train")] == ["t0", "t1", "t2", "t3"]
    assert [bad.where[-5:] for bad in left.bad_records] == ["row 4", "row 5", "row 6"]


def test_the_same_opinion_twice_is_no_contradiction(folder: Path) -> None:
    swapped = row(id="b", response=["It is blue.", "It is red."], human_ranking=[1, 0])
    assert len(jsonl(folder, [row(), swapped]).split("train")) == 2


def test_opposite_opinions_about_different_images_are_no_contradiction(folder: Path) -> None:
    (folder / "copy.png").write_bytes(png())
    (folder / "other.png").write_bytes(png(shade=9))
    red, blue = row(image="good.png"), row(human_ranking=[1, 0])
    assert len(jsonl(folder, [red, blue | {"image": "other.png"}]).split("train")) == 2
    with pytest.raises(RecordError, match="contradicts"):
        jsonl(folder, [red, blue | {"image": "copy.png"}]).split("train")


def test_one_pair_of_many_answers_is_enough_to_contradict(folder: Path) -> None:
    many = row(response=["a", "b", "c"], human_ranking=[0, 1, 2])
    few = row(response=["b", "c", "d"], human_ranking=[1, 0, 2])
    with pytest.raises(RecordError, match=r"row 1: it contradicts .*row 2"):
        jsonl(folder, [many, few]).split("train")


def test_a_source_without_pairs_is_refused(folder: Path) -> None:
    ties = [{**one, "human_ranking": [0, 0]} for one in text_rows(3)]
    with pytest.raises(UserError, match=r"none of the 3 rows .*pairs\.jsonl row 1"):
        jsonl(folder, ties).split("train")


def test_a_source_without_rows_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no rows; check data\.source\.path"):
        jsonl(folder, []).split("train")


def test_when_every_row_is_bad_the_first_reason_is_given(folder: Path) -> None:
    bad = jsonl(folder, [row(query=None), row(response=["a"])], on_bad_record="skip")
    with pytest.raises(UserError, match=r"no row is left .*row 1: it has no prompt"):
        bad.split("train")


# -- images ----------------------------------------------------------------------------------


def test_paths_may_leave_the_folder_if_allowed(folder: Path) -> None:
    rows = [row(image="../secret.png"), row(image="link.png")]
    records = jsonl(folder, rows, allow_outside=True).split("train")
    assert [r.media[0].size for r in records] == [(8, 6), (8, 6)]
    rows = [row(image="secret.png"), row(image="data/link.png")]
    assert len(jsonl(folder, rows, image_root=str(folder.parent)).split("train")) == 2


def test_nothing_is_decoded_to_find_bad_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(self: ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile, "load", decode)
    rows = [row(image="huge.png"), row(image="good.png")]
    (record,) = jsonl(folder, rows, on_bad_record="skip").split("train")
    assert record.media[0].size == (8, 6)
    with pytest.raises(RecordError, match="claims 9000x9000"):
        Media(path=folder / "huge.png").load()
    with pytest.raises(RecordError, match="decoded"):
        record.media[0].load()


class Pictures(BaseHTTPRequestHandler):
    """/good is a picture, /large more bytes than allowed, anything else is missing."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = {"/good": png(), "/large": bytes(3000)}.get(self.path)
        self.send_response(200 if body else 404)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(mmreward.data.images, "URL_MAX_BYTES", 2000)
    Pictures.asked = []
    server = HTTPServer(("127.0.0.1", 0), Pictures)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_urls_are_fetched_once_if_switched_on(folder: Path, address: str) -> None:
    rows = [row(image=f"{address}/good")]
    with pytest.raises(RecordError, match="fetch_urls"):
        jsonl(folder, rows).split("train")
    assert Pictures.asked == []
    for _ in range(2):
        (record,) = jsonl(folder, rows, fetch_urls=True).split("train")
        assert record.media[0].load().getpixel((0, 0)) == (0, 40, 200)
    assert Pictures.asked == ["/good"]


@pytest.mark.parametrize(
    ("path", "reason"), [("gone", "cannot be fetched.*404"), ("large", "has more than 2000 bytes")]
)
def test_urls_that_do_not_give_a_picture(
    folder: Path, address: str, path: str, reason: str
) -> None:
    with pytest.raises(RecordError, match=f"row 1: image {address}/{path} .*{reason}"):
        jsonl(folder, [row(image=f"{address}/{path}")], fetch_urls=True).split("train")


@pytest.mark.parametrize(
    "url",
    [
        "http://exämple.org/ü.png",
        "http://127.0.0.1/ü.png",
        "http://[::1",
        f"http://{'a' * 64}.org/a.png",
        "http://127.0.0.1:port/a.png",
        "http://127.0.0.1/\ud83d",
        "http://127.0.0.1/a b",
    ],
)
def test_urls_that_are_none(folder: Path, address: str, url: str) -> None:
    with pytest.raises(RecordError, match=r"row 1: image http.* cannot be fetched \(") as caught:
        jsonl(folder, [row(image=url)], fetch_urls=True).split("train")
    assert str(caught.value).isprintable()


def test_a_url_in_a_struct_is_fetched(folder: Path, address: str) -> None:
    rows = [row(image={"url": f"{address}/good"})]
    (record,) = jsonl(folder, rows, fetch_urls=True).split("train")
    assert record.media[0].size == (8, 6)


def test_a_server_that_does_not_answer_is_given_up(
    folder: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmreward.data.images, "URL_TIMEOUT", 0.05)
    monkeypatch.setattr(Pictures, "do_GET", lambda self: threading.Event().wait(0.3))
    with pytest.raises(RecordError, match="cannot be fetched .*timed out"):
        jsonl(folder, [row(image=f"{address}/slow")], fetch_urls=True).split("train")


# -- what only encoding can show ---------------------------------------------------------------


def encoder(max_length: int | None = None) -> Encoder:
    processor = tiny_processor()
    return Encoder(processor.tokenizer, processor, 2, max_length)


@pytest.fixture
def late(folder: Path) -> list[Record]:
    """Good, cut off in the middle, too long for 60 tokens, good."""
    noise = Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3))
    noise.save(folder / "cut.png")
    whole = (folder / "cut.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    rows = [
        row(query="1"),
        row(query="2", image="cut.png"),
        row(query="3", response=["long " * 90, "b"]),
        row(query="4", image="good.png"),
    ]
    return list(jsonl(folder, rows).split("train"))


def test_encoding_names_file_and_row(late: list[Record]) -> None:
    with pytest.raises(RecordError, match=r"^\S+pairs\.jsonl row 2: image \S+cut\.png cannot be r"):
        encoder().encode(late[1])
    with pytest.raises(RecordError, match=r"^\S+pairs\.jsonl row 3: .*max_length=60"):
        encoder(60).encode(late[2])


def test_training_goes_on_without_them(late: list[Record], tmp_path: Path) -> None:
    collate = Collate(encoder(60))
    skipping = SkippingCollate(collate, tmp_path)
    batch = skipping(late)
    assert batch.record_ids == (late[0].id, late[3].id)
    assert batch.input_ids.tolist() == collate([late[0], late[3]]).input_ids.tolist()
    skipping(late)
    assert [b.where[-5:] for b in read_bad_records(tmp_path)] == ["row 2", "row 3"]


@pytest.mark.parametrize("sees_images", [True, False])
def test_a_batch_of_which_nothing_is_left_teaches_nothing(
    late: list[Record], tmp_path: Path, sees_images: bool
) -> None:
    one = encoder(60) if sees_images else Encoder(tiny_tokenizer(), max_length=60)
    batch = SkippingCollate(Collate(one), tmp_path)([late[2]])
    assert len(batch.pairs) == len(batch.ties) == 0 and batch.record_weight.tolist() == [0.0]
    scores = torch.randn(2, requires_grad=True)
    total = BradleyTerry()(RewardOutput(scores), batch).total
    total.backward()
    assert total.item() == 0 and scores.grad is not None and not scores.grad.any()


def test_an_evaluated_set_is_sorted_before_it_is_scored(late: list[Record]) -> None:
    good, bad = encodable(late, encoder(60))
    assert good == [late[0], late[3]]
    assert [b.where for b in bad] == [late[1].where, late[2].where]
    assert "cannot be read" in bad[0].reason and "max_length=60" in bad[1].reason
    assert not any(b.where in b.reason for b in bad)


def test_images_for_a_text_backbone_are_not_a_bad_record(
    late: list[Record], tmp_path: Path
) -> None:
    skipping = SkippingCollate(Collate(Encoder(tiny_tokenizer())), tmp_path)
    with pytest.raises(UserError, match=r"row 4: it has images.*data\.images=drop"):
        skipping(late[3:])


def test_a_row_that_changed_since_the_start_is_named(folder: Path) -> None:
    records = jsonl(folder, [row(image="good.png")]).split("train")
    (folder / "good.png").unlink()
    with pytest.raises(RecordError, match=r"^\S+pairs\.jsonl row 1: image file \S+ cannot be read"):
        records[0]


# -- the list in the run folder ----------------------------------------------------------------


def test_what_was_left_out_is_written_once(tmp_path: Path) -> None:
    assert write_bad_records(tmp_path, []) == "" and not any(tmp_path.iterdir())
    first, second = BadRecord("a.jsonl row 2", "é is bad"), BadRecord("a.jsonl row 7", "so is this")
    write_bad_records(tmp_path, [first])
    line = write_bad_records(tmp_path, [first, second])
    assert line == f"left out: 2 bad records, listed with reasons in {tmp_path}/bad_records.jsonl"
    written = (tmp_path / "bad_records.jsonl").read_text().splitlines()
    assert [json.loads(text) for text in written] == [
        {"where": first.where, "reason": first.reason},
        {"where": second.where, "reason": second.reason},
    ]
    assert read_bad_records(tmp_path) == [first, second]


def test_the_split_does_not_depend_on_the_policy(folder: Path) -> None:
    rows = text_rows(40)
    with_bad = [rows[0], row(response=["a"]), *rows[1:]]
    options = {"validation": 0.1, "test": 0.1}
    clean = jsonl(folder, rows, **options)
    expected = [replace(r, where="") for r in all_records(clean)]
    skipped = jsonl(folder, with_bad, on_bad_record="skip", **options)
    assert [replace(r, where="") for r in all_records(skipped)] == expected
    assert sizes(skipped) == {"train": 32, "validation": 4, "test": 4}


def test_base64_of_something_else_is_not_an_image(folder: Path) -> None:
    code = base64.b64encode(b"\xff\xd8\xff\xe0" + b"no picture").decode()
    with pytest.raises(RecordError, match=r"image \(14 bytes\) cannot be read"):
        jsonl(folder, [row(image=code)]).split("train")


def test_reasons_that_differ_in_names_and_numbers_are_one_and_keep_what_they_share() -> None:
    bad = [
        BadRecord(f"row {n}", f"Better is {n}, neither Output1 nor Output2; see a/{n}.png")
        for n in (7, 8)
    ]
    bad.append(BadRecord("row 9", "answer 1 is empty"))
    assert reasons(bad) == {
        "Better is … neither Output1 nor Output2; see …": (2, "row 7: " + bad[0].reason),
        "answer 1 is empty": (1, "row 9: answer 1 is empty"),
    }
