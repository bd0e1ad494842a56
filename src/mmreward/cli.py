"""The command line: composes the configuration, hands it to the task it names.

mmreward                                   train the default and evaluate it
mmreward model=base loss=bradley_terry     choose; --help lists every option
mmreward task=evaluate run=outputs/…       score a run again
mmreward -m model=base,enhanced seed=0,1   a sweep: every combination, then compared

`python run.py …` in a checkout is the same.
"""

from __future__ import annotations

import os
import signal
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mmreward.config import COMMAND, CONF, check_keys, one_sentence, register_resolvers
from mmreward.errors import UserError
from mmreward.schema import register_schemas
from mmreward.tracking.base import SWEEP
from mmreward.tracking.find import find_runs

# OpenMP's threads spin while they wait for each other. Spinning long, they are several times
# slower as soon as the machine does anything else; not at all, they are no faster than one.
# Read when torch is imported, so it is set here.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

TRACEBACK_ASKED = os.environ.get("HYDRA_FULL_ERROR") == "1"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def run(cfg: DictConfig) -> float | None:
    """Runs the task; what it returns is what a sweeper optimises."""
    try:
        sweep = HydraConfig.get().runtime.choices.get("sweep")
        # A job of the process launcher is a single run, too.
        if sweep and HydraConfig.get().mode is RunMode.RUN and SWEEP not in os.environ:
            raise UserError(f"+sweep={sweep} says what a sweep varies; begin with {COMMAND} -m")
        find_runs(cfg)
        check_keys(cfg)
        return hydra.utils.get_method(cfg.task._target_)(cfg)
    except UserError as error:
        if TRACEBACK_ASKED or HydraConfig.get().mode is RunMode.MULTIRUN:
            raise
        sys.exit(f"error: {error}")


def main() -> None:
    """The command `mmreward`; exits with 1 and a sentence for what a user can put right."""
    register_schemas()
    register_resolvers()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    try:
        run()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if TRACEBACK_ASKED:
            raise
        sys.exit(f"error: {one_sentence(error)}")
    except OSError as error:
        # Mostly a folder of the line's, which Hydra makes before any code of ours is asked.
        if TRACEBACK_ASKED or error.filename is None:
            raise
        sys.exit(f"error: {error.strerror}: {error.filename} (HYDRA_FULL_ERROR=1 shows where)")
    except KeyboardInterrupt:  # before the task looks after it, such as while torch is imported
        sys.exit(128 + signal.SIGINT)
