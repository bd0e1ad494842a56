"""Records -> rewards: the one place where a model of this project judges answers.

Evaluation, files and Python callers all come through here, so they give equal numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.utils.data import DataLoader

from mmreward.data.batches import Size, batches_of, encoded_size
from mmreward.data.encoding import EncodedRecord, Encoder
from mmreward.data.prefix import Collate
from mmreward.errors import UserError
from mmreward.records import Record, RecordError
from mmreward.scoring.conditions import CONDITIONS
from mmreward.scoring.scorer import Shown

T = TypeVar("T")
Rewarded = list[float] | RecordError
Encoded = EncodedRecord | RecordError

NO_RECORD: Any = None

# trainer.precision -> the type that products are computed in.
AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class Views(Protocol):
    """Records as they are shown: of each the views that are scored. They may be read when they are
    asked for, which is in a worker."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Sequence[Record]: ...


@dataclass(frozen=True)
class Batching:
    """How much is scored at once.

    tokens:  most tokens of a batch with its padding, those of images included
    records: most records of a batch
    workers: processes that read and encode; with 0 this one does
    """

    tokens: int = 16_384
    records: int = 128
    workers: int = 0


DEFAULT = Batching()


def score(
    model: nn.Module,
    collate: Collate,
    records: Sequence[Record],
    precision: str = "32-true",
    batching: Batching = DEFAULT,
) -> Iterator[tuple[int, Rewarded]]:
    """(number of the record, a reward for each of its answers, or why it cannot be read).

    model:     PrefixBatch -> RewardOutput, in eval mode, on the device that computes
    precision: the trainer's that it was trained with ("32-true", "bf16-mixed", "16-mixed")

    Raises UserError for records that the model cannot read at all, such as images for one of text.
    """
    encoded = (views[0] for views in encode(collate.encoder, [[r] for r in records], batching))
    yield from score_encoded(model, collate, enumerate(encoded), precision, batching)


def score_encoded(
    model: nn.Module,
    collate: Collate,
    encoded: Iterable[tuple[T, Encoded]],
    precision: str,
    batching: Batching,
) -> Iterator[tuple[T, Rewarded]]:
    """The rewards of records that are encoded already, each with what it was given with.

    Answers of the same tokens get the same reward, the first one's: branches of one row differ in
    the last digits, which must not decide a pair.
    """

    def size(item: tuple[T, Encoded]) -> Size:
        one = item[1]
        return Size(0, 0) if isinstance(one, RecordError) else encoded_size(one, collate.layout)

    device = next(model.parameters()).device
    for batch in batches_of(encoded, size, batching.tokens, batching.records):
        readable = [one for _, one in batch if isinstance(one, EncodedRecord)]
        scores: Iterator[float] = iter(())
        if readable:
            with torch.inference_mode(), autocast(device, precision):
                scores = iter(model(collate.batch(readable).to(device)).scores.float().tolist())
        for name, one in batch:
            if isinstance(one, RecordError):
                yield name, one
                continue
            first: dict[tuple[int, ...], float] = {}
            yield name, [first.setdefault(tuple(ids), next(scores)) for ids in one.answer_ids]


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context in which a model computes as under that precision of the trainer."""
    dtype = AUTOCAST.get(precision)
    return torch.autocast(device.type, dtype) if dtype else nullcontext()


def encode(encoder: Encoder, views: Views, batching: Batching) -> Iterator[list[Encoded]]:
    """Each record's views as tokens, in order, read and encoded in workers, once where they are the
    same record; a RecordError alone where `views` raises one instead of giving them. Raises
    UserError where none of their kind could be encoded."""
    loader: DataLoader[Any] = DataLoader(
        range(len(views)),  # type: ignore[arg-type]
        batch_size=None,
        collate_fn=_EncodeViews(encoder, views),  # type: ignore[arg-type]
        num_workers=batching.workers,
        # Not drawn from the global one: scoring must not shift the numbers of a training.
        generator=torch.Generator(),
    )
    for number, found in enumerate(loader):
        if isinstance(found, UserError):
            raise found
        if all(isinstance(one, RecordError) for one in found):
            yield found
            continue
        yield [
            replace(one, record=record) if isinstance(one, EncodedRecord) else one
            for one, record in zip(found, views[number], strict=True)
        ]


class _EncodeViews:
    """Number of a record -> its views as tokens; runs in workers."""

    def __init__(self, encoder: Encoder, views: Views) -> None:
        self.encoder = encoder
        self.views = views

    def __call__(self, number: int) -> list[Encoded] | UserError:
        done: dict[int, Encoded] = {}
        like = None
        try:
            views = self.views[number]
        except RecordError as error:
            return [error]
        try:
            for record in views:
                if id(record) in done:
                    continue
                try:
                    found = self.encoder.encode(record, like)
                    like = like or found
                    done[id(record)] = found
                except RecordError as error:
                    done[id(record)] = error
        except UserError as error:  # raised here, it would come with the worker's whole traceback
            return error
        # Records stay where they are: what draws a picture may not be sent between processes.
        bare = {
            place: replace(one, record=NO_RECORD) if isinstance(one, EncodedRecord) else one
            for place, one in done.items()
        }
        return [bare[id(record)] for record in views]


class ModelRewards:
    """A model of this project as evaluation sees it (see mmreward.scoring.scorer.Rewards).

    meta:      what scores.meta.json says of it
    untrained: makes the model as it was before training
    """

    def __init__(
        self,
        model: nn.Module,
        collate: Collate,
        meta: Mapping[str, Any],
        untrained: Callable[[], nn.Module],
        precision: str = "32-true",
        batching: Batching = DEFAULT,
    ) -> None:
        self.meta: Mapping[str, Any] = meta
        self.conditions: Sequence[str] = tuple(CONDITIONS)
        self._models: dict[bool, nn.Module] = {True: model}
        self._collate, self._make_untrained = collate, untrained
        self._precision, self._batching = precision, batching

    def tokens(self, text: str) -> int:
        """Length of an answer."""
        return len(self._collate.encoder.tokenize(text))

    def rewards(self, chunks: Sequence[Sequence[Shown]]) -> Iterator[tuple[Shown, str, Rewarded]]:
        """Every view's rewards, chunk by chunk and condition by condition."""
        views = [list(shown.views.values()) for chunk in chunks for shown in chunk]
        stream = encode(self._collate.encoder, views, self._batching)
        for chunk in chunks:
            encoded = [
                (shown, dict(zip(shown.views, next(stream), strict=True))) for shown in chunk
            ]
            for condition in dict.fromkeys(name for shown in chunk for name in shown.views):
                asked = [(s, found[condition]) for s, found in encoded if condition in found]
                model = self._model(CONDITIONS[condition].trained)
                for shown, rewards in score_encoded(
                    model, self._collate, asked, self._precision, self._batching
                ):
                    yield shown, condition, rewards

    def _model(self, trained: bool) -> nn.Module:
        if trained not in self._models:
            device = next(self._models[True].parameters()).device
            self._models[trained] = self._make_untrained().to(device).eval()
        return self._models[trained]
