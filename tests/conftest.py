"""Fixtures shared by all tests: nothing downloads, models are tiny, one thread a process."""

from __future__ import annotations

import os
import signal
import threading
import warnings

# A shell's background job ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: object) -> None:
    """As Ctrl-C ends: fixtures close what they started, workers and their children go with it."""
    raise KeyboardInterrupt("SIGTERM")


# A kill would otherwise leave servers, sweeps and workers behind.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, _end)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
warnings.filterwarnings("ignore", category=DeprecationWarning)

import pytest  # noqa: E402
import torch  # noqa: E402

from mmreward.config import register_resolvers  # noqa: E402
from mmreward.schema import register_schemas  # noqa: E402

torch.set_num_threads(1)
register_schemas()
register_resolvers()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
