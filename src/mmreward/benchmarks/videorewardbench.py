"""VideoRewardBench (Zhang et al., arXiv:2509.00484): pairs of answers about 1,482 videos.

A video is shown as its frames: a folder of images with the video's name, with or without suffix.
No video is decoded here; rows without frames are counted as unusable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmreward.analysis.official import Metric, accuracies, categories_of
from mmreward.benchmarks.base import RowBenchmark, RowCounts, identity, text_record
from mmreward.benchmarks.media import MediaFiles
from mmreward.errors import UserError
from mmreward.records import Record, RecordError

if TYPE_CHECKING:
    from mmreward.analysis.pairs import PairTable

COLUMNS = {name: name for name in ("id", "prompt", "video", "chosen", "rejected", "category")}
# What a row's category holds -> what it is reported by.
CATEGORIES = {
    "long": "perception_long",
    "short": "perception_short",
    "knowledge": "knowledge",
    "reason": "reasoning",
    "safe": "safety",
}
NAMES = {
    "perception_long": "Perception, long-form",
    "perception_short": "Perception, short-form",
    "knowledge": "Knowledge",
    "reasoning": "Reasoning",
    "safety": "Safety",
}


class VideoRewardBench(RowBenchmark):
    """frames:  most frames of a video, evenly spaced; None: all
    columns: field -> column of id, prompt, video, chosen, rejected, category
    The others: see `RowBenchmark`.
    """

    name = "videorewardbench"
    roots = (".", "videos", "frames")

    def __init__(
        self,
        path: str | None = None,
        hub: str | None = None,
        revision: str | None = None,
        rows: RowCounts = None,
        image_root: str | None = None,
        images: str | None = None,
        frames: int | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(path, hub, revision, rows, image_root, images)
        if frames is not None and frames < 1:
            raise UserError(f"{self.key}.frames={frames} must be at least 1, or null for all")
        self.frames = frames
        self.columns = {**COLUMNS, **(columns or {})}

    def category(self, row: Mapping[str, Any]) -> str:
        given = str(row.get(self.columns["category"]) or "")
        return next((to for part, to in CATEGORIES.items() if part in given.lower()), given)

    def group(self, row: Mapping[str, Any]) -> str:
        return str(row.get(self.columns["video"]) or "")

    def record(self, row: Mapping[str, Any], media: MediaFiles) -> Record:
        for field in ("prompt", "chosen", "rejected"):
            if self.columns[field] not in row:
                raise RecordError(
                    f"it has no column {self.columns[field]!r}; {self.key}.columns.{field} names "
                    "another"
                )
        cell = row.get(self.columns["video"])
        answers = [row[self.columns["chosen"]], row[self.columns["rejected"]]]
        return text_record(
            row[self.columns["prompt"]],
            answers,
            (0, 1),
            media.video(cell),
            identity(row, self.columns["id"]),
        )


def official(table: PairTable, column: str) -> list[Metric]:
    """Overall, macro average and the five dimensions; equal scores count one half."""
    return accuracies(table, column, categories_of(table), NAMES, strict=False)
