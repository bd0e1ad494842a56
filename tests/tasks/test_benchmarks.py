"""benchmark=[…] in training and evaluation, through the real configuration."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from own_data import png, text_rows, write_jsonl

from mmreward.analysis.metrics import evaluate as metrics_of
from mmreward.benchmarks.references import reference
from mmreward.config import CONF, ROOT
from mmreward.data.bad_records import read_bad_records
from mmreward.data.sources import digits
from mmreward.errors import UserError
from mmreward.scoring.table import META, RECORDS, SCORES, read_table
from mmreward.tasks.evaluate import evaluate
from mmreward.tasks.train import train

TINY = (
    "model.backbone.hidden_size=32",
    "model.backbone.layers=1",
    "model.backbone.vision_depth=1",
    "data.source.train_records=32",
    "data.batch_size=8",
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "trainer.enable_progress_bar=false",
    "tracking=none",
)
IDS = ("hallucination_pair-1", "wildvision-2", "mathverse_3", "RLAIF-4", "mmmu-5")


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides])


def vl_rows() -> list[dict[str, Any]]:
    return [
        {
            "id": name,
            "prompt": f"What is it, {i}?",
            "chosen": f"It is {i}.",
            "rejected": f"No,\nnot {i}.",
            "image": f"{i}.png",
        }
        for i, name in enumerate(IDS)
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run that was scored on its own test split."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(digits.TWINS, "validation", 1)
        patch.setitem(digits.TWINS, "test", 4)
        patch.chdir(folder)
        train(config(*TINY))
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, four rows of VL-RewardBench with images and one without beside it."""
    monkeypatch.setitem(digits.TWINS, "test", 4)
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    write_jsonl(tmp_path / "vlrb.jsonl", vl_rows())
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(png(60, 40, shade=50 * i))
    return folder


def vlrb(run: Path, *overrides: str, benchmarks: str = "[vl_rewardbench]") -> DictConfig:
    return config(
        "task=evaluate",
        f"run={run}",
        f"benchmark={benchmarks}",
        f"benchmark.vl_rewardbench.path={run.parent / 'vlrb.jsonl'}",
        "benchmark.vl_rewardbench.rows=5",
        *overrides,
    )


def test_a_benchmark_joins_what_was_scored_before(run: Path) -> None:
    before = (run / SCORES).read_text()
    accuracy = evaluate(vlrb(run))
    written = json.loads((run / "metrics.json").read_text())["benchmarks"]
    assert list(written) == ["digits", "vl_rewardbench"]
    found = written["vl_rewardbench"]
    assert found["accuracy"] == accuracy and found["n"] == 4
    assert {"blind_image", "swapped_image", "untrained"} <= set(found["controls"])
    assert {"overall", "general", "reasoning", "r1_general"} <= set(found["official"])
    assert (run / SCORES).read_text().startswith(before)

    # One row of five has no image: counted in metrics.json, in the folder, in the report.
    (unusable,) = found["rows"]["unusable"]
    assert (found["rows"]["rows"], found["rows"]["expected"]) == (5, [5])
    assert (unusable["category"], unusable["n"]) == ("reasoning", 1)
    assert [bad.reason for bad in read_bad_records(run)] == [
        f"image file {run.parent / '4.png'} does not exist"
    ]
    text = (run / "report.md").read_text()
    assert "1 of 5 rows could not be scored" in text

    # What the report shows of others' numbers is in the file too.
    published = found["reference"]["published"]
    assert len(published) >= 8 and list(found["reference"]["variants"]) == ["", "r1", "old"]
    assert all(f"| {line['system']} |" in text for line in published)

    # Everything follows from the folder alone.
    assert metrics_of(read_table(run), reference) == written
    scores = (run / SCORES).read_text()
    assert evaluate(vlrb(run)) == accuracy
    assert (run / SCORES).read_text() == scores, "nothing is scored twice"


