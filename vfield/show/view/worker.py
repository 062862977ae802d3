"""One piece of work at a time, and none that nobody waits for.

All work with the field is done by one thread: what the field keeps from one view to the next is not made for several,
and PyTorch gives each thread that computes its own team of others.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

from vfield.show.view.watch import OutdatedError

Result = TypeVar("Result")

_MOST_VIEWERS = 256  # remembered


class _Waiting(NamedTuple):
    """Work that was asked for.

    Attributes:
        do: does it, and tells the future.
        refuse: tells the future that it is not done.
        given_up: whether nobody waits for it any more.
    """

    do: Callable[[], None]
    refuse: Callable[[], None]
    given_up: Callable[[], bool]


class Worker:
    """A thread that does what it is given, in order."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="vfield view", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many pieces of work wait."""
        return len(self._waiting)

    @property
    def is_closing(self) -> bool:
        """Whether work under way should end early."""
        return self._closing

    def submit(self, work: Callable[[], Result], given_up: Callable[[], bool] = lambda: False) -> Future[Result]:
        """Have something done.

        Args:
            work: what to do.
            given_up: whether nobody waits for it any more; asked of all that waits whenever something is submitted,
                and before it is begun. Work under way must ask by itself.

        Returns:
            Its result, or what it raised; OutdatedError where it was given up, or the worker is closing.
        """
        future: Future[Result] = Future()

        def do() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:
                # Whoever waits for the future is told, whatever it was.
                future.set_exception(error)

        def refuse() -> None:
            with suppress(InvalidStateError):  # cancelled
                future.set_exception(OutdatedError())

        with self._changed:
            self._waiting.append(_Waiting(do, refuse, given_up))
            self._changed.notify()
        self.sweep()
        return future

    def sweep(self) -> None:
        """Forget what waits and nobody waits for; once the worker is closing, that is everything."""
        with self._changed:
            dropped = [waiting for waiting in self._waiting if self._closing or waiting.given_up()]
            for waiting in dropped:
                self._waiting.remove(waiting)
        # Outside the lock: whoever is told may submit again.
        for waiting in dropped:
            waiting.refuse()

    def let_others_go_first(self) -> None:
        """Do all that waits, in the middle of a longer piece of work of this very thread."""
        while (waiting := self._next()) is not None:
            waiting.do()

    def end_work(self) -> None:
        """Tell work under way to end, and forget what waits."""
        self._closing = True
        self.sweep()

    def close(self, timeout: float | None = None) -> bool:
        """End; see `end_work`.

        Args:
            timeout: how many seconds to wait for work that does not give way; None for as long as it takes.

        Returns:
            Whether all work has ended.
        """
        self.end_work()
        with self._changed:
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _next(self) -> _Waiting | None:
        """The next piece of work that somebody waits for, if there is any."""
        self.sweep()
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def _work(self) -> None:
        while not self._closing:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
            self.let_others_go_first()


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


class BusyError(Exception):
    """Too much is asked for at once; says what, and that asking again helps."""


class Budget:
    """How much may be under way at once, from being asked for until it is sent: so many views, of so many pixels."""

    def __init__(self, most: int, most_pixels: int) -> None:
        self._most, self._most_pixels = most, most_pixels
        self._taken = self._taken_pixels = 0

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Take a view of so many pixels out of it for a while.

        Raises:
            BusyError: when that is not left.
        """
        if self._taken == self._most:
            raise BusyError(f"busy: {self._most} views are being made or wait; ask again in a second")
        if self._taken_pixels + pixels > self._most_pixels:
            raise BusyError(
                f"busy: views of {self._taken_pixels} pixels are being made, {pixels} more would make it more than "
                f"{self._most_pixels}; ask again in a second, or for a smaller one"
            )
        self._taken += 1
        self._taken_pixels += pixels
        try:
            yield
        finally:
            self._taken -= 1
            self._taken_pixels -= pixels
