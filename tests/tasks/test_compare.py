"""task=compare through run.py, as a user calls it, on a machine without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest
from score_tables import DATA, ROOT, make, table
from without_torch import run


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
