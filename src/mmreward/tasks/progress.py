"""How far the scoring is: a bar on a terminal, a line every half minute in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

EVERY = 30.0  # seconds between two lines of a log


class Scoring:
    """A context manager; `begin` each set and condition, and call what it returns with shares."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("scoring {task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, what: str, records: int) -> Callable[[float], None]:
        """what: set, split and condition; the returned function takes a share of the records."""
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        task = self._bar.add_task(what, total=1.0)

        def advance(share: float) -> None:
            self._bar.advance(task, share)
            if not self._console.is_terminal and time.monotonic() - self._told >= EVERY:
                self._told = time.monotonic()
                done = self._bar.tasks[0].completed
                self._console.print(
                    f"scoring {what}: {done:.0%} of {records:,} records", markup=False
                )

        return advance
