"""A small Hydra program of its own, and sweeps of it in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAM = """
import json, os, signal, subprocess, sys, time
import hydra
from hydra.core.hydra_config import HydraConfig

if os.path.exists("patch.py"):  # what a test changes about the launcher
    import patch

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    hydra = HydraConfig.get()
    print("doing", cfg.do, flush=True)
    seen = {
        "argv": sys.argv, "mode": hydra.mode.name, "dir": hydra.run.dir,
        "output": hydra.runtime.output_dir, "number": hydra.job.num, "group": os.getpgid(0),
        "environment": dict(os.environ), "modules": list(sys.modules), "pid": os.getpid(),
    }
    if "torch" in sys.modules:
        seen["threads"] = sys.modules["torch"].get_num_threads()
    with open(hydra.runtime.output_dir + "/seen.json", "w") as file:
        json.dump(seen, file)
    if cfg.do == "raise":
        raise RuntimeError("a bug of mine")
    if cfg.do == "exit":
        sys.exit(3)
    if cfg.do == "leave":
        os._exit(0)
    if cfg.do == "wait":
        # A rank or a worker, which ends with the job.
        subprocess.Popen(["sleep", "300"])
        time.sleep(300)
    if cfg.do == "close":  # as tracking does
        try:
            time.sleep(300)
        finally:
            time.sleep(1)
            open(hydra.runtime.output_dir + "/closed", "w").close()
    if cfg.do == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            time.sleep(1)
    return 0.25 + cfg.seed

if __name__ == "__main__":
    main()
"""

CONFIG = """
defaults:
  - _self_
  - override hydra/launcher: process
  - override hydra/job_logging: stdout
do: fine
seed: 0
hydra:
  output_subdir: null
  sweep:
    dir: sweep
"""


def program(folder: Path, config: str = "") -> Path:
    (folder / "conf").mkdir()
    (folder / "program.py").write_text(PROGRAM)
    (folder / "conf" / "config.yaml").write_text(CONFIG + config)
    return folder


def grace(folder: Path, seconds: float) -> None:
    """Lets the launcher wait so long for jobs that it has asked to end."""
    (folder / "patch.py").write_text(
        f"from hydra_plugins.mmreward_process import _running\n_running.GRACE = {seconds}\n"
    )


def start(folder: Path, *overrides: str, **environment: str | None) -> subprocess.Popen[str]:
    """A sweep under way. A variable that is None is taken out of the environment."""
    env = {k: v for k, v in {**os.environ, **environment}.items() if v is not None}
    command = [sys.executable, "program.py", "-m", *overrides]
    return subprocess.Popen(
        command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def sweep(folder: Path, *overrides: str, **environment: str | None) -> tuple[int, str]:
    """(exit code, screen) of a whole sweep."""
    process = start(folder, *overrides, **environment)
    screen, _ = process.communicate(timeout=120)
    return process.returncode, screen


def jobs(folder: Path) -> list[dict[str, Any]]:
    """The list of jobs that the sweep left."""
    return json.loads((folder / "sweep" / "sweep.json").read_text())["jobs"]


def seen(folder: Path, job: int) -> dict[str, Any]:
    """What a job found in its process."""
    return json.loads((folder / "sweep" / str(job) / "seen.json").read_text())


def until(happened: Callable[[], Any], seconds: float = 60) -> Any:
    """What `happened` returns once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := happened():
                return found
        except (OSError, ValueError):  # not written yet, or half of it
            pass
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {seconds} s")


def members(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # ended meanwhile
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(path.parent.name))
    return found
