"""One piece of work at a time, and none that nobody waits for.

All work with the field is done by one thread: what the field keeps from one view to the next is not made for several,
and PyTorch gives each thread that computes its own team of others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from torch import nn


class GivenUpError(Exception):
    """Nobody waits for this any more."""


@contextmanager
def interruptible(field: nn.Module, check: Callable[[], None]) -> Iterator[None]:
    """While this lasts, `check` is called before any part of a field works; what it raises ends the work.

    A field asked for one chunk of points may first have to make a finer level of two keyframes, which takes as long as
    many chunks. That is the work of its parts, and what it keeps of them it keeps only once they are done.
    """

    def before(_: nn.Module, __: object) -> None:
        check()

    hooks = [part.register_forward_pre_hook(before) for part in field.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Task(NamedTuple):
    """Work that was asked for, where its result goes, and whether nobody waits for that any more."""

    work: Callable[[], Any]
    future: Future[Any]
    given_up: Callable[[], bool]

    def do(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.work())
        except BaseException as error:
            # Whoever waits for the future is told, whatever it was.
            self.future.set_exception(error)


class Worker:
    """A thread that does what it is given, in order."""

    def __init__(self) -> None:
        self._waiting: deque[_Task] = deque()
        self._changed = threading.Condition()
        self.is_closing = False  # whether work under way should end early
        self._thread = threading.Thread(target=self._work, name="vfield view", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any], given_up: Callable[[], bool] = lambda: False) -> Future[Any]:
        """Have something done.

        Args:
            work: what to do.
            given_up: whether nobody waits for it any more; asked of all that waits whenever something is submitted,
                and before it is begun. Work under way must ask by itself.

        Returns:
            Its result, or what it raised; GivenUpError where it was given up, or the worker is closing.
        """
        future: Future[Any] = Future()
        with self._changed:
            self._waiting.append(_Task(work, future, given_up))
            self._changed.notify()
        self.sweep()
        return future

    def sweep(self) -> None:
        """Forget what waits and nobody waits for; once the worker is closing, that is everything."""
        with self._changed:
            dropped = [task for task in self._waiting if self.is_closing or task.given_up()]
            for task in dropped:
                self._waiting.remove(task)
        # Outside the lock: whoever is told may submit again.
        for task in dropped:
            with suppress(InvalidStateError):  # cancelled
                task.future.set_exception(GivenUpError())

    def let_others_go_first(self) -> None:
        """Do all that waits, in the middle of a longer piece of work of this very thread."""
        while True:
            self.sweep()
            with self._changed:
                if not self._waiting:
                    return
                task = self._waiting.popleft()
            task.do()

    def end_work(self) -> None:
        """Tell work under way to end, and forget what waits."""
        self.is_closing = True
        self.sweep()
        with self._changed:
            self._changed.notify()

    def close(self, timeout: float | None = None) -> bool:
        """End, see `end_work`; wait so many seconds, or without end, for work that does not give way.

        Gives whether all work has ended.
        """
        self.end_work()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while not self.is_closing:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self.is_closing)
            self.let_others_go_first()
