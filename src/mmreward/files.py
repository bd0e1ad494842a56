"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
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


def link_file(source: Path, target: Path) -> None:
    """Puts the file in `target`'s place too: under a second name, so that its content is on the
    disk once, and as a copy where that is another disk or one without such names."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
