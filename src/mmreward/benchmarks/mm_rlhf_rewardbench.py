"""MM-RLHF-RewardBench (Zhang et al., arXiv:2502.10391).

Rows are {id, prompt, chosen, rejected} with an `image` or a `video` (a folder of frames). An id is
no key: it names a group of two to six pairs about one image, and Acc+ counts whole groups. 170
pairs in 46 groups, so ±7 points of Acc and ±14 of Acc+ are noise at 95 %.

The official script (cal_performance_mmreweard_bench.py) counts equal scores as wrong. Acc+ of a
random scorer depends on what is drawn: 18.8 % for a score per answer, 11.2 % for a coin per pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmreward.analysis.official import WRONG, Metric, categories_of
from mmreward.benchmarks.base import RowBenchmark, RowCounts, identity, text_record
from mmreward.benchmarks.files import FILES
from mmreward.benchmarks.media import MediaFiles
from mmreward.data.sources.tables import Rows
from mmreward.errors import UserError
from mmreward.records import Record, RecordError

if TYPE_CHECKING:
    from mmreward.analysis.pairs import PairTable

ROWS, GROUPS = 170, 46
# A row belongs to the first that its path holds.
CATEGORIES = ("mcq", "long", "short", "safety", "video")


class MMRLHFRewardBench(RowBenchmark):
    """frames: most frames of a video, evenly spaced; None: all. The others: see `RowBenchmark`."""

    name = "mm_rlhf_rewardbench"
    files = ("mm_reward_bench.jsonl", "data/train-*.parquet", *FILES)
    hub_files = ("mm_reward_bench.jsonl", "images/*")
    roots = (".", "images")
    whole_groups = True

    def __init__(
        self,
        path: str | None = None,
        hub: str | None = None,
        revision: str | None = None,
        rows: RowCounts = None,
        image_root: str | None = None,
        images: str | None = None,
        frames: int | None = None,
    ) -> None:
        super().__init__(path, hub, revision, rows, image_root, images)
        if frames is not None and frames < 1:
            raise UserError(f"{self.key}.frames={frames} must be at least 1, or null for all")
        self.frames = frames

    def check_rows(self, tables: Sequence[tuple[Path, Rows]]) -> None:
        super().check_rows(tables)
        ids = [_identity(rows, index) for _, rows in tables for index in range(len(rows))]
        if len(ids) == ROWS and len(set(ids)) != GROUPS:
            raise UserError(
                f"{self.path or self.hub} has {ROWS} pairs in {len(set(ids))} groups of one id, "
                f"{self.name} has {GROUPS}; give an unchanged copy, Acc+ counts those groups"
            )

    def category(self, row: Mapping[str, Any]) -> str:
        image = row.get("image")
        image = image.get("path") if isinstance(image, Mapping) else image
        path = f"{image or ''} {row.get('video') or ''}"
        return next((name for name in CATEGORIES if name in path), "")

    def group(self, row: Mapping[str, Any]) -> str:
        return identity(row)

    def record(self, row: Mapping[str, Any], media: MediaFiles) -> Record:
        if row.get("video"):
            # The hub keeps its frames beside the images' folders, without the rows' video/.
            shown = media.video(row["video"], "video/")
        else:
            shown = media.images(row.get("image"), "it has neither image nor video")
        answers = [row.get("chosen"), row.get("rejected")]
        return text_record(row.get("prompt"), answers, (0, 1), shown, identity(row))


def _identity(rows: Rows, index: int) -> str:
    try:
        return identity(rows[index])
    except RecordError as error:  # which group it belongs to is unknown, and so is Acc+
        raise UserError(f"{rows.where(index)}: {error}; give an unchanged copy") from None


def official(table: PairTable, column: str) -> list[Metric]:
    """Acc and Acc+, over all and per category."""
    margins = table.margins[column].to_numpy()
    categories = categories_of(table)
    groups = table.pairs["cluster"].to_numpy()
    found = []
    for name in (None, *CATEGORIES):
        here = np.ones(len(margins), dtype=bool) if name is None else categories == name
        if here.any():
            found += _accuracies(margins[here], groups[here], name)
    return found


def _accuracies(
    margins: np.ndarray[Any, np.dtype[np.float64]],
    groups: np.ndarray[Any, np.dtype[Any]],
    category: str | None,
) -> list[Metric]:
    right = (margins > 0).astype(float)
    names, index = np.unique(groups, return_inverse=True)
    whole = np.ones(len(names))
    np.minimum.at(whole, index, right)
    suffix, end = (f"_{category}", f", {category}") if category else ("", "")
    half = (np.sign(margins) + 1) / 2
    headline = category is None
    return [
        Metric(
            f"acc{suffix}", f"Acc{end}", right, groups, ties=WRONG, half=half, headline=headline
        ),
        Metric(
            f"acc_plus{suffix}", f"Acc+{end}", whole, names,
            unit="groups", ties=WRONG, headline=headline,
        ),
    ]  # fmt: skip
