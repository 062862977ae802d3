"""A temporary folder that does not outlive its process: where that was killed, the next one removes it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "vfield-view-"
_YOUNG_SECONDS = 60


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, removed at the end. Those of processes that were killed are removed first."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_abandoned(folder)
    # Work that does not give way in time may still write when the folder is removed.
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        descriptor = _locked(Path(name))
        try:
            yield Path(name)
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    # Somebody else's cannot be locked or removed, and what goes meanwhile need not be.
    with suppress(OSError):
        # One that was just made may not be locked yet.
        if time.time() - folder.stat().st_mtime < _YOUNG_SECONDS:
            return
        descriptor = _locked(folder)
        if descriptor is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds a folder until it is closed, at the latest when the process ends, however it ends.

    None where folders cannot be held so.

    Raises:
        OSError: when another process holds it, or it cannot be opened.
    """
    if sys.platform == "win32":
        return None
    import fcntl  # Windows has no such thing.

    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
