"""Cells of a row -> texts, answers with their ranks, pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from mmreward.errors import kind, quoted
from mmreward.records import RecordError, Response

# What 32 bits hold, as an integer and as the difference of two floats.
LARGEST_RANK = 2**31 - 1
LARGEST_SCORE = 1e38

# Somebody wrote str(answer) where answer.text was meant.
_OBJECT_REPR = re.compile(r"\s*<[\w.]+ object at 0x[0-9a-fA-F]+>\s*")
# How turns, or the parts of one, begin where somebody wrote a list of them as text.
_PACKED = re.compile(r"\s*(\[\s*)?\{\s*(['\"])(role|content|type)\2\s*:")


def unpacked(cell: Any, what: str) -> Any:
    """The cell, or the turns or parts of a turn that its text holds as JSON.

    Raises RecordError, naming `what`, for turns written as text in another way. Other JSON is
    only text: an answer may be some.
    """
    if not isinstance(cell, str) or not _PACKED.match(cell):
        return cell
    try:
        found = json.loads(cell)
    except ValueError:
        if "'role'" in cell and cell.rstrip().endswith(("]", "}")):
            raise RecordError(
                f"{what} is turns written as text, but not as JSON; write them as a list"
            ) from None
        return cell
    items = found if isinstance(found, list) else [found]
    whole = all(
        isinstance(item, dict)
        and ({"role", "content"} <= set(item) or item.get("type") in ("text", "image"))
        for item in items
    )
    return found if whole else cell


def listed(cell: Any) -> Any:
    """The cell, or the list that its text holds as JSON: what tables of text have for lists."""
    try:
        return json.loads(cell) if isinstance(cell, str) and cell.startswith("[") else cell
    except ValueError:
        return cell


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
    if unpacked(text, f"answer {number}") is not text:
        raise RecordError(f"answer {number} is turns written as JSON; give its text alone")
    return text


def ranked(answers: Any, ranks: Any, scores: Any) -> tuple[Response, ...]:
    """Answers of three cells: texts, ranks (0 best) and, if not None, scores that agree."""
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


def pairs_of(cell: Any, responses: Sequence[Response]) -> tuple[tuple[int, int], ...] | None:
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


def last_turn(cell: Any, name: str) -> tuple[list[Any], Any]:
    """(the turns before, the answer) of an answer given as text, a turn or a conversation."""
    cell = unpacked(cell, name)
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


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_RANK


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST_SCORE  # NaN is not
