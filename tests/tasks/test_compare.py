"""task=compare through run.py, as a user calls it, on a machine without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from score_tables import DATA, ROOT, make, table
from sweeps import records as questions
from sweeps import sweep
from without_torch import run

from mmreward.config import CONF, build, load_run_config
from mmreward.tasks.compare import compare
from mmreward.tracking.base import RunInfo, Summary


def test_tables_are_compared_without_torch(tmp_path):
    rng = np.random.default_rng(0)
    records = [make(f"q{i}") for i in range(50)]
    for name, gain in (("weak", 0.0), ("strong", 2.0)):
        scores = [[gain + x, y] for x, y in rng.normal(size=(50, 2))]
        table(tmp_path / name, records, {"intact": scores})
    out = tmp_path / "out"
    done = run(
        "task=compare", f"tables=[{tmp_path}/weak,{tmp_path}/strong]", f"hydra.run.dir={out}"
    )
    assert done.returncode == 0, done.stderr
    assert "strong" in done.stdout and f"report: {out}/report.html" in done.stdout
    comparison = json.loads((out / "comparison.json").read_text())
    assert list(comparison["benchmarks"]["b"]["runs"]) == ["weak", "strong"]
    assert (out / "report.md").is_file() and (out / "figures").is_dir()


def test_score_tables_named_like_a_benchmark_get_its_official_numbers(tmp_path):
    """Whoever wrote them, and whenever: nothing but the name is needed."""
    records = [make(f"q{i}", category="general") for i in range(20)]
    for name, right in (("one", 15), ("two", 5)):
        scores = [[1.0, 0.0]] * right + [[0.0, 1.0]] * (20 - right)
        table(tmp_path / name, records, {"intact": scores}, benchmark="vl_rewardbench")
    compare_here(tmp_path / "out", f"tables=[{tmp_path}/one,{tmp_path}/two]", "tracking=none")
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    found = comparison["benchmarks"]["vl_rewardbench"]
    values = [row["metrics"]["official"]["overall"]["value"] for row in found["runs"].values()]
    assert values == [0.75, 0.25]
    published = found["reference"]["published"]
    text = (tmp_path / "out" / "report.md").read_text()
    assert len(published) >= 8 and all(f"| {line['system']} |" in text for line in published)


def tracked(root):
    """The runs of the store in this folder, the last one first."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("test")
    return client, client.search_runs([experiment.experiment_id]) if experiment else []


