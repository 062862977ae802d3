"""How much memory a piece of work takes."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil


@contextmanager
def meter() -> Iterator[Callable[[], float]]:
    """Samples this process's memory; the function it gives returns the peak above the start, in megabytes."""
    _give_back_freed_memory()
    process = psutil.Process()
    start = peak = process.memory_info().rss
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: (peak - start) / 1e6
    finally:
        over.set()
        thread.join()


def _give_back_freed_memory() -> None:
    """What the method before left in the allocator would hide what this one takes."""
    gc.collect()
    if sys.platform == "linux":
        # Only glibc has it, and not every Linux has glibc.
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
