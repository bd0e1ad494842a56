"""Addresses of MLflow's pages, and the line that a task ends with."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml

from mmreward.config import CHECKOUT, CONF, ROOT
from mmreward.tracking.address import without_password
from mmreward.tracking.store import Store, sqlite_uri
from mmreward.tracking.upload import allowed

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


# What MLflow's page of runs calls a view that somebody shares: a tag of the experiment, which holds
# the page's state as JSON, and the parameter that names it.
SHARED_VIEW = "mlflow.sharedViewState."
SHARE_KEY = "viewStateShareKey"


def runs_page(store: Store, experiment_id: str, port: int, sweep: str | None = None) -> str:
    """Address of the list of runs beside their charts, of one sweep's runs if it is named.

    port: where a store without a server is served
    Without these words in it MLflow 3 opens its pages for traces of language models.
    """
    what = f"&searchFilter={quote(of_sweep(sweep), safe='')}" if sweep else ""
    return _page(store, experiment_id, port, what)


def where(store: Store, experiment_id: str, sweep: str | None = None) -> str:
    """The line that says where a run is, or those of a sweep."""
    return _line(store, runs_page(store, experiment_id, _conf("task/ui")["port"], sweep))


def where_compared(
    store: Store, client: MlflowClient, experiment_id: str, sweep: str | None, sets: Sequence[str]
) -> str:
    """The line that says where a sweep's runs are when all of them are there: from the first job
    to the comparison and all visible, of which MLflow by itself shows the newest ten.

    sets: what the runs were scored on, for the columns of the page's table
    """
    if sweep is None:
        return where(store, experiment_id)
    metrics = [f"accuracy/{name}{end}" for name in sets for end in ("", "_low", "_high")]
    metrics += [*(f"image_gain/{name}" for name in sets), "training/seconds"]
    columns = [f"params.`{name}`" for name in ("model", "loss", "lr", "seed")]
    state = {
        "searchFilter": of_sweep(sweep),
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "runsHiddenMode": "SHOW_ALL",
        "selectedColumns": [*columns, *(f"metrics.`{name}`" for name in metrics)],
    }
    key = allowed(sweep)
    try:
        client.set_experiment_tag(experiment_id, f"{SHARED_VIEW}{key}", json.dumps(state))
    except Exception as error:  # a server on which not everybody may change the experiment
        log.debug("no shared view: %s", error)
        return where(store, experiment_id, sweep)
    port = _conf("task/ui")["port"]
    return _line(store, _page(store, experiment_id, port, f"&{SHARE_KEY}={quote(key, safe='')}"))


def of_sweep(name: str) -> str:
    """MLflow's search for the runs of a sweep."""
    return f"tags.sweep = {json.dumps(name)}"


def _page(store: Store, experiment_id: str, port: int, what: str) -> str:
    base = without_password(store.uri).rstrip("/") if store.remote else f"http://127.0.0.1:{port}"
    view = "workflowType=machine_learning&compareRunsMode=CHART"
    return f"{base}/#/experiments/{experiment_id}/runs?{view}{what}"


def _line(store: Store, page: str) -> str:
    if store.remote:
        return page
    return f"{_make_ui(without_password(store.uri))}, then {page}"


def _make_ui(uri: str) -> str:
    """The command that shows this store, to be typed in the current directory."""
    if not CHECKOUT:
        return shlex.join(["mmreward", "task=ui", f"tracking.uri={uri}"])
    shown = _conf("tracking/mlflow")
    # `make` runs in the repository, whose store it shows if it is told of no other.
    default = uri == (shown["uri"] or sqlite_uri(ROOT / shown["root"]))
    command = ["make"]
    if Path.cwd() != ROOT:
        command += ["-C", str(ROOT)]
    command.append("ui")
    if not default:
        command.append(f"MLFLOW_URI={uri}")
    return shlex.join(command)


def _conf(name: str) -> dict[str, Any]:
    """What `make ui` runs with."""
    return dict(yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")))
