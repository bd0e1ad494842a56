"""Ctrl-C, and what else asks a program to end, while jobs run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# A batch system sends SIGTERM before its time is over, a terminal that is closed SIGHUP.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# `timeout` and programs that start others send a signal to a process and to its group: within so
# many seconds it is the same one.
ONCE = 1.0


class Stopped(BaseException):
    """Somebody asked the launcher to end."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)


class Stop:
    """Turns signals into `Stopped`, or inside `held` into something to wait for.

    As a context manager it handles them, in the main thread; elsewhere Python allows none.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._held = False
        self._at = 0.0
        self._before: dict[int, Any] = {}
        self.stopped: Stopped | None = None
        self.again = False  # asked a second time, by somebody who does not want to wait

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # What is ignored (nohup) stays so; None belongs to somebody else's C code.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Becomes readable when a signal comes, until `hear`."""
        return self._reader

    def hear(self) -> None:
        os.read(self._reader, 1)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing inside is interrupted: it waits for signals itself."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.stopped is None:
            self.stopped, self._at = Stopped(number), now
        elif now - self._at < ONCE:
            return
        else:
            self.again = True
        if not self._held:
            raise self.stopped
        os.write(self._writer, b"!")
