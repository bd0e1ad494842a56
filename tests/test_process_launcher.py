"""hydra/launcher=process, in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from launched import grace, jobs, members, program, seen, start, sweep, until

from hydra_plugins.mmreward_process import _folder, _shares

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
    grace(folder, 3)
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
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_job_outlives_the_launcher(folder: Path, how: signal.Signals) -> None:
    grace(folder, 3)
    process = start(folder, "do=wait,stubborn,fine", "hydra.launcher.n_jobs=2")
    groups = [until(lambda job=job: seen(folder, job))["group"] for job in (0, 1)]
    until(lambda: len(members(groups[0])) == 2)
    process.send_signal(how)  # to the launcher alone; a terminal would send it to the jobs too
    screen, _ = process.communicate(timeout=60)
    for group in groups:
        assert until(lambda group=group: not members(group), 20), f"alive after {how.name}"
    if how is signal.SIGKILL:
        return
    assert process.returncode == 128 + how
    name = "Ctrl-C" if how is signal.SIGINT else how.name
    assert f"ended by {name}\n" in screen and "hydra.sweep.dir=sweep" in screen
    assert [(job["status"], job["reason"]) for job in jobs(folder)] == [
        *[("interrupted", f"ended by {name}")] * 2, ("waiting", ""),
    ]  # fmt: skip
    assert not (folder / "sweep" / "2").exists()


@pytest.mark.slow
def test_whoever_asks_again_does_not_wait(folder: Path) -> None:
    process = start(folder, "do=stubborn,close", "hydra.launcher.n_jobs=2")
    until(lambda: seen(folder, 0) and seen(folder, 1))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # `timeout` does this; it is no second one
    assert until((folder / "sweep" / "1" / "closed").exists, 20)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 143 and time.monotonic() - began < 20
    assert [job["status"] for job in jobs(folder)] == ["interrupted"] * 2


# Two jobs have ended when the launcher looks, and Ctrl-C comes while it reports the first of them.
TWO_AT_ONCE = """
import os, signal, time
from hydra_plugins.mmreward_process import _launch, _pool

told, waited = _launch.Report.ended, _pool._wait

def ended(self, job):
    if job.number == 0:
        os.kill(os.getpid(), signal.SIGINT)
    told(self, job)

def wait(running, stop):
    time.sleep(2)
    waited(running, stop)

_launch.Report.ended, _pool._wait = ended, wait
"""


@pytest.mark.slow
def test_ctrl_c_between_two_jobs_that_end_together(folder: Path) -> None:
    (folder / "patch.py").write_text(TWO_AT_ONCE)
    code, screen = sweep(folder, "do=fine,other,close,fine2", "hydra.launcher.n_jobs=3")
    assert code == 130 and "Traceback" not in screen, screen
    statuses = [job["status"] for job in jobs(folder)]
    assert statuses == ["done", "done", "interrupted", "waiting"]
    assert (folder / "sweep" / "2" / "closed").exists()


FAILS = """
import os, time
from hydra_plugins.mmreward_process import _launch

def ended(self, job):
    while not os.path.exists("sweep/1/seen.json"):  # the other job is at work
        time.sleep(0.05)
    raise ZeroDivisionError("a bug of ours")

_launch.Report.ended = ended
"""


@pytest.mark.slow
def test_a_launcher_that_fails_leaves_no_job_behind(folder: Path) -> None:
    (folder / "patch.py").write_text(FAILS)
    code, screen = sweep(folder, "do=fine,wait", "hydra.launcher.n_jobs=2")
    assert code == 1 and "a bug of ours" in screen
    assert [job["status"] for job in jobs(folder)] == ["done", "interrupted"]
    assert until(lambda: not members(seen(folder, 1)["group"]))


# The list of jobs cannot be written until two jobs have ended.
DISK_IS_FULL = """
from pathlib import Path
from hydra_plugins.mmreward_process import _launch

write = _launch.write_sweep

