"""Where runs are recorded besides their folders.

The run folder is the record: parameters and tags in run.json, curves and system metrics in
JSON lines with their times, results in metrics.json. A tracker mirrors that folder, while the run
goes on or at any later time (`task=sync`), so nothing is lost with a server that is away.

Importing this package imports neither MLflow nor torch.
"""

from mmreward.tracking.base import SWEEP, SWEEP_COMMON, RunInfo, Tracking, sweep_name
from mmreward.tracking.mlflow_tracking import MLflowTracking
from mmreward.tracking.no_tracking import NoTracking

__all__ = [
    "SWEEP",
    "SWEEP_COMMON",
    "MLflowTracking",
    "NoTracking",
    "RunInfo",
    "Tracking",
    "sweep_name",
]
