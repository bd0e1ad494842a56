"""A row of somebody's table -> Record: column names, turns, image placeholders, ranks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from mmreward.data.cells import last_turn, listed, pairs_of, ranked, text_of, unpacked
from mmreward.data.images import IN_STRUCT, ImageReader, Part, place_images, split_placeholders
from mmreward.data.sources.tables import Reader
from mmreward.errors import UserError, kind, quoted
from mmreward.records import Record, RecordError, Response

# Field of a record -> its column where the settings name no other.
COLUMNS: dict[str, str | None] = {
    "id": "id",
    "prompt": "query",
    "messages": "messages",
    "image": "image",
    "responses": "response",
    "ranks": "human_ranking",
    "scores": None,
    "pairs": "pairs",
    "chosen": "chosen",
    "rejected": "rejected",
    "score_chosen": "score_chosen",
    "score_rejected": "score_rejected",
    "category": "category",
    "group": "group",
}
# Without these a row is bad; without any of the others it would only say less than it could.
NEEDED = ("prompt", "messages", "responses", "ranks", "chosen", "rejected")
LISTS = ("responses", "ranks", "scores", "pairs")
ROLES = ("system", "user", "assistant")

# Words that a column of images is called by; see `Columns.unread`.
_IMAGE_COLUMN = re.compile(r"(image|img|picture|photo)s?", re.IGNORECASE)

Turn = tuple[str, list[Part]]


class Columns(Reader):
    """Reads rows of one layout.

    columns: field of a record -> column, for those that differ from `COLUMNS`; None for a field
             that is not to be read even if its column is there
    ranked:  the answers must have ranks; where they need not, one answer may be text

    The prompt is text, or a list of turns; `messages`, a list of {"role", "content"} turns that
    ends with the user's, takes precedence over text. Turns may be told in several cells if these
    agree (none is lost), and lists be written as JSON. Content is text or a list of parts: text,
    {"type": "text", "text": …}, {"type": "image"} for the row's next image, or the same with the
    image itself under "image", "bytes", "path" or "url". The answers are `responses` with `ranks`
    (0 best, equal ranks are a tie), or `chosen` and `rejected`, each text or a list of turns that
    ends with the answer and agrees with the other up to it. Scores (higher is better) only give a
    pair its margin and may not speak against its order, but equal `score_chosen` and
    `score_rejected` make a tie.

    Literal <image>, <image 2>, <image_1>, <image1> in user turns stand for the row's images, in
    order or by number. There must be exactly as many as images, or none: then the images go
    before the text of the first user turn.
    """

    def __init__(
        self, columns: Mapping[str, str | None], images: ImageReader, ranked: bool = True
    ) -> None:
        unknown = sorted(set(columns) - set(COLUMNS))
        if unknown:
            raise UserError(
                f"data.source.columns.{unknown[0]} is not a field; the fields are "
                f"{', '.join(COLUMNS)}"
            )
        self.columns = {**COLUMNS, **columns}
        self.images = images
        self.ranked = ranked
        self.seen: set[str] = set()
        self.seen_image = False

    def unread(self) -> list[str]:
        """Columns of the rows read so far that no field names. One that is called like images,
        while no row has given any, comes with the setting that reads it. UserError if an optional
        column that the settings name was in none of them."""
        for field, name in self.columns.items():
            renamed = name and name != COLUMNS[field] and field not in NEEDED
            if renamed and self.seen and name not in self.seen:
                raise UserError(
                    f"data.source.columns.{field}={name} names a column that no row has; the "
                    f"rows have {_names(self.seen)}"
                )
        read = {name for name in self.columns.values() if name}
        unread = [quoted(name) for name in sorted(self.seen - read)]
        if self.seen_image or not self.columns["image"]:
            return unread
        hint = "no row has given an image; is it here? Set data.source.columns.image="
        return [f"{n} ({hint}{n})" if _IMAGE_COLUMN.match(n) else n for n in unread]

    def record(self, row: Mapping[str, Any]) -> Record:
        """The row's record. Raises RecordError, without file and row."""
        self.seen.update(row)
        cells = {field: row.get(name) if name else None for field, name in self.columns.items()}
        cells |= {field: listed(cells[field]) for field in LISTS}
        if row.get("video"):
            raise RecordError("it holds a video, which no model here reads")
        context, responses = self._answers(cells, row)
        turns = self._turns(cells, row, context)
        messages, media = place_images(turns, self.images.read(cells["image"]))
        self.seen_image = self.seen_image or bool(media)
        return Record(
            messages=messages,
            responses=responses,
            media=media,
            judged=self._judged(cells, responses),
            source_id=_label(cells["id"], "its id"),
            category=_label(cells["category"], "its category"),
            group=_label(cells["group"], "its group"),
        )

    # -- answers ---------------------------------------------------------------------------

    def _answers(
        self, cells: Mapping[str, Any], row: Mapping[str, Any]
    ) -> tuple[list[Any], tuple[Response, ...]]:
        """(turns that the answers themselves carry before them, the answers)."""
        if cells["responses"] is not None:
            answers, ranks = cells["responses"], cells["ranks"]
            if not self.ranked and isinstance(answers, str):
                answers = [answers]
            if not self.ranked and ranks is None and isinstance(answers, list | tuple):
                ranks = [0] * len(answers)
            return [], ranked(answers, ranks, cells["scores"])
        if cells["chosen"] is None or cells["rejected"] is None:
            wanted = [self.columns["responses"]]
            if self.columns["chosen"] and self.columns["rejected"]:
                wanted.append(f"{self.columns['chosen']} with {self.columns['rejected']}")
            raise RecordError(f"it has no answers: {_missing(wanted, row)}")
        context, chosen = last_turn(cells["chosen"], "chosen")
        other, rejected = last_turn(cells["rejected"], "rejected")
        if context != other:
            raise RecordError("chosen and rejected differ before their last turn")
        scores = [cells["score_chosen"], cells["score_rejected"]]
        if None in scores:
            return context, ranked([chosen, rejected], [0, 1], None)
        ranks = [0, 0] if scores[0] == scores[1] else [0, 1]
        return context, ranked([chosen, rejected], ranks, scores)

    def _judged(
        self, cells: Mapping[str, Any], responses: Sequence[Response]
    ) -> tuple[tuple[int, int], ...] | None:
        """The pairs that were judged; none where the answers need no ranks and have none."""
        unranked = cells["ranks"] is None and cells["responses"] is not None
        return () if unranked else pairs_of(cells["pairs"], responses)

    # -- turns -----------------------------------------------------------------------------

    def _turns(
        self, cells: Mapping[str, Any], row: Mapping[str, Any], context: list[Any]
    ) -> list[Turn]:
        """The prompt from all the cells that hold some of it."""
        messages = unpacked(cells["messages"], str(self.columns["messages"]))
        prompt = unpacked(cells["prompt"], "the prompt")
        if isinstance(messages, str):
            raise RecordError(f"{self.columns['messages']} is text, not a list of turns")
        given = [one for one in (prompt, messages, context) if one]
        if len(given) > 1 and isinstance(prompt, str):
            given.remove(prompt)  # the same in words, or a title
        if not given and prompt is None:
            wanted = [self.columns["prompt"], self.columns["messages"]]
            raise RecordError(f"it has no prompt: {_missing(wanted, row)}")
        return reduce(_joined, map(self._conversation, given or [prompt]))

    def _conversation(self, prompt: Any) -> list[Turn]:
        if isinstance(prompt, str):
            return [("user", split_placeholders(text_of(prompt, "the prompt")))]
        if not isinstance(prompt, Sequence) or not prompt:
            raise RecordError(f"the prompt should be text or turns, not {kind(prompt)}")
        return [self._turn(number, turn) for number, turn in enumerate(prompt)]

    def _turn(self, number: int, turn: Any) -> Turn:
        if not isinstance(turn, Mapping) or "role" not in turn or "content" not in turn:
            raise RecordError(f"turn {number} is not a role with content")
        role, content = turn["role"], unpacked(turn["content"], f"turn {number}")
        if role not in ROLES:
            raise RecordError(
                f"turn {number} has the role {quoted(repr(role))}, not one of {', '.join(ROLES)}"
            )
        parts: list[Part] = []
        for part in content if isinstance(content, list) else [content]:
            type_ = part.get("type") if isinstance(part, Mapping) else "text"
            if type_ == "image":
                image = part.get("image")
                if image is None:
                    image = {key: part[key] for key in IN_STRUCT if part.get(key) is not None}
                parts += self.images.read(image) or [("",)]
            elif type_ == "text":
                text = part.get("text") if isinstance(part, Mapping) else part
                text = text_of(text, f"turn {number}")
                parts += split_placeholders(text) if role == "user" else [text]
            else:
                raise RecordError(
                    f"turn {number} holds a part of type {quoted(repr(type_))}, not text or image"
                )
        return role, parts


def _joined(first: list[Turn], second: list[Turn]) -> list[Turn]:
    """Two tellings of one conversation as one, of which neither loses a turn; where both have a
    turn, the second's. RecordError if they have none in common."""
    one, two = ([(role, _text(parts)) for role, parts in turns] for turns in (first, second))
    if any(two[n : n + len(one)] == one for n in range(len(two))):
        return second
    shared = next((n for n in range(min(len(one), len(two)), 0, -1) if one[-n:] == two[:n]), 0)
    if not shared and any(role != "system" for role, _ in first):
        raise RecordError(
            "its prompt differs from the turns before its answers; give every turn once, or set "
            "data.source.columns.prompt=null to read those before the answers alone"
        )
    return [*first[: len(first) - shared], *second]


def _text(parts: Iterable[Part]) -> str:
    return "".join(part for part in parts if isinstance(part, str)).strip()


def _label(cell: Any, what: str) -> str:
    return "" if cell is None else text_of(str(cell), what)


def _missing(wanted: Iterable[str | None], row: Mapping[str, Any]) -> str:
    """Which columns would have held it, and which there are."""
    names = [name for name in wanted if name]
    if not names:
        return "data.source.columns names no column for it"
    either = f"neither {' nor '.join(names)} is" if len(names) > 1 else f"{names[0]} is not"
    return f"{either} there; its columns are {_names(row)}"


def _names(columns: Iterable[str]) -> str:
    return quoted(", ".join(sorted(columns)), 400)