def write_sweep(folder, *content):
    if len(list(Path(folder).glob("*/result.json"))) < 2:
        raise OSError(28, "No space left on device")
    write(folder, *content)

_launch.write_sweep = write_sweep
"""


@pytest.mark.slow
def test_jobs_go_on_where_nothing_can_be_written_about_them(folder: Path) -> None:
    (folder / "patch.py").write_text(DISK_IS_FULL)
    code, screen = sweep(folder, "do=fine,other", "seed=0,1", "hydra.launcher.n_jobs=2")
    assert code == 0 and "Traceback" not in screen, screen
    assert "warning: sweep.json could not be written ([Errno 28] No space left" in screen
    assert [job["status"] for job in jobs(folder)] == ["done"] * 4


@pytest.mark.slow
def test_a_job_whose_folder_cannot_be_made_is_the_only_one_to_fail(folder: Path) -> None:
    (folder / "sweep").mkdir()
    (folder / "sweep" / "1").write_text("in the way")
    code, screen = sweep(folder, "seed=0,1,2", "hydra.launcher.n_jobs=2")
    assert code == 1 and "Traceback" not in screen, screen
    assert [job["status"] for job in jobs(folder)] == ["done", "failed", "done"]
    assert jobs(folder)[1]["reason"].startswith("could not start: [Errno 17] File exists")


def shell(folder: Path, line: str) -> subprocess.Popen[str]:
    """A line of a shell in a process group of its own, as a terminal starts it."""
    python = f"{sys.executable} program.py -m"
    return subprocess.Popen(
        ["bash", "-c", line.replace("SWEEP", python)],
        cwd=folder, text=True, start_new_session=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
def test_ctrl_c_ends_the_reader_of_the_screen_as_well(folder: Path) -> None:
    """The jobs are given their time though there is nothing left to print to."""
    line = "SWEEP do=close seed=0,1,2 hydra.launcher.n_jobs=2 | cat; echo ${PIPESTATUS[0]} > code"
    process = shell(folder, f"trap : INT; {line}")
    until(lambda: seen(folder, 0) and seen(folder, 1))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (folder / "code").read_text() == "130\n"
    assert errors == ""
    assert [(folder / "sweep" / str(job) / "closed").exists() for job in (0, 1)] == [True, True]
    assert [job["status"] for job in jobs(folder)] == ["interrupted"] * 2 + ["waiting"]


@pytest.mark.slow
def test_timeout_ends_a_sweep_as_ctrl_c_does(folder: Path) -> None:
    """It sends SIGTERM to the whole group, the process that jobs are forked from included."""
    process = shell(folder, "timeout 10 SWEEP do=close seed=0,1 hydra.launcher.n_jobs=2")
    screen, errors = process.communicate(timeout=60)
    assert process.returncode == 124 and errors == "", errors
    assert "ended by SIGTERM\n" in screen
    assert [(folder / "sweep" / str(job) / "closed").exists() for job in (0, 1)] == [True, True]
    assert [job["reason"] for job in jobs(folder)] == ["ended by SIGTERM"] * 2


@pytest.mark.slow
def test_a_sweep_needs_no_screen(folder: Path) -> None:
    line = "SWEEP do=fine,raise,fine2 | head -1; echo ${PIPESTATUS[0]} > code"
    screen, errors = shell(folder, line).communicate(timeout=60)
    assert screen == "sweep of 3 jobs in sweep\n" and errors == ""
    assert (folder / "code").read_text() == "1\n", "one failed"
    assert [job["status"] for job in jobs(folder)] == ["done", "failed", "done"]


@pytest.mark.slow
def test_a_server_that_is_killed_is_replaced(tmp_path: Path) -> None:
    """Its jobs end with it; later ones are forked from another one, which has imported the same."""
    folder = program(tmp_path, "thing: {_target_: costly.Thing}\n")
    (folder / "costly.py").write_text("open('imported', 'a').write('once ')\n")
    path = f"{os.environ.get('PYTHONPATH', '')}:."
    process = start(folder, "do=wait,stubborn,fine", "hydra.launcher.n_jobs=2", PYTHONPATH=path)
    pids = [until(lambda job=job: seen(folder, job))["pid"] for job in (0, 1)]
    status = Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()
    os.kill(int(status[1]), signal.SIGKILL)  # its parent
    screen, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert [job["status"] for job in jobs(folder)] == ["failed", "failed", "done"], screen
    assert all("forked from" in job["reason"] for job in jobs(folder)[:2])
    assert not members(pids[0]) and not members(pids[1])
    assert "costly" in seen(folder, 2)["modules"]
    assert (folder / "imported").read_text() == "once once "


@pytest.mark.slow
def test_sweep_json_is_whole_at_any_moment(folder: Path) -> None:
    process = start(folder, f"seed={','.join(map(str, range(30)))}", "hydra.launcher.n_jobs=2")
    until((folder / "sweep" / "sweep.json").exists)
    read = 0
    while process.poll() is None:
        assert len(jobs(folder)) == 30
        read += 1
    assert process.wait() == 0 and read > 100
    process.communicate()


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
        ("do=leave", "seed=0"): (1, "failed"),
        ("do=fine", "seed=0"): (0, "done before"),
        ("do=fine", "seed=1"): (3, "done"),
        ("do=other", "seed=0"): (2, "done before"),
        ("do=other", "seed=1"): (4, "done"),
    }
    assert seen(folder, 1)["argv"].count("do=leave") == 1
    assert results[0].stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.parametrize("subdir", ["${hydra.job.num}", "${do} ${seed}"])
def test_another_line_extends_the_sweep(folder: Path, subdir: str) -> None:
    place = f"hydra.sweep.subdir='{subdir}'"
    assert sweep(folder, "do=fine,raise", "seed=0,1", place)[0] == 1
    before = jobs(folder)
    code, screen = sweep(folder, "do=fine2", "seed=0,1", place, "hydra.sweeper.max_batch_size=1")
    assert code == 0 and "sweep of 1 jobs" in screen, screen
    found = jobs(folder)
    assert [(job["job"], job["status"], *job["overrides"]) for job in found] == [
        (0, "done before", "do=fine", "seed=0"),
        (1, "done before", "do=fine", "seed=1"),
        (2, "failed", "do=raise", "seed=0"),
        (3, "failed", "do=raise", "seed=1"),
        (4, "done", "do=fine2", "seed=0"),
        (5, "done", "do=fine2", "seed=1"),
    ]
    assert {job["reason"] for job in found[2:4]} == {"not finished by an earlier line of the sweep"}
    for now, then in zip(found[:2], before[:2], strict=True):
        assert now | {"status": "done", "seconds": then["seconds"]} == then
    # The whole of it again: what an earlier line began with stays first.
    code, _ = sweep(folder, "do=fine2,fine", "seed=0,1", place)
    assert code == 0, "what another line left undone is not this one's failure"
    assert {job["job"] for job in jobs(folder) if job["status"] == "done before"} == {0, 1, 4, 5}


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


# A sweeper thinks after each batch until it is told to go on.
THINKS = """
import itertools, os, time
from hydra_plugins.mmreward_process import _launch

