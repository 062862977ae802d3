"""What a field file says besides weights: the facts of its clip, and where the clip's frames are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from vfield.clip import ClipFacts
from vfield.errors import UserError
from vfield.frames import Frames, MadeFrames, chosen_frames
from vfield.video_io import FileFrames, FilePart, digest_of

# ------------------------------------------------------------------------------------------- times and numbers


def times_to_json(times: Sequence[Fraction]) -> dict[str, Any]:
    """Exact times as ticks of a common clock: the first one, and runs of equal steps [ticks, how many]."""
    denominator = math.lcm(*(time.denominator for time in times))
    ticks = [int(time * denominator) for time in times]
    steps: list[list[int]] = []
    for earlier, later in pairwise(ticks):
        if steps and steps[-1][0] == later - earlier:
            steps[-1][1] += 1
        else:
            steps.append([later - earlier, 1])
    return {"ticks_a_second": denominator, "first": ticks[0], "steps": steps}


def times_from_json(described: Mapping[str, Any], most: int) -> tuple[Fraction, ...]:
    """What `times_to_json` was made of.

    Raises:
        ValueError: when it does not describe increasing times, or more than `most`.
    """
    clock, tick = int(described["ticks_a_second"]), int(described["first"])
    steps = [(int(step), int(count)) for step, count in described["steps"]]
    if clock < 1 or any(step < 1 or count < 1 for step, count in steps):
        raise ValueError("its times do not increase")
    if 1 + sum(count for _, count in steps) > most:
        raise ValueError(f"it has more than {most} frames")
    ticks = [tick]
    for step, count in steps:
        ticks += range(ticks[-1] + step, ticks[-1] + step * (count + 1), step)
    return tuple(Fraction(tick, clock) for tick in ticks)


def numbers_to_json(numbers: Sequence[int]) -> list[list[int]]:
    """Numbers of frames, in order, as half-open runs of neighbours."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, number + 1])
    return runs


def numbers_from_json(described: Sequence[Sequence[int]], most: int) -> list[int]:
    """What `numbers_to_json` was made of.

    Raises:
        ValueError: when the runs are no runs of 0 to `most`, or hold more than `most` numbers in all.
    """
    runs = [(int(start), int(stop)) for start, stop in described]
    if any(not 0 <= start < stop <= most for start, stop in runs) or sum(b - a for a, b in runs) > most:
        raise ValueError("it names frames that its clip does not have")
    return [number for start, stop in runs for number in range(start, stop)]


# ------------------------------------------------------------------------------------------- where frames are read


class SourceError(UserError):
    """A clip that a field reads its frames from is gone, or another one."""


def frames_to_json(frames: Frames, folder: Path) -> dict[str, Any] | None:
    """Where frames are read; None for frames that are not in a file.

    Args:
        frames: those of a field.
        folder: of the field file. A file inside it is named by its place there.
    """
    reader = FileFrames.of(frames)
    if reader is None or not isinstance(frames, MadeFrames):
        return None
    part, path = reader.part, reader.part.path.absolute()
    inside = path.is_relative_to(folder.absolute())
    held = path.stat()
    return {
        "path": str(path.relative_to(folder.absolute()) if inside else path),
        "inside": inside,
        "bytes": held.st_size,
        "modified_ns": held.st_mtime_ns,
        # What lies in the run folder goes where it goes.
        "digest": None if inside else reader.digest(),
        "start_seconds": _text(part.start_seconds),
        "end_seconds": _text(part.end_seconds),
        "size": part.size,
        "deinterlace": part.deinterlace,
        "origin": str(reader.origin),
        "times": times_to_json(reader.pts_seconds),
        "numbers": numbers_to_json(frames.numbers),
        "plane": reader.plane_of(frames),
        "shape": list(frames.shape[1:]),
        "is_deep": frames.dtype.is_floating_point,
    }


def frames_from_json(
    described: Mapping[str, Any], folder: Path, facts: ClipFacts, most: int, source: Path | None = None
) -> Frames:
    """Frames that are read from where a field file says; the file is not opened yet.

    Args:
        described: by `frames_to_json`.
        folder: of the field file.
        facts: of the field's clip.
        most: frames that a clip may have.
        source: where the source lies now; None for where it was.

    Raises:
        UserError: when the file is not there, or is another one.
        ValueError, KeyError, TypeError: when the description makes no sense.
    """
    inside = bool(described["inside"])
    path = folder / described["path"] if inside else Path(described["path"]) if source is None else source
    _check_source(path, described, inside)
    times = times_from_json(described["times"], most)
    size = described["size"]
    part = FilePart(
        path,
        _fraction(described["start_seconds"]),
        _fraction(described["end_seconds"]),
        None if size is None else (int(size[0]), int(size[1])),
        described["deinterlace"],
    )
    *_, height, width = (int(side) for side in described["shape"])
    read = ClipFacts(
        height=height,
        width=width,
        pts_seconds=times,
        end_seconds=times[-1] + 1,
        frame_rate=facts.frame_rate,
        color=replace(facts.color, bit_depth=16 if described["is_deep"] else 8),
        pixel_aspect=facts.pixel_aspect,
        source=str(path),
        has_alpha=described["plane"] == "alpha",
    )
    reader = FileFrames(part, read, Fraction(described["origin"]), digest=described["digest"])
    frames = reader.plane(described["plane"])
    return chosen_frames(frames, numbers_from_json(described["numbers"], len(times)))


def _check_source(path: Path, described: Mapping[str, Any], inside: bool) -> None:
    """Refuse a source that is gone or another one. Size and time of change answer for what a large file holds."""
    gone = f"{path}, from which the field reads its frames, is not there"
    if not path.is_file():
        raise SourceError(f"{gone}; fit again" if inside else f"{gone}; add --source PATH to say where it is now")
    held = path.stat()
    if held.st_size != described["bytes"]:
        raise SourceError(
            f"{path} is not the file that the field was fitted to ({held.st_size} bytes, not {described['bytes']}); "
            "add --source PATH to say where that is now, or fit again"
        )
    if inside or held.st_mtime_ns == described["modified_ns"]:
        return
    if digest_of(path) != described["digest"]:
        raise SourceError(
            f"{path} is not the file that the field was fitted to: it holds something else; add --source PATH to say "
            "where that is now, or fit again"
        )


def _text(seconds: Fraction | float | None) -> str | None:
    return None if seconds is None else str(Fraction(seconds))


def _fraction(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)
