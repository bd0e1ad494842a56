"""Image cells of a table -> Media: paths inside the data's folder, bytes, base64, URLs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import os
import re
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from mmreward.errors import kind, quoted
from mmreward.files import replace_file
from mmreward.records import Media, RecordError

# What base64 of a JPEG, PNG, GIF, WebP or TIFF begins with: such text is meant as base64 even if
# it is none. Text with a dot is a path whatever it begins with: base64 has no dots, and "/9j/"
# could be a folder.
BASE64_STARTS = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "SUkqA", "TU0AK")
IN_STRUCT = ("bytes", "path", "url")

URL_TIMEOUT = 10.0  # seconds without an answer
URL_DEADLINE = 60.0  # seconds for the whole file
URL_MAX_BYTES = 32 * 1024 * 1024

_URL = re.compile(r"https?://", re.IGNORECASE)
_DATA_URI = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)
# An image of any other format has more bytes than this, and hardly a path so long has no dot.
_LONG_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{48,}={0,2}\s*")


class ImageReader:
    """Reads what a table may hold where an image belongs.

    A cell is nothing, one image or a list of images. An image is a path relative to `root`,
    encoded bytes, base64 (plain or as a data: URI), an http(s) URL, or a struct of "bytes", "path"
    (as in parquet files of the Hugging Face hub) or "url", the first that is not null.

    root:          folder that paths are relative to and may not leave, `..` and links resolved;
                   None where a path cannot mean anything
    allow_outside: paths may leave it
    fetch_urls:    URLs are fetched, once, into $XDG_CACHE_HOME/mmreward (or ~/.cache/mmreward)
    images:        "drop" for images that nobody will look at: nothing is opened, fetched or
                   refused, and what stands for an image only tells those of different cells apart
    """

    def __init__(
        self,
        root: Path | None,
        allow_outside: bool = False,
        fetch_urls: bool = False,
        images: str = "keep",
    ) -> None:
        self.images = images
        self.root = root and root.resolve()
        self.allow_outside = allow_outside
        self.fetch_urls = fetch_urls

    def read(self, cell: Any) -> tuple[Media, ...]:
        """The images of a cell; nothing is decoded. Raises RecordError for a cell that cannot
        be an image, a path outside `root` and a URL that may not or cannot be fetched."""
        if _is_nothing(cell):
            return ()
        if isinstance(cell, list | tuple):
            for number, item in enumerate(cell):
                if _is_nothing(item):
                    raise RecordError(f"image {number} of {len(cell)} is empty")
            return tuple(self._one(item) for item in cell)
        return (self._one(cell),)

    def _one(self, item: Any) -> Media:
        if self.images == "drop":
            cell = hashlib.sha256(repr(item).encode()).hexdigest()
            return Media(draw=_not_read, key=f"not read: {cell}")
        if isinstance(item, Mapping):
            item = _of_struct(item)
        if isinstance(item, bytes | bytearray):
            return Media(data=bytes(item))
        if not isinstance(item, str):
            raise RecordError(f"an image cannot be {kind(item)}; give a path or bytes")
        if is_encoded(item, self.root):
            return Media(data=_decode(_DATA_URI.sub("", item, count=1)))
        if not is_url(item):
            if self.root is None:
                raise RecordError(f"image {quoted(item)} is a path; give data.source.image_root")
            return Media(path=inside(self.root, item, self.allow_outside))
        if not self.fetch_urls:
            raise RecordError(
                f"image {quoted(item)} is a URL; store the file beside the data, or set "
                "data.source.fetch_urls=true"
            )
        return Media(path=fetch(item))


def is_encoded(text: str, root: Path | None = None) -> bool:
    """Whether a cell's text is an image in base64 and not the name of one.

    root: folder that names start from; a file that is there has precedence over long text that
          might be either
    """
    if _DATA_URI.match(text):
        return True
    if "." in text:
        return False
    if text.startswith(BASE64_STARTS):
        return True
    if not _LONG_BASE64.fullmatch(text):
        return False
    return root is None or not os.path.isfile(root / text)


def is_url(text: str) -> bool:
    return bool(_URL.match(text))


def inside(root: Path, text: str, allow_outside: bool) -> Path:
    """`text` as an absolute path below `root`, links resolved; RecordError if it leads out."""
    try:
        path = (root / text).resolve()
    except RuntimeError:  # from 3.13 on, opening the file fails instead
        raise RecordError(f"{quoted(text)} is not a path (a loop of links)") from None
    except (OSError, ValueError) as error:  # a NUL in it, too long
        reason = getattr(error, "strerror", None) or error
        raise RecordError(f"{quoted(text)} is not a path ({reason})") from None
    if not allow_outside and not path.is_relative_to(root):
        raise RecordError(
            f"{quoted(text)} lies outside {root}; move it there, or set "
            "data.source.allow_outside=true"
        )
    return path


def fetch(url: str) -> Path:
    """The file behind an http(s) URL, from the cache if it was fetched before.

    Raises RecordError if it is no URL (those are ASCII), does not answer, takes longer than
    URL_DEADLINE or holds more than URL_MAX_BYTES.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmreward"
    target = cache / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    if target.is_file():
        return target
    until = time.monotonic() + URL_DEADLINE
    data = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=URL_TIMEOUT) as answer:
            while chunk := answer.read(64 * 1024):
                data += chunk
                if len(data) > URL_MAX_BYTES:
                    raise RecordError(f"image {quoted(url)} has more than {URL_MAX_BYTES} bytes")
                if time.monotonic() > until:
                    raise TimeoutError(f"more than {URL_DEADLINE:.0f} s")
    except RecordError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RecordError(f"image {quoted(url)} cannot be fetched ({quoted(error, 200)})") from None
    replace_file(target, bytes(data))
    return target


def _not_read() -> Image.Image:
    raise AssertionError("an image that is dropped was looked at")


def _of_struct(struct: Mapping[str, Any]) -> Any:
    """What a struct holds; RecordError if it is none of an image."""
    for key in IN_STRUCT:
        if struct.get(key) not in (None, ""):
            return struct[key]
    raise RecordError(
        f"an image with the keys {quoted(', '.join(struct))} cannot be read; give "
        f"{', '.join(IN_STRUCT[:-1])} or {IN_STRUCT[-1]}"
    )


def _is_nothing(cell: Any) -> bool:
    if isinstance(cell, Mapping):
        return set(cell) <= set(IN_STRUCT) and all(part in (None, "") for part in cell.values())
    return cell is None or (isinstance(cell, str | list | tuple) and not cell)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError(f"an image is not valid base64 ({error})") from None
