"""Questions about handwritten digits that every installation has; see the source of that name."""

from __future__ import annotations

from mmreward.benchmarks.base import BenchmarkSet
from mmreward.data.sources.base import Source
from mmreward.data.sources.digits import Digits


class DigitsBenchmark:
    """The 1,038 test records of `Digits`; the settings are its."""

    name = "digits"

    def __init__(self, image_size: int = 56, shift: int = 3, seed: int = 0) -> None:
        self.source = Digits(image_size, shift, seed=seed)

    def load(self, own: Source) -> BenchmarkSet:
        records = list(self.source.through(own.transform).split("test"))
        return BenchmarkSet(self.name, records, images=own.transform.tested_images)
