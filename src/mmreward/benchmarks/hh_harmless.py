"""The harmless-base test transcripts of HH-RLHF (Bai et al., arXiv:2204.05862): text only.

Its number is the accuracy on pairs; there is no script of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmreward.benchmarks.base import RowBenchmark
from mmreward.benchmarks.files import FILES
from mmreward.benchmarks.media import MediaFiles
from mmreward.data.sources.hh_rlhf import Transcripts
from mmreward.records import Record


class HHHarmless(RowBenchmark):
    """Settings: see `RowBenchmark`. Both transcripts are cut at their last "Assistant:"."""

    name = "hh_harmless"
    files = ("harmless-base/test.jsonl.gz", "test.jsonl.gz", *FILES)
    hub_files = ("harmless-base/test.jsonl.gz",)
    image_column = None

    def record(self, row: Mapping[str, Any], media: MediaFiles) -> Record:
        return Transcripts().record(row)
