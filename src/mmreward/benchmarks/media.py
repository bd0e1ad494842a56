"""Images and video frames of a benchmark's rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreward.data.images import ImageReader, is_encoded, is_url, refused
from mmreward.records import Media, RecordError

FRAMES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

_ENCODED = ImageReader(None)


class MediaFiles:
    """Finds what rows name inside a folder; nothing outside it is opened, `..` and links resolved.

    folder: the benchmark's; a snapshot in the hub's cache has its files beside it, which is inside
    roots:  what paths start from, tried in order
    frames: most frames of a video, evenly spaced with the first and the last; None: all
    option: dotted name of the setting that gives another folder, for messages
    """

    def __init__(
        self, folder: Path, roots: Sequence[Path], frames: int | None, option: str
    ) -> None:
        self.folder = folder.resolve()
        cached = self.folder.parent.name == "snapshots"
        self.within = self.folder.parents[1] if cached else self.folder
        self.roots = list(roots)
        self.frames = frames
        self.option = option

    def images(self, cell: Any, needed: str = "") -> tuple[Media, ...]:
        """The images of a cell: nothing, one or a list, each a path, bytes, base64 or a struct of
        bytes and path. What can be none is refused when it is looked at, as is no image at all
        where `needed` says so."""
        try:
            found = tuple(self._images(cell))
        except RecordError as error:
            return (refused(str(error), cell),)
        return (refused(needed),) if needed and not found else found

    def _images(self, cell: Any) -> Iterable[Media]:
        if isinstance(cell, list | tuple):
            return [media for item in cell for media in self._images(item)]
        if isinstance(cell, Mapping) and cell.get("bytes") is None:
            cell = cell.get("path") or cell.get("url") or cell
        if isinstance(cell, str) and cell and not is_encoded(cell):
            if is_url(cell):
                raise RecordError(f"image {cell} is a URL; store the file beside the rows")
            return [Media(path=self._find(cell))]
        return _ENCODED.read(cell)

    def video(self, cell: Any, stripped: str = "") -> tuple[Media, ...]:
        """The frames of a video given as a path: the images in the folder of that name, with or
        without the video's suffix, by name ("frame 10" after "frame 9").

        stripped: what the path may begin with though the folders do not

        If there is no such folder, one image that is refused: no video is decoded here.
        """
        try:
            return self._frames(cell, stripped)
        except RecordError as error:
            return (refused(str(error), cell),)

    def _frames(self, cell: Any, stripped: str) -> tuple[Media, ...]:
        if not isinstance(cell, str) or not cell:
            raise RecordError("its video is not given as a path")
        paths = [self._find(name) for name in dict.fromkeys((cell, cell.removeprefix(stripped)))]
        for folder in (folder for path in paths for folder in (path, path.with_suffix(""))):
            files = folder.iterdir() if folder.is_dir() else ()
            images = (file for file in files if file.suffix.lower() in FRAMES)
            found = sorted(filter(self._inside, images), key=_natural)
            if found:
                return tuple(Media(path=file) for file in self._spaced(found))
        raise RecordError(f"its video {cell} has no folder of frames; extract them into one")

    def _spaced(self, files: list[Path]) -> list[Path]:
        if self.frames is None or len(files) <= self.frames:
            return files
        last = len(files) - 1
        return [files[round(i * last / max(self.frames - 1, 1))] for i in range(self.frames)]

    def _find(self, text: str) -> Path:
        """Below the first of the roots that holds it; below the first one if none does."""
        try:
            inside = [path for root in self.roots if self._inside(path := root / text)]
            if inside:
                known = (p for p in inside if p.exists() or p.with_suffix("").is_dir())
                return next(known, inside[0])
        except (OSError, RuntimeError, ValueError) as error:  # a NUL in it, a loop of links
            raise RecordError(f"{text[:80]!r} is not a path ({error})") from None
        raise RecordError(
            f"{text} lies outside {self.folder}; give {self.option} the folder it is in"
        )

    def _inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.within)


def cell_name(cell: Any) -> str:
    """A short name for what a cell holds that does not read any file; "" for nothing."""
    if isinstance(cell, list | tuple):
        return " ".join(filter(None, map(cell_name, cell)))
    if isinstance(cell, Mapping):
        cell = cell["bytes"] if cell.get("bytes") is not None else cell.get("path")
    if isinstance(cell, str) and not is_encoded(cell):
        return cell
    if isinstance(cell, str | bytes):
        raw = cell.encode() if isinstance(cell, str) else cell
        return hashlib.sha256(raw).hexdigest()[:16]
    return ""


def _natural(path: Path) -> list[tuple[int, str]]:
    """Numbers in a name by value."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)]