launch, batches = _launch.launch, itertools.count()

def thinks(*arguments):
    returned, batch = launch(*arguments), next(batches)
    open(f"returned {batch}", "w").close()
    while not os.path.exists(f"go on {batch}"):
        time.sleep(0.05)
    return returned

_launch.launch = thinks
"""


@pytest.mark.slow
def test_a_folder_is_a_sweep_s_own_until_its_end(folder: Path) -> None:
    """Between batches, and after the last one, when the jobs are compared."""
    (folder / "patch.py").write_text(THINKS)
    first = start(folder, "seed=0,1", "hydra.sweeper.max_batch_size=1")
    try:
        for batch in (0, 1):
            until((folder / f"returned {batch}").exists)
            code, screen = sweep(folder, "do=other")
            assert code == 1 and "another sweep is running in sweep" in screen, screen
            (folder / f"go on {batch}").touch()
        screen, _ = first.communicate(timeout=60)
    finally:
        first.kill()  # it would wait for ever
    assert first.returncode == 0, screen
    assert [job["status"] for job in jobs(folder)] == ["done", "done"]
    assert sweep(folder, "do=other")[0] == 0


@pytest.mark.parametrize("option", ["n_jobs=0", "timeout=-1", "timeout=0"])
def test_options_that_make_no_sense_are_refused(folder: Path, option: str) -> None:
    code, screen = sweep(folder, "do=fine", f"hydra.launcher.{option}")
    assert code == 1 and f"hydra.launcher.{option.split('=')[0]}" in screen and "must be" in screen


@pytest.mark.slow
def test_a_job_given_twice_runs_twice_and_not_more(folder: Path) -> None:
    for status in ("done", "done before", "done before"):
        code, screen = sweep(folder, "seed=0,0")
        assert code == 0, screen
        assert [(job["job"], job["status"]) for job in jobs(folder)] == [(0, status), (1, status)]
    code, _ = sweep(folder, "seed=0,0,0")
    assert [job["status"] for job in jobs(folder)] == ["done before"] * 2 + ["done"]


@pytest.mark.slow
def test_jobs_of_other_sweeps_are_none_of_this_one(folder: Path) -> None:
    assert sweep(folder, "seed=0,1", "hydra.sweep.dir=sweep/monday")[0] == 0
    other = folder / "sweep" / "elsewhere"
    other.mkdir()
    (other / "job.json").write_text('{"id": 3}')
    code, screen = sweep(folder, "seed=0,1")
    assert code == 0 and "are done already" not in screen, screen
    assert [(job["folder"], job["status"]) for job in jobs(folder)] == [
        ("sweep/0", "done"), ("sweep/1", "done"),
    ]  # fmt: skip
    # A sweep is the same one wherever its folder is.
    (folder / "sweep").rename(folder / "kept")
    code, screen = sweep(folder, "seed=0,1", "hydra.sweep.dir=kept/monday")
    assert "2 of 2 are done already" in screen


@pytest.mark.slow
def test_a_reason_is_of_the_last_try(folder: Path) -> None:
    (folder / "program.py").write_text(
        (folder / "program.py").read_text().replace(
            'print("doing", cfg.do, flush=True)', 'if os.path.exists("silent"): sys.exit(1)'
        )
    )  # fmt: skip
    sweep(folder, "do=raise")
    assert jobs(folder)[0]["reason"] == "RuntimeError: a bug of mine"
    (folder / "silent").touch()
    sweep(folder, "do=raise")
    assert jobs(folder)[0]["reason"] == "exited with code 1 before it was done"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "reason"),
    [(143, "killed by SIGTERM"), (255, "exited with code 255 before it was done")],
)
def test_a_task_may_say_by_its_code_which_signal_ended_it(
    folder: Path, code: int, reason: str
) -> None:
    text = (folder / "program.py").read_text().replace("sys.exit(3)", f"sys.exit({code})")
    (folder / "program.py").write_text(text)
    sweep(folder, "do=exit")
    assert jobs(folder)[0]["reason"] == reason


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2, 8])
def test_what_varies_does_not_depend_on_batches(folder: Path, batch: int) -> None:
    """Runs are named by it. One constant is on the command line, one is in a file."""
    (folder / "conf" / "sweep").mkdir()
    (folder / "conf" / "sweep" / "mine.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {do: 'fine,other', +more: 3, seed: 5}}}\n"
    )
    line = ("+sweep=mine", "seed=0,1", "+note='as is'", f"hydra.sweeper.max_batch_size={batch}")
    code, screen = sweep(folder, *line)
    assert code == 0, screen
    for number in range(4):
        common = json.loads(seen(folder, number)["environment"]["MMREWARD_SWEEP_COMMON"])
        assert sorted(common) == ["+more=3", "+note='as is'", "+sweep=mine"]
        (job,) = [job for job in jobs(folder) if job["job"] == number]
        varying = [o for o in job["overrides"] if o not in common]
        assert sorted(varying) == [f"do={('fine', 'other')[number // 2]}", f"seed={number % 2}"]


@pytest.mark.slow
def test_where_nothing_varies_everything_is_said(folder: Path) -> None:
    assert sweep(folder, "do=fine", "seed=3")[0] == 0
    assert seen(folder, 0)["environment"]["MMREWARD_SWEEP_COMMON"] == "[]"


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
    assert found["environment"]["MMREWARD_SWEEP"].startswith("a sweep=1-")
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
@pytest.mark.parametrize("asked", [{"SLURM_NTASKS": "4"}, {"SLURM_NTASKS_PER_NODE": "1"}])
def test_the_tasks_of_a_batch_script_are_the_sweep_s_and_not_its_jobs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    script = {
        "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "sweep.sh", "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
    }  # fmt: skip
    assert sweep(folder, "do=fine", **{**script, **asked})[0] == 0
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    found = seen(folder, 0)["environment"]
    for name in [name for name in found if name.startswith("SLURM_")]:
        monkeypatch.setenv(name, found[name])
    assert found["SLURM_JOB_ID"] == "1"  # where the job runs may be asked
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False)
    environment = trainer.strategy.cluster_environment
    assert not environment.creates_processes_externally, "else nobody starts the second rank"


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
    assert _shares.gpu_slots(n_jobs) == slots


def test_gpus_are_counted_by_the_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _shares.gpu_slots(2) == ["", ""], "no driver, no GPU"
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\necho 1\n")
    tool.chmod(0o755)
    assert _shares.gpu_slots(2) == ["0", "1"]
    tool.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    assert _shares.gpu_slots(2) == ["", ""]


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


@pytest.mark.parametrize("tracking", ["MLflowTracking", "NoTracking"])
def test_what_is_imported_for_the_jobs_leaves_no_thread_behind(tracking: str) -> None:
    """A child has none of its parent's threads and would wait for them for ever."""
    probe = (
        "import os, sys; from pathlib import Path;"
        "import hydra_plugins.mmreward_process._preload as preload;"
        "assert not preload.failed, preload.failed;"
        "assert 'lightning' in sys.modules;"
        "threads = [p.read_text().strip() for p in Path('/proc/self/task').glob('*/comm')];"
        # Arrow's memory allocator starts its thread again in a child.
        "assert sorted(threads) in ([MAIN], sorted([MAIN, 'jemalloc_bg_thd'])), threads;"
        "print('mlflow' in sys.modules, os.environ.get('MLFLOW_DISABLE_TELEMETRY'))"
    ).replace("MAIN", "Path('/proc/self/comm').read_text().strip()")
    env = {k: v for k, v in os.environ.items() if k != "MLFLOW_DISABLE_TELEMETRY"}
    env |= {"MMREWARD_PRELOAD": f"mmreward.tasks.train.train mmreward.tracking.{tracking}"}
    env |= {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", probe], env=env, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == (
        ["True", "true"] if tracking == "MLflowTracking" else ["False", "None"]
    )


def test_an_accuracy_is_read_from_what_the_job_left(tmp_path: Path) -> None:
    assert _folder.read_accuracy(tmp_path) is None
    for content, accuracy in (
        ('{"benchmarks": {"digits": {"accuracy": 0.75}, "other": {"accuracy": 0.5}}}', 0.75),
        ('{"benchmarks": {}}', None),
        ('{"benchmarks": [1]}', None),
        ('{"benchma', None),
    ):
        (tmp_path / "metrics.json").write_text(content)
        assert _folder.read_accuracy(tmp_path) == accuracy


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
