"""task=ui: MLflow's page of all runs, in the view for trained models."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from urllib.error import URLError
from urllib.request import urlopen

from omegaconf import DictConfig
from rich.console import Console

from mmreward.config import build
from mmreward.errors import UserError
from mmreward.tracking import MLflowTracking

# Seconds, on a busy machine.
STARTED_WITHIN = 120
ENDED_WITHIN = 20


def ui(cfg: DictConfig) -> None:
    """Shows the address of the run list and opens it in a browser where there is one.

    For the sqlite store it starts MLflow's server, without the parts that serve language model
    applications (0.5 GB and 6 seconds instead of 1.5 GB and 20), and stays until Ctrl-C.
    """
    if not 1 <= cfg.port <= 65535:
        raise UserError(f"port={cfg.port} is no port; give one from 1 to 65535")
    tracking = build(cfg.tracking, "tracking")
    if not isinstance(tracking, MLflowTracking):
        raise UserError("task=ui shows the runs of tracking=mlflow; choose that")
    served = not tracking.store.remote
    if served and _answers(cfg.port):
        raise UserError(f"port {cfg.port} is in use; give another with port=…")
    page = tracking.page(cfg.port)
    console = Console()
    if not served:
        show(console, page)
        return
    # Before the server is there, which they would leave behind otherwise. Also where this was
    # started in the background, which leaves Ctrl-C's signal ignored.
    asked: list[int] = []
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda number, _: asked.append(number))
    server = _server(cfg.port, tracking.store.uri)
    try:
        if _wait(server, cfg.port, asked):
            show(console, page)
            console.print("Ctrl-C ends it")
        while not asked and server.poll() is None:
            time.sleep(0.2)
    finally:
        _end(server)


def _server(port: int, uri: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", uri),
            *("--uvicorn-opts", "--log-level warning"),  # the page's address is what to read
        ],
        env={
            "PYTHONWARNINGS": "ignore::UserWarning",  # of its own dependencies
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # it has processes of its own, which end with it
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(server.pid, ending)
        with suppress(subprocess.TimeoutExpired):
            server.wait(ENDED_WITHIN)
            return


def show(console: Console, page: str) -> None:
    """Prints the address, and opens it if somebody sits here."""
    console.print(page, soft_wrap=True, markup=False)
    seen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if seen:
        webbrowser.open(page)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(server: subprocess.Popen[bytes], port: int, asked: Sequence[int]) -> bool:
    """Until the server answers; False if a signal asked to end before.

    Raises UserError if it ends or takes too long.
    """
    patience = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < patience and server.poll() is None:
        if asked:
            return False
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return True
        except (URLError, OSError):
            time.sleep(0.2)
    raise UserError("MLflow's server did not start; what it said stands above")
