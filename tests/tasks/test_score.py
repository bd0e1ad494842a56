"""task=score and mmreward.load: files and Python callers get the rewards that evaluation files."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_training
from hydra import compose, initialize_config_dir
from score_tables import ROOT

import mmreward
from mmreward.config import CONF
from mmreward.errors import UserError
from mmreward.records import Record
from mmreward.scoring import files
from mmreward.scoring.table import read_table
from mmreward.tasks.assemble import data_source
from mmreward.tasks.score import score
from mmreward.tasks.train import train

N = 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits, and test records of it as a file with images beside it."""
    folder = tmp_path_factory.mktemp("score")
    with pytest.MonkeyPatch.context() as patch:
        small_training.run(folder / "run", "evaluation.conditions=[intact]", monkeypatch=patch)
    (folder / "images").mkdir()
    lines = []
    for number, one in enumerate(records()[:N]):
        one.media[0].load().save(folder / "images" / f"{number}.png")
        lines.append(row(number, one))
    write(folder / "pairs.jsonl", lines)
    return folder


def records() -> Sequence[Record]:
    return data_source(small_training.config()).split("test")


def row(number: int, one: Record) -> dict[str, Any]:
    return {
        "id": f"row {number}",
        "query": one.prompt,
        "image": f"images/{number}.png",
        "response": [response.text for response in one.responses],
        "human_ranking": [response.rank for response in one.responses],
    }


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def scored(folder: Path, *overrides: str, run: str = "run") -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        line = ["task=score", f"run={folder / run}", "batch_tokens=600", *overrides]
        score(compose("config", line))


