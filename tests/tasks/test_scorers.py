"""Whatever yields preferences is evaluated, controlled, reported and compared alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import image, record, tiny_backbone
from omegaconf import OmegaConf
from rich.console import Console
from torch import Tensor, nn
from without_torch import run

from mmreward.analysis.pairs import pair_tables
from mmreward.benchmarks.base import BenchmarkSet
from mmreward.data.prefix import Collate, PrefixBatch
from mmreward.model.bundle import make_encoder
from mmreward.model.logprobs import answer_logprobs
from mmreward.model.reward import RewardOutput
from mmreward.records import Record
from mmreward.scoring.lines import VERDICTS
from mmreward.scoring.score import ModelRewards
from mmreward.scoring.scorer import Question
from mmreward.scoring.table import read_table
from mmreward.scoring.verdicts import Verdict
from mmreward.tasks.evaluate import evaluate_model

RECORDS = [
    record(0, f"Question {n}?", media=(image(seed=n),), answers=(f"yes  {n}", "no", f"so {n}"))
    for n in range(12)
]
OPTIONS = OmegaConf.create(
    {"conditions": ["intact", "blind_image", "swapped_image", "text_only", "normalised",
                    "untrained"], "batch_size": 8, "batch_tokens": 4096, "num_workers": 0}
)  # fmt: skip


class LogProbs(nn.Module):
    """log π(answer | prompt) of a random language model, as an implicit reward has it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = tiny_backbone("qwen2_vl")
        self.head = nn.Parameter(torch.randn(512, self.backbone.hidden_size) / 8)

    def forward(self, batch: PrefixBatch) -> RewardOutput:
        return RewardOutput(answer_logprobs(self.backbone(batch)[-1], self.head, batch))


class Judge:
    """Calls the longer answer better; where there is no image, the one it is shown first."""

    samples = 2
    conditions = ("intact", "blind_image", "text_only", "normalised")

    def __init__(self, name: str = "judge") -> None:
        self.meta = {"model": name}
        self.asked: list[Any] = []

    def tokens(self, text: str) -> None:
        return None

    def verdicts(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Verdict]]:
        for question in questions:
            self.asked.append((question.shown.record.id, question.key))
            first, second = (
                question.record.responses[n].text for n in (question.key.first, question.key.second)
            )
            longer = 1 if len(first) > len(second) else 2
            yield question, Verdict(longer if question.record.media else 1, text="it is longer")


def evaluated(folder: Path, scorer: Any, records: Sequence[Record] = RECORDS) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return evaluate_model(
        folder, scorer, [BenchmarkSet("questions", records)], OPTIONS, Console(quiet=True)
    )["benchmarks"]["questions"]


def log_probs(seed: int) -> ModelRewards:
    model = LogProbs(seed).eval()
    collate = Collate(make_encoder(model.backbone, None))
    return ModelRewards(model, collate, {"model": f"policy {seed}"}, lambda: LogProbs(seed + 1))


def by_hand(model: LogProbs, one: Record) -> Tensor:
    """Each answer alone behind its prompt: the usual shift by one."""
    collate = Collate(make_encoder(model.backbone, None), "separate")
    batch = collate([one])
    with torch.no_grad():
        logits = model.backbone(batch)[-1] @ model.head.T
    found = torch.log_softmax(logits[:, :-1], -1).gather(2, batch.input_ids[:, 1:, None])[..., 0]
    return (found * (batch.segment_ids[:, 1:] > 0)).sum(1)


def test_log_probabilities_are_rewards(tmp_path: Path) -> None:
    metrics = evaluated(tmp_path, log_probs(3))
    assert set(OPTIONS.conditions) - {"intact"} <= set(metrics["controls"])
    scores = read_table(tmp_path).scores["intact"]
    for one in RECORDS[:3]:
        own = [scores[one.id, answer] for answer in range(3)]
        assert own == pytest.approx(by_hand(LogProbs(3).eval(), one).tolist(), abs=1e-4)


def test_verdicts_in_both_orders_are_preferences(tmp_path: Path) -> None:
    judge = Judge()
    metrics = evaluated(tmp_path, judge)
    # "yes  n" is best and longest, then "no", which is shorter than "so n".
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    # Blind to the images it would say the same; without them it goes by the order: one half.
    assert metrics["controls"]["blind_image"]["accuracy"] == pytest.approx(2 / 3)
    assert metrics["controls"]["text_only"]["accuracy"] == 0.5
    assert not {"swapped_image", "untrained"} & set(metrics["controls"])
    assert metrics["n"] == 3 * len(RECORDS)
    lines = (tmp_path / VERDICTS).read_text().splitlines()
    assert len(lines) == len(judge.asked) == len(set(judge.asked)) == 12 * 6 * 2 * 4
    again = Judge()
    assert evaluated(tmp_path, again) == metrics and not again.asked


def test_an_answer_of_a_judge_is_paid_for_once(tmp_path: Path) -> None:
    whole = evaluated(tmp_path / "whole", Judge())
    judge = Judge()
    plain = judge.verdicts

    def broken(questions: Sequence[Question]) -> Iterator[tuple[Question, Verdict]]:
        for number, found in enumerate(plain(questions)):
            if number == 50:
                raise ConnectionError
            yield found

    judge.verdicts = broken  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        evaluated(tmp_path / "broken", judge)
    again = Judge()
    assert evaluated(tmp_path / "broken", again) == whole
    assert len(again.asked) == 12 * 6 * 2 * 4 - 50


def test_for_more_than_two_answers_the_verdicts_count_not_the_scores(tmp_path: Path) -> None:
    """A circle: every answer wins once, so all scores are one half, yet two of three pairs of the
    ranking are right."""

    class Circle(Judge):
        def verdicts(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Verdict]]:
            for question in questions:
                ahead = (question.key.second - question.key.first) % 3 == 1
                yield question, Verdict(1 if ahead else 2)

    metrics = evaluated(tmp_path, Circle())
    assert set(read_table(tmp_path).scores["intact"].values()) == {0.5}
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    margins = pair_tables(read_table(tmp_path))["questions"].margins["intact"]
    assert sorted(margins[:3]) == [-1, 1, 1]


def test_all_kinds_are_compared_pair_by_pair(tmp_path: Path) -> None:
    evaluated(tmp_path / "policy", log_probs(3))
    evaluated(tmp_path / "judge", Judge())
    out = tmp_path / "out"
    tables = f"tables=[{tmp_path}/policy,{tmp_path}/judge]"
    done = run("task=compare", tables, f"hydra.run.dir={out}")
    assert done.returncode == 0, done.stderr
    runs = json.loads((out / "comparison.json").read_text())["benchmarks"]["questions"]["runs"]
    assert runs["judge"]["metrics"]["accuracy"] == pytest.approx(2 / 3)
    assert runs["judge"]["difference"]["half"]["ci95"] is not None
    for folder in (tmp_path / "policy", tmp_path / "judge", out):
        assert (folder / "report.html").is_file()


@pytest.mark.parametrize("scores", ["there", "deleted"])
def test_verdicts_of_two_judges_do_not_mix(tmp_path: Path, scores: str) -> None:
    """Nor those of one that was killed before it had a score, or whose scores were deleted."""
    evaluated(tmp_path, Judge())
    if scores == "deleted":
        (tmp_path / "scores.jsonl").unlink()
    with pytest.raises(ValueError, match=r"model='judge'.*verdicts\.jsonl"):
        evaluated(tmp_path, Judge("another"))
