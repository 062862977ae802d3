"""How much memory there is, and how much a piece of work takes."""

from __future__ import annotations

import ctypes
import gc
import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from vfield.core.errors import UserError

try:
    import resource
except ImportError:  # Windows, which has no such limits
    resource = None  # type: ignore[assignment]

_CGROUP = Path("/sys/fs/cgroup")


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


def available_bytes() -> float:
    """Memory that this process can still take: what the machine has, and what limits leave of it."""
    available: float = psutil.virtual_memory().available
    if resource is not None:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            available = min(available, limit - psutil.Process().memory_info().vms)
    return max(0.0, min(available, _left_of_container()))


def _left_of_container() -> float:
    """What a container's limit leaves (cgroup v2), infinity where there is none."""
    try:
        limit, used = ((_CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return math.inf if limit == "max" else int(limit) - int(used)
    except (OSError, ValueError):
        return math.inf


def check_memory(needed_bytes: float, what: str, advice: str) -> None:
    """Refuses, by a UserError, what would take more memory than there is; the message says what takes it and advice."""
    available = available_bytes()
    if needed_bytes > available:
        gigabytes = f"{needed_bytes / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB are free"
        raise UserError(f"{what} takes {gigabytes}; {advice}")
