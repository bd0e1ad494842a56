"""Files that are written whole, by processes that are cut off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmreward.files import replace_file

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from mmreward.files import replace_file

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
replace_file(Path(sys.argv[1]), "new " * 1000)
"""


@pytest.mark.parametrize("content", ["four\n", b"\x00\xff", ""])
def test_the_file_holds_the_content(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "inside" / "file"
    for _ in range(2):
        replace_file(path, content)
        found = path.read_bytes()
        assert found == (content.encode() if isinstance(content, str) else content)
    assert [other.name for other in path.parent.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    ended = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True)
    assert b"File too large" in ended.stderr
    assert path.read_text() == "old"
    assert [other.name for other in tmp_path.iterdir()] == ["file"]
