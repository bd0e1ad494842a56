"""Records with their images taken away or exchanged, or their answers' layout flattened.

A model that looks at the image must lose by the former; one that does not keeps its accuracy. One
that reads what the answers say loses nothing by the latter. The scores of a changed record are
filed under the id of the original.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mmreward.data.transforms import drop_images, grey_images
from mmreward.errors import UserError
from mmreward.records import Media, Record

Transform = Callable[[Sequence[Record]], list[Record | None]]


def blind_image(record: Record) -> Record | None:
    """The record with every image mid-grey, at its size; None if it has no image."""
    return grey_images(record) if record.media else None


def without_images(record: Record) -> Record | None:
    """The record without its images and their places in the prompt; None if it has no image."""
    return drop_images(record) if record.media else None


def collapse(text: str) -> str:
    """Every run of white space as one space, none at the ends.

    >>> collapse(" one\\n\\n two ")
    'one two'
    """
    return " ".join(text.split())


def normalise_answers(record: Record) -> Record:
    """The record with `collapse`d answers, the very same object where that changes none.

    No answer becomes empty, because a record has none that is blank. Two may become the same.
    """
    if all(response.text == collapse(response.text) for response in record.responses):
        return record
    responses = tuple(replace(r, text=collapse(r.text)) for r in record.responses)
    return replace(record, responses=responses)


def swap_images(records: Sequence[Record], seed: int = 0) -> list[Record | None]:
    """Each record with the images of another one, aligned with `records`.

    The donor has the same kind of question (category) and as many images, and shares no image
    with the record, by hash: several records often ask about one image, so that exchanging
    rows is not enough. Donors are drawn over distinct images, not rows, by `seed` and the
    record's id. None where a record has no image or no donor exists.
    """
    donors: dict[tuple[str, int], dict[tuple[str, ...], tuple[Media, ...]]] = defaultdict(dict)
    for record in records:
        hashes = tuple(media.sha256 for media in record.media)
        donors[record.category, len(hashes)].setdefault(hashes, record.media)
    choices = {kind: list(found.items()) for kind, found in donors.items()}
    return [
        _with_images_of_another(record, choices[record.category, len(record.media)], seed)
        if record.media
        else None
        for record in records
    ]


def _with_images_of_another(
    record: Record, donors: Sequence[tuple[tuple[str, ...], tuple[Media, ...]]], seed: int
) -> Record | None:
    own = {media.sha256 for media in record.media}
    start = random.Random(f"{seed} {record.id}").randrange(len(donors))
    for step in range(len(donors)):
        hashes, media = donors[(start + step) % len(donors)]
        if own.isdisjoint(hashes):
            return replace(record, media=media)
    return None


def _each(change: Callable[[Record], Record | None]) -> Transform:
    return lambda records: [change(record) for record in records]


@dataclass(frozen=True)
class Condition:
    """How a set is scored.

    transform: the records as the model sees them, aligned with the originals; None leaves one out
    trained:   False scores with the weights the configuration starts from (not `init_from`'s)
    """

    transform: Transform
    trained: bool = True


CONDITIONS: dict[str, Condition] = {
    "intact": Condition(list),
    "blind_image": Condition(_each(blind_image)),
    "swapped_image": Condition(swap_images),
    "text_only": Condition(_each(without_images)),
    "normalised": Condition(_each(normalise_answers)),
    "untrained": Condition(list, trained=False),
}


def find_condition(name: str) -> Condition:
    """The condition of that name; UserError with the possible ones for any other."""
    if name not in CONDITIONS:
        raise UserError(
            f"evaluation.conditions names {name}, which is not one of {', '.join(CONDITIONS)}"
        )
    return CONDITIONS[name]
