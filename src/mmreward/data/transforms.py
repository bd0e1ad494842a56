"""What a run does to every record of its data: images dropped or greyed out, a template around
the prompt."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from PIL import Image

from mmreward.errors import UserError
from mmreward.records import Media, Message, Record

IMAGES = ("keep", "drop", "blind")
GREY = (128, 128, 128)


@dataclass(frozen=True)
class Transform:
    """Changes records; the default changes nothing.

    images:          "keep"; "drop" to take all images away (for backbones that read text); "blind"
                     to grey them out, but not those of the test split: what a model learns
                     without looking is the base line of one that looks
    prompt_template: text with one {query}, put around the text of the last user turn; images
                     that stand before that text stay before the template. None for no change.

    Raises UserError for any other value.
    """

    images: str = "keep"
    prompt_template: str | None = None

    def __post_init__(self) -> None:
        if self.images not in IMAGES:
            raise UserError(f"data.images={self.images} should be keep, drop or blind")
        _ = self._around

    @cached_property
    def _around(self) -> tuple[str, str] | None:
        return None if self.prompt_template is None else parse_template(self.prompt_template)

    @property
    def tested_images(self) -> str:
        """What is done to the images of a test: "keep" or "drop"."""
        return "drop" if self.images == "drop" else "keep"

    def strip(self, record: Record) -> Record:
        """The part that decides what there is to look at: no images where they are dropped.

        Rows are checked and split after it and before the rest: neither grey images nor a
        template may change which rows are held out.
        """
        return drop_images(record) if self.images == "drop" else record

    def __call__(self, record: Record, split: str) -> Record:
        """The record as a model gets it."""
        record = self.strip(record)
        if self.images == "blind" and split != "test":
            record = grey_images(record)
        return record if self._around is None else apply_template(record, *self._around)


def parse_template(template: str) -> tuple[str, str]:
    """(text before {query}, text after it); {{ and }} are literal braces."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"data.prompt_template is not a template ({error})") from None
    named = [part[1:] for part in parts if part[1] is not None]
    if named != [("query", "", None)]:
        found = ", ".join(f"{{{name}}}" for name, *_ in named) or "none"
        raise UserError(
            f"data.prompt_template must hold {{query}} once and no other placeholder, not {found}; "
            "write {{ and }} for braces"
        )
    texts = [text for text, *_ in parts]
    position = next(n for n, part in enumerate(parts) if part[1] is not None)
    return "".join(texts[: position + 1]), "".join(texts[position + 1 :])


def apply_template(record: Record, before: str, after: str) -> Record:
    """The record with `before` and `after` around its last turn's text."""
    content = list(record.messages[-1].content)
    first = next((n for n, part in enumerate(content) if isinstance(part, str)), len(content))
    around = [*content[:first], before, *content[first:], after]
    last = Message(record.messages[-1].role, _joined(around))
    return replace(record, messages=(*record.messages[:-1], last))


def drop_images(record: Record) -> Record:
    """The record without its images; their places close up. Its group stays."""
    messages = tuple(
        Message(m.role, _joined([part for part in m.content if isinstance(part, str)]))
        for m in record.messages
    )
    return replace(record, messages=messages, media=())


def grey_images(record: Record) -> Record:
    """The record with every image mid-grey, at its size.

    The size is kept because it decides the number of image tokens. Images are read when drawn.
    """
    blank = tuple(
        Media(draw=partial(_grey_like, media), key=f"grey at the size of {media.sha256}")
        for media in record.media
    )
    return replace(record, media=blank)


def _grey_like(media: Media) -> Image.Image:
    return Image.new("RGB", media.size, GREY)


def _joined(parts: Sequence[str | int]) -> tuple[str | int, ...]:
    """Neighbouring texts as one, empty ones left out."""
    joined: list[str | int] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, str) and isinstance(last, str):
            joined[-1] = last + part
        elif part != "":
            joined.append(part)
    return tuple(joined) or ("",)
