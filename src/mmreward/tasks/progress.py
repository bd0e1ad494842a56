"""How far the scoring is: a bar on a terminal, a line every half minute in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

EVERY = 30.0  # seconds between two lines of a log


class Scoring:
    """A context manager; `begin` each set, and call what it returns with numbers."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("scoring {task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
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

    def begin(
        self, what: str, views: int, unit: str = "views", earlier: int = 0
    ) -> Callable[[int], None]:
        """what: the set; views: its records times the conditions they are scored under, as an upper
        bound; earlier: of them, those that were done before. The returned function takes how many
        more are done."""
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        task = self._bar.add_task(what, total=views, rate="")
        done, began = earlier, time.monotonic()

        def advance(more: int) -> None:
            nonlocal done
            done += more
            now = time.monotonic()
            rate = f"{(done - earlier) / max(now - began, 1e-9):,.1f} {unit}/s"
            self._bar.update(task, completed=done, rate=rate)
            if not self._console.is_terminal and now - self._told >= EVERY:
                self._told = now
                told = f"scoring {what}: {done:,} of {views:,} {unit}, {rate}"
                self._console.print(told, markup=False)

        return advance
