"""A test run that is told to end ends, and what its tests have started ends with it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launched import until
from score_tables import ROOT

# A test that has started a server, closes it in a fixture, and never ends by itself.
TESTS = """
import os, subprocess, time
from pathlib import Path
import pytest

@pytest.fixture
def server():
    process = subprocess.Popen(["sleep", "300"])
    Path(f"pid_{os.getpid()}").write_text(str(process.pid))
    yield
    process.kill()
    process.wait()

@pytest.mark.parametrize("n", range(4))
def test_waits(server, n):
    time.sleep(300)
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_ends_pytest_its_workers_and_what_they_started(
    tmp_path: Path, workers: int
) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(TESTS)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-n", str(workers), "-p", "no:cacheprovider", "."],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wanted = max(workers, 1)
    started = until(
        lambda: (
            len(found := list(tmp_path.glob("pid_*"))) == wanted
            and all(path.read_text() for path in found)
            and found
        )
    )
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode != 0
    for path in started:
        until(lambda path=path: not Path("/proc", path.read_text()).exists(), 10)
        until(lambda path=path: not Path("/proc", path.name.removeprefix("pid_")).exists(), 10)
