"""Frames that were changed before they are learnt from, kept losslessly in the folder of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from torch import Tensor

from vfield.core.folders import make_folder, remove
from vfield.core.frames import Frames
from vfield.field.checkpoint import FIELD_NAME, PACKED_STEM
from vfield.video_io import FileFrames, keep_lossless

_KEPT, _PACKED = r"field\.kept-\d+\.mkv", re.escape(PACKED_STEM) + r"[\w.]+"


def is_kept_name(name: str) -> bool:
    """Whether a name in the folder of a run is that of changed frames, or of a clip that was packed into it."""
    return re.fullmatch(f"{_KEPT}|{_PACKED}", name) is not None


class Kept:
    """Keeps frames of one clip in a folder: those changed last, in the end.

    Each file has a name of its own: those of an earlier fit stay until its field is replaced (`remove_unused`).
    """

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
        make_folder(self._folder)
        earlier = FileFrames.of(like)
        names = (self._folder / f"field.kept-{number}.mkv" for number in count(1))
        frames = keep_lossless(next(path for path in names if not path.exists()), pictures, like)
        if earlier is not None and _is_kept(earlier.part.path, self._folder):
            earlier.close()
            remove(earlier.part.path)
        return frames


def remove_unused(folder: Path, frames: Frames, source: str | None) -> None:
    """Remove what earlier fits have kept in the folder of a field, once that field is there.

    Args:
        folder: of the field.
        frames: those that it reads.
        source: the file of its clip, which may lie in the folder, too.
    """
    reader = FileFrames.of(frames)
    used = {Path(source or "").name, "" if reader is None else reader.part.path.name}
    for path in folder.iterdir():
        if is_kept_name(path.name) and path.name not in used:
            remove(path)


def remove_field(folder: Path) -> None:
    """Remove a field, and the frames that it reads in its folder."""
    field = folder / FIELD_NAME
    for path in (field, *folder.glob(f"{field.stem}.*.mkv"), *folder.glob(f"{PACKED_STEM}*")):
        remove(path)


def _is_kept(path: Path, folder: Path) -> bool:
    return path.parent == folder and re.fullmatch(_KEPT, path.name) is not None
