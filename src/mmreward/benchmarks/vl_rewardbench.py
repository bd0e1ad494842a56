"""VL-RewardBench (Li et al., arXiv:2411.17451): which of two answers about an image is better.

Rows are {id, query, response: [2], image, human_ranking} as on the hub, or {id, prompt, chosen,
rejected, image} as in the text copy of the R1-Reward repository. 25 ids are used twice, five rows
differ in nothing but the image, and the preferred answer comes first in 1,245 of 1,250: whatever
sees the order of the answers can use that.

The category is decided by the id's prefix, as in the official cal.py. Two other splits are in
circulation and make tables incomparable: the one that cal.py had before its correction of April
2025, and that of R1-Reward's get_acc.py, which looks for "rlhf" and "rlaif" in lower case where the
ids have capitals. The official script counts votes of a judge; scores of a reward model are right
where the preferred answer's is higher, so equal scores are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmreward.analysis.official import Metric, accuracies, categories_of, source_ids
from mmreward.benchmarks.base import RowBenchmark, identity, text_record
from mmreward.benchmarks.media import MediaFiles
from mmreward.records import Record, RecordError

if TYPE_CHECKING:
    from mmreward.analysis.pairs import PairTable

NAMES = {"general": "General", "hallucination": "Hallucination", "reasoning": "Reasoning"}
REASONING = ("mathverse", "mmmu")
VARIANTS = {
    "": "official split, 183/749/318",
    "r1": "split of R1-Reward's script, 484/448/318",
    "old": "split before April 2025, 631/301/318",
}


def official_split(source_id: str) -> str:
    """hallucination_pair-1003 -> hallucination, wildvision-… -> general"""
    prefix = re.split("[_-]", source_id, maxsplit=1)[0]
    if prefix in REASONING:
        return "reasoning"
    return "hallucination" if prefix in ("hallucination", "RLAIF", "RLHF") else "general"


def r1_split(source_id: str) -> str:
    """As R1-Reward's inference/VL-Reward-Bench/get_acc.py, case and all."""
    if any(name in source_id for name in REASONING):
        return "reasoning"
    named = any(name in source_id for name in ("hallucination", "rlhf", "rlaif"))
    return "hallucination" if named else "general"


def old_split(source_id: str) -> str:
    """POVID's rows (hallucination_…) under general."""
    if source_id.startswith("hallucination"):
        return "general"
    return official_split(source_id)


OTHER_SPLITS: dict[str, Callable[[str], str]] = {"r1": r1_split, "old": old_split}


class VLRewardBench(RowBenchmark):
    """Settings: see `RowBenchmark`."""

    name = "vl_rewardbench"
    hub_files = ("data/test-*.parquet",)
    roots = (".", "images")

    def category(self, row: Mapping[str, Any]) -> str:
        return official_split(identity(row))

    def record(self, row: Mapping[str, Any], media: MediaFiles) -> Record:
        images = media.images(row.get("image"), "it has no image")
        if "response" not in row:
            answers = [row.get("chosen"), row.get("rejected")]
            return text_record(row.get("prompt"), answers, (0, 1), images, identity(row))
        answers, ranks = row["response"], row.get("human_ranking")
        if not isinstance(answers, list) or len(answers) != 2 or ranks not in ([0, 1], [1, 0]):
            raise RecordError("it has no two answers with the ranks 0 and 1")
        return text_record(row.get("query"), answers, ranks, images, identity(row))


def official(table: PairTable, column: str) -> list[Metric]:
    """Overall, macro average and the three categories, in each of the three splits.

    Splits other than the official one are derived from the ids, where the table has them.
    """
    found = accuracies(table, column, categories_of(table), NAMES, strict=True)
    ids = source_ids(table)
    if not all(ids):
        return found
    for variant, split in OTHER_SPLITS.items():
        labels = np.array([split(name) for name in ids])
        # Overall and reasoning are the same in all.
        found += [
            metric
            for metric in accuracies(table, column, labels, NAMES, strict=True, variant=variant)
            if metric.key in ("macro", "general", "hallucination")
        ]
    return found
