"""Which clips are judged on, and where they lie."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vfield.core.clip import Clip
from vfield.core.errors import UserError

_LOG = logging.getLogger("vfield")


@dataclass(frozen=True)
class SuiteClip:
    """A clip of the suite, and the part of it that is used."""

    file: str  # its name
    most_frames: int | None = None  # never more than so many, from the first on; None leaves it to the benchmark
    size: tuple[int, int] | None = None  # (height, width) to reduce the frames to; None keeps theirs


SUITE = {
    "bigbuckbunny": SuiteClip("bigbuckbunny.mp4", size=(360, 640)),
    "bikes": SuiteClip("bikes.mp4"),
    "carphone": SuiteClip("carphone.mp4"),
    "bear": SuiteClip("bear.mp4", most_frames=33),
}


def read_suite(wanted: Sequence[str], folders: Sequence[Path], frames: int) -> dict[str, Clip]:
    """Read clips by their names in the suite or by their paths; what is missing is said and left out.

    The first of the folders that has a clip of the suite counts; other clips are taken at their own size. So many
    frames are taken of each, from the first on. Colours alone are judged, so alpha is left out: clips are as they look
    over black. A UserError when there is none of them, two have the same name, or one is no video.
    """
    from vfield.video_io import read_clip  # here, because the suite's names are asked for without a video, too

    found: dict[str, tuple[Path, SuiteClip]] = {}
    missing = []
    for word in wanted:
        part = SUITE.get(word, SuiteClip(word))
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
    clips = {
        name: read_clip(path, size=part.size, max_frames=min(frames, part.most_frames or frames))
        for name, (path, part) in found.items()
    }
    return {name: replace(clip, alpha=None) for name, clip in clips.items()}
