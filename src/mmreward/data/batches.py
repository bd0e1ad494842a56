"""Batches by what they cost: as many rows as a budget of tokens allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple, TypeVar

from mmreward.data.encoding import EncodedRecord
from mmreward.data.prefix import Layout
from mmreward.records import Record, RecordError

T = TypeVar("T")

# Of a text in letters, and of a picture in pixels: what a token of either stands for in the
# models of today. Estimates alone go by them.
LETTERS_A_TOKEN = 3
PIXELS_A_TOKEN = 28 * 28
MOST_IMAGE_TOKENS = 16_384  # larger pictures are scaled down


class Size(NamedTuple):
    """rows of a batch, and tokens of the longest of them."""

    rows: int
    length: int


def batches_of(
    items: Iterable[T], size: Callable[[T], Size], tokens: int, most: int
) -> Iterator[list[T]]:
    """The items in their order, at most `most` in a batch and, where it holds more than one, at
    most `tokens` tokens with their padding: every row is as long as the batch's longest."""
    batch: list[T] = []
    rows = length = 0
    for item in items:
        own = size(item)
        longest = max(length, own.length)
        if batch and (len(batch) == most or (rows + own.rows) * longest > tokens):
            yield batch
            batch, rows, longest = [], 0, own.length
        batch.append(item)
        rows, length = rows + own.rows, longest
    if batch:
        yield batch


def encoded_size(item: EncodedRecord, layout: Layout) -> Size:
    """Of a record as it stands in a PrefixBatch, its images' tokens among the others."""
    prompt, answers = len(item.prompt_ids), [len(answer) for answer in item.answer_ids]
    if layout == "shared":
        return Size(1, prompt + sum(answers))
    return Size(len(answers), prompt + max(answers))


def estimated_size(record: Record) -> Size:
    """Of a record that is not encoded, as one row: from its letters and its images' headers; an
    image without one counts nothing here and is named where it is read."""
    letters = len(record.prompt) + sum(len(response.text) for response in record.responses)
    tokens = letters // LETTERS_A_TOKEN
    for media in record.media:
        with suppress(RecordError):
            width, height = media.size
            tokens += min(width * height // PIXELS_A_TOKEN, MOST_IMAGE_TOKENS)
    return Size(1, tokens)
