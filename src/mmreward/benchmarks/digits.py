"""Questions about handwritten digits that every installation has; see the source of that name."""

from __future__ import annotations

from mmreward.benchmarks.preference import Preference
from mmreward.data.sources.digits import Digits


class DigitsBenchmark(Preference):
    """The 1,038 test records of `Digits`; the settings are its."""

    name = "digits"

    def __init__(self, image_size: int = 56, shift: int = 3, seed: int = 0) -> None:
        super().__init__(Digits(image_size, shift, seed=seed))
