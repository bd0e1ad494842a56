"""Imported once, by the fork server: loads what the jobs import, so that none of them has to.

A class that imports more when it is used than its own module does may say so in a static method
`preload_imports`, which does it at once.

Imports only. A computation that PyTorch spreads over threads would leave OpenMP's threads behind,
and every child would wait for them for ever.
"""

import importlib
import os

# The dotted names of classes and functions, separated by spaces, in the environment that the
# server is started with.
TARGETS = "MMREWARD_PRELOAD"

# The server passes over a failed import in silence, and then jobs are slow.
process = os.getpid()
failed: dict[str, str] = {}

for _target in os.environ.get(TARGETS, "").split():
    _module, _, _name = _target.rpartition(".")
    try:
        _found = getattr(importlib.import_module(_module), _name, None)
        getattr(_found, "preload_imports", lambda: None)()
    except Exception as error:  # whatever a module does when it is imported
        failed[_module] = f"{type(error).__name__}: {error}"
