"""Ctrl-C that lets work in progress end."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_LOG = logging.getLogger("vfield")


class Flag:
    """Set once, from a signal handler."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Raise the flag."""
        self._set = True

    def is_set(self) -> bool:
        """Whether it was raised."""
        return self._set


@contextmanager
def interrupts() -> Iterator[Flag]:
    """The first Ctrl-C (or termination) only raises a flag, so that the step under way can end; a second one stops.

    Outside the main thread signals cannot be caught, and the flag stays down.
    """
    flag = Flag()

    def handle(number: int, _: FrameType | None) -> None:
        if flag.is_set():
            signal.default_int_handler(number, None)
        flag.set()

    earlier: dict[signal.Signals, Any] = {}
    try:
        for caught in (signal.SIGINT, signal.SIGTERM):
            earlier[caught] = signal.signal(caught, handle)
    except ValueError:
        _LOG.debug("not in the main thread: Ctrl-C is not caught")
    try:
        yield flag
    finally:
        for caught, handler in earlier.items():
            signal.signal(caught, handler)