@pytest.fixture
def expected(trained: Path) -> list[Any]:
    filed = read_table(trained / "run").scores["intact"]
    return [pytest.approx([filed[one.id, n] for n in (0, 1)], abs=1e-5) for one in records()[:N]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_gets_the_rewards_that_evaluation_filed(
    trained: Path, tmp_path: Path, expected: list[Any], workers: int
) -> None:
    out = tmp_path / "new" / "scored.jsonl"
    scored(trained, f"input={trained / 'pairs.jsonl'}", f"output={out}", f"num_workers={workers}")
    lines = read(out)
    assert [line["rewards"] for line in lines] == expected
    assert [line["row"] for line in lines] == list(range(1, N + 1))
    assert [line["id"] for line in lines] == [f"row {n}" for n in range(N)]
    assert {line["file"] for line in lines} == {str(trained / "pairs.jsonl")}
    assert sorted(p.name for p in out.parent.iterdir()) == [out.name, f"{out.name}.state.json"]


def test_python_callers_get_the_same(trained: Path, expected: list[Any]) -> None:
    model = mmreward.load(trained / "run")
    for number, given in enumerate(read(trained / "pairs.jsonl")[:4]):
        image = trained / given["image"]
        asked = model.score(given["query"], images=[image], answers=given["response"])
        assert asked == expected[number]
        turns = [{"role": "user", "content": f"<image>{given['query']}"}]
        data = image.read_bytes()
        assert model.score(turns, images=[data], answers=given["response"]) == expected[number]
        alone = model.score(given["query"], given["response"][:1], [image])
        assert alone == pytest.approx(asked[:1], abs=1e-5)
    one = model.score("Which?", "seven", image)
    assert one == model.score("Which?", ["seven"], [image]) and len(one) == 1
    with pytest.raises(UserError, match="answer 1 is empty"):
        model.score("Which?", ["a", " "])
    with pytest.raises(UserError, match="nowhere"):
        model.score("Which?", ["a"], ["nowhere.png"])


def test_it_reads_jsonl_compressed_and_not_parquet_folders_patterns_and_lists(
    trained: Path, tmp_path: Path
) -> None:
    rows = read(trained / "pairs.jsonl")
    shards = tmp_path / "shards"
    shards.mkdir()
    write(shards / "a.jsonl", rows[:10])
    with gzip.open(shards / "b.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(one) + "\n" for one in rows[10:25])
    pq.write_table(pa.Table.from_pylist(rows[25:]), shards / "c.parquet")
    (shards / "notes.txt").write_text("not data")
    root = f"image_root={trained}"
    scored(trained, f"input={trained / 'pairs.jsonl'}", f"output={tmp_path / 'whole.jsonl'}")
    names = ("a.jsonl", "b.jsonl.gz", "c.parquet")
    given = {
        "folder": shards,
        "pattern": f"'{shards}/?.[jp]*'",
        "list": f"[{','.join(str(shards / name) for name in names)}]",
    }
    whole = [line["rewards"] for line in read(tmp_path / "whole.jsonl")]
    for name, value in given.items():
        out = tmp_path / f"{name}.jsonl"
        scored(trained, f"input={value}", f"output={out}", root)
        lines = read(out)
        assert [pytest.approx(one, abs=1e-5) for one in whole] == [one["rewards"] for one in lines]
        places = [(Path(one["file"]).name, one["row"]) for one in lines]
        assert places[9:11] == [("a.jsonl", 10), ("b.jsonl.gz", 1)]
    with pytest.raises(UserError, match=r"input=.*nothing\.\* names no file"):
        scored(trained, f"input='{tmp_path}/nothing.*'", f"output={tmp_path / 'x.jsonl'}")


def test_answers_need_no_ranks_and_may_be_one(trained: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "Is it?", "response": "yes"},
        {"prompt": "Is it?", "response": ["yes", "no", "may be"]},
        {"prompt": "Is it?", "chosen": "yes", "rejected": "no"},
    ]
    scored(trained, f"input={write(tmp_path / 'a.jsonl', rows)}", f"output={tmp_path / 'o.jsonl'}")
    one, three, pair = read(tmp_path / "o.jsonl")
    assert [len(line["rewards"]) for line in (one, three, pair)] == [1, 3, 2]
    assert one["rewards"] == pytest.approx(three["rewards"][:1], abs=1e-5)
    assert pair["rewards"] == pytest.approx(three["rewards"][:2], abs=1e-5)
    assert one["id"] == "1", "without an id the row's number"


def test_every_row_may_call_its_columns_otherwise(trained: Path, tmp_path: Path) -> None:
    """And a null cell of one row takes nothing away from the next."""
    image = str(trained / "images" / "0.png")
    turns = [{"role": "user", "content": "Is it?"}]
    rows = [
        {"prompt": "Is it?", "images": None, "response": ["yes"]},
        {"question": "Is it?", "images": [image], "answer": "yes"},
        {"query": "Is it?", "image": image, "answers": ["yes"]},
        {"prompt": None, "messages": turns, "responses": ["yes"]},
    ]
    out = f"output={tmp_path / 'o.jsonl'}"
    scored(trained, f"input={write(tmp_path / 'a.jsonl', rows)}", out, "allow_outside=true")
    blind, seeing, same, told = (line["rewards"] for line in read(tmp_path / "o.jsonl"))
    assert seeing == pytest.approx(same, abs=1e-5) and blind == pytest.approx(told, abs=1e-5)
    assert seeing != pytest.approx(blind, abs=1e-4)


def test_answers_that_repeat_their_prompt_are_bad_rows(trained: Path, tmp_path: Path) -> None:
    whole = ["Human: Is it so? Assistant: yes", "Human: Is it so? Assistant: no"]
    rows = [{"query": "Is it so?", "response": whole},
            {"query": "Is it so?", "response": "Is it so? Yes."}]  # fmt: skip
    out = f"output={tmp_path / 'o.jsonl'}"
    scored(trained, f"input={write(tmp_path / 'a.jsonl', rows)}", out)
    assert [line["row"] for line in read(tmp_path / "o.jsonl")] == [2]
    (bad,) = read(tmp_path / "o.jsonl.bad.jsonl")
    assert bad["row"] == 1 and "begins with the whole prompt" in bad["reason"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_model_of_text_leaves_out_rows_with_images(
    trained: Path, tmp_path: Path, workers: int
) -> None:
    path = [str(trained / "images" / "0.png")]
    rows = [{"query": "Is it?", "response": "yes", "image": path * (n == 2)} for n in range(4)]
    with pytest.MonkeyPatch.context() as patch:
        (tmp_path / "text").mkdir()
        patch.chdir(tmp_path / "text")
        source = f"data.source.path={text_pairs(tmp_path)}"
        train(small_training.config("model=text", "data/source=jsonl", source, small=TEXT))
    given = write(tmp_path / "a.jsonl", rows)
    line = [f"input={given}", f"output={tmp_path / 'o.jsonl'}", "allow_outside=true"]
    scored(tmp_path, *line, f"num_workers={workers}", run="text")
    assert [line["row"] for line in read(tmp_path / "o.jsonl")] == [1, 2, 4]
    (bad,) = read(tmp_path / "o.jsonl.bad.jsonl")
    assert bad["row"] == 3 and "image" in bad["reason"]


TEXT = ("model.backbone.hidden_size=32", "data.batch_size=4", "trainer.max_steps=1",
        "trainer.val_check_interval=1", "trainer.enable_progress_bar=false",
        "evaluation.conditions=[intact]", "tracking=none")  # fmt: skip


def text_pairs(folder: Path) -> Path:
    rows = [{"query": f"Is {n}?", "response": ["yes", "no"], "human_ranking": [0, 1]}
            for n in range(40)]  # fmt: skip
    return write(folder / "text.jsonl", rows)


def test_rows_of_which_none_can_be_scored_are_an_error(trained: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"transcript": "Human: Hi"}] * 3)
    with pytest.raises(UserError, match="none of the 3 rows"):
        scored(trained, f"input={path}", f"output={tmp_path / 'o.jsonl'}")


