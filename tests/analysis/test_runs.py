"""Which runs a sweep's folder stands for."""

import itertools
import json
import shutil

import numpy as np
import pytest
from omegaconf import OmegaConf
from sweeps import records, run, sweep

from mmreward.analysis.runs import expand, is_sweep, read_runs, runs_of_sweep
from mmreward.errors import UserError


def test_the_runs_are_the_finished_jobs_in_their_order_and_the_others_are_named(tmp_path):
    folder = sweep(tmp_path / "mine", "done", "failed", "done before", "done")
    (folder / "3" / "scores.jsonl").unlink()
    # What an earlier launch left there is none of its jobs.
    run(folder / "9", records(5), np.ones(5))
    runs, left_out = runs_of_sweep(folder)
    assert runs == [folder / "0", folder / "2"]
    killed, unscored = left_out
    assert killed.startswith("job 1 (model=base seed=1): killed by SIGKILL; see ")
    assert unscored == (
        f"job 3 (model=enhanced seed=1): there is no scores.jsonl in {folder / '3'}; without its "
        "folder, the same sweep runs it again"
    )


def test_a_damaged_run_costs_itself_and_not_the_comparison(tmp_path):
    folder = sweep(tmp_path / "mine", "done", "done", "done", "done")
    (folder / "1" / "metrics.json").write_text('{"bench')
    scores = folder / "2" / "scores.jsonl"
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[:10]))
    folders, left_out = expand([folder])
    with pytest.raises(UserError, match="metrics.json cannot be read; task=evaluate"):
        read_runs(folders)
    runs = read_runs(folders, left_out=left_out)
    assert [run.name for run in runs] == ["base s0", "enhanced s1"]
    unread, lacking = left_out
    assert f"{folder / '1' / 'metrics.json'} cannot be read" in unread
    assert f"{scores} lacks" in lacking
    (folder / "0" / "scores.jsonl").write_text("{")
    with pytest.raises(UserError, match="1 of the runs can be read"):
        read_runs(folders, left_out=[])


def test_another_reference_than_the_first_on_the_line_is_named(tmp_path):
    folder = sweep(tmp_path / "mine", "failed", "failed", "done", "done")
    left_out = runs_of_sweep(folder)[1]
    assert left_out[-1] == "every run of the first variant, so that the next one is the reference"
    assert len(left_out) == 3
    one = sweep(tmp_path / "one", "failed", "done", "done", "done")  # another seed is there
    assert len(runs_of_sweep(one)[1]) == 1


def test_a_failed_jobs_half_done_scores_are_not_taken(tmp_path):
    folder = sweep(tmp_path / "mine", "done", "done", "done", "failed")
    run(folder / "3", records(40), np.ones(40), "enhanced", 1)
    (folder / "3" / "metrics.json").unlink()
    scores = folder / "3" / "scores.jsonl"
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[:10]))
    found, left_out = expand([folder])
    assert [run.name for run in read_runs(found)] == ["base s0", "base s1", "enhanced s0"]
    assert len(left_out) == 1


def test_a_job_that_was_asked_for_twice_is_one_run(tmp_path):
    folder = sweep(tmp_path / "sweep", "done", "done")
    listed = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({"jobs": listed["jobs"] * 2}))
    assert runs_of_sweep(folder) == ([folder / "0", folder / "1"], [])


@pytest.mark.parametrize("listed", [True, False])
def test_folders_of_jobs_may_be_nested(tmp_path, listed):
    folder = sweep(tmp_path / "sweep", "done", "done", "done", "done", subdir="{model}/{seed}")
    if not listed:
        (folder / "sweep.json").unlink()
    assert is_sweep(folder)
    expected = [folder / model / seed for model in ("base", "enhanced") for seed in "01"]
    assert runs_of_sweep(folder) == (expected, [])


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("subdir", ["{number}", "{model}/{seed}"])
def test_a_sweep_that_was_moved_or_copied_is_found_where_it_is(tmp_path, subdir, kept):
    folder = sweep(tmp_path / "there", "done", "done", subdir=subdir)
    here = tmp_path / "elsewhere" / "here"
    (shutil.copytree if kept else shutil.move)(folder, here)
    expected = [here / subdir.format(number=i, model="base", seed=i) for i in (0, 1)]
    assert runs_of_sweep(here) == (expected, [])


