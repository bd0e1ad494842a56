"""Questions about rendered scenes, two to four answers; see the source of that name."""

from __future__ import annotations

from mmreward.benchmarks.base import BenchmarkSet
from mmreward.data.sources.base import Source
from mmreward.data.sources.shapes import Shapes


class ShapesBenchmark:
    """The test records of `Shapes`; the settings are its."""

    name = "shapes"

    def __init__(self, test_records: int = 1000, image_size: int = 84, seed: int = 0) -> None:
        self.source = Shapes(test_records=test_records, image_size=image_size, seed=seed)

    def load(self, own: Source) -> BenchmarkSet:
        records = list(self.source.through(own.transform).split("test"))
        return BenchmarkSet(self.name, records, images=own.transform.tested_images)
