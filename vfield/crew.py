"""Processes of one launch that share work without computing together: who is who, words between them, who has died.

`accelerate launch` and torchrun say in the environment which process this is, and where a store of words is found. That
is all that is used of them here: there are no collective operations, and each process works as if it were alone. What
a process waits for comes, or it learns that the one it waits for has ended: every process tells that it is alive, and
one that does not for a minute counts as dead. So no failure is waited for without end.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import Store
from torch.distributed.rendezvous import rendezvous

from vfield.errors import UserError

_BEAT_SECONDS = 1.0
_DEAD_SECONDS = 60.0
_POLL_SECONDS = 0.05
_LEFT = "left"
# What a launcher tells its processes: without it, Accelerate takes a process for a single one.
_LAUNCHED = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE"),
    *("GROUP_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_CPU"),
)


class Crew:
    """The processes of a launch. A process that was not launched with others is a crew of one.

    Attributes:
        rank: which of them this is, from 0.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1, store: Store | None = None) -> None:
        self.rank, self.size = rank, size
        self._store = store
        self._heard: dict[int, tuple[int, float]] = {}
        self._over = threading.Event()
        if store is not None:
            threading.Thread(target=self._beat, daemon=True).start()

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def tell(self, key: str, words: Any) -> None:
        """Leave words (JSON) for the others to hear."""
        if self._store is not None:
            self._store.set(f"{self.rank}/{key}", json.dumps(words))

    def wait(self, ready: Callable[[], bool], rank: int) -> None:
        """Wait for something that a process is to do.

        Raises:
            UserError: when that process ends or dies first.
        """
        while not ready():
            why = self._gone(rank)
            if why is not None and not ready():
                raise UserError(f"process {rank} of {self.size} {why}; see what it printed, and go on from there")
            time.sleep(_POLL_SECONDS)

    def hear(self, rank: int, key: str) -> Any:
        """Wait for what a process tells.

        Raises:
            UserError: when it ends or dies first.
        """
        assert self._store is not None
        store, name = self._store, f"{rank}/{key}"
        self.wait(lambda: bool(store.check([name])), rank)
        return json.loads(store.get(name))

    def _gone(self, rank: int) -> str | None:
        """What has become of a process that will tell nothing more; None for one that may."""
        assert self._store is not None
        if self._store.check([f"{rank}/{_LEFT}"]):
            return "has ended early"
        beats, now = self._store.add(f"{rank}/beats", 0), time.monotonic()
        before, since = self._heard.get(rank, (-1, now))
        if beats != before:
            self._heard[rank] = (beats, now)
        elif now - since > _DEAD_SECONDS:
            return "has died without a word"
        return None

    def hear_all(self, key: str, words: Any) -> list[Any]:
        """Tell, and wait for what all others tell; in order of rank."""
        self.tell(key, words)
        return [words if rank == self.rank else self.hear(rank, key) for rank in range(self.size)]

    def leave(self) -> None:
        """Tell that nothing more will come. The process that holds the store stays until all others have left."""
        if self._store is None:
            return
        self.tell(_LEFT, True)
        if self.is_main:
            for rank in range(1, self.size):
                try:
                    self.hear(rank, _LEFT)
                except UserError:  # dead: nobody to wait for
                    continue
        self._over.set()

    def _beat(self) -> None:
        assert self._store is not None
        while not self._over.wait(_BEAT_SECONDS):
            try:
                self._store.add(f"{self.rank}/beats", 1)
            except RuntimeError:  # the process that held the store is gone; who waits for it learns of it there
                return


@contextmanager
def crew_of_launch() -> Iterator[Crew]:
    """The crew that this process was launched in. Inside, libraries take it for a process by itself.

    With several accelerators each process has its own.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    crew = Crew()
    if size > 1:
        store, _, _ = next(rendezvous("env://", timeout=timedelta(minutes=5)))
        crew = Crew(int(os.environ["RANK"]), size, store)
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    launched = {name: os.environ.pop(name) for name in _LAUNCHED if name in os.environ}
    try:
        yield crew
    finally:
        os.environ.update(launched)
        crew.leave()
