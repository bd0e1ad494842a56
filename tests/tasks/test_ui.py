"""The printed link in a real browser: a sweep's runs, three of them compared, untouched.

Needs Debian's chromium. The screenshots are kept in outputs/screenshots.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from run_folders import end, run_folder

from mmreward.config import ROOT
from mmreward.errors import UserError
from mmreward.report.page import OVERVIEW_WIDTH
from mmreward.tasks import ui as ui_task
from mmreward.tracking import MLflowTracking

SCREENSHOTS = ROOT / "outputs" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MODELS = ("base", "enhanced", "contrastive", "pooling")
PARAMETERS = ("model", "loss", "backbone", "head", "pooling", "lr", "batch", "seed", "data")
SMALL = (
    "model.backbone.hidden_size=32",
    "model.backbone.layers=1",
    "model.backbone.vision_depth=1",
    "data.source.train_records=256",
    "data.batch_size=8",
    "trainer.max_steps=30",
    "trainer.val_check_interval=10",
    "trainer.log_every_n_steps=2",
    "evaluation.conditions=[intact,blind_image]",
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(working folder with a sweep and a run beside it, the link that the sweep printed)."""
    folder = tmp_path_factory.mktemp("work")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    screens = []
    for arguments in (
        ("-m", f"model={','.join(MODELS)}", "hydra.sweep.dir=outputs/sweep/trial"),
        ("model=fusion",),
    ):
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *arguments, *SMALL],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr
        screens.append(done.stdout)
    line = [line for line in screens[0].splitlines() if line.startswith("make ")][-1]
    return folder, line.partition("then ")[2]


class Ui:
    """`run.py task=ui` and what it printed."""

    def __init__(self, folder: Path, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        clean = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "BROWSER")}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "run.py"), "task=ui", f"port={self.port}"],
            cwd=folder,
            env={**clean, "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # As a shell's background job, which Ctrl-C would not reach otherwise.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
        assert self.process.stdout is not None
        self.page = self.process.stdout.readline().strip()

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, how: int = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def ui(sweep: tuple[Path, str]) -> Iterator[Ui]:
    started = Ui(sweep[0])
    yield started
    assert started.stop() == 0


@pytest.fixture
def page(ui: Ui) -> Iterator[Any]:
    """A browser's page, as a person's who never was here."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1920, "height": 1200})
        opened.set_default_timeout(60_000)
        playwright.expect.set_options(timeout=60_000)
        opened.expect = playwright.expect
        yield opened
        browser.close()


def keep(page: Any, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    time.sleep(2)  # charts are drawn after their data are there
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def row(page: Any, name: str) -> Any:
    """The run's line in the list, found by its name."""
    found = page.locator(".ag-row", has_text=name).first
    page.expect(found).to_be_visible()
    return page.locator(f'.ag-row[row-index="{found.get_attribute("row-index")}"]')


@pytest.mark.slow
def test_the_printed_link_leads_from_the_sweep_to_its_comparison(
    sweep: tuple[Path, str], ui: Ui, page: Any
) -> None:
    expect = page.expect
    page.goto(sweep[1].replace(":5000/", f":{ui.port}/"))
    # The runs of the sweep and their comparison, not the run beside it; what is compared first is
    # on top.
    row(page, "comparison trial-")  # which is visible
    for name in (f"{model} s0" for model in MODELS):
        expect(row(page, name).get_by_text(name, exact=True)).to_be_visible()
    assert "fusion" not in page.inner_text("body")
    cards = page.get_by_test_id("experiment-view-compare-runs-card")
    expect(cards.first).to_contain_text("accuracy/digits")
    sections = page.get_by_test_id("experiment-view-compare-runs-section-header")
    expect(sections.first).to_contain_text("accuracy")
    keep(page, "1-runs")
    page.mouse.move(900, 800)
    for _ in range(30):
        if cards.filter(has_text="train/grad_norm").count():
            break
        page.mouse.wheel(0, 300)
        time.sleep(0.3)
    expect(cards.filter(has_text="train/grad_norm").locator("svg.main-svg").first).to_be_visible()
    keep(page, "2-curves")

    for model in ("pooling", "contrastive", "base"):
        row(page, f"{model} s0").locator(".ag-selection-checkbox:visible").first.click()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("Comparing 3 Runs from 1 Experiment")).to_be_visible()
    body = page.locator("body")
    for parameter in PARAMETERS:
        expect(page.get_by_role("rowheader", name=parameter, exact=True)).to_be_visible()
    for value in ("contrastive", "base", "mean", "accuracy/digits", "accuracy/digits_low"):
        expect(body).to_contain_text(value)
    expect(page.locator(".js-plotly-plot svg.main-svg").first).to_be_visible()
    keep(page, "3-compare")

    # The figures of the three beside each other. MLflow 3.17 lists the files only in a wide window
    # and with its assistant closed.
    page.set_viewport_size({"width": 2560, "height": 1600})
    page.get_by_role("button", name="Close").first.click()
    page.get_by_text("overview.png", exact=True).click()
    pictures = page.locator("img[src^=blob]:visible")
    expect(pictures.nth(2)).to_be_visible()
    widths = pictures.evaluate_all("images => images.map(image => image.naturalWidth)")
    assert len(widths) >= 3 and set(widths) == {OVERVIEW_WIDTH}
    pictures.first.scroll_into_view_if_needed()
    keep(page, "4-figures")


