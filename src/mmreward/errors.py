"""The one exception a user is meant to read, and how it quotes what somebody else wrote."""

import re
from collections.abc import Mapping
from typing import Any

# Would do something to a terminal, or nothing can write it: control characters but tab and line
# feed, separators that some take for line ends, those that turn the direction of writing, lone
# surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class UserError(ValueError):
    """Something the user can put right: a key, a value, a file or a row.

    The message is one sentence that names it and says the way out. `run.py` prints it
    without a traceback and exits with 1; anything else that escapes is our bug and keeps
    its traceback.
    """


def printable(text: str) -> str:
    """`text` with control characters and lone surrogates as escapes.

    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return _INVISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def quoted(value: Any, most: int = 80) -> str:
    """`value` as a message quotes it: on one line, printable, shortened to `most` characters.

    >>> quoted([1, "two"])
    "[1, 'two']"
    """
    text = str(value)
    shown = printable(text[:most].replace("\n", "\\n"))
    return shown if len(text) <= most else f"{shown}… ({len(text):,} characters)"


def kind(value: Any) -> str:
    """What `value` is, in the words of a message.

    >>> kind(7), kind(None)
    ('a number', 'nothing')
    """
    kinds: tuple[tuple[Any, str], ...] = (
        (type(None), "nothing"),
        (bool, "true or false"),
        (int | float, "a number"),
        (str, "text"),
        (bytes | bytearray, "bytes"),
        (list | tuple, "a list"),
        (Mapping, "an object"),
    )
    found = (name for types, name in kinds if isinstance(value, types))
    return next(found, f"of type {type(value).__name__}")
