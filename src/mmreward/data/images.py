"""Image cells of a table -> Media (paths inside the data's folder, bytes, base64, URLs), and where
they stand in a prompt."""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import os
import re
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from PIL import Image

from mmreward.errors import kind, quoted
from mmreward.files import replace_file
from mmreward.records import Media, Message, RecordError

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
    """

    def __init__(
        self, root: Path | None, allow_outside: bool = False, fetch_urls: bool = False
    ) -> None:
        self.root = root and root.resolve()
        self.allow_outside = allow_outside
        self.fetch_urls = fetch_urls

    def read(self, cell: Any) -> tuple[Media, ...]:
        """The images of a cell; nothing is opened, fetched or decoded, so that images which are
        dropped need not exist.

        Raises RecordError for an empty cell in a list. A cell that cannot be an image, a path
        outside `root` and a URL that may not or cannot be fetched are refused by the image itself,
        once it is looked at.
        """
        if _is_nothing(cell):
            return ()
        if not isinstance(cell, list | tuple):
            return (self._one(cell),)
        for number, item in enumerate(cell):
            if _is_nothing(item):
                raise RecordError(f"image {number} of {len(cell)} is empty")
        return tuple(self._one(item) for item in cell)

    def _one(self, item: Any) -> Media:
        try:
            return self._media(_of_struct(item) if isinstance(item, Mapping) else item)
        except RecordError as error:
            return refused(str(error), item)

    def _media(self, item: Any) -> Media:
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
        return Download(path=_cached(item), url=item)


def refused(reason: str, cell: Any = None) -> Media:
    """An image that cannot be had: says why once it is looked at. cell: tells it from others."""
    name = hashlib.sha256(repr(cell).encode("utf-8", "surrogatepass")).hexdigest()
    return Media(draw=partial(_refuse, reason), key=f"no image: {name}")


def _refuse(reason: str) -> Image.Image:
    raise RecordError(reason)


@dataclass(frozen=True)
class Download(Media):
    """The image behind a URL, fetched into `path` when something first looks at it."""

    url: str = ""

    @contextmanager
    def _open(self) -> Iterator[Image.Image]:
        fetch(self.url)
        with super()._open() as image:
            yield image

    @cached_property
    def sha256(self) -> str:
        fetch(self.url)
        return super().sha256


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


def _cached(url: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmreward"
    return cache / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def fetch(url: str) -> Path:
    """The file behind an http(s) URL, from the cache if it was fetched before.

    Raises RecordError if it is no URL (those are ASCII), does not answer, takes longer than
    URL_DEADLINE or holds more than URL_MAX_BYTES.
    """
    target = _cached(url)
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


_PLACEHOLDER = re.compile(r"<image(?:[ _]?(\d+))?>")

# While a turn is put together: text, a place for an image of the row ("" or its number, counted
# from 1), or an image the part brings along.
Place = tuple[str]
Part = str | Place | Media


def split_placeholders(text: str) -> list[Part]:
    """Text with its image placeholders taken out.

    >>> split_placeholders("Is <image 1> left?")
    ['Is ', ('1',), ' left?']
    """
    pieces = _PLACEHOLDER.split(text)
    parts: list[Part] = []
    for position, piece in enumerate(pieces):
        if position % 2:
            parts.append((piece or "",))
        elif piece or len(pieces) == 1:
            parts.append(piece)
    return parts


def place_images(
    turns: Sequence[tuple[str, Sequence[Part]]], images: Sequence[Media]
) -> tuple[tuple[Message, ...], tuple[Media, ...]]:
    """Messages that refer to images by index, and the images in that order.

    images: the row's images, to be put where the turns have places for them

    Raises RecordError if places and images do not match one to one.
    """
    places = [part[0] for _, parts in turns for part in parts if isinstance(part, tuple)]
    if not places and images:
        first = next((n for n, (role, _) in enumerate(turns) if role == "user"), 0)
        turns = [
            (role, [*images, *parts] if number == first else parts)
            for number, (role, parts) in enumerate(turns)
        ]
    elif len(places) != len(images):
        shown = quoted(", ".join(f"<image{place}>" for place in places))
        raise RecordError(
            f"the prompt has {_count(len(places), 'image placeholder')} ({shown}) but the row has "
            f"{_count(len(images), 'image')}"
        )
    elif any(places) and sorted(places) != sorted(str(n + 1) for n in range(len(images))):
        shown = quoted(", ".join(place or "-" for place in places))
        raise RecordError(
            f"the prompt's image placeholders are numbered {shown}; every number from 1 to "
            f"{len(images)} must occur once, or none"
        )
    waiting = iter(images)
    media: list[Media] = []
    messages = []
    for role, parts in turns:
        content: list[str | int] = []
        for part in parts:
            if isinstance(part, str):
                content.append(part)
                continue
            content.append(len(media))
            if isinstance(part, Media):
                media.append(part)
            else:
                media.append(images[int(part[0]) - 1] if part[0] else next(waiting))
        messages.append(Message(role, tuple(content)))
    return tuple(messages), tuple(media)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
