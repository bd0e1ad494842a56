"""Data sets through the `datasets` library, from local copies."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_data import png, row, source, text_rows, write_jsonl

from mmreward.data.sources.hub import Hub
from mmreward.errors import UserError
from mmreward.records import Record, RecordError

PLAIN = {"prompt": "prompt", "messages": None}


def turns(*texts: str) -> list[dict[str, str]]:
    """A conversation in which the user speaks first."""
    return [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]


def plain_rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"q{n}", "chosen": f"good {n}", "rejected": "bad"} for n in range(number)]


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    library.disable_progress_bars()
    return library


def train(path: Path, **options: Any) -> list[Record]:
    given = {"columns": PLAIN, "validation": 0, "test": 0, **options}
    return list(Hub(str(path), **given).split("train"))


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'mmreward\[data\]'"):
        Hub("somebody/pairs", revision="1234567")


def test_a_folder_written_by_save_to_disk(datasets: Any, tmp_path: Path) -> None:
    datasets.Dataset.from_list(plain_rows(4)).save_to_disk(tmp_path / "saved")
    records = train(tmp_path / "saved")
    assert [r.prompt for r in records] == ["q0", "q1", "q2", "q3"]
    assert [[(a.text, a.rank) for a in r.responses] for r in records[:1]] == [
        [("good 0", 0), ("bad", 1)]
    ]
    assert records[1].where == f"{tmp_path / 'saved'} train row 2"


def test_splits_of_the_data_set_are_used_by_name(datasets: Any, tmp_path: Path) -> None:
    rows = plain_rows(30)
    parts = {"train_prefs": rows[:24], "test_prefs": rows[24:]}
    datasets.DatasetDict(
        {name: datasets.Dataset.from_list(part) for name, part in parts.items()}
    ).save_to_disk(tmp_path / "saved")
    names = {"train": "train_prefs", "validation": None, "test": "test_prefs"}
    hub = Hub(str(tmp_path / "saved"), columns=PLAIN, splits=names, validation=0.25)
    assert [len(hub.split(s)) for s in ("train", "validation", "test")] == [18, 6, 6]
    assert [r.prompt for r in hub.split("test")] == [f"q{n}" for n in range(24, 30)]
    with pytest.raises(UserError, match=r"splits\.train=train is not .*train_prefs, test_prefs"):
        Hub(str(tmp_path / "saved"), columns=PLAIN)
    for splits in ({"train": None, "test": "test_prefs"}, {"test": "test_prefs"}, {}):
        with pytest.raises(UserError, match=r"data\.source\.splits\.train=null leaves nothing"):
            Hub(str(tmp_path / "saved"), columns=PLAIN, splits=splits)
    with pytest.raises(UserError, match=r"data\.source\.splits\.dev is not a split"):
        Hub(str(tmp_path / "saved"), columns=PLAIN, splits={"train": "train_prefs", "dev": "x"})


def test_a_folder_laid_out_as_on_the_hub(datasets: Any, tmp_path: Path) -> None:
    (tmp_path / "repo" / "data").mkdir(parents=True)
    for split, rows in (("train", plain_rows(6)), ("test", plain_rows(8)[6:])):
        table = pa.Table.from_pylist(rows)
        pq.write_table(table, tmp_path / "repo" / "data" / f"{split}-00000-of-00001.parquet")
    hub = Hub(
        str(tmp_path / "repo"),
        columns=PLAIN,
        splits={"train": "train", "test": "test"},
        validation=0,
    )
    assert [len(hub.split(s)) for s in ("train", "test")] == [6, 2]


def test_single_files(datasets: Any, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", plain_rows(3))
    pq.write_table(pa.Table.from_pylist(plain_rows(3)), tmp_path / "a.parquet")
    write_jsonl(tmp_path / "b.jsonl.gz", plain_rows(3))
    (tmp_path / "a.json").write_text(json.dumps(plain_rows(3)))
    for name in ("a.jsonl", "a.parquet", "b.jsonl.gz", "a.json"):
        assert [r.prompt for r in train(tmp_path / name)] == ["q0", "q1", "q2"]
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="file of no known kind"):
        train(tmp_path / "a.txt")


def test_ranked_answers_are_read_too(datasets: Any, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", text_rows(3))
    (record, *_) = train(path, columns={})
    assert [(r.text, r.rank) for r in record.responses] == [("It is red.", 0), ("It is blue.", 1)]


def test_conversations(datasets: Any, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": "ignored: the conversations hold it",
            "chosen": turns("Hi", "Hello.", "Why?", "Because."),
            "rejected": turns("Hi", "Hello.", "Why?", "No."),
        }
    ]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "whole")
    (record,) = train(tmp_path / "whole")
    assert [(m.role, m.text) for m in record.messages] == [
        ("user", "Hi"),
        ("assistant", "Hello."),
        ("user", "Why?"),
    ]
    assert [r.text for r in record.responses] == ["Because.", "No."]

    rows = [{"prompt": turns("Hi"), "chosen": turns("", "A")[1:], "rejected": turns("", "B")[1:]}]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "apart")
    (record,) = train(tmp_path / "apart")
    assert record.prompt == "Hi" and [r.text for r in record.responses] == ["A", "B"]


@pytest.mark.parametrize(
    ("rejected", "reason"),
    [
        (turns("Ho", "No."), "chosen and rejected differ before their last turn"),
        (turns("Hi", "No.", "So?"), "rejected does not end with an assistant turn"),
        ([], "rejected does not end with an assistant turn"),
    ],
)
def test_conversations_that_do_not_fit(
    datasets: Any, tmp_path: Path, rejected: list[dict[str, str]], reason: str
) -> None:
    good = {"chosen": turns("Hi", "Yes."), "rejected": turns("Hi", "No.")}
    rows = [good, {**good, "rejected": rejected}]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    with pytest.raises(RecordError, match=f"saved train row 2: {reason}"):
        train(tmp_path / "saved")


def test_images_stay_encoded_until_they_are_used(datasets: Any, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "more": datasets.List(datasets.Image()),
            **{name: datasets.Value("string") for name in ("prompt", "chosen", "rejected")},
        }
    )
    rows = [
        {**one, "image": {"bytes": image, "path": None}, "more": []}
        for one, image in zip(plain_rows(3), (png(), b"broken", None), strict=True)
    ]
    rows[2] |= {"image": None, "more": [{"bytes": png(shade=5), "path": None}] * 2}
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "saved" / "d")
    options = {"on_bad_record": "skip"}
    one, _ = train(tmp_path / "saved" / "d", **options)
    assert one.media[0].data == png() and one.messages[0].content == (0, "q0")
    columns = {**PLAIN, "image": "more"}
    several = train(tmp_path / "saved" / "d", columns=columns)
    assert [len(r.media) for r in several] == [0, 0, 2]


def test_a_hub_id_needs_a_revision(datasets: Any) -> None:
    with pytest.raises(UserError, match=r"somebody/pairs is no local file.*data\.source\.revision"):
        Hub("somebody/pairs")


def test_a_hub_id_that_cannot_be_reached_is_an_error(datasets: Any) -> None:
    with pytest.raises(UserError, match=r"data\.source\.path=somebody/pairs cannot be loaded"):
        Hub("somebody/pairs", revision="1234567")


def test_paths_in_a_hub_data_set_name_no_files_of_this_machine(
    datasets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private.png").write_bytes(png())
    rows = [{**plain_rows(1)[0], "image": str(tmp_path / "private.png")}]
    loaded = datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)})
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: loaded)
    options = {"revision": "1234567", "columns": PLAIN}
    with pytest.raises(RecordError, match=r"is a path; give data\.source\.image_root"):
        Hub("somebody/pairs", **options).split("train")
    hub = Hub("somebody/pairs", image_root=str(tmp_path), validation=0, test=0, **options)
    assert len(hub.split("train")) == 1 and hub.name == "pairs"


def test_the_command_line_builds_it(datasets: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{**one, "score_chosen": 3.0, "score_rejected": 1.0} for one in plain_rows(20)]
    write_jsonl(path, rows)
    hub = source("data/source=hub", f"data.source.path={path}", "data.source.test=0.2")
    assert len(hub.split("test")) == 4 and hub.split("test")[0].pairs[0].margin == 2.0


def test_mmpr_as_one_table(datasets: Any, tmp_path: Path) -> None:
    rows = [
        {"image": image, "question": f"q{n}", "chosen": "a", "rejected": "b"}
        for n, image in enumerate([{"bytes": png(), "path": None}, None] * 10)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    path = tmp_path / "a.parquet"
    hub = source("data/source=mmpr_combined", f"data.source.path={path}", "data.source.test=0")
    assert hub.name == "mmpr_combined"
    assert {len(r.media) for r in hub.split("train")} == {0, 1}
    assert {r.messages[0].content[-1] for r in hub.split("train")} <= {f"q{n}" for n in range(20)}


def test_a_row_that_is_wrong_is_named_as_everywhere(datasets: Any, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [*text_rows(2), row(human_ranking=[0])])
    with pytest.raises(RecordError, match=r"a\.jsonl train row 3: 2 answers need as many ranks"):
        train(path, columns={})
