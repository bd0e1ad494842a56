"""Where the images of a row stand in its prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmreward.errors import quoted
from mmreward.records import Media, Message, RecordError

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