@pytest.mark.slow
def test_a_run_shows_its_data_tags_report_and_figures(
    sweep: tuple[Path, str], ui: Ui, page: Any
) -> None:
    expect = page.expect
    page.goto(sweep[1].replace(":5000/", f":{ui.port}/"))
    row(page, "base s0").get_by_role("link", name=re.compile("base s0")).click()
    body = page.locator("body")
    for said in ("sweep", "trial-", "commit", "layout", "python run.py model=base", "digits"):
        expect(body).to_contain_text(said)
    keep(page, "5-run")
    page.get_by_role("tab", name="System metrics").click()
    charts = page.get_by_test_id("experiment-view-compare-runs-card")
    expect(charts.filter(has_text="cpu_utilization_percentage").first).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("report.md", exact=True).click()
    expect(body).to_contain_text("Worst mistakes")
    keep(page, "6-report")


@pytest.mark.slow
def test_all_runs_of_a_sweep_are_shown_the_first_job_first(tmp_path: Path, page: Any) -> None:
    """More than the ten that MLflow shows by itself."""
    tracker = MLflowTracking(root=tmp_path / "outputs", uri=None, experiment="mmreward")
    names = [f"{model} s{seed}" for model in MODELS for seed in range(3)]
    for number, name in enumerate(names):
        folder = run_folder(tmp_path / "sweep" / str(number), name=name, started=1000 + number)
        end(folder)
        tracker.sync(folder)
    tags, metrics = {"sweep": "s1"}, {"digits/base/accuracy": 0.9}
    line = tracker.summary(tmp_path / "sweep", "comparison s1", metrics, tags, [])
    assert line is not None
    shown = Ui(tmp_path)
    page.goto(line.partition("then ")[2].replace(":5000/", f":{shown.port}/"))
    first = page.get_by_test_id("experiment-view-compare-runs-card").first
    page.expect(first.locator("g.point")).to_have_count(len(names))
    listed = [text for text in page.locator(".ag-row a").all_inner_texts() if text.strip()]
    assert listed == [*names, "comparison s1"]
    keep(page, "7-sweep")
    assert shown.stop() == 0


@pytest.mark.slow
def test_the_page_opens_at_the_list_of_all_runs_and_ends_with_the_command(
    sweep: tuple[Path, str], tmp_path: Path
) -> None:
    seen = tmp_path / "opened"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    script.chmod(0o755)
    started = Ui(sweep[0], BROWSER=f"{script} %s")
    assert re.fullmatch(
        rf"http://127\.0\.0\.1:{started.port}/#/experiments/\d+/runs"
        r"\?workflowType=machine_learning&compareRunsMode=CHART",
        started.page,
    )
    for _ in range(50):
        if seen.exists() and seen.read_text():
            break
        time.sleep(0.1)
    assert seen.read_text().strip() == started.page
    assert started.listens()
    assert started.stop(signal.SIGTERM) == 0
    assert not started.listens(), "the server ends with the command"


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "task=ui", f"port={taken.getsockname()[1]}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1
    assert "is in use; give another with port=" in done.stderr and "Traceback" not in done.stderr


def asked(folder: Path, port: int) -> Any:
    node = {"_target_": "mmreward.tracking.MLflowTracking", "root": str(folder / "outputs")}
    return OmegaConf.create({"tracking": {**node, "uri": None, "experiment": "m"}, "port": port})


@pytest.mark.parametrize("port", [0, 70_000])
def test_a_port_that_is_none_is_told(port: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"port={port} is no port; give one from 1 to 65535"):
        ui_task.ui(asked(tmp_path, port))
    assert not any(tmp_path.iterdir())


@pytest.fixture
def signals() -> Iterator[None]:
    """Puts back what the task changes for its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.usefixtures("signals")
def test_a_server_that_ends_at_once_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(UserError, match="MLflow's server did not start"):
        ui_task.ui(asked(tmp_path, free_port()))


@pytest.mark.usefixtures("signals")
def test_a_signal_while_the_server_is_starting_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def server(port: int, uri: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "60"], start_new_session=True))
        os.kill(os.getpid(), signal.SIGTERM)  # before anybody waits for it
        return started[0]

    monkeypatch.setattr(ui_task, "_server", server)
    ui_task.ui(asked(tmp_path, free_port()))
    assert started[0].poll() == -signal.SIGTERM
