"""run.py in a process where torch and what needs it cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys

from score_tables import ROOT

BLOCKED = ("torch", "lightning", "transformers", "peft", "torchmetrics", "mlflow")
WITHOUT = f"""
import importlib.abc, runpy, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ImportError(name + " is not on this machine")
sys.meta_path.insert(0, Blocker())
sys.argv[0] = "run.py"
runpy.run_path("run.py", run_name="__main__")
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """python run.py with these arguments."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )
