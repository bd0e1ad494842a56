"""A row of somebody's table -> Record: column names, turns, image placeholders, ranks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from mmreward.data.images import IN_STRUCT, ImageReader
from mmreward.data.placing import Part, place_images, split_placeholders
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
ROLES = ("system", "user", "assistant")

# Words that a column of images is called by; see `Fields.unread`.
_IMAGE_COLUMN = re.compile(r"(image|img|picture|photo)s?", re.IGNORECASE)
# What 32 bits hold, as an integer and as the difference of two floats.
LARGEST_RANK = 2**31 - 1
LARGEST_SCORE = 1e38

# Somebody wrote str(answer) where answer.text was meant.
_OBJECT_REPR = re.compile(r"\s*<[\w.]+ object at 0x[0-9a-fA-F]+>\s*")


class Fields:
    """Reads rows of one layout.

    columns: field of a record -> column, for those that differ from `COLUMNS`; None for a field
             that is not to be read even if its column is there
    ranked:  the answers must have ranks; where they need not, one answer may be text

    The prompt is text, or a list of turns; `messages`, a list of {"role", "content"} turns that
    ends with the user's, takes precedence. Content is text or a list of parts: text,
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
        while no row has given any, comes with the setting that reads it."""
        read = {name for name in self.columns.values() if name}
        unread = [quoted(name) for name in sorted(self.seen - read)]
        if self.seen_image or not self.columns["image"]:
            return unread
        hint = "no row has given an image; is it here? Set data.source.columns.image="
        return [f"{n} ({hint}{n})" if _IMAGE_COLUMN.match(n) else n for n in unread]

    def check_columns(self) -> None:
        """UserError if an optional column that the settings name was in no row read so far."""
        for field, name in self.columns.items():
            renamed = name and name != COLUMNS[field] and field not in NEEDED
            if renamed and self.seen and name not in self.seen:
                raise UserError(
                    f"data.source.columns.{field}={name} names a column that no row has; the "
                    f"rows have {_names(self.seen)}"
                )

    def record(self, row: Mapping[str, Any]) -> Record:
        """The row's record. Raises RecordError, without file and row."""
        self.seen.update(row)
        cells = {field: row.get(name) if name else None for field, name in self.columns.items()}
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
            return [], _ranked(answers, ranks, cells["scores"])
        if cells["chosen"] is None or cells["rejected"] is None:
            wanted = [self.columns["responses"]]
            if self.columns["chosen"] and self.columns["rejected"]:
                wanted.append(f"{self.columns['chosen']} with {self.columns['rejected']}")
            raise RecordError(f"it has no answers: {_missing(wanted, row)}")
        context, chosen = _last_turn(cells["chosen"], "chosen")
        other, rejected = _last_turn(cells["rejected"], "rejected")
        if context != other:
            raise RecordError("chosen and rejected differ before their last turn")
        scores = [cells["score_chosen"], cells["score_rejected"]]
        if None in scores:
            return context, _ranked([chosen, rejected], [0, 1], None)
        ranks = [0, 0] if scores[0] == scores[1] else [0, 1]
        return context, _ranked([chosen, rejected], ranks, scores)

    def _judged(
        self, cells: Mapping[str, Any], responses: Sequence[Response]
    ) -> tuple[tuple[int, int], ...] | None:
        """The pairs that were judged; none where the answers need no ranks and have none."""
        unranked = cells["ranks"] is None and cells["responses"] is not None
        return () if unranked else _pairs(cells["pairs"], responses)

    # -- turns -----------------------------------------------------------------------------

    def _turns(
        self, cells: Mapping[str, Any], row: Mapping[str, Any], context: list[Any]
    ) -> list[tuple[str, list[Part]]]:
        if isinstance(cells["messages"], str):
            raise RecordError(f"{self.columns['messages']} is text, not a list of turns")
        prompt = cells["messages"] or context or cells["prompt"]
        if prompt is None:
            wanted = [self.columns["prompt"], self.columns["messages"]]
            raise RecordError(f"it has no prompt: {_missing(wanted, row)}")
        if isinstance(prompt, str):
            return [("user", split_placeholders(text_of(prompt, "the prompt")))]
        if not isinstance(prompt, Sequence) or not prompt:
            raise RecordError(f"the prompt should be text or turns, not {kind(prompt)}")
        return [self._turn(number, turn) for number, turn in enumerate(prompt)]

    def _turn(self, number: int, turn: Any) -> tuple[str, list[Part]]:
        if not isinstance(turn, Mapping) or "role" not in turn or "content" not in turn:
            raise RecordError(f"turn {number} is not a role with content")
        role, content = turn["role"], turn["content"]
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


def text_of(value: Any, what: str) -> str:
    """`value` if it is text that can be written as UTF-8, else RecordError naming `what`."""
    if not isinstance(value, str):
        raise RecordError(f"{what} should be text, not {kind(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RecordError(f"{what} holds half a character (a lone UTF-16 surrogate)") from None
    return value


def answer_of(value: Any, number: int) -> str:
    """An answer, exactly as given; RecordError if it is not the text of one."""
    text = text_of(value, f"answer {number}")
    if _OBJECT_REPR.fullmatch(text):
        raise RecordError(f"answer {number} is the name of an object, not text ({text.strip()})")
    return text


def _ranked(answers: Any, ranks: Any, scores: Any) -> tuple[Response, ...]:
    if not isinstance(answers, list | tuple):
        raise RecordError(f"the answers should be a list, not {kind(answers)}")
    for name, values in (("ranks", ranks), ("scores", scores)):
        if values is None and name == "scores":
            continue
        if not isinstance(values, list | tuple) or len(values) != len(answers):
            given = len(values) if isinstance(values, list | tuple) else kind(values)
            raise RecordError(f"{len(answers)} answers need as many {name}, not {given}")
    if not all(_is_whole(rank) for rank in ranks):
        raise RecordError(
            f"the ranks should be whole numbers up to {LARGEST_RANK}, 0 for the best, not "
            f"{quoted(list(ranks))}"
        )
    if scores is not None:
        if not all(_is_number(score) for score in scores):
            raise RecordError(
                f"the scores should be finite numbers up to {LARGEST_SCORE:.0e}, not "
                f"{quoted(list(scores))}"
            )
        _check_order(ranks, scores)
    return tuple(
        Response(answer_of(text, n), ranks[n], None if scores is None else float(scores[n]))
        for n, text in enumerate(answers)
    )


def _check_order(ranks: Sequence[int], scores: Sequence[float]) -> None:
    """RecordError if an answer of a better rank has a lower score."""
    order = sorted(range(len(ranks)), key=lambda n: (ranks[n], scores[n]))
    for better, worse in combinations(order, 2):
        if ranks[better] < ranks[worse] and scores[better] < scores[worse]:
            raise RecordError(
                f"answer {better} is preferred to answer {worse} but has the lower score "
                f"({scores[better]} against {scores[worse]})"
            )


def _pairs(cell: Any, responses: Sequence[Response]) -> tuple[tuple[int, int], ...] | None:
    """(better, worse) pairs; they may leave some out but not speak against the ranks."""
    if cell is None:
        return None
    lists = isinstance(cell, list | tuple) and all(isinstance(one, list | tuple) for one in cell)
    if not lists or not all(len(one) == 2 and all(map(_is_whole, one)) for one in cell):
        raise RecordError(
            "pairs should be a list of [better, worse], both numbers of answers, not "
            f"{quoted(cell)}"
        )
    pairs = tuple((better, worse) for better, worse in cell)
    n, known = len(responses), set()
    for i, j in pairs:
        # Record says which answer does not exist.
        if 0 <= i < n and 0 <= j < n and responses[i].rank >= responses[j].rank:
            raise RecordError(f"pair {[i, j]} does not agree with the ranks")
        if (i, j) in known:
            raise RecordError(f"pair {[i, j]} is given twice, which would count it twice")
        known.add((i, j))
    return pairs


def _last_turn(cell: Any, name: str) -> tuple[list[Any], Any]:
    """(the turns before, the answer) of an answer given as text, a turn or a conversation."""
    if isinstance(cell, Mapping):
        cell = [cell]
    if not isinstance(cell, list):
        return [], cell
    last = cell[-1] if cell else None
    if not isinstance(last, Mapping) or last.get("role") != "assistant":
        raise RecordError(f"{name} does not end with an assistant turn")
    content = last.get("content")
    if isinstance(content, list):
        content = "".join(
            text_of(part.get("text") if isinstance(part, Mapping) else part, name)
            for part in content
        )
    return cell[:-1], content


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


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_RANK


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST_SCORE  # NaN is not