def compare_here(folder, *arguments):
    """run.py's task=compare in this process, where mlflow may be imported."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["task=compare", *arguments, f"hydra.run.dir={folder}"],
                      return_hydra_config=True)  # fmt: skip
    cfg.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(cfg)
    try:
        with open_dict(cfg):
            del cfg["hydra"]
        compare(cfg)
    finally:
        HydraConfig.instance().cfg = None


@pytest.mark.slow
def test_a_comparison_of_tracked_runs_is_tracked_beside_them(tmp_path, capsys):
    folder = sweep(tmp_path / "mine", "done", "done", "done")
    for run_folder in sorted(folder.iterdir()):
        if run_folder.is_dir():
            tracking = build(load_run_config(run_folder)[1].tracking, "tracking")
            tracking.start(run_folder)
            info = RunInfo.read(run_folder)
            info.end(run_folder, "FINISHED")
            tracking.finish(run_folder)
    # The store is the runs' own: nothing on the command line names it.
    runs = f"runs=[{folder}/0,{folder}/2]"
    compare_here(tmp_path / "out", runs)
    client, (run, *others) = tracked(folder / "tracked")
    assert len(others) == 3
    assert run.info.run_name == "comparison mine" and run.info.status == "FINISHED"
    assert run.data.tags["sweep"] == "mine" and run.data.tags["compared"] == "base s0, enhanced s0"
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())["benchmarks"]["digits"]
    accuracy = found["runs"]["enhanced s0"]["metrics"]["accuracy"]
    metrics = run.data.metrics
    assert metrics["variants/digits enhanced accuracy"] == pytest.approx(accuracy)
    difference = found["runs"]["enhanced s0"]["difference"]["half"]
    ends = [metrics[f"variants/digits enhanced difference_{end}"] for end in ("low", "high")]
    assert ends == pytest.approx(difference["ci95"])
    kept = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert kept == {"comparison.json", "report.md", "report.html", "figures"}
    assert "compareRunsMode=CHART" in capsys.readouterr().out

    # A sweep is compared as at its end, and logged like that.
    compare_here(tmp_path / "sweep", f"runs=[{folder}]")
    client, (run, *others) = tracked(folder / "tracked")
    assert len(others) == 4 and run.info.run_name == "comparison mine"
    kept = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"comparison.md", "comparison.png"} < kept

    compare_here(tmp_path / "none", runs, "tracking=none")
    assert len(tracked(folder / "tracked")[1]) == 5


def test_what_is_not_tracked_is_not_tracked_by_a_comparison(tmp_path):
    folder = sweep(tmp_path / "mine", "done", "done")
    compare_here(tmp_path / "out", f"runs=[{folder}]")
    assert not (folder / "tracked").exists() and not (tmp_path / "out" / "mlflow.db").exists()


@pytest.mark.slow
def test_an_untracked_comparison_can_be_uploaded_later(tmp_path, monkeypatch):
    folder = sweep(tmp_path / "mine", "done", "done")
    monkeypatch.chdir(tmp_path)
    for out, line in (("out", []), ("none", ["tracking=none"])):
        compare_here(tmp_path / out, f"runs=[{folder}]", *line)
        command = [sys.executable, ROOT / "run.py", "task=sync", f"run={out}"]
        command += ["tracking.experiment=test", f"tracking.root={tmp_path}/{out}"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        _, (run,) = tracked(tmp_path / out)
        assert run.info.run_name == "comparison mine" and run.info.status == "FINISHED"
        assert run.data.metrics["variants/digits base accuracy"] > 0


@pytest.mark.slow
def test_a_comparison_goes_to_the_store_that_the_line_names(tmp_path):
    """Whatever the runs are tracked with, and where there are only tables."""
    folder = sweep(tmp_path / "mine", "done", "done")
    for number, sides in enumerate((f"runs=[{folder}]", f"tables=[{folder}/0,{folder}/1]")):
        root = tmp_path / str(number)
        line = (f"tracking.uri=sqlite:///{root}/mlflow.db", "tracking.experiment=test")
        compare_here(tmp_path / f"out{number}", sides, *line, f"tracking.root={root}")
        _, (run,) = tracked(root)
        assert run.data.tags["task"] == "compare"
    assert not (folder / "tracked").exists()


def test_a_run_that_cannot_say_what_it_is_costs_itself_and_not_the_upload(tmp_path, capsys):
    folder = sweep(tmp_path / "mine", "done", "done")
    (folder / "0" / "run.json").write_text("{")
    compare_here(tmp_path / "out", f"runs=[{folder}]", "tracking=none")
    assert Summary.read(tmp_path / "out").tags["sweep"] == "mine", "the other one says"
    assert "run.json of base s0 cannot be read" in capsys.readouterr().out


@pytest.mark.slow
def test_runs_from_different_code_are_told_apart(tmp_path, capsys):
    folder = sweep(tmp_path / "mine", "done", "done", "done", "done")
    states = ({"commit": "abc"}, {"commit": "abc"}, {"commit": "abc", "resumed_commit": "def"}, {})
    for number, tags in enumerate(states):
        RunInfo("", {}, tags).write(folder / str(number))
    compare_here(tmp_path / "out", f"runs=[{folder}]", "tracking=none")
    said = "not all runs come from the same code: abc: base s0, base s1; abc then def: enhanced s0"
    assert f"{said}\n" in capsys.readouterr().out
    for name in ("comparison.md", "report.md"):
        assert said in (tmp_path / "out" / name).read_text()
    RunInfo("", {}, {"commit": "abc"}).write(folder / "2")
    RunInfo("", {}, {"commit": "unknown"}).write(folder / "3")
    compare_here(tmp_path / "out", f"runs=[{folder}]", "tracking=none")
    assert "same code" not in capsys.readouterr().out


def test_a_sweep_and_single_runs_are_compared_by_run(tmp_path):
    folder = sweep(tmp_path / "mine", "done", "failed", "done")
    table(tmp_path / "alone", questions(40), {"intact": [[1.0, 0.0]] * 40}, "digits")
    out = tmp_path / "out"
    done = run(
        "task=compare", f"runs=[{folder}]", f"tables=[{tmp_path}/alone]", f"hydra.run.dir={out}"
    )
    assert done.returncode == 0, done.stderr
    comparison = json.loads((out / "comparison.json").read_text())
    runs = comparison["benchmarks"]["digits"]["runs"]
    assert list(runs) == ["base s0", "enhanced s0", "alone"]
    assert "left out: job 1 (model=base seed=1): killed by SIGKILL" in done.stdout
    assert "40 common pairs" in done.stdout and not (out / "comparison.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "needs two runs or score tables, this one has 0"),
        (("runs=[nowhere,elsewhere]",), "runs=nowhere does not exist"),
        (("tables=[nowhere,elsewhere]",), "records.jsonl cannot be read"),
        (("model=base",), "model"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path):
    done = run("task=compare", *arguments, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not DATA.is_dir(), reason="real data are not here")
def test_the_commands_of_the_study(tmp_path):
    script = ROOT / "experiments" / "seed-results" / "make_tables.py"
    texts = DATA / "vl_rewardbench" / "text.jsonl.gz"
    subprocess.run(
        [sys.executable, script, DATA / "seed_scores", texts, tmp_path], check=True,
        capture_output=True,
    )  # fmt: skip
    names = ("base_reward_model_500", "enhanced_500", "base_1250")
    tables = ",".join(str(tmp_path / name) for name in names)
    done = run("task=compare", f"tables=[{tables}]", f"hydra.run.dir={tmp_path}/report")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report" / "report.md").read_text()
    study = (ROOT / "experiments" / "seed-results" / "README.md").read_text()
    # The study quotes the report's tables word for word.
    quoted = [line for line in study.splitlines() if line.startswith(("| enhanced_500", "| base_"))]
    assert len(quoted) > 10
    for line in quoted:
        assert line in text
