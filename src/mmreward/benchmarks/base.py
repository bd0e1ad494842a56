"""What every benchmark offers, and what those that are read from rows have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mmreward.benchmarks.files import FILES, download, find_files, open_file
from mmreward.benchmarks.media import MediaFiles, cell_name
from mmreward.data.bad_records import BadRecord, reasons
from mmreward.data.cells import answer_of, text_of
from mmreward.data.row_checks import check_number_of_answers, implied_group
from mmreward.data.sources.base import Source
from mmreward.data.sources.tables import Rows
from mmreward.errors import UserError
from mmreward.records import Media, Message, Record, RecordError, Response

RowCounts = int | Sequence[int] | None
IMAGES = ("keep", "drop")


@dataclass(frozen=True)
class Unusable(BadRecord):
    """A row that cannot be scored, and what it would have belonged to."""

    category: str = ""
    group: str = ""


@dataclass(frozen=True)
class BenchmarkSet:
    """What a benchmark gives to be scored.

    name:     what it is called in records.jsonl; its module, if it has one, has the same name
    records:  in the order of the rows
    unusable: the rows that are no records
    expected: numbers of rows that benchmark.<name>.rows accepts; empty: any
    images:   "keep" or "drop"
    origin:   where the rows are from: path, or hub and revision
    strict:   an unreadable record is an error, as among the run's own data
    validation: records of its validation split, to fit a temperature on
    whole_groups: a group without one of its rows is not scored at all
    """

    name: str
    records: Sequence[Record]
    unusable: Sequence[Unusable] = ()
    expected: Sequence[int] = ()
    images: str = "keep"
    origin: Mapping[str, str | None] = field(default_factory=dict)
    strict: bool = False
    whole_groups: bool = False
    validation: Sequence[Record] = ()

    @property
    def n_rows(self) -> int:
        return len(self.records) + len(self.unusable)

    def without(self, bad: Mapping[int, str]) -> BenchmarkSet:
        """The set without some of its records; bad: {place in `records`: why}."""
        why = dict(bad)
        if self.whole_groups:
            torn = {row.group for row in self.unusable} | {self.records[i].group for i in bad}
            for place, record in enumerate(self.records):
                if record.group in torn:
                    why.setdefault(place, "another row of its group cannot be used")
        dropped = []
        for place in sorted(why):
            record = self.records[place]
            reason = why[place].removeprefix(f"{record.name}: ")
            dropped.append(Unusable(record.name, reason, record.category, record.group))
        kept = [record for place, record in enumerate(self.records) if place not in why]
        return replace(self, records=kept, unusable=[*self.unusable, *dropped])

    def info(self, conditions: Sequence[str]) -> dict[str, Any]:
        """What scores.meta.json keeps of it, scored under these conditions; see
        mmreward.scoring.table."""
        by_category: dict[str, list[Unusable]] = {}
        for row in self.unusable:
            by_category.setdefault(row.category, []).append(row)
        return {
            "rows": self.n_rows,
            "expected": list(self.expected),
            "images": self.images,
            "conditions": list(conditions),
            **self.origin,
            "unusable": [
                {"category": category, "reason": reason, "n": count, "example": example}
                for category, bad in by_category.items()
                for reason, (count, example) in reasons(bad).items()
            ],
        }


class Benchmark(Protocol):
    """A set with a name of its own that runs are scored on.

    `load` gets the run's own data, whose transform (data.images, data.prompt_template) holds for
    every benchmark too. Raises UserError for rows that are not
    there or are not as many as the benchmark has; rows that cannot be used are counted.
    """

    name: str

    def load(self, own: Source) -> BenchmarkSet: ...


class RowBenchmark(ABC):
    """A benchmark in files of its own.

    path:       local copy: a file (.parquet, .jsonl, .jsonl.gz, .json) or the folder of a download
    hub:        id on the Hugging Face hub, used without a path
    revision:   commit there
    rows:       numbers of rows that are accepted; None: any
    image_root: folder that paths of images start from; that of the rows if None
    images:     "keep", "drop" (score the text alone), or None for what the run does
    """

    name: ClassVar[str]
    # Searched for in a folder, in this order.
    files: ClassVar[Sequence[str]] = FILES
    # Fetched from the hub; here a * stands for folders too.
    hub_files: Sequence[str] = FILES
    # Folders beside the rows, relative to theirs, that paths of images may start from.
    roots: ClassVar[Sequence[str]] = (".",)
    image_column: ClassVar[str | None] = "image"
    whole_groups: ClassVar[bool] = False
    frames: int | None = None  # of a video

    def __init__(
        self,
        path: str | None = None,
        hub: str | None = None,
        revision: str | None = None,
        rows: RowCounts = None,
        image_root: str | None = None,
        images: str | None = None,
    ) -> None:
        self.key = f"benchmark.{self.name}"
        if images not in (None, *IMAGES):
            raise UserError(f"{self.key}.images={images} should be keep, drop or null")
        self.path, self.hub, self.revision = path, hub, revision
        self.rows = () if rows is None else (rows,) if isinstance(rows, int) else tuple(rows)
        self.image_root, self.images = image_root, images

    @abstractmethod
    def record(self, row: Mapping[str, Any], media: MediaFiles) -> Record:
        """The row's record. Raises RecordError; what is wrong with images shows when they are
        looked at, which nobody does where they are dropped."""

    def category(self, row: Mapping[str, Any]) -> str:
        """What the row is reported by; must not fail."""
        return ""

    def group(self, row: Mapping[str, Any]) -> str:
        """Rows that stand or fall together; "" for those about one image, or of one prompt."""
        return ""

    def tables(self, path: Path) -> list[tuple[Path, Rows]]:
        """The benchmark's files, opened."""
        return [(file, open_file(file)) for file in find_files(path, self.files, self.key)]

    def check_rows(self, tables: Sequence[tuple[Path, Rows]]) -> None:
        """UserError if there are not as many rows as the benchmark has."""
        self.check_count(sum(len(rows) for _, rows in tables), str(self.path or self.hub))

    def check_count(self, count: int, where: str) -> None:
        if self.rows and count not in self.rows:
            expected = " or ".join(f"{n:,}" for n in self.rows)
            raise UserError(
                f"{where} has {count:,} rows, {self.name} has {expected}; give the whole of it, or "
                f"{self.key}.rows={count} to score what is there (not comparable with published "
                "numbers)"
            )

    def load(self, own: Source) -> BenchmarkSet:
        transform = own.transform
        if self.images:
            transform = replace(transform, images=self.images)
        path = (
            Path(self.path)
            if self.path
            else download(str(self.hub), self.revision, self.hub_files, self.key)
        )
        tables = self.tables(path)
        self.check_rows(tables)
        records, unusable = [], []
        for file, rows in tables:
            media = self._media(path, file)
            for index in range(len(rows)):
                where, category, group = rows.where(index), "", ""
                try:
                    row = rows[index]
                    category, group = self.category(row), self.group(row)
                    record = self.record(row, media)
                    check_number_of_answers(record)
                    record = replace(record, category=category, group=group, where=where)
                    record = transform(record, "test")
                    for one in record.media:
                        _ = one.size  # that it is there and its header can be read
                    group = group or self._implied_group(record, row)
                    records.append(replace(record, group=group))
                except RecordError as error:
                    reason = str(error).removeprefix(f"{where}: ")
                    unusable.append(Unusable(where, reason, category, group))
        return BenchmarkSet(
            name=self.name,
            records=records,
            unusable=unusable,
            expected=self.rows,
            # It may have none to drop.
            images=transform.tested_images if self.image_column else "keep",
            origin=self._origin(path),
            whole_groups=self.whole_groups,
        ).without({})

    def _origin(self, path: Path) -> dict[str, str | None]:
        return {"path": str(path)} if self.path else {"hub": self.hub, "revision": self.revision}

    def _implied_group(self, record: Record, row: Mapping[str, Any]) -> str:
        cell = cell_name(row.get(self.image_column)) if self.image_column else ""
        return implied_group(record) if record.media or not cell else cell

    def _media(self, path: Path, file: Path) -> MediaFiles:
        folder = file.parent if path == file else path
        bases = [folder, file.parent]
        if self.image_root:
            folder = Path(self.image_root)
            bases = [folder]
        roots = dict.fromkeys(base / root for base in bases for root in self.roots)
        return MediaFiles(folder, list(roots), self.frames, f"{self.key}.image_root")


def text_record(
    prompt: Any,
    answers: Sequence[Any],
    ranks: Sequence[int],
    media: Sequence[Media] = (),
    source_id: str = "",
) -> Record:
    """One user turn, its images before its text, and the answers with their ranks (0 is best).

    The text stays as it is: an <image 2> in it may be an option of a question that shows all its
    options in one picture. Raises RecordError for what is not text.
    """
    return Record(
        messages=(Message("user", (*range(len(media)), text_of(prompt, "the prompt"))),),
        responses=tuple(
            Response(answer_of(text, number), rank)
            for number, (text, rank) in enumerate(zip(answers, ranks, strict=True))
        ),
        media=tuple(media),
        source_id=source_id,
    )


def identity(row: Mapping[str, Any], column: str = "id") -> str:
    """The row's own id, which is no key: several of these benchmarks use one more than once."""
    value = row.get(column)
    return "" if value is None else str(value)
