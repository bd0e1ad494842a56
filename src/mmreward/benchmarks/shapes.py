"""Questions about rendered scenes, two to four answers; see the source of that name."""

from __future__ import annotations

from mmreward.benchmarks.preference import Preference
from mmreward.data.sources.shapes import Shapes


class ShapesBenchmark(Preference):
    """The test records of `Shapes`; the settings are its."""

    name = "shapes"

    def __init__(self, test_records: int = 1000, image_size: int = 84, seed: int = 0) -> None:
        super().__init__(Shapes(test_records=test_records, image_size=image_size, seed=seed))
