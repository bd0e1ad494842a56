"""Addresses of stores, and the passwords that some of them hold."""

from __future__ import annotations

import re
import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mmreward.errors import UserError

_OF_SERVER = re.compile(r"(https?://)[^/@\s\"']+@")
# A database's password may hold slashes.
_OF_DATABASE = re.compile(r"((?<!http)(?<!https)://)[^/:@\s\"']*:[^@\s\"']*@")
_AS_PARAMETER = re.compile(r"([?&]password=)[^&\s\"']+")


def without_password(text: str) -> str:
    """`text`, its addresses without the users and passwords in them."""
    for pattern in (_OF_SERVER, _OF_DATABASE, _AS_PARAMETER):
        text = pattern.sub(r"\1", text)
    return text


def check_address(uri: str) -> None:
    """Raises UserError for an address without a scheme, and for a server's with a user in it: the
    address stands in files that are uploaded and shown."""
    if "://" not in uri:
        raise UserError(
            f"tracking.uri={uri} is not an address; give null, sqlite:///<file> or "
            "http://<host>:<port>"
        )
    _check_user(uri)


def _check_user(text: str) -> None:
    if _OF_SERVER.search(text):
        raise UserError(
            f"tracking.uri={without_password(text)} was given with a user in it; put user and "
            "password into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )


class RefusePasswords(Callback):
    """Hydra asks before a run or a sweep has a folder; later the address would stand in files."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        uri = OmegaConf.select(config, "tracking.uri")
        # Hydra turns whatever a callback raises into a warning, but for this.
        try:
            if uri is not None:
                _check_user(str(uri))
            for override in config.hydra.overrides.task:
                key, _, value = override.partition("=")
                if key.lstrip("+~") == "tracking.uri":
                    _check_user(value)
        except UserError as error:
            sys.exit(f"error: {error}")

    on_multirun_start = on_run_start
