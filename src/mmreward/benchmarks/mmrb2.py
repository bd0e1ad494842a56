"""Multimodal RewardBench 2 (Hu et al., arXiv:2512.16899): 1,000 pairs in each of four tasks.

Answers are text and images. A reward model that reads text answers can score only the pairs
without an image in either: none of text-to-image and image editing, few of interleaved, 350 of
reasoning. The others are counted as unusable, and the overall number is no MMRB2 result.

Rows are those of the hub ({pair_id, prompt_text, prompt_images, response_a_text,
response_a_images, …, chosen}, <image_N> in the text, counted from 0) or of the repository's
t2i.json, edit.json, interleaved.json, reasoning.json ({id, prompt_content: [[kind, content]],
response_a: {response_content: …}, …, chosen}).

The official script (compute_accuracy.py) takes the mean over a judge's verdicts in both orders;
equal scores count one half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreward.analysis.official import Metric, accuracies, categories_of
from mmreward.benchmarks.base import RowBenchmark, RowCounts, identity
from mmreward.benchmarks.files import find_files, open_file
from mmreward.benchmarks.media import MediaFiles
from mmreward.data.cells import answer_of, text_of
from mmreward.data.images import Part, place_images, refused, split_placeholders
from mmreward.data.sources.tables import Rows
from mmreward.errors import UserError
from mmreward.records import Media, Record, RecordError, Response

if TYPE_CHECKING:
    from mmreward.analysis.pairs import PairTable

NAMES = {
    "t2i": "Text-to-image",
    "edit": "Image editing",
    "interleaved": "Interleaved",
    "reasoning": "Reasoning",
}
CHOSEN = {"A": (0, 1), "B": (1, 0)}


class TaskRows:
    """The rows of one task, which their file's name tells and they do not."""

    def __init__(self, rows: Rows, task: str) -> None:
        self.rows = rows
        self.task = task

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return {**self.rows[index], "task": self.task}

    def where(self, index: int) -> str:
        return self.rows.where(index)


class MMRB2(RowBenchmark):
    """rows:  numbers of rows that are accepted in each task
    tasks: which of t2i, edit, interleaved, reasoning
    The others: see `RowBenchmark`.
    """

    name = "mmrb2"
    image_column = "prompt_images"

    def __init__(
        self,
        path: str | None = None,
        hub: str | None = None,
        revision: str | None = None,
        rows: RowCounts = None,
        image_root: str | None = None,
        images: str | None = None,
        tasks: Sequence[str] = tuple(NAMES),
    ) -> None:
        super().__init__(path, hub, revision, rows, image_root, images)
        unknown = [task for task in tasks if task not in NAMES]
        if unknown or not tasks:
            raise UserError(
                f"{self.key}.tasks={list(tasks)} should name some of {', '.join(NAMES)}"
            )
        self.tasks = tuple(dict.fromkeys(tasks))
        self.hub_files = tuple(f"{task}/*.parquet" for task in self.tasks)

    def tables(self, path: Path) -> list[tuple[Path, Rows]]:
        found: list[tuple[Path, Rows]] = []
        if path.is_file() and len(self.tasks) > 1:
            raise UserError(
                f"{self.key}.path={path} is one file; give the folder with the files of "
                f"{', '.join(self.tasks)}, or {self.key}.tasks=[…] with the file's own task"
            )
        for task in self.tasks:
            kinds = (f"{task}/*.parquet", f"{task}*.parquet", f"{task}.jsonl", f"{task}.json")
            files = find_files(path, kinds, self.key)
            found += [(file, TaskRows(open_file(file), task)) for file in files]
        return found

    def check_rows(self, tables: Sequence[tuple[Path, Rows]]) -> None:
        for task in self.tasks:
            rows = [r for _, r in tables if isinstance(r, TaskRows) and r.task == task]
            self.check_count(sum(map(len, rows)), f"{task} in {self.path or self.hub}")

    def category(self, row: Mapping[str, Any]) -> str:
        return str(row["task"])

    def record(self, row: Mapping[str, Any], media: MediaFiles) -> Record:
        ranks = CHOSEN.get(str(row.get("chosen")).upper())
        if ranks is None:
            raise RecordError(f"chosen is {row.get('chosen')!r}, neither A nor B")
        answers = [_answer(row, side) for side in ("a", "b")]
        messages, shown = place_images([("user", _prompt(row, media))], ())
        return Record(
            messages=messages,
            responses=tuple(
                Response(answer_of(text, number), rank)
                for number, (text, rank) in enumerate(zip(answers, ranks, strict=True))
            ),
            media=shown,
            source_id=identity(row, "pair_id") or identity(row),
        )


def _answer(row: Mapping[str, Any], side: str) -> Any:
    """The text of response a or b; RecordError if it holds an image."""
    nested = row.get(f"response_{side}")
    if isinstance(nested, Mapping):
        parts = _parts(nested.get("response_content"), f"response_{side}")
        if any(kind == "image" for kind, _ in parts):
            raise RecordError("an answer holds images, which no model here reads")
        return "\n\n".join(text_of(text, f"response_{side}") for _, text in parts)
    if row.get(f"response_{side}_images"):
        raise RecordError("an answer holds images, which no model here reads")
    return row.get(f"response_{side}_text")


def _prompt(row: Mapping[str, Any], media: MediaFiles) -> list[Part]:
    if "prompt_content" in row:
        parts: list[Part] = []
        for kind, content in _parts(row["prompt_content"], "prompt_content"):
            if kind == "text":
                parts.append(text_of(content, "the prompt"))
            else:
                parts += media.images(content)
        return parts
    pieces = split_placeholders(text_of(row.get("prompt_text"), "the prompt"))
    return _placed(pieces, media.images(row.get("prompt_images")))


def _placed(pieces: Sequence[Part], images: Sequence[Media]) -> list[Part]:
    """Text with the images where their numbers stand, counted from 0 or 1; those that no
    placeholder names come last. A placeholder without an image makes one that is refused."""
    names = [piece[0] for piece in pieces if isinstance(piece, tuple)]
    numbers = [int(name) for name in names] if all(names) else list(range(len(names)))
    left = dict(enumerate(images, 0 if not numbers or 0 in numbers else 1))
    if len(set(numbers)) < len(numbers) or not set(numbers) <= set(left):
        why = f"its prompt places the images {numbers}, but it has {len(images)} of them"
        return [*(piece for piece in pieces if isinstance(piece, str)), refused(why)]
    waiting = iter(numbers)
    placed = [left.pop(next(waiting)) if isinstance(piece, tuple) else piece for piece in pieces]
    return [*placed, *left.values()]


def _parts(content: Any, what: str) -> list[tuple[str, Any]]:
    try:
        return [(str(kind), part) for kind, part in content]
    except (TypeError, ValueError):
        raise RecordError(f"{what} is not a list of [kind, content]") from None


def official(table: PairTable, column: str) -> list[Metric]:
    """The script's overall accuracy, the mean of the four tasks (only if all are there), each."""
    return accuracies(table, column, categories_of(table), NAMES, strict=False)
