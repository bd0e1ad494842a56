"""hydra/launcher=process, in real processes."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from launched import jobs, members, program, seen, start, sweep, until

from hydra_plugins.mmreward_process import _folder, _pool

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return program(tmp_path)


def test_hydra_finds_it() -> None:
    names = {plugin.__name__ for plugin in Plugins.instance().discover(Launcher)}
    assert "ProcessLauncher" in names


def test_looking_for_plugins_imports_nothing_of_the_launcher_but_its_face() -> None:
    probe = (
        "import sys; from hydra.core.plugins import Plugins; Plugins.instance();"
        "found = {m for m in sys.modules if m.startswith('hydra_plugins.mmreward_process.')};"
        "assert found == {'hydra_plugins.mmreward_process.process_launcher'}, found;"
        "assert not {'cloudpickle', 'multiprocessing', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


# -- jobs that go wrong --------------------------------------------------------------------


@pytest.mark.slow
def test_what_happens_to_one_job_does_not_happen_to_the_others(folder: Path) -> None:
    """Of seven, one is killed, one hangs, one hangs and does not listen, three end wrongly."""
    process = start(
        folder,
        "do=fine,raise,exit,leave,wait,stubborn,killed_from_outside",
        "hydra.launcher.n_jobs=2",
        "hydra.launcher.timeout=4",
    )
    screen, _ = process.communicate(timeout=120)
    assert process.returncode == 1, screen
    found = {job["overrides"][0].split("=")[1]: job for job in jobs(folder)}
    assert {name: job["status"] for name, job in found.items()} == {
        "fine": "done", "raise": "failed", "exit": "failed", "leave": "failed",
        "wait": "failed", "stubborn": "failed", "killed_from_outside": "done",
    }  # fmt: skip
    assert found["fine"]["returned"] == 0.25
    reasons = {
        "raise": "RuntimeError: a bug of mine",
        "exit": "exited with code 3 before it was done",
        "leave": "exited with code 0 before it was done",
        "wait": "not finished after 4 s",
        "stubborn": "not finished after 4 s",
    }
    for name, reason in reasons.items():
        assert found[name]["reason"] == reason
        (line,) = [line for line in screen.splitlines() if f"FAILED  do={name} " in line]
        assert reason in line and line.endswith(f"see {found[name]['log']}")
    assert "Traceback" not in screen, "that is in the log"
    log = (folder / found["raise"]["log"]).read_text()
    assert "Traceback" in log and log.startswith("doing raise")
    assert "5 of 7 jobs failed" in screen
    for name in ("wait", "stubborn"):
        group = seen(folder, found[name]["job"])["group"]
        assert until(lambda group=group: not members(group)), "its processes ended with it"
    # One line when a job starts and one when it ends.
    assert sum(line.startswith("job ") for line in screen.splitlines()) == 2 * len(found)


@pytest.mark.slow
def test_one_of_six_is_killed(folder: Path) -> None:
    process = start(folder, "do=fine,wait", "seed=0,1,2", "hydra.launcher.n_jobs=2")
    for number, how in ((3, signal.SIGKILL), (4, signal.SIGKILL), (5, signal.SIGTERM)):
        job = until(lambda number=number: seen(folder, number))
        until(lambda job=job: len(members(job["group"])) == 2)
        os.kill(job["pid"], how)
        assert until(lambda job=job: not members(job["group"])), "nor do its ranks live on"
    screen, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert [job["status"] for job in jobs(folder)] == ["done"] * 3 + ["failed"] * 3
    assert [job["returned"] for job in jobs(folder)[:3]] == [0.25, 1.25, 2.25]
    reasons = [job["reason"] for job in jobs(folder)[3:]]
    assert reasons == ["killed by SIGKILL"] * 2 + ["killed by SIGTERM"], screen


@pytest.mark.slow
def test_a_failure_in_one_batch_does_not_end_the_sweep(folder: Path) -> None:
    """Sweepers that ask for jobs in batches look at what each returned."""
    code, screen = sweep(folder, "do=fine,raise,leave,fine2", "hydra.sweeper.max_batch_size=2")
    assert code == 1
    assert [job["status"] for job in jobs(folder)] == ["done", "failed", "failed", "done"], screen


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_job_outlives_the_launcher(folder: Path, how: signal.Signals) -> None:
    process = start(folder, "do=wait,stubborn,fine", "hydra.launcher.n_jobs=2")
    groups = [until(lambda job=job: seen(folder, job))["group"] for job in (0, 1)]
    until(lambda: len(members(groups[0])) == 2)
    process.send_signal(how)  # to the launcher alone; a terminal would send it to the jobs too
    screen, _ = process.communicate(timeout=60)
    for group in groups:
        assert until(lambda group=group: not members(group), 20), f"alive after {how.name}"
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "ended by Ctrl-C" in screen and "hydra.sweep.dir=sweep" in screen
        statuses = [job["status"] for job in jobs(folder)]
        assert statuses == ["interrupted", "interrupted", "waiting"]
        assert not (folder / "sweep" / "2").exists()


# -- the same sweep again ------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_line_again_runs_what_is_not_done(folder: Path) -> None:
    line = ("do=fine,leave,other", "seed=0")
    assert sweep(folder, *line)[0] == 1
    results = [folder / "sweep" / str(number) / "result.json" for number in range(3)]
    before = results[0].stat().st_mtime_ns
    results[2].write_text(results[2].read_text()[:20])  # as if the disk had been full
    code, screen = sweep(folder, *line)
    assert code == 1
    assert [job["status"] for job in jobs(folder)] == ["done before", "failed", "done"]
    assert results[0].stat().st_mtime_ns == before
    assert (folder / "sweep" / "0" / "console.log").read_text() == "doing fine\n"
    assert (folder / "sweep" / "2" / "console.log").read_text() == "doing other\n" * 2
    assert "1 of 3 are done already" in screen and "starts  do=fine" not in screen
    assert [job["returned"] for job in jobs(folder)] == [0.25, None, 0.25]

    # Other overrides are other jobs: they run, and no earlier result is lost.
    code, _ = sweep(folder, "do=fine,other", "seed=0,1")
    assert code == 0
    found = {tuple(job["overrides"]): (job["job"], job["status"]) for job in jobs(folder)}
    assert found == {
        ("do=fine", "seed=0"): (0, "done before"),
        ("do=fine", "seed=1"): (3, "done"),
        ("do=other", "seed=0"): (2, "done before"),
        ("do=other", "seed=1"): (4, "done"),
    }
    assert seen(folder, 1)["argv"].count("do=leave") == 1
    assert results[0].stat().st_mtime_ns == before


@pytest.mark.slow
def test_folders_that_cannot_be_used(folder: Path) -> None:
    """What is not a job of this launcher is left alone; two sweeps do not share a folder."""
    (folder / "sweep" / "0").mkdir(parents=True)
    (folder / "sweep" / "0" / "config.yaml").write_text("of a run")
    running = start(folder, "do=wait")
    until(lambda: seen(folder, 1))
    code, screen = sweep(folder, "do=fine")
    assert code == 1 and "another sweep is running in sweep" in screen
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert os.listdir(folder / "sweep" / "0") == ["config.yaml"]
    code, screen = sweep(folder, "do=fine,fine2", "hydra.sweep.subdir=all")
    assert code == 1 and "give another hydra.sweep.dir" in screen


@pytest.mark.parametrize("option", ["n_jobs=0", "timeout=-1", "timeout=0"])
def test_options_that_make_no_sense_are_refused(folder: Path, option: str) -> None:
    code, screen = sweep(folder, "do=fine", f"hydra.launcher.{option}")
    assert code == 1 and f"hydra.launcher.{option.split('=')[0]}" in screen and "must be" in screen


# -- what a job finds in its process -------------------------------------------------------


@pytest.mark.slow
def test_a_job_is_a_run_of_its_own(folder: Path) -> None:
    """Ranks that a trainer starts repeat the command line: it must not begin the sweep again."""
    code, screen = sweep(
        folder,
        "do=fine",
        "seed=0,7",
        "hydra.sweep.dir='a sweep=1'",
        "hydra.mode=MULTIRUN",
        LOCAL_RANK="0",
        WORLD_SIZE="2",
        MASTER_ADDR="nowhere",
        MASTER_PORT="1",
    )
    assert code == 0, screen
    where = folder / "a sweep=1" / "1"
    found = json.loads((where / "seen.json").read_text())
    assert found["mode"] == "RUN" and found["number"] == 1
    assert found["dir"] == "a sweep=1/1" and found["output"] == str(where)
    assert found["group"] == found["pid"]
    assert found["environment"]["MMREWARD_SWEEP"] == "a sweep=1"
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"} & set(found["environment"])
    assert not {"-m", "--multirun"} & set(found["argv"])

    # The command line alone does the same, in the same folder; so does one with Lightning's ending.
    (where / "seen.json").unlink()
    ending = ['hydra.run.dir="a sweep=1/1"', "hydra.job.name=rank", "hydra.output_subdir=null"]
    command = [sys.executable, *found["argv"], *ending]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    again = json.loads((where / "seen.json").read_text())
    assert (again["dir"], again["mode"], again["number"]) == ("a sweep=1/1", "RUN", 1)
    assert sorted(path.name for path in folder.iterdir()) == ["a sweep=1", "conf", "program.py"]


@pytest.mark.slow
def test_options_of_the_command_line_reach_the_ranks(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "mine.yaml").write_text("defaults: [config, _self_]\nseed: 5\n")
    code, screen = sweep(folder, "do=fine,fine2", "--config-dir", "other", "-cn", "mine")
    assert code == 0, screen
    assert [job["returned"] for job in jobs(folder)] == [5.25, 5.25]
    assert {"--config-dir=other", "--config-name=mine"} <= set(seen(folder, 0)["argv"])


@pytest.mark.slow
@pytest.mark.parametrize(("n_jobs", "set_by_user"), [(2, None), (1, "1"), (1, None)])
def test_threads_are_divided(tmp_path: Path, n_jobs: int, set_by_user: str | None) -> None:
    folder = program(tmp_path, "optimizer:\n  _target_: torch.optim.SGD\n")
    options = ("seed=0,1", f"hydra.launcher.n_jobs={n_jobs}")
    code, screen = sweep(folder, *options, OMP_NUM_THREADS=set_by_user)
    assert code == 0, screen
    whole = "import torch; print(torch.get_num_threads())"
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    alone = subprocess.run(
        [sys.executable, "-c", whole], env=env, capture_output=True, text=True, check=True
    )
    share = int(set_by_user or (alone.stdout if n_jobs == 1 else max(1, CORES // n_jobs)))
    for job in (0, 1):
        assert seen(folder, job)["threads"] == share
        expected = set_by_user or (None if n_jobs == 1 else str(share))
        assert seen(folder, job)["environment"].get("OMP_NUM_THREADS") == expected


@pytest.mark.parametrize(
    ("visible", "n_jobs", "slots"),
    [
        ("0,1,2,3", 1, [""]),
        ("0,1,2,3", 4, ["0", "1", "2", "3"]),
        ("4,5,6,7", 2, ["4,6", "5,7"]),
        ("0,1", 3, ["0", "1", "0"]),
        ("0,1,2", 2, ["0,2", "1"]),
        ("GPU-8932,MIG-14", 2, ["GPU-8932", "MIG-14"]),
        ("", 2, ["", ""]),
        ("-1", 2, ["", ""]),
    ],
)
def test_gpus_are_divided(
    monkeypatch: pytest.MonkeyPatch, visible: str, n_jobs: int, slots: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _pool.gpu_slots(n_jobs) == slots


def test_gpus_are_counted_by_the_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _pool.gpu_slots(2) == ["", ""], "no driver, no GPU"
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\necho 1\n")
    tool.chmod(0o755)
    assert _pool.gpu_slots(2) == ["0", "1"]
    tool.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    assert _pool.gpu_slots(2) == ["", ""]


@pytest.mark.slow
def test_each_job_sees_a_gpu_of_its_own(folder: Path) -> None:
    options = ("do=wait", "seed=0,1,2", "hydra.launcher.n_jobs=2", "hydra.launcher.timeout=3")
    _, screen = sweep(folder, *options, CUDA_VISIBLE_DEVICES="4,7")
    given = [seen(folder, job)["environment"]["CUDA_VISIBLE_DEVICES"] for job in range(3)]
    assert sorted(given[:2]) == ["4", "7"] and given[2] in ("4", "7")
    assert "on GPU 7" in screen


# -- the imports ---------------------------------------------------------------------------


@pytest.mark.slow
def test_modules_are_imported_once_and_failures_are_told(tmp_path: Path) -> None:
    config = "good: {list: [{_target_: costly.Thing}]}\nbad: {_target_: broken.Thing}\n"
    folder = program(tmp_path, config)
    (folder / "costly.py").write_text("open('imported', 'a').write('once ')\n")
    (folder / "broken.py").write_text("raise ValueError('not on this machine')\n")
    code, screen = sweep(folder, "seed=0,1,2", PYTHONPATH=f"{os.environ.get('PYTHONPATH', '')}:.")
    assert code == 0
    assert (folder / "imported").read_text() == "once "
    for job in range(3):
        assert "costly" in seen(folder, job)["modules"]
    (line,) = [line for line in screen.splitlines() if line.startswith("warning: ")]
    assert "broken" in line and "ValueError: not on this machine" in line


@pytest.mark.slow
def test_a_server_that_dies_is_told(tmp_path: Path) -> None:
    folder = program(tmp_path, "bad: {_target_: broken.Thing}\n")
    (folder / "broken.py").write_text("import os; os._exit(1)\n")
    code, screen = sweep(folder, "seed=0,1", PYTHONPATH=f"{os.environ.get('PYTHONPATH', '')}:.")
    assert code == 1
    assert "loads the jobs' imports ended" in screen, screen


@pytest.mark.slow
def test_a_job_starts_in_under_half_a_second_once_everything_is_imported(tmp_path: Path) -> None:
    """From the launcher's last act before it to the first line of the task."""
    folder = program(tmp_path, "task: {_target_: mmreward.tasks.train.train}\n")
    began = time.time()
    code, screen = sweep(folder, "seed=0,1,2,3,4,5")
    assert code == 0, screen
    at = []
    for job in range(6):
        where = folder / "sweep" / str(job)
        assert "mmreward.tasks.train" in seen(folder, job)["modules"]
        at.append(((where / "job.json").stat().st_mtime, (where / "seen.json").stat().st_mtime))
    imports = at[0][0] - began
    starts = [task - ordered for ordered, task in at]
    # Where that takes longer than half a second, a machine is so slow or busy that importing
    # everything takes it many times as long.
    assert statistics.median(starts) < max(0.5, imports / 10), (starts, imports)


def test_a_result_is_whole_or_not_there(tmp_path: Path) -> None:
    _folder.write_result(tmp_path, ["a=1"], 0.5, 1.234)
    assert _folder.read_result(tmp_path, ["a=1"]) == {
        "overrides": ["a=1"], "returned": 0.5, "seconds": 1.23
    }  # fmt: skip
    assert _folder.read_result(tmp_path, ["a=2"]) is None
    with pytest.raises(TypeError):
        _folder.write_result(tmp_path, ["a=1"], object(), 1.0)
    assert _folder.read_result(tmp_path, ["a=1"]), "what cannot be written leaves what was there"
    (tmp_path / "result.json").write_text('{"overrides": ["a=1"')
    assert _folder.read_result(tmp_path, ["a=1"]) is None
    assert _folder.read_result(tmp_path / "nowhere", ["a=1"]) is None
