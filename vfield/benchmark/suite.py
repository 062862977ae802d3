"""Which clips are judged on, and where they lie."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vfield.clip import Clip
from vfield.errors import UserError
from vfield.video_io import read_clip

_LOG = logging.getLogger("vfield")

_FRAMES = 49  # of a clip that is not in the suite


@dataclass(frozen=True)
class SuiteClip:
    """A clip of the suite, and the part of it that is used.

    Attributes:
        file: its name.
        frames: how many, from the first on.
        size: (height, width) to reduce the frames to; None keeps theirs.
    """

    file: str
    frames: int
    size: tuple[int, int] | None = None


SUITE = {
    "bigbuckbunny": SuiteClip("bigbuckbunny.mp4", 49, (360, 640)),
    "bikes": SuiteClip("bikes.mp4", 49),
    "carphone": SuiteClip("carphone.mp4", 49),
    "bear": SuiteClip("bear.mp4", 33),
}


def read_suite(wanted: Sequence[str], folders: Sequence[Path]) -> dict[str, Clip]:
    """Read clips by their names in the suite or by their paths; what is missing is said and left out.

    Args:
        wanted: names or paths. Of clips outside the suite the first 49 frames are taken, at their own size.
        folders: where the suite's clips may lie; the first that has one counts.

    Raises:
        UserError: when there is none of them, two have the same name, or one is no video.
    """
    found: dict[str, tuple[Path, SuiteClip]] = {}
    missing = []
    for word in wanted:
        part = SUITE.get(word, SuiteClip(word, _FRAMES))
        candidates = [folder / part.file for folder in folders] if word in SUITE else [Path(word)]
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is None:
            missing.append(word)
        elif path.stem in found:
            raise UserError(f"two of the clips are called {path.stem}; name it once, or rename one")
        else:
            found[path.stem] = path, part
    if not found:
        places = " and ".join(map(str, folders))
        raise UserError(f"none of the clips is there: {', '.join(missing)}; those of the suite may lie in {places}")
    for word in missing:
        _LOG.warning("%s is not there and is left out", word)
    return {name: read_clip(path, size=part.size, max_frames=part.frames) for name, (path, part) in found.items()}
