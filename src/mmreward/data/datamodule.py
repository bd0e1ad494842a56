"""Loaders over a source's splits; training resumes at the very record where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Sampler

from mmreward.data.prefix import PrefixBatch
from mmreward.data.sources.base import Source
from mmreward.errors import UserError
from mmreward.records import Record


class ResumableSampler(Sampler[int]):
    """A permutation per epoch, fixed by (seed, epoch), dealt to ranks, startable in the middle.

    length: records; start: how many of this rank's records the current epoch has already used
    block:  consecutive records that stay together (see `Source`)
    """

    def __init__(
        self, length: int, seed: int, rank: int = 0, world_size: int = 1, block: int = 1
    ) -> None:
        self.length = length
        self.seed = seed
        self.block = block
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this at the start of every epoch."""
        if epoch != self.epoch:
            self.start = 0
        self.epoch = epoch

    def __len__(self) -> int:
        blocks = self.length // self.block // self.world_size
        return blocks * self.block if self.world_size > 1 else self.length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        blocks = torch.randperm(-(-self.length // self.block), generator=generator).tolist()
        mine = [
            record
            for number in blocks[self.rank :: self.world_size]
            for record in range(number * self.block, min((number + 1) * self.block, self.length))
        ]
        # Every rank gets as many: a rank with one batch more would wait for the others forever.
        mine = mine[: len(self)]
        start, self.start = self.start, 0
        return iter(mine[start:])


class Fetch:
    """Record numbers -> batch; runs in data workers.

    A UserError is handed over instead of a batch: torch would raise it again in the main process
    with the worker's whole traceback as its message.
    """

    def __init__(
        self, records: Sequence[Record], collate: Callable[[Sequence[Record]], PrefixBatch]
    ) -> None:
        self.records = records
        self.collate = collate

    def __call__(self, numbers: Sequence[int]) -> PrefixBatch | UserError:
        try:
            return self.collate([self.records[number] for number in numbers])
        except UserError as error:
            return error


class PreferenceData(pl.LightningDataModule):
    """Train, validation and test loaders of one source.

    batch_size: records a step and rank
    seed:       of the order of training
    """

    def __init__(
        self,
        source: Source,
        collate: Callable[[Sequence[Record]], PrefixBatch],
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1 or num_workers < 0:
            raise UserError(
                f"data.batch_size={batch_size} and data.eval_batch_size={eval_batch_size} must be "
                f"at least 1, data.num_workers={num_workers} at least 0"
            )
        self.source = source
        self.collate = collate
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._position = {"epoch": 0, "batches": 0}

    def train_dataloader(self) -> DataLoader[Any]:
        records = self.source.split("train")
        sampler = ResumableSampler(len(records), self.seed, *self._ranks(), self.source.block)
        sampler.epoch = self._position["epoch"]
        sampler.start = self._position["batches"] * self.batch_size
        return self._loader(records, self.batch_size, sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        records = self.source.split("validation")
        rank, world_size = self._ranks()
        return self._loader(records, self.eval_batch_size, range(rank, len(records), world_size))

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, records: Sequence[Record], batch_size: int, sampler: Any) -> DataLoader[Any]:
        return DataLoader(
            range(len(records)),  # type: ignore[arg-type]
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=Fetch(records, self.collate),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            # A generator of its own: drawing the workers' seeds from the global one would shift
            # every random number after it, and a resumed run would part from an uninterrupted one.
            generator=torch.Generator().manual_seed(self.seed),
            persistent_workers=self.num_workers > 0,
        )

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if isinstance(batch, UserError):
            raise batch
        return batch

    # -- resuming --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Epoch and batches already used, saved in every checkpoint."""
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return {"epoch": self.trainer.current_epoch, "batches": progress.ready}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """An epoch that was finished starts the next one from its first record."""
        epoch, batches = state_dict["epoch"], state_dict["batches"]
        per_epoch = len(self.train_dataloader())
        finished = batches >= per_epoch
        self._position = (
            {"epoch": epoch + 1, "batches": 0} if finished else {"epoch": epoch, "batches": batches}
        )
