"""An export of a long clip in pieces: what is coded is kept in the run's folder until the whole video is there.

Rendering takes hours where a clip has many frames, and a machine may go down. Each piece is a file of some hundred
frames, complete or not there. The same request finds the pieces of an earlier, stopped one and goes on after them;
another request, or fields that were fitted again, have other pieces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from vfield.errors import UserError
from vfield.folders import remove
from vfield.video_io import frames_in
from vfield.windows import EXPORTS_NAME, WindowedRun

_PIECE_FRAMES = 240  # encoders begin anew about as often by themselves


class Pieces:
    """The pieces of one export.

    Attributes:
        folder: where they lie.
        done: how many of the frames, from the first on, are coded.
    """

    def __init__(self, run: WindowedRun, request: str, count: int, suffix: str) -> None:
        """Look for what is there of an export.

        Args:
            run: the windows that it is rendered from.
            request: all that decides what is in the video, in words.
            count: how many frames it has.
            suffix: of the video file.
        """
        digest = hashlib.sha256(f"{request}\n{run.fingerprint()}".encode()).hexdigest()[:16]
        self.folder = run.folder / EXPORTS_NAME / digest
        pieces = max(1, count // _PIECE_FRAMES)
        edges = [count * piece // pieces for piece in range(pieces + 1)]
        self._pieces = {
            self.folder / f"{number:05}{suffix}": range(edges[number], edges[number + 1]) for number in range(pieces)
        }
        self.done = 0
        for file, frames in self._pieces.items():
            if frames_in(file) != len(frames):
                break
            self.done = frames.stop

    @property
    def files(self) -> Sequence[Path]:
        """All pieces, in order."""
        return list(self._pieces)

    def missing(self) -> Iterator[tuple[Path, range]]:
        """The files that are still to be written, and the frames of each, in order."""
        for file, frames in self._pieces.items():
            if frames.start >= self.done:
                yield file, frames

    def begin(self) -> None:
        """Make the folder.

        Raises:
            UserError: when it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"could not make {self.folder}: {error.strerror}; change its permissions") from error

    def end(self) -> None:
        """Remove them: the video is there."""
        remove(self.folder)
        if not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
