"""Frames that were changed before they are learnt from, kept losslessly in the folder of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from vfield.errors import UserError
from vfield.folders import remove
from vfield.frames import Frames
from vfield.video_io import FileFrames, keep_lossless

# Filled frames, then clean ones: what is written may be made from what was written before.
KEPT_NAMES = ("frames.mkv", "clean.mkv")


class Kept:
    """Keeps frames of one clip in a folder: those changed last, in the end."""

    def __init__(self, folder: Path) -> None:
        """Hold the folder of the clip's field; it is made when there is something to keep."""
        self._folder = folder

    def __call__(self, pictures: Iterator[Tensor], like: Frames) -> Frames:
        """Write the pictures, and give them by number.

        Args:
            pictures: (3, h, w) each, in order. They may be made from frames that were kept before.
            like: frames of their number, size and type.

        Raises:
            UserError: when they cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {self._folder}: {error.strerror}; name another folder") from error
        earlier = FileFrames.of(like)
        used = None if earlier is None else earlier.part.path
        path = next(self._folder / name for name in KEPT_NAMES if self._folder / name != used)
        frames = keep_lossless(path, pictures, like)
        if earlier is not None and used is not None and used.parent == self._folder:
            earlier.close()
            remove(used)
        return frames
