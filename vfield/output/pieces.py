"""An export in pieces: what is coded is kept in the run's folder until the whole video is there.

Each piece is a file of some hundred frames, complete or not there. The same request finds the pieces of an earlier,
stopped one and goes on after them; another request, or a field that was fitted again, has other pieces. Processes that
make the same export share its pieces: whoever finds one that is neither there nor being made makes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from vfield.core.folders import locked, remove
from vfield.field.checkpoint import EXPORTS_NAME
from vfield.video_io import frames_in

_PIECE_FRAMES = 240  # encoders begin anew about as often by themselves


class Pieces:
    """The pieces of one export: the `folder` where they lie, and the `frames` of each file, in order."""

    def __init__(self, run: Path, request: str, count: int, suffix: str) -> None:
        """Name the pieces, in a run's folder, of a video of so many frames; `request` says all that decides of it."""
        self.folder = run / EXPORTS_NAME / hashlib.sha256(request.encode()).hexdigest()[:16]
        pieces = max(1, count // _PIECE_FRAMES)
        edges = [count * piece // pieces for piece in range(pieces + 1)]
        self.frames = {
            self.folder / f"{number:05}{suffix}": range(*ends) for number, ends in enumerate(pairwise(edges))
        }
        self._whole: set[Path] = set()

    def done(self) -> int:
        """How many frames are in pieces that are complete."""
        return sum(len(frames) for file, frames in self.frames.items() if self._is_whole(file))

    def _is_whole(self, file: Path) -> bool:
        """Whether a piece is complete; what was seen to be is not looked at again."""
        if file not in self._whole and file.exists() and frames_in(file) == len(self.frames[file]):
            self._whole.add(file)
        return file in self._whole

    @contextmanager
    def taken(self) -> Iterator[tuple[Path, range] | None]:
        """Take the first piece that is neither complete nor being made by another process; None where there is none.

        Within, no other process takes it.
        """
        for file, frames in self.frames.items():
            if self._is_whole(file):
                continue
            lock = None
            with suppress(OSError):
                lock = locked(file.with_suffix(".lock"))
            if lock is None:
                continue
            try:
                if not self._is_whole(file):  # else another process has just ended it
                    yield file, frames
                    return
            finally:
                lock.release()
        yield None

    def end(self) -> None:
        """Remove them: the video is there."""
        remove(self.folder)
        if not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
