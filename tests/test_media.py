"""Images: what their headers say before anything is decoded, and the picture that comes of it."""

from __future__ import annotations

import hashlib
import io
import warnings
import zlib
from pathlib import Path

import numpy as np
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


# -- what is seen ------------------------------------------------------------------------------


def stored(image: Image.Image, kind: str = "PNG", **options: object) -> Media:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Media(data=buffer.getvalue())


def pixels(media: Media) -> np.ndarray:
    """(height, width, 3); decoding must neither warn nor change the size."""
    with warnings.catch_warnings(action="error"):
        image = media.load()
        assert image.mode == "RGB" and image.size == media.size
    return np.asarray(image)


def transparent(mode: str) -> Media:
    """4 x 2: black at the left, transparent (with black below) at the right."""
    solid = np.zeros((2, 4), np.uint8)
    solid[:, :2] = 255
    if mode == "P":
        image = Image.fromarray(solid // 255).convert("P")
        image.putpalette([0, 0, 0] * 256)
        return stored(image, transparency=b"\x00\xff")
    bands = [np.zeros_like(solid)] * (len(mode) - 1)
    return stored(Image.fromarray(np.dstack([*bands, solid])))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    seen = pixels(transparent(mode))
    assert (seen[:, :2] == 0).all() and (seen[:, 2:] == 255).all()


def test_what_is_half_transparent_is_mixed_with_white() -> None:
    seen = pixels(stored(Image.new("RGBA", (2, 2), (200, 0, 0, 128))))
    assert np.abs(seen[0, 0].astype(int) - [227, 127, 127]).max() <= 1


RAMP = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((RAMP * 257).astype(np.uint16), "PNG"),
        ((RAMP * 257).astype(np.uint16), "TIFF"),
        (RAMP.astype(np.int32), "TIFF"),
        ((RAMP * 1000 - 7).astype(np.int32), "TIFF"),
        ((RAMP / 255).astype(np.float32), "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
        ((RAMP / 2550 - 0.05).astype(np.float32), "TIFF"),
    ],
)
def test_a_ramp_of_more_than_8_bits_is_a_ramp(values: np.ndarray, kind: str) -> None:
    seen = pixels(stored(Image.fromarray(values), kind))
    assert np.array_equal(seen, np.repeat(RAMP[..., None], 3, axis=2))


def test_dark_16_bit_grey_stays_dark() -> None:
    values = np.full((4, 4), 2570, np.uint16)
    assert (pixels(stored(Image.fromarray(values))) == 10).all()


def test_one_value_beyond_the_range_is_no_division_by_zero() -> None:
    assert (pixels(stored(Image.fromarray(np.full((4, 4), 9000, np.int32)), "TIFF")) == 0).all()


def test_values_that_are_no_numbers_are_refused() -> None:
    values = np.full((4, 4), np.nan, np.float32)
    with pytest.raises(RecordError, match="cannot be read .*not all of its values are finite"):
        stored(Image.fromarray(values), "TIFF").load()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_tag_that_turns_the_picture_is_followed(orientation: int, kind: str) -> None:
    """Whatever way it is stored, it is seen as one picture of 6 x 4."""
    upright = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    stored_as = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored_as))
    exif = Image.Exif()
    exif[0x0112] = orientation
    media = stored(image, kind, exif=exif)
    assert media.size == (6, 4)
    assert np.array_equal(pixels(media)[..., 0], upright)


def test_a_jpeg_of_a_phone_stands_upright() -> None:
    left_blue = Image.new("RGB", (64, 32), "red")
    left_blue.paste("blue", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    seen = pixels(stored(left_blue, "JPEG", exif=exif, quality=95))
    assert seen.shape == (64, 32, 3)
    assert seen[0, 16, 2] > 200 and seen[-1, 16, 0] > 200


@pytest.mark.parametrize("exif", [b"nonsense", b"II*\0\xff\xff\xff\xff"])
def test_a_broken_tag_is_no_broken_picture(exif: bytes) -> None:
    media = stored(Image.new("RGB", (8, 6), "red"), "JPEG", exif=b"Exif\0\0" + exif)
    assert pixels(media).shape == (6, 8, 3)


def test_pillow_does_not_warn_beside_our_error() -> None:
    """100 million pixels: Pillow warns, we refuse."""
    header = bytearray(stored(Image.new("L", (1, 1))).data or b"")
    header[16:24] = (10_000).to_bytes(4) * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4)
    with warnings.catch_warnings(action="error"), pytest.raises(RecordError, match="10000x10000"):
        Media(data=bytes(header)).load()


def test_the_hash_is_of_the_file_and_not_of_the_pixels() -> None:
    red = Image.new("RGB", (8, 6), "red")
    first, second = stored(red, "PNG"), stored(red, "BMP")
    assert np.array_equal(pixels(first), pixels(second))
    assert first.sha256 == hashlib.sha256(first.data or b"").hexdigest() != second.sha256


def test_a_name_is_short_and_on_one_line() -> None:
    name = Media(path=Path("a\n\x1b" + "A" * 9000)).name
    assert len(name) < 400 and name.startswith("a\\n\\x1bAAA") and name.isprintable()


def test_postscript_is_not_run() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "EPS")
    with pytest.raises(RecordError, match="is PostScript; convert it to PNG first"):
        Media(data=buffer.getvalue()).load()
