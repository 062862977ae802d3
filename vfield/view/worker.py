"""One piece of work at a time, and none that nobody waits for.

All work with the field is done by one thread: what the field keeps from one view to the next is not made for several,
and PyTorch gives each thread that computes its own team of others.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")

_MOST_VIEWERS = 256  # remembered


class Worker:
    """A thread that does what it is given, in order."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="vfield view", daemon=True)
        self._thread.start()

    @property
    def is_closing(self) -> bool:
        """Whether work under way should end early."""
        return self._closing.is_set()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Have something done; its result, or what it raises, is the future's."""
        future: Future[Result] = Future()

        def do() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:
                # Whoever waits for the future is told, whatever it was.
                future.set_exception(error)

        self._waiting.put(do)
        return future

    def let_others_go_first(self) -> None:
        """Do all that waits, in the middle of a longer piece of work of this very thread."""
        while True:
            try:
                work = self._waiting.get_nowait()
            except Empty:
                return
            if work is None:
                self._waiting.put(None)
                return
            work()

    def close(self) -> None:
        """End: work under way is told so, what waits is still done (and should ask `is_closing`)."""
        self._closing.set()
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (work := self._waiting.get()) is not None:
            work()


class Newest:
    """The number of the newest request of each asker. Who asks again no longer waits for what was asked before."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()

    def note(self, asker: str, number: int) -> None:
        """A request has come."""
        self._numbers[asker] = max(number, self._numbers.get(asker, number))
        self._numbers.move_to_end(asker)
        while len(self._numbers) > _MOST_VIEWERS:
            self._numbers.popitem(last=False)

    def is_outdated(self, asker: str, number: int) -> bool:
        """Whether a newer one has come since."""
        return self._numbers.get(asker, number) > number
