"""Multimodal RewardBench (Yasunaga, Zettlemoyer and Ghazvininejad, arXiv:2502.14191).

Rows are {ID, Category, Text, Image, Output1, Output2, Better}. The paper has 5,211; 500 about
hateful memes could not be released, so that everybody else has 4,711. The repository rebuilds
images by row number from third parties' data sets, which pairs them wrongly once those change.

The official script (scripts/2_get_accuracy.py) prints the accuracy over all and per category, with
safety and reasoning divided by the id. It tosses a coin for a judge without a verdict: equal scores
count one half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmreward.analysis.official import Metric, accuracies, categories_of
from mmreward.benchmarks.base import RowBenchmark, identity, text_record
from mmreward.benchmarks.files import FILES
from mmreward.benchmarks.media import MediaFiles
from mmreward.records import Record, RecordError

if TYPE_CHECKING:
    from mmreward.analysis.pairs import PairTable

BETTER = {"Output1": (0, 1), "Output2": (1, 0)}

# The columns of the published table. What a category's name holds -> key, name.
AREAS = {
    "correctness": ("general_correctness", "General correctness"),
    "preference": ("general_preference", "General preference"),
    "knowledge": ("knowledge", "Knowledge"),
    "reasoning": ("reasoning", "Reasoning"),
    "safety": ("safety", "Safety"),
    "vqa": ("vqa", "VQA"),
}
PARTS = {
    "reasoning/math": "Reasoning, math",
    "reasoning/coding": "Reasoning, coding",
    "safety/bias": "Safety, bias",
    "safety/toxicity": "Safety, toxicity",
}


def script_category(category: str, source_id: str) -> str:
    """What the official script prints the row under."""
    name = source_id.lower()
    if category == "safety":
        return "safety/bias" if name.startswith("pairs") else "safety/toxicity"
    if category == "reasoning":
        return "reasoning/math" if name.startswith("math") else "reasoning/coding"
    return category


class MultimodalRewardBench(RowBenchmark):
    """Settings: see `RowBenchmark`."""

    name = "multimodal_rewardbench"
    files = ("all_data.json", "data/all_data.json", *FILES)
    image_column = "Image"

    def category(self, row: Mapping[str, Any]) -> str:
        return script_category(str(row.get("Category") or ""), identity(row, "ID"))

    def record(self, row: Mapping[str, Any], media: MediaFiles) -> Record:
        ranks = BETTER.get(str(row.get("Better")))
        if ranks is None:
            raise RecordError(f"Better is {row.get('Better')!r}, neither Output1 nor Output2")
        images = media.images(row.get("Image"), "it has no image")
        answers = [row.get("Output1"), row.get("Output2")]
        return text_record(row.get("Text"), answers, ranks, images, identity(row, "ID"))


def official(table: PairTable, column: str) -> list[Metric]:
    """Accuracy over all, per area of the paper, and per part that the script prints."""
    categories = categories_of(table)
    areas = np.array([_area(category) for category in categories])
    names = dict(AREAS.values())
    parts = [
        metric
        for metric in accuracies(table, column, categories, PARTS, strict=False)
        if metric.key in PARTS
    ]
    return accuracies(table, column, areas, names, strict=False) + parts


def _area(category: str) -> str:
    return next((key for part, (key, _) in AREAS.items() if part in category.lower()), "")
