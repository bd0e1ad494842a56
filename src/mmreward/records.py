"""The nouns of the project: Record, Message, Media, Response, and what makes them valid.

A record is one prompt (text and images, possibly several turns) with its answers: one can be
scored, two or more can be compared. Which answer is better is written down in ranks, never
implied by position; equal ranks are a tie. Nothing here knows tokens, tensors or files of a
particular format.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from mmreward.errors import UserError, quoted
from mmreward.pixels import upright_rgb, upright_size

# Pixels a decoder may produce before anything is decoded: a few kilobytes of PNG can claim
# gigapixels ("decompression bomb").
MAX_IMAGE_PIXELS = 64 * 1024 * 1024


class RecordError(UserError):
    """A record that cannot be used; the message says why, the source adds file and row."""


@dataclass(frozen=True)
class Media:
    """One image, held as exactly one of a file path, encoded bytes or a function that draws it.

    path:  file in any format Pillow reads
    data:  the bytes of such a file
    draw:  returns a PIL image; for data that is rendered rather than stored. `key` must then
           identify the picture, so that equal keys draw equal pixels.
    """

    path: Path | None = None
    data: bytes | None = None
    draw: Callable[[], Image.Image] | None = None
    key: str = ""

    def __post_init__(self) -> None:
        given = [x is not None for x in (self.path, self.data, self.draw)]
        if sum(given) != 1:
            raise RecordError("an image needs exactly one of a path, bytes or a drawing function")
        if self.draw is not None and not self.key:
            raise RecordError("a drawn image needs a key that identifies it")

    @property
    def name(self) -> str:
        """What an error message calls this image."""
        # Long enough for any real path, too short for a file's whole content given as one.
        return quoted(self.path or self.key or f"({len(self.data or b'')} bytes)", 300)

    def load(self) -> Image.Image:
        """The decoded image in RGB, as a viewer shows it on white (see `upright_rgb`).

        Raises RecordError for a missing, unreadable, empty or oversized image; the size is
        read from the header, before anything is decoded.
        """
        if self.draw is not None:
            return self.draw().convert("RGB")
        with self._open() as image:
            return upright_rgb(image)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of what `load` gives, from the header alone: nothing is
        decoded, so a file whose end is cut off passes here and fails in `load`. Raises
        RecordError as `load` does."""
        if self.draw is not None:
            return self.draw().size
        with self._open() as image:
            return upright_size(image)

    @contextmanager
    def _open(self) -> Iterator[Image.Image]:
        """The image with its header read and found acceptable."""
        try:
            handle = self.path if self.path is not None else io.BytesIO(self.data or b"")
            # What Pillow warns of is either no matter or becomes an error that names the image.
            with warnings.catch_warnings(action="ignore"), Image.open(handle) as image:
                if image.format == "EPS":  # a program that Pillow would have Ghostscript run
                    raise RecordError(f"image {self.name} is PostScript; convert it to PNG first")
                width, height = image.size
                if width * height > MAX_IMAGE_PIXELS:
                    raise RecordError(
                        f"image {self.name} claims {width}x{height} pixels, more than the "
                        f"{MAX_IMAGE_PIXELS} allowed; scale it down first"
                    )
                if width * height == 0:
                    raise RecordError(f"image {self.name} has no pixels ({width}x{height})")
                yield image
        except FileNotFoundError:
            raise RecordError(f"image file {self.name} does not exist") from None
        except Image.DecompressionBombError:  # Pillow's own limit comes before ours
            raise RecordError(
                f"image {self.name} claims more than the {MAX_IMAGE_PIXELS} pixels allowed; scale "
                "it down first"
            ) from None
        except UnidentifiedImageError:
            raise RecordError(
                f"image {self.name} cannot be read (it is empty or in no format that Pillow knows)"
            ) from None
        except RecordError:
            raise
        except Exception as error:  # Pillow raises many types, SyntaxError among them
            raise RecordError(f"image {self.name} cannot be read ({_why(error)})") from None

    @cached_property
    def sha256(self) -> str:
        """Hash that names the picture: of the key if it is drawn, else of its encoded bytes.

        Nothing is decoded for it: one picture stored in two formats, or turned by a tag and
        turned for good, has two hashes.
        """
        if self.draw is not None:
            return hashlib.sha256(self.key.encode()).hexdigest()
        try:
            raw = self.path.read_bytes() if self.path is not None else self.data or b""
        except (OSError, ValueError) as error:
            raise RecordError(f"image file {self.name} cannot be read ({_why(error)})") from None
        return hashlib.sha256(raw).hexdigest()


@dataclass(frozen=True)
class Message:
    """One turn: `content` holds strings and, where an image stands, its index in `Record.media`."""

    role: str
    content: tuple[str | int, ...]

    @property
    def text(self) -> str:
        """The turn's text alone, images left out."""
        return "".join(part for part in self.content if isinstance(part, str))


