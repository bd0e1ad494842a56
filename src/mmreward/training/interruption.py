"""Runs that somebody ends: from the keyboard, or a batch system whose time is up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl

ENDING = (signal.SIGINT, signal.SIGTERM)


class OwnSignal(pl.Callback):
    """Gives SIGTERM back to who had it when this was made.

    Lightning's own handler tells the other ranks by a collective call, whatever collective call the
    signal has interrupted; where these meet, all ranks wait for ever. It is set after on_fit_start.
    """

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)


@contextmanager
def interruptible() -> Iterator[list[signal.Signals]]:
    """Ctrl-C and SIGTERM both raise KeyboardInterrupt inside; what came is in the list.

    By itself SIGTERM would end the process at once, and Lightning ends a training that got it
    with exit code 0. Where a signal came, the exit code is 128 plus its number, as shells have it.
    """
    received: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():  # which gets all signals
        yield received
        return

    def handle(number: int, frame: Any) -> None:
        received.append(signal.Signals(number))
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in ENDING}
    try:
        yield received
    except BaseException as error:
        if received:
            raise SystemExit(128 + received[0]) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
