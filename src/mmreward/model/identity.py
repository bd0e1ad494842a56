"""Which weights a path or hub id stands for: what is at either may change under a finished run."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from mmreward.files import replace_file

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.index.json")
_BLOCK = 1 << 24


def identity(path: str, commit: str | None) -> str:
    """The commit of a hub's repository, or a digest of the weight files of a folder (and, where it
    holds an adapter, of the base that the adapter names).

    Whole files are read, some seconds for a gigabyte, once: digests are kept in
    $XDG_CACHE_HOME/mmreward (or ~/.cache/mmreward) by path, size and time of change.
    """
    folder = Path(path)
    if not folder.is_dir():
        return f"commit {commit}"
    digest = hashlib.sha256()
    for file in sorted({file for pattern in WEIGHTS for file in folder.glob(pattern)}):
        digest.update(f"{file.name} {_digest(file)}\n".encode())
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8"))
        named = str(base.get("base_model_name_or_path"))
        digest.update(identity(named, base.get("revision")).encode())
    return f"sha256 {digest.hexdigest()[:32]}"


def _digest(file: Path) -> str:
    stat = file.stat()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmreward"
    key = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    kept = cache / f"digest_{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    if kept.is_file():
        return kept.read_text()
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    with suppress(OSError):  # a home that cannot be written to: read again the next time
        replace_file(kept, digest.hexdigest())
    return digest.hexdigest()
