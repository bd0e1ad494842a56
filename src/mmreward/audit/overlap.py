"""Records that occur in two sets, exactly or nearly: test accuracy on them is memory.

Text is compared after NFKC, lower case and single spaces; order and ranks of the answers do not
matter. Near-duplicates have word 5-grams with a Jaccard similarity of at least 0.8 (the measure
of Lee et al. 2022, arXiv:2107.06499), found exactly, not by hashing: a pair that similar must
share one of the rarest 5-grams of each (Bayardo, Ma and Srikant 2007, "Scaling up all pairs
similarity search").

Two records with images count as the same only if their images are: "which digit is this?" over
another picture is another question.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmreward.records import Record

Hashes = NDArray[np.int64]

SHINGLE = 5
SIMILAR = 0.8
EXAMPLES = 3
KINDS = ("same", "near", "same_question", "same_images", "same_text")


def normalised(text: str) -> str:
    """
    >>> normalised("A  ﬁne\\nDay ")
    'a fine day'
    """
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


@dataclass(frozen=True)
class Content:
    """What of a record is compared: normalised prompt and answers, and the images' hashes."""

    where: str
    prompt: str
    answers: tuple[str, ...]
    images: frozenset[str]

    @cached_property
    def text(self) -> str:
        return "\n".join((self.prompt, *sorted(self.answers)))

    @cached_property
    def shingles(self) -> Hashes:
        """Sorted 64-bit hashes of all runs of five words; of the whole text where it is shorter."""
        words = self.text.split()
        count = max(1, len(words) - SHINGLE + 1)
        hashes = [hash(" ".join(words[i : i + SHINGLE])) for i in range(count)]
        return np.unique(np.array(hashes, dtype=np.int64))


def content(record: Record) -> Content:
    return Content(
        where=record.where or record.source_id or record.id,
        prompt=normalised(record.prompt),
        answers=tuple(normalised(response.text) for response in record.responses),
        images=frozenset(media.sha256 for media in record.media),
    )


def overlap(left: Sequence[Content], right: Sequence[Content]) -> dict[str, Any]:
    """How many of `right` occur in `left`; each is counted once, under the first that is true.

    same          text and images
    near          nearly the same text, and the same images or none
    same_question prompt and images, other answers
    same_images   an image, another prompt
    same_text     text, but other images (a template; no leak)
    examples      {kind: [where in left, where in right, similarity]}, at most `EXAMPLES` each
    """
    texts: dict[str, Content] = {}
    alike: dict[tuple[str, frozenset[str]], Content] = {}
    questions: dict[tuple[str, frozenset[str]], Content] = {}
    images: dict[str, Content] = {}
    for one in left:
        texts.setdefault(one.text, one)
        alike.setdefault((one.text, one.images), one)
        questions.setdefault((one.prompt, one.images), one)
        for image in one.images:
            images.setdefault(image, one)
    found: list[tuple[str, Content, float] | None] = []
    for one in right:
        options = (
            ("same", alike.get((one.text, one.images))),
            ("same_question", questions.get((one.prompt, one.images)) if one.prompt else None),
            ("same_images", next((images[i] for i in one.images if i in images), None)),
            ("same_text", texts.get(one.text)),
        )
        found.append(next(((kind, other, 1.0) for kind, other in options if other), None))
    rest = [place for place, kind in enumerate(found) if kind is None or kind[0] != "same"]
    for place, (number, similarity) in near_duplicates(left, [right[i] for i in rest]).items():
        found[rest[place]] = ("near", left[number], similarity)
    counts: Counter[str] = Counter()
    examples: dict[str, list[list[Any]]] = {}
    for one, match in zip(right, found, strict=True):
        if match is not None:
            kind, other, similarity = match
            counts[kind] += 1
            if counts[kind] <= EXAMPLES:
                examples.setdefault(kind, []).append([other.where, one.where, round(similarity, 3)])
    return {"n": len(right), **{kind: counts[kind] for kind in KINDS}, "examples": examples}


def near_duplicates(
    left: Sequence[Content], right: Sequence[Content]
) -> dict[int, tuple[int, float]]:
    """Place in `right` -> (place in `left`, similarity) of its most similar near-duplicate."""
    every = [one.shingles for one in (*left, *right)]
    if not every:
        return {}
    kinds, frequency = np.unique(np.concatenate(every), return_counts=True)
    postings: dict[tuple[frozenset[str], int], list[int]] = defaultdict(list)
    for place, one in enumerate(left):
        for shingle in _rarest(one, kinds, frequency):
            postings[one.images, shingle].append(place)
    found: dict[int, tuple[int, float]] = {}
    for place, one in enumerate(right):
        keys = [(one.images, shingle) for shingle in _rarest(one, kinds, frequency)]
        for number in sorted({number for key in keys for number in postings.get(key, ())}):
            similarity = _jaccard(left[number].shingles, one.shingles)
            if similarity >= SIMILAR and similarity > found.get(place, (0, 0.0))[1]:
                found[place] = (number, similarity)
    return found


def _rarest(one: Content, kinds: Hashes, frequency: NDArray[np.int64]) -> list[int]:
    """As many shingles as two sets of the wanted similarity cannot both miss, by one order."""
    size = len(one.shingles)
    keep = size - math.ceil(SIMILAR * size) + 1
    order = np.argsort(frequency[np.searchsorted(kinds, one.shingles)], kind="stable")
    rarest: list[int] = one.shingles[order[:keep]].tolist()
    return rarest


def _jaccard(a: Hashes, b: Hashes) -> float:
    if min(len(a), len(b)) < SIMILAR * max(len(a), len(b)):
        return 0.0
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)
