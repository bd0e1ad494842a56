"""Records that turn out to be unusable only when they are encoded.

A broken end of an image and a length that no cut can save show then, in a data worker, in the
middle of an epoch: `SkippingCollate` leaves such records out of training. An evaluated set must
not shrink while it is being scored: `encodable` sorts it before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmreward.data.bad_records import BadRecord, append_bad_records
from mmreward.data.encoding import Encoder
from mmreward.data.prefix import Collate, PrefixBatch
from mmreward.records import Message, Record, RecordError, Response

# Stands in a batch of which nothing is left: no pairs, no ties, no weight.
NOTHING = Record(
    messages=(Message("user", ("-",)),),
    responses=(Response("-", 0), Response("--", 0)),  # of one rank, so that they rank nothing
    judged=(),
    weight=0.0,
)


class SkippingCollate:
    """A collate that leaves out records which cannot be encoded, and lists them.

    collate: makes the batches
    folder:  run folder, whose bad_records.jsonl gets a line for each such record; workers and
             ranks each add theirs, so the same line may stand there more than once
    """

    def __init__(self, collate: Collate, folder: Path) -> None:
        self.collate = collate
        self.folder = folder
        self._listed: set[str] = set()  # met again in every epoch

    def __call__(self, records: Sequence[Record]) -> PrefixBatch:
        encoder = self.collate.encoder
        encoded = []
        for record in records:
            try:
                encoded.append(encoder.encode(record))
            except RecordError as error:
                bad = _bad(record, error)
                if bad.where not in self._listed:
                    self._listed.add(bad.where)
                    append_bad_records(self.folder, [bad])
        return self.collate.batch(encoded or [encoder.encode(NOTHING)])


def encodable(records: Sequence[Record], encoder: Encoder) -> tuple[list[Record], list[BadRecord]]:
    """(the records that can be encoded, the others and why). Encodes every record once."""
    good, bad = [], []
    for record in records:
        try:
            encoder.encode(record)
        except RecordError as error:
            bad.append(_bad(record, error))
        else:
            good.append(record)
    return good, bad


def _bad(record: Record, error: RecordError) -> BadRecord:
    return BadRecord(record.name, str(error).removeprefix(f"{record.name}: "))
