"""The test split of the run's own data, or of any other source."""

from __future__ import annotations

from mmreward.benchmarks.base import BenchmarkSet
from mmreward.data.sources.base import SPLITS, Source
from mmreward.errors import UserError

# Validation records that are scored at most: one number, the temperature, is fitted on them, and
# splits of a hundred thousand exist.
FOR_TEMPERATURE = 2000


class Preference:
    """Held-out preferences.

    source: another source than the run's
    split:  train, validation, test, or all of them one after another

    The set has the source's name, with the split's after it if it is another one than test of the
    run's own data.
    """

    name = "preference"

    def __init__(self, source: Source | None = None, split: str = "test") -> None:
        if split not in (*SPLITS, "all"):
            raise UserError(
                f"benchmark.preference.split={split} should be {', '.join(SPLITS)} or all"
            )
        self.source = source
        self.splits = SPLITS if split == "all" else tuple(s for s in SPLITS if s == split)

    def load(self, own: Source) -> BenchmarkSet:
        source = self.source.through(own.transform) if self.source else own
        records = [record for split in self.splits for record in source.split(split)]
        if not records:
            raise UserError(
                f"the {' and '.join(self.splits)} split of {source.name} is empty; give "
                "data.source one to score, or leave preference out of benchmark"
            )
        if self.source is not None:
            return BenchmarkSet(source.name, records, images=own.transform.tested_images)
        if self.splits != ("test",):  # beside the test split, which has the plain name
            name = f"{source.name}-{'all' if len(self.splits) > 1 else self.splits[0]}"
            return BenchmarkSet(name, records, images=own.transform.tested_images, strict=True)
        validation = own.split("validation")
        step = max(1, -(-len(validation) // FOR_TEMPERATURE))
        return BenchmarkSet(
            source.name,
            records,
            images=own.transform.tested_images,
            strict=True,
            validation=[validation[i] for i in range(0, len(validation), step)],
        )
