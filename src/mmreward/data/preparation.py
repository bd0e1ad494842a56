"""What is done to the records of any source: images dropped or greyed out, a template around the
prompt."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from PIL import Image

from mmreward.data.bad_records import BadRecord
from mmreward.data.sources.base import LazyRecords, Source, Split
from mmreward.errors import UserError, printable
from mmreward.records import Media, Message, Record

IMAGES = ("keep", "drop", "blind")
GREY = (128, 128, 128)


class Prepared:
    """A source whose records are changed when they are asked for.

    images:          "keep"; "drop" to take all images away (for backbones that read text); "blind"
                     to grey them out, but not those of the test split: what a model learns
                     without looking is the base line of one that looks
    prompt_template: text with one {query}, put around the text of the last user turn; images
                     that stand before that text stay before the template. None for no change.

    Raises UserError for any other value.
    """

    def __init__(
        self, source: Source, images: str = "keep", prompt_template: str | None = None
    ) -> None:
        if images not in IMAGES:
            raise UserError(f"data.images={images} should be keep, drop or blind")
        self.source = source
        self.name = source.name
        self.images = images
        self.template = None if prompt_template is None else parse_template(prompt_template)

    def like(self, source: Source) -> Prepared:
        """Another source, with the same done to its records."""
        other = Prepared(source, self.images)
        other.template = self.template
        return other

    def without_images(self) -> Prepared:
        """The same source with its images dropped."""
        other = Prepared(self.source, "drop")
        other.template = self.template
        return other

    def split(self, split: Split) -> Sequence[Record]:
        records = self.source.split(split)
        change = {
            "keep": None,
            "drop": drop_images,
            "blind": None if split == "test" else grey_images,
        }[self.images]
        if change is None and self.template is None:
            return records
        return LazyRecords(len(records), partial(self._record, records, change))

    def _record(
        self,
        records: Sequence[Record],
        change: Callable[[Record], Record] | None,
        number: int,
    ) -> Record:
        record = records[number] if change is None else change(records[number])
        return record if self.template is None else apply_template(record, *self.template)

    @property
    def block(self) -> int:
        """How many consecutive records stay together in training (see `Source`)."""
        return int(getattr(self.source, "block", 1))

    @property
    def bad_records(self) -> list[BadRecord]:
        """What the source left out; a source that draws its own records leaves out nothing."""
        return list(getattr(self.source, "bad_records", ()))

    @property
    def unread_columns(self) -> list[str]:
        """Columns of the source's tables that are no field of a record."""
        return list(getattr(self.source, "unread_columns", ()))


def prepared(record: Record, images: str, template: str | None) -> Record:
    """A record that a run did not hold, treated as those of its test split (see `Prepared`)."""
    record = drop_images(record) if images == "drop" else record
    return record if template is None else apply_template(record, *parse_template(template))


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


def sample_text(records: Sequence[Record], count: int = 3, most: int = 300) -> str:
    """A few records, evenly spaced, as plain text for the screen.

    most: characters shown of a turn or an answer
    """
    count = min(count, len(records))
    numbers = [round(i * (len(records) - 1) / max(count - 1, 1)) for i in range(count)]
    return "\n\n".join(describe(records[number], most) for number in numbers)


def describe(record: Record, most: int) -> str:
    """One record as plain text: where it is from, turns, answers with their ranks."""
    lines = [printable(record.where or record.source_id or record.id)]
    for message in record.messages:
        shown = ""
        for part in message.content:
            if isinstance(part, str):
                shown += part
            else:
                width, height = record.media[part].size
                shown += f"[image {width}x{height}]"
        lines.append(f"  {message.role}: {_short(shown, most)}")
    for response in sorted(record.responses, key=lambda response: response.rank):
        lines.append(f"  rank {response.rank}: {_short(response.text, most)}")
    return "\n".join(lines)


def _short(text: str, most: int) -> str:
    text = text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
    # What a data set holds must not command the terminal it is shown on.
    return printable(text).replace("\n", "\n    ")