def test_one_set_after_the_other_or_both_at_once(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    evaluate(vlrb(run))
    shapes = ("benchmark.shapes.test_records=8", "evaluation.conditions=[intact]")
    evaluate(config("task=evaluate", f"run={run}", "benchmark=[shapes]", *shapes))
    evaluate(vlrb(other, *shapes, benchmarks="[shapes,vl_rewardbench]"))
    one, two = (json.loads((f / "metrics.json").read_text())["benchmarks"] for f in (run, other))
    assert set(one) == set(two) == {"digits", "vl_rewardbench", "shapes"}
    for name in one:
        assert one[name]["accuracy"] == two[name]["accuracy"]
        assert one[name]["mean_margin"] == pytest.approx(two[name]["mean_margin"], abs=1e-6)
    assert set(json.loads((run / META).read_text())["sets"]) == set(one)


def test_the_text_alone_of_a_benchmark(run: Path) -> None:
    evaluate(vlrb(run, "benchmark.vl_rewardbench.images=drop"))
    found = json.loads((run / "metrics.json").read_text())["benchmarks"]["vl_rewardbench"]
    assert (found["n"], found["n_with_images"], found["rows"]["images"]) == (5, 0, "drop")
    assert "image_gain" not in found
    assert "scored without its images (images=drop)" in (run / "report.md").read_text()


def test_training_ends_with_the_chosen_benchmarks(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    monkeypatch.chdir(folder)
    train(
        config(
            *TINY,
            "benchmark=[vl_rewardbench,preference]",
            f"benchmark.vl_rewardbench.path={tmp_path / 'vlrb.jsonl'}",
            "benchmark.vl_rewardbench.rows=null",
            "evaluation.conditions=[intact]",
        )
    )
    written = json.loads((folder / "metrics.json").read_text())["benchmarks"]
    assert list(written) == ["vl_rewardbench", "digits"]


def test_a_resumed_run_forgets_what_its_old_weights_were_scored_on(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(vlrb(run))
    monkeypatch.chdir(run)
    train(config(*TINY, f"resume={run}", "trainer.max_steps=3"))
    names = {json.loads(line)["benchmark"] for line in (run / RECORDS).read_text().splitlines()}
    assert names == {"digits"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["benchmark=[]"], r"benchmark=\[\] leaves nothing to score"),
        (["benchmark=[digits,preference]"], "are sets called digits; leave one out"),
        (["benchmark=[rewardbench_2]"], "no commit of allenai/reward-bench-2 is known .* give "
         "benchmark.rewardbench_2.revision"),
        (["benchmark=[vl_rewardbench]", "benchmark.vl_rewardbench.path=nowhere"],
         "benchmark.vl_rewardbench.path=nowhere does not exist"),
        (["benchmark=[vl_rewardbench]", "benchmark.vl_rewardbench.images=no"],
         "benchmark.vl_rewardbench.images=no should be keep, drop or null"),
        (["benchmark=[vl_rewardbench]", "benchmark.vl_rewardbench.path=3"],
         "benchmark.vl_rewardbench.path=3 should be of type str"),
        (["benchmark=[shapes]", "benchmark.shapes.test_records=3"],
         "benchmark.shapes.test_records must be a multiple of 4"),
        (["data/source@benchmark.preference.source=jsonl"],
         "benchmark.preference.source.path is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence_under_their_own_key(
    run: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said) as error:
        evaluate(config("task=evaluate", f"run={run}", *overrides))
    assert "\n" not in str(error.value)


def test_a_benchmark_of_which_nothing_can_be_scored_says_what_to_do(run: Path) -> None:
    before = (run / RECORDS).read_text()
    for i in range(4):
        (run.parent / f"{i}.png").unlink()
    with pytest.raises(
        UserError, match=r"none of the 5 rows .*0.png does not exist; name the folder"
    ):
        evaluate(vlrb(run))
    assert (run / RECORDS).read_text() == before


def test_preference_of_any_other_source(run: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine.jsonl", text_rows(6))
    other = [
        "task=evaluate",
        f"run={run}",
        "data/source@benchmark.preference.source=jsonl",
        f"benchmark.preference.source.path={tmp_path / 'mine.jsonl'}",
        "benchmark.preference.split=all",
        "benchmark.preference.source.validation=0.2",
        "benchmark.preference.source.test=0.2",
        "evaluation.conditions=[intact]",
    ]
    evaluate(config(*other))
    written = json.loads((run / "metrics.json").read_text())["benchmarks"]
    assert written["mine"]["n"] == 6
    with (tmp_path / "mine.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(UserError, match="benchmark.preference.source.on_bad_record=skip"):
        evaluate(config(*other))


def test_a_text_backbone_is_told_to_drop_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_jsonl(tmp_path / "mine.jsonl", text_rows(30))
    write_jsonl(tmp_path / "vlrb.jsonl", vl_rows())
    (tmp_path / "0.png").write_bytes(png())
    train(
        config(
            "model=text",
            "data/source=jsonl",
            f"data.source.path={tmp_path / 'mine.jsonl'}",
            "evaluation.conditions=[intact]",
            *(o for o in TINY if "vision" not in o and "data.source" not in o),
        )
    )
    with pytest.raises(UserError, match=r"text backbone cannot read; .*vl_rewardbench.images=drop"):
        evaluate(vlrb(folder))
    assert 0 <= evaluate(vlrb(folder, "benchmark.vl_rewardbench.images=drop")) <= 1


@pytest.mark.slow
def test_two_benchmarks_through_the_command_line(run: Path, tmp_path: Path) -> None:
    turns = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Are you {}?\n\nAssistant:"
    rows = [
        {"chosen": turns.format(i) + " No.", "rejected": turns.format(i) + " Yes, always."}
        for i in range(12)
    ]
    write_jsonl(tmp_path / "hh.jsonl.gz", rows)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "run.py"), "task=evaluate", f"run={run}", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    chosen = (
        "benchmark=[vl_rewardbench,hh_harmless]",
        "benchmark.vl_rewardbench.path=vlrb.jsonl",
        "benchmark.vl_rewardbench.rows=[4,5]",
        "benchmark.hh_harmless.path=hh.jsonl.gz",
    )
    refused = call(*chosen)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "hh.jsonl.gz has 12 rows, hh_harmless has 2,312" in refused.stderr
    done = call(*chosen, "benchmark.hh_harmless.rows=12")
    assert done.returncode == 0, done.stderr
    for expected in (
        "to score: 4 of 5 records of vl_rewardbench",
        "to score: 12 records of hh_harmless",
        "left out: 1 bad records",
        "official Overall",
        "hh_harmless",
    ):
        assert expected in done.stdout, expected
    report = (run / "report.md").read_text()
    assert "## vl_rewardbench" in report and "### Published numbers, for reference" in report
    assert "## hh_harmless" in report and "## digits" in report