def test_what_was_written_into_the_folder_is_no_input(trained: Path, tmp_path: Path) -> None:
    rows = [{"query": "Is it?", "response": "yes"}, {"query": "Is it?"}]
    write(tmp_path / "a.jsonl", rows)
    for name in ("o.jsonl", "o.jsonl", "p.jsonl"):
        scored(trained, f"input={tmp_path}", f"output={tmp_path / name}")
        assert [Path(line["file"]).name for line in read(tmp_path / name)] == ["a.jsonl"]


@pytest.mark.parametrize("finished", [True, False])
def test_an_output_that_was_taken_away_is_made_again(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    path, out = with_bad_rows(trained), tmp_path / "o.jsonl"
    given = [f"input={path}", "batch_tokens=150", f"output={out}"]
    monkeypatch.setattr(files, "WINDOW", 1)
    plain, saves = files.State.save, iter(range(3))

    def save(self: files.State, at: Path) -> None:
        if next(saves, None) is None:
            raise Killed
        plain(self, at)

    scored(trained, *given)
    whole = out.read_bytes()
    if not finished:
        out.unlink()
        (tmp_path / "o.jsonl.state.json").unlink()
        with monkeypatch.context() as patch:
            patch.setattr(files.State, "save", save)
            with pytest.raises(Killed):
                scored(trained, *given)
        assert 0 < len(out.read_bytes()) < len(whole)
    out.write_bytes(out.read_bytes()[:10])
    with pytest.raises(UserError, match="is shorter than it was left"):
        scored(trained, *given)
    out.unlink()
    scored(trained, *given)
    assert out.read_bytes() == whole


def test_probabilities_follow_the_temperature(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "run", tmp_path / "run")
    rows = [
        {"query": "Is it?", "response": list("ab"[:k]), "human_ranking": [0] * k} for k in (1, 2)
    ]
    path = write(tmp_path / "a.jsonl", rows)
    for temperature in (0.5, 4.0):
        metrics = json.loads((trained / "run" / "metrics.json").read_text())
        metrics["benchmarks"]["digits"]["calibration"]["temperature"] = temperature
        (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
        out = tmp_path / f"{temperature}.jsonl"
        scored(tmp_path, f"input={path}", f"output={out}")
        one, two = read(out)
        assert one["probabilities"] is None
        odds = two["probabilities"][0] / two["probabilities"][1]
        margin = two["rewards"][0] - two["rewards"][1]
        assert sum(two["probabilities"]) == pytest.approx(1)
        assert odds == pytest.approx(2.718281828 ** (margin / temperature))
    (tmp_path / "run" / "metrics.json").unlink()
    scored(tmp_path, f"input={path}", f"output={tmp_path / 'none.jsonl'}")
    assert "probabilities" not in read(tmp_path / "none.jsonl")[1]


def with_bad_rows(trained: Path) -> Path:
    rows: list[Any] = read(trained / "pairs.jsonl")[:20]
    rows[3] = "{"
    rows[7] = {**rows[7], "image": "images/nowhere.png"}
    rows[11] = {**rows[11], "response": []}
    return write(trained / "bad.jsonl", rows)


def test_bad_rows_are_listed_by_number(trained: Path, tmp_path: Path) -> None:
    path, out = with_bad_rows(trained), tmp_path / "o.jsonl"
    scored(trained, f"input={path}", f"output={out}")
    bad = read(tmp_path / "o.jsonl.bad.jsonl")
    assert [(one["file"], one["row"]) for one in bad] == [(str(path), n) for n in (4, 8, 12)]
    assert "not JSON" in bad[0]["reason"] and "does not exist" in bad[1]["reason"]
    assert [line["row"] for line in read(out)] == [n for n in range(1, 21) if n not in (4, 8, 12)]
    with pytest.raises(UserError, match=r"bad\.jsonl row 4: it is not JSON"):
        scored(trained, f"input={path}", f"output={tmp_path / 'e.jsonl'}", "on_bad_record=error")


class Killed(Exception):
    pass


def killed(*_: Any) -> Any:
    raise Killed


@pytest.mark.parametrize("at", [1, 2, 4])
@pytest.mark.parametrize("torn", [False, True])
def test_what_was_killed_ends_as_if_it_had_not_been(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, torn: bool
) -> None:
    path = with_bad_rows(trained)
    monkeypatch.setattr(files, "WINDOW", 1)  # a window is a batch
    plain = files.State.save
    given = [f"input={path}", "batch_tokens=150"]
    scored(trained, *given, f"output={tmp_path / 'whole.jsonl'}")
    out, saves = tmp_path / "o.jsonl", iter(range(at))

    def save(self: files.State, path: Path) -> None:
        if next(saves, None) is None:
            raise Killed
        plain(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(files.State, "save", save)
        with pytest.raises(Killed):
            scored(trained, *given, f"output={out}")
    if torn:
        with out.open("a") as file:
            file.write('{"file": "half a li')
    scored(trained, *given, f"output={out}")
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    bad = tmp_path / "o.jsonl.bad.jsonl"
    assert bad.read_bytes() == (tmp_path / "whole.jsonl.bad.jsonl").read_bytes()
    time_before = out.stat().st_mtime_ns
    scored(trained, *given, f"output={out}")
    assert out.stat().st_mtime_ns == time_before, "what is whole is left alone"


def test_one_file_holds_the_rewards_of_one_model(trained: Path, tmp_path: Path) -> None:
    out = f"output={tmp_path / 'o.jsonl'}"
    path = f"input={trained / 'pairs.jsonl'}"
    scored(trained, path, out)
    shutil.copytree(trained / "run", tmp_path / "moved")
    scored(tmp_path, path, out, run="moved")  # the same model: nothing to do
    (tmp_path / "moved" / "model" / "model.safetensors").touch()
    with pytest.raises(UserError, match="another model"):
        scored(tmp_path, path, out, run="moved")
    with pytest.raises(UserError, match="another input"):
        scored(trained, f"input={with_bad_rows(trained)}", out)
    (tmp_path / "mine.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="exists already"):
        scored(trained, path, f"output={tmp_path / 'mine.jsonl'}")
    assert (tmp_path / "mine.jsonl").read_text() == "{}\n"


def test_the_result_file_of_other_trainers(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [f"input={trained / 'pairs.jsonl'}", f"output={tmp_path / 'result.jsonl'}",
            "format=seed"]  # fmt: skip
    plain, saved = files.State.save, iter(range(1))

    def save(self: files.State, path: Path) -> None:
        if next(saved, None) is None:
            raise Killed
        plain(self, path)

    def results() -> list[Path]:
        return [path for path in tmp_path.glob("result_*.jsonl") if ".bad." not in path.name]

    with monkeypatch.context() as patch:
        patch.setattr(files, "WINDOW", 1)
        patch.setattr(files.State, "save", save)
        with pytest.raises(Killed):
            scored(trained, *line)
    (begun,) = results()
    assert re.fullmatch(r"result_run_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.jsonl", begun.name)
    time.sleep(1.1)  # its name has seconds
    # Killed before it scored anything: still the same file.
    with monkeypatch.context() as patch:
        patch.setattr(files, "encode", killed)
        with pytest.raises(Killed):
            scored(trained, *line)
    scored(trained, *line)
    assert results() == [begun], "the same line goes on with it"
    rows, lines = read(trained / "pairs.jsonl"), read(begun)
    for given, found in zip(rows, lines, strict=True):
        assert list(found) == [
            "id", "query", "image", "response", "rewards", "human_ranking", "correct"
        ]  # fmt: skip
        for key in ("id", "query", "response", "human_ranking"):
            assert found[key] == given[key]
        assert found["image"] == str(trained / given["image"])
        best = found["rewards"].index(max(found["rewards"]))
        assert found["correct"] is (given["human_ranking"][best] == 0)
    assert {True, False} == {found["correct"] for found in lines}
    content = begun.read_bytes()
    scored(trained, *line)
    assert begun.read_bytes() == content, "a finished one is never overwritten"
    (again,) = set(results()) - {begun}
    assert [line["correct"] for line in read(again)] == [line["correct"] for line in lines]


def test_samples_are_what_the_model_reads(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    scored(trained, f"input={trained / 'pairs.jsonl'}", f"output={out}", "log_samples=true")
    model = mmreward.load(trained / "run")
    encoder = model.collate.encoder
    rows = read(trained / "pairs.jsonl")
    for given, found, one in zip(rows[:5], read(out)[:5], records()[:5], strict=True):
        ids = encoder.encode(one).prompt_ids
        tokens = encoder.tokenizer(found["prompt"], add_special_tokens=False).input_ids
        pictures = ids.count(encoder.image_token_id)
        assert len(tokens) == len(ids) - pictures + 1 and given["query"] in found["prompt"]
        assert found["answers"] == given["response"]


@pytest.mark.slow
def test_a_killed_process_goes_on(trained: Path, tmp_path: Path) -> None:
    """kill -9 as a user's machine does it, the line typed again."""
    rows = read(trained / "pairs.jsonl") * 50
    path = write(trained / "many.jsonl", rows)

    def start(out: str) -> subprocess.Popen[str]:
        line = ["task=score", f"run={trained / 'run'}", f"input={path}",
                f"output={tmp_path / out}", "batch_tokens=300"]  # fmt: skip
        return subprocess.Popen(
            [sys.executable, str(ROOT / "run.py"), *line], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    whole, _ = start("whole.jsonl").communicate(timeout=300)
    assert f"scored {len(rows):,} of {len(rows):,} rows" in whole and "rows/s" in whole
    process = start("o.jsonl")
    state = tmp_path / "o.jsonl.state.json"

    def done() -> int:
        return json.loads(state.read_text())["rows"] if state.is_file() else 0

    while process.poll() is None and not done():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it was killed before its end"
    assert 0 < json.loads(state.read_text())["rows"] < len(rows)
    start("o.jsonl").communicate(timeout=300)
    assert (tmp_path / "o.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