def test_without_a_list_of_jobs_the_runs_are_those_that_came_to_their_end(tmp_path):
    folder = sweep(tmp_path / "sweep", "done", "done", "done", "done")
    (folder / "sweep.json").unlink()
    (folder / "3" / "metrics.json").unlink()
    (folder / "1").rename(folder / "10")
    runs, left_out = runs_of_sweep(folder)
    assert runs == [folder / "0", folder / "2", folder / "10"]
    assert left_out == [f"{folder / '3'} did not come to its end: it has no metrics.json"]


def test_sweeps_and_single_runs_can_be_named_together(tmp_path):
    first = sweep(tmp_path / "first", "done", "failed")
    alone = run(tmp_path / "alone", records(40), np.ones(40), "fusion")
    second = sweep(tmp_path / "second", "done", "done")
    folders, left_out = expand([str(alone), first, second])
    assert folders == [alone, first / "0", second / "0", second / "1"]
    assert len(left_out) == 1
    assert not is_sweep(alone) and not is_sweep(tmp_path / "nowhere")
    with pytest.raises(UserError, match="runs=.*nowhere does not exist"):
        read_runs(expand([first, tmp_path / "nowhere"])[0])


def variants_of(folder, *changes):
    """The variants of runs whose config.yaml differs by these, two seeds each."""
    folders = []
    for place, (change, seed) in enumerate(itertools.product(changes, (0, 1))):
        path = run(folder / str(place), records(5), np.ones(5), seed=seed)
        config = OmegaConf.merge(OmegaConf.load(path / "config.yaml"), OmegaConf.create(change))
        OmegaConf.save(config, path / "config.yaml")
        folders.append(path)
    return [one.variant for one in read_runs(folders)]


def pooled(option, **settings):
    return {
        "choices": {"model/pooling": option, "tracking": option},
        "model": {"pooling": {"_target_": option, **settings}},
    }


def test_variants_are_named_by_the_option_that_differs(tmp_path):
    changes = [pooled("mean", scale=1), pooled("attention", scale=2), pooled("last_token", scale=3)]
    expected = [f"base pooling={name}" for name in ("mean", "attention", "last_token")]
    assert variants_of(tmp_path, *changes) == [name for name in expected for _ in (0, 1)]


def test_variants_of_one_option_are_named_by_its_settings(tmp_path):
    changes = [pooled("mean", scale=1), pooled("mean", scale=2)]
    expected = ["base scale=1", "base scale=2"]
    assert variants_of(tmp_path, *changes) == [name for name in expected for _ in (0, 1)]


def test_numbers_of_a_search_are_short_in_names(tmp_path):
    rates = (6.304187027644861e-05, 0.0005, 0.00050001)
    found = variants_of(tmp_path, *({"optimizer": {"lr": lr}} for lr in rates))
    assert found[::2] == ["base lr=6.304e-05", "base lr=0.0005 (2)", "base lr=0.0005 (4)"]


def test_which_weights_are_kept_is_part_of_a_run_and_how_many_is_not(tmp_path):
    kept = [{"checkpoint": {"best": {"monitor": "val/loss", "save_top_k": n}}} for n in (1, 2)]
    assert set(variants_of(tmp_path / "one", *kept)) == {"base"}
    other = {"checkpoint": {"best": {"monitor": "val/accuracy", "save_top_k": 1}}}
    expected = ["base monitor=val/loss", "base monitor=val/accuracy"]
    found = variants_of(tmp_path / "two", kept[0], other)
    assert found == [name for name in expected for _ in (0, 1)]


def test_a_third_setting_is_named_where_two_do_not_tell_runs_apart(tmp_path):
    def change(lr, decay, steps):
        return {"optimizer": {"lr": lr, "decay": decay}, "trainer": {"max_steps": steps}}

    found = variants_of(tmp_path / "three", change(1, 1, 1), change(2, 2, 1), change(2, 2, 2))
    expected = [f"base lr={a} decay={a} max_steps={b}" for a, b in ((1, 1), (2, 1), (2, 2))]
    assert found == [name for name in expected for _ in (0, 1)]
    found = variants_of(tmp_path / "two", change(1, 1, 1), change(2, 2, 2))
    assert found[::2] == ["base lr=1 decay=1", "base lr=2 decay=2"]


def test_a_copied_sweep_takes_no_run_of_the_original(tmp_path):
    folder = sweep(tmp_path / "mine", "done", "done", "done", "done")
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(copy / "2")
    runs, left_out = runs_of_sweep(copy)
    assert runs == [copy / "0", copy / "1", copy / "3"]
    assert f"there is no scores.jsonl in {copy / '2'}" in left_out[0]
