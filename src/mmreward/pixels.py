"""What an image file stores -> the RGB picture that a person sees in a viewer."""

from __future__ import annotations

import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # of the EXIF tags
# Its value -> what sets the picture upright. Not `ImageOps.exif_transpose`: that one also rewrites
# all other tags, fails where one of them is broken, and may decode the file to find them.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of `upright_rgb`; decodes nothing."""
    width, height = image.size
    return (height, width) if _orientation(image) in _ON_ITS_SIDE else (width, height)


def upright_rgb(image: Image.Image) -> Image.Image:
    """The image as RGB: upright as its EXIF says, on white where it is transparent, its values
    brought to 8 bits.

    16-bit grey is divided by 257. Integers and floats of 32 bits keep values of 0 to 255, but
    floats of 0 to 1 are multiplied by 255; any other range is stretched to 0 … 255.

    Raises ValueError for floats that are not finite.
    """
    how = _UPRIGHT.get(_orientation(image))
    if image.mode.startswith("I;16"):
        image = _grey(np.rint(np.asarray(image, dtype=np.float32) / 257))
    elif image.mode in ("I", "F"):
        image = _grey(_eight_bits(np.asarray(image, dtype=np.float32), image.mode == "F"))
    elif image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.new("RGBA", over.size, "white")
        image.alpha_composite(over)
    rgb = image.convert("RGB")
    return rgb if how is None else rgb.transpose(how)


def _orientation(image: Image.Image) -> int:
    """1 to 8 from the EXIF block of the header, 1 where it has none that can be read. (Pillow
    turns TIFF, which keeps it elsewhere, by itself.)"""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return int(exif.get(ORIENTATION, 1))
    except Exception:  # Pillow raises many types; a picture is not bad for a broken tag
        return 1


def _eight_bits(values: np.ndarray, is_float: bool) -> np.ndarray:
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        raise ValueError("not all of its values are finite numbers")
    if is_float and low >= 0 and high <= 1:
        return np.rint(values * 255)
    if low >= 0 and high <= 255:
        return np.rint(values)
    return np.rint((values - low) / ((high - low) or 1) * 255)


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8))
