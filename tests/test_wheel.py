"""What a wheel installs works without the checkout: the command line, bundles, scores."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import small_training
from score_tables import ROOT

import mmreward

pytestmark = pytest.mark.slow

# Without `site` no .pth file is read, so that the editable install of the checkout is not seen.
START = """
import sys
sys.path[:0] = [{wheel!r}]
sys.path.append({packages!r})
import mmreward
assert mmreward.__file__.startswith({wheel!r}), mmreward.__file__
"""
SCORE = """
import json
found = mmreward.load({run!r}).score("Which digit is this?", ["three", "seven"])
print(json.dumps(found))
assert not [path for path in sys.path if path.startswith({root!r} + "/src")]
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Python that finds the wheel's packages and the environment's others, nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # modules of an earlier build stay in it
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return START.format(wheel=str(target), packages=sysconfig.get_paths()["purelib"])


def ran(start: str, folder: Path, program: str, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", start + program, *arguments], cwd=folder,
        capture_output=True, text=True, env=environment | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bundle_scores_as_in_the_checkout(start: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_training.run(tmp_path / "run", "evaluation.conditions=[intact]", monkeypatch=patch)
    expected = mmreward.load(tmp_path / "run").score("Which digit is this?", ["three", "seven"])
    (tmp_path / "empty").mkdir()
    program = SCORE.format(run=str(tmp_path / "run"), root=str(ROOT))
    printed = ran(start, tmp_path / "empty", program)
    assert json.loads(printed.splitlines()[-1]) == pytest.approx(expected, abs=1e-6)


def test_the_command_line_trains_sweeps_and_evaluates(start: str, tmp_path: Path) -> None:
    program = "from mmreward.cli import main\nmain()\n"
    assert "model/head" in ran(start, tmp_path, program, "--help")
    assert "max_steps: 600" in ran(start, tmp_path, program, "--cfg", "job")
    line = [*small_training.SMALL, "trainer.max_steps=2", "trainer.val_check_interval=2"]
    ran(start, tmp_path, program, *line, "hydra.run.dir=run")
    assert (tmp_path / "run" / "report.html").is_file()
    ran(start, tmp_path, program, "task=evaluate", "run=run", "tracking=none")
    more = [
        *line,
        "hydra.sweep.dir=sweep",
        "hydra/launcher=basic",
        "evaluation.conditions=[intact]",
    ]
    ran(start, tmp_path, program, "-m", "seed=0,1", *more)
    assert (tmp_path / "sweep" / "comparison.json").is_file()
