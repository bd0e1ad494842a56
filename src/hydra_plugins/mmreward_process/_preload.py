"""Imported once, by the fork server: loads what the jobs import, so that none of them has to.

Imports only. A computation that PyTorch spreads over threads would leave OpenMP's threads behind,
and every child would wait for them for ever.
"""

import importlib
import os

# The names, separated by spaces, in the environment that the server is started with.
MODULES = "MMREWARD_PRELOAD"

# The server passes over a failed import in silence, and then jobs are slow.
process = os.getpid()
failed: dict[str, str] = {}

for _name in os.environ.get(MODULES, "").split():
    try:
        importlib.import_module(_name)
    except Exception as error:  # whatever a module does when it is imported
        failed[_name] = f"{type(error).__name__}: {error}"
