"""Images: what their headers say, before anything is decoded."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from mmreward.records import Media, RecordError


def encoded(width: int, height: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 90).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_size_is_width_by_height(tmp_path: Path, kind: str) -> None:
    data = encoded(30, 20, kind)
    (tmp_path / "a").write_bytes(data)
    drawn = Media(draw=lambda: Image.new("L", (30, 20)), key="k")
    for media in (Media(data=data), Media(path=tmp_path / "a"), drawn):
        assert media.size == media.load().size == (30, 20)


def test_the_header_is_enough_for_the_size() -> None:
    media = Media(data=encoded(300, 200)[:5000])
    assert media.size == (300, 200)
    with pytest.raises(RecordError, match=r"image \(5000 bytes\) cannot be read"):
        media.load()


@pytest.mark.parametrize("data", [b"", b"text"])
def test_what_has_no_header_has_no_size(data: bytes) -> None:
    with pytest.raises(RecordError, match=r"cannot be read \(it is empty or in no format"):
        _ = Media(data=data).size


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"image file .*gone\.png does not exist"):
        _ = Media(path=tmp_path / "gone.png").size
