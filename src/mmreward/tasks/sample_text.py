"""A few records as plain text, for the screen before a training."""

from __future__ import annotations

from collections.abc import Sequence

from mmreward.errors import printable
from mmreward.records import Record


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
