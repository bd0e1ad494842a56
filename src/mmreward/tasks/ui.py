"""task=ui: MLflow's page of all runs, in the view for trained models."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from urllib.error import URLError
from urllib.request import urlopen

from omegaconf import DictConfig
from rich.console import Console

from mmreward.config import build
from mmreward.errors import UserError
from mmreward.tracking import MLflowTracking

STARTED_WITHIN = 120  # seconds, on a busy machine


def ui(cfg: DictConfig) -> None:
    """Shows the address of the run list and opens it in a browser where there is one.

    For the sqlite store it starts MLflow's server, without the parts that serve language model
    applications (0.5 GB and 6 seconds instead of 1.5 GB and 20), and stays until Ctrl-C.
    """
    tracking = build(cfg.tracking, "tracking")
    if not isinstance(tracking, MLflowTracking):
        raise UserError("task=ui shows the runs of tracking=mlflow; choose that")
    page = tracking.page(cfg.port)
    console = Console()
    if tracking.store.remote:
        show(console, page)
        return
    if _answers(cfg.port):
        raise UserError(f"port {cfg.port} is in use; give another with port=…")
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(cfg.port)),
            *("--backend-store-uri", tracking.store.uri),
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
    # Also where it was started in the background, which leaves Ctrl-C's signal ignored.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        _wait(server, cfg.port)
        show(console, page)
        console.print("Ctrl-C ends it")
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


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


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    """Until the server answers. Raises UserError if it ends or takes too long."""
    patience = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < patience:
        if server.poll() is not None:
            break
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise UserError("MLflow's server did not start; what it said stands above")
