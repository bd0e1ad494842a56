"""What the sources of files share; one adds how a file's rows are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from mmreward.data.fields import Fields
from mmreward.data.images import ImageReader
from mmreward.data.sources.base import Split
from mmreward.data.sources.rows import RowSource
from mmreward.data.sources.tables import Rows, Table, data_name, file_tables
from mmreward.data.splitting import Fractions


class FileSource(RowSource, ABC):
    """Comparisons from files of rows; what is checked when: see `RowSource`.

    path:            the training rows
    validation_path, test_path: files of their own; without one, rows of `path` are held out
    validation, test: fractions of the rows to hold out
    split_seed:      of that choice
    columns:         field -> column, where it is not the one of `fields.COLUMNS`
    image_root:      folder that image paths start from; that of the file if None
    allow_outside:   image paths may leave it
    fetch_urls:      image URLs are fetched
    name:            of the data in reports; the file's if None
    on_bad_record:   "error" or "skip"
    images:          "drop" if they need not exist; see `RowSource`

    What an image may be: see `ImageReader`. Raises UserError for a path that does not exist.
    """

    def __init__(
        self,
        path: str | None,
        validation_path: str | None = None,
        test_path: str | None = None,
        validation: float = 0.05,
        test: float = 0.1,
        split_seed: int = 0,
        columns: Mapping[str, str | None] | None = None,
        image_root: str | None = None,
        allow_outside: bool = False,
        fetch_urls: bool = False,
        name: str | None = None,
        on_bad_record: str = "error",
        images: str = "keep",
    ) -> None:
        def tables(given: Path, split: Split) -> list[Table]:
            files = self.files(given)
            root = Path(image_root) if image_root else files[0].parent
            reader = Fields(columns or {}, ImageReader(root, allow_outside, fetch_urls, images))
            return [Table(split, self.rows(file), reader) for file in files]

        paths: dict[Split, str | None] = {
            "train": path,
            "validation": validation_path,
            "test": test_path,
        }
        super().__init__(
            data_name(name, str(path)),
            file_tables(paths, tables),
            Fractions(validation, test, split_seed),
            on_bad_record,
            images,
        )

    @abstractmethod
    def rows(self, file: Path) -> Rows:
        """The rows of one file; UserError if it cannot be read."""

    def files(self, path: Path) -> list[Path]:
        """The files of a path that the user gave."""
        return [path]
