"""What a wheel installs works without the checkout: the command line, bundles, scores."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import small_training
from score_tables import ROOT

import mmreward

pytestmark = pytest.mark.slow

SCORE = """
import json, sys, hydra_plugins.mmreward_process as launcher, mmreward
for module in (mmreward, launcher):
    assert module.__file__.startswith(sys.prefix), module.__file__
assert not [path for path in sys.path if path.startswith({root!r} + "/src")]
print(json.dumps(mmreward.load({run!r}).score("Which digit is this?", ["three", "seven"])))
"""
TWO_RANKS = (
    "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"
)  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel; all else is this environment's."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # modules of an earlier build stay in it
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    pip = [sys.executable, "-m", "pip", "--quiet"]
    ran(folder, *pip, *build)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", symlinks=True)
    programs = folder / "env" / "bin"
    ran(folder, *pip, "--python", programs / "python", "install", "--no-deps", wheel)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    # What a .pth file names is searched, but its own .pth files are not read: among them is the
    # one of the checkout's editable install.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    return programs


def ran(folder: Path, *line: str | Path) -> str:
    """What a program printed that was told of no folder with packages."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        line, cwd=folder, capture_output=True, text=True,
        env=environment | {"OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_bundle_scores_as_in_the_checkout(installed: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_training.run(tmp_path / "run", "evaluation.conditions=[intact]", monkeypatch=patch)
    expected = mmreward.load(tmp_path / "run").score("Which digit is this?", ["three", "seven"])
    (tmp_path / "empty").mkdir()
    program = SCORE.format(run=str(tmp_path / "run"), root=str(ROOT))
    printed = ran(tmp_path / "empty", installed / "python", "-P", "-c", program)
    assert json.loads(printed.splitlines()[-1]) == pytest.approx(expected, abs=1e-6)


def test_the_command_trains_on_two_ranks_sweeps_and_evaluates(
    installed: Path, tmp_path: Path
) -> None:
    mmreward, module = [installed / "mmreward"], [installed / "python", "-m", "mmreward"]
    assert "model/head" in ran(tmp_path, *mmreward, "--help")
    assert "max_steps: 600" in ran(tmp_path, *module, "--cfg", "job")
    line = [*small_training.SMALL, "trainer.max_steps=2", "trainer.val_check_interval=2"]
    line.append("evaluation.conditions=[intact]")
    for folder, command in {"script": mmreward, "module": module}.items():
        said = ran(tmp_path, *command, *line, *TWO_RANKS, f"hydra.run.dir={folder}")
        assert said.count(f"run folder: {folder}") == 1
        metrics = json.loads((tmp_path / folder / "metrics.json").read_text())
        assert metrics["training"]["steps"] == 2
        run = json.loads((tmp_path / folder / "run.json").read_text())
        assert run["command"].startswith("mmreward ")
    ran(tmp_path, *mmreward, "task=evaluate", "run=script", "tracking=none")
    # Each job is a process of the launcher's, a plugin that the wheel ships.
    ran(tmp_path, *mmreward, "-m", "seed=0,1", *line, "hydra.sweep.dir=sweep")
    assert (tmp_path / "sweep" / "comparison.json").is_file()
    assert len(list((tmp_path / "sweep").glob("*/result.json"))) == 2