@dataclass(frozen=True)
class Response:
    """One answer, exactly as given. rank 0 is best, equal ranks are a tie; `score`, higher is
    better, is optional and only used as the margin of a pair."""

    text: str
    rank: int
    score: float | None = None
    model: str | None = None


@dataclass(frozen=True)
class Pair:
    """Answer `better` was preferred to answer `worse` (indices into `Record.responses`).

    weight: share of the record's weight; the weights of a record's pairs sum to it
    margin: how much better, in the data's own units (0 where it does not say)
    """

    better: int
    worse: int
    weight: float
    margin: float = 0.0


@dataclass(frozen=True)
class Record:
    """One prompt with its K >= 1 answers.

    messages:   the conversation, ending with a user turn
    media:      the images, in any order; messages refer to them by index
    responses:  the answers with their ranks
    judged:     (better, worse) index pairs where the data compares only some of the answers;
                None means every pair of different ranks. Two comparisons of one prompt,
                (a > b) and (c > d), stay two pairs: nothing says a > d.
    group:      rows that stand or fall together (one image, one question); statistics cluster
                by it. category: what a benchmark reports by.
    where:      file and row, for error messages
    """

    messages: tuple[Message, ...]
    responses: tuple[Response, ...]
    media: tuple[Media, ...] = ()
    judged: tuple[tuple[int, int], ...] | None = None
    weight: float = 1.0
    source_id: str = ""
    category: str = ""
    group: str = ""
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise RecordError(f"{self.where}: {problem}" if self.where else problem)

    def _problem(self) -> str | None:
        if not self.responses:
            return "a record needs at least 1 answer, this one has 0"
        if not self.messages or self.messages[-1].role != "user":
            return "the conversation must end with a user turn"
        for number, response in enumerate(self.responses):
            if not response.text.strip():
                return f"answer {number} is empty"
        if self.judged is not None:
            for better, worse in self.judged:
                if not (0 <= better < len(self.responses) and 0 <= worse < len(self.responses)):
                    return f"pair ({better}, {worse}) names an answer that does not exist"
                if better == worse:
                    return f"pair ({better}, {worse}) compares an answer with itself"
        used = sorted(p for m in self.messages for p in m.content if isinstance(p, int))
        if used != list(range(len(self.media))):
            return (
                f"the prompt places images {used} but the record holds {len(self.media)}; "
                "every image must be placed exactly once"
            )
        return None

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The preferences, better first. Their weights sum to the record's weight, so that five
        answers (ten pairs) do not count ten times a record of two."""
        if self.judged is not None:
            index = list(self.judged)
        else:
            ranks = [r.rank for r in self.responses]
            n = len(ranks)
            index = [(i, j) for i in range(n) for j in range(n) if ranks[i] < ranks[j]]
        share = self.weight / len(index) if index else 0.0
        return tuple(Pair(i, j, share, self._margin(i, j)) for i, j in index)

    def _margin(self, better: int, worse: int) -> float:
        high, low = self.responses[better].score, self.responses[worse].score
        return 0.0 if high is None or low is None else float(high - low)

    @cached_property
    def ties(self) -> tuple[tuple[int, int], ...]:
        """Index pairs judged equal; none where only some pairs were judged."""
        if self.judged is not None:
            return ()
        ranks = [r.rank for r in self.responses]
        n = len(ranks)
        return tuple((i, j) for i in range(n) for j in range(i + 1, n) if ranks[i] == ranks[j])

    @property
    def name(self) -> str:
        """What a message calls it: its file and row, else its id."""
        return self.where or f"record {self.id}"

    @property
    def prompt(self) -> str:
        """The prompt as text for tables and reports; several turns with their roles."""
        if len(self.messages) == 1:
            return self.messages[0].text
        return "\n\n".join(f"{m.role}: {m.text}" for m in self.messages)

    @cached_property
    def id(self) -> str:
        """Content id: 16 hex digits of a hash over prompt, answers, ranks and images. Source
        ids are not keys (VL-RewardBench uses 25 of them twice)."""
        content: list[Any] = [
            [[m.role, list(m.content)] for m in self.messages],
            [[r.text, r.rank] for r in self.responses],
            [m.sha256 for m in self.media],
            self.judged,
        ]
        text = json.dumps(content, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _why(error: Exception) -> str:
    """What went wrong, without the file's name, which the message has already."""
    return getattr(error, "strerror", None) or quoted(error, 200)


def ranks_from_scores(scores: Sequence[float]) -> list[int]:
    """Dense ranks, 0 for the highest score, equal scores equal ranks.

    >>> ranks_from_scores([1.0, 3.0, 3.0])
    [1, 0, 0]
    """
    order = sorted(set(scores), reverse=True)
    return [order.index(s) for s in scores]
