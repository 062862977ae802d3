"""Ctrl-C and its like: SIGTERM, by which systems and schedulers end programs, and SIGHUP, by which terminals do.

All three end work in the same way: by a KeyboardInterrupt, which clears up on its way, or, within `interrupts`, by a
flag, so that the step under way can end. What is ignored (as SIGHUP is under `nohup`) stays ignored.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_LOG = logging.getLogger("vfield")
_CAUGHT = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_Handler = Callable[[int, FrameType | None], None]


class Flag:
    """Raised once, by a signal's handler. Not a threading.Event: its lock is not for handlers that interrupt others."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set


class _Last:
    """The signal that came last, which the exit code tells."""

    number = int(signal.SIGINT)


def exit_code() -> int:
    """What a shell expects of a program that a signal has ended: 128 and its number, 130 for Ctrl-C."""
    return 128 + _Last.number


def what_ended_it() -> str:
    """What has ended the work, for the line that says so."""
    return "interrupted" if _Last.number == signal.SIGINT else f"ended by {signal.Signals(_Last.number).name}"


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Within this, SIGTERM and SIGHUP raise a KeyboardInterrupt, as Ctrl-C does; handlers of others stay."""
    _Last.number = int(signal.SIGINT)

    def handle(number: int, _: FrameType | None) -> None:
        _Last.number = number
        raise KeyboardInterrupt

    with handled(handle, (signal.SIG_DFL, signal.default_int_handler)):
        yield


@contextmanager
def interrupts() -> Iterator[Flag]:
    """The first Ctrl-C (or termination, or hangup) only raises a flag, so that the step under way can end.

    A second one stops. Outside the main thread signals cannot be caught, and the flag stays down.
    """
    flag = Flag()

    def handle(number: int, _: FrameType | None) -> None:
        _Last.number = number
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    with handled(handle):
        yield flag


@contextmanager
def handled(handle: _Handler, instead_of: tuple[Any, ...] | None = None) -> Iterator[None]:
    """Signals that are not ignored go to a handler, which replaces only those `instead_of`; None for any."""
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def caught(number: int, frame: FrameType | None) -> None:
        if number == getattr(signal, "SIGHUP", None):
            _silence(terminals)
        handle(number, frame)

    earlier: dict[signal.Signals, Any] = {}
    try:
        for each in _CAUGHT:
            there = signal.getsignal(each)
            if there is not signal.SIG_IGN and (instead_of is None or there in instead_of):
                earlier[each] = signal.signal(each, caught)
    except ValueError:
        _LOG.debug("not in the main thread: Ctrl-C is not caught")
    try:
        yield
    finally:
        for each, handler in earlier.items():
            signal.signal(each, handler)


def _silence(terminals: list[int]) -> None:
    """A terminal that has hung up takes no more words: progress told to it would be an error in the middle of work."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nowhere, number)
    os.close(nowhere)
