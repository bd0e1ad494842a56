"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> None:
    """Puts `content` (text as UTF-8) into the file, which a killed process or a full disk leaves
    as it was. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Other processes may be writing the same file.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
