"""What a field file says besides weights: the facts of its clip, and where the clip's frames are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

from vfield.core.clip import ClipFacts
from vfield.core.errors import UserError, brief
from vfield.core.facts import numbers_from_json, numbers_to_json, times_from_json, times_to_json
from vfield.core.frames import Frames, MadeFrames, chosen_frames
from vfield.core.json_files import exact, mapping, text
from vfield.video_io import Deinterlacing, FileFrames, FilePart, Plane, digest_of


class SourceError(UserError):
    """A clip that a field reads its frames from is gone, or another one."""


def frames_to_json(frames: Frames, folder: Path) -> dict[str, Any] | None:
    """Where frames are read; None for frames that are not in a file.

    Args:
        frames: those of a field.
        folder: of the field file. What is kept in it for the field is named by its place there; a source that happens
            to lie there is one all the same.
    """
    reader = FileFrames.of(frames)
    if reader is None or not isinstance(frames, MadeFrames):
        return None
    part, path = reader.part, reader.part.path.absolute()
    inside = reader.is_kept and path.parent.samefile(folder)
    held = path.stat()
    return {
        "path": path.name if inside else str(path),
        "inside": inside,
        "bytes": held.st_size,
        "modified_ns": held.st_mtime_ns,
        # What lies in the run folder goes where it goes.
        "digest": None if inside else reader.digest(),
        "start_seconds": _text(part.start_seconds),
        "end_seconds": _text(part.end_seconds),
        "is_sized": part.size is not None,
        "deinterlace": part.deinterlace,
        "origin": str(reader.origin),
        "times": times_to_json(reader.pts_seconds),
        "numbers": numbers_to_json(frames.numbers),
        "plane": reader.plane_of(frames),
        "is_deep": frames.dtype.is_floating_point,
    }


def frames_from_json(described: Any, folder: Path, facts: ClipFacts, source: Path | None = None) -> Frames:
    """Frames that are read from where a field file says; the file is not opened yet.

    Args:
        described: by `frames_to_json`.
        folder: of the field file.
        facts: of the field's clip.
        source: where the source lies now; None for where it was.

    Raises:
        SourceError: when the file is not there, or is another one.
        UserError: when the description makes no sense.
    """
    values = mapping(described, "frames")
    try:
        inside, is_deep = values["inside"] is True, values["is_deep"] is True
        named = text(values["path"], "path")
        # What lies beside the field file has a name and no folder.
        path = folder / Path(named).name if inside else Path(named) if source is None else source
        times = times_from_json(values["times"])
        numbers = numbers_from_json(values["numbers"], len(times))
        origin = exact(values["origin"], "origin")
        start, end = (
            None if values[name] is None else exact(values[name], name) for name in ("start_seconds", "end_seconds")
        )
        deinterlace = values["deinterlace"]
        if deinterlace not in (None, *get_args(Deinterlacing)) or values["plane"] not in get_args(Plane):
            raise UserError(f"its frames are {brief(deinterlace)}, {brief(values['plane'])}")
        part = FilePart(
            path, start, end, (facts.height, facts.width) if values["is_sized"] is True else None, deinterlace
        )
        _check_source(path, values, inside)
    except KeyError as error:
        raise UserError(f"its frames lack {error.args[0]}") from error
    read = replace(
        facts,
        pts_seconds=times,
        end_seconds=times[-1] + 1,
        color=replace(facts.color, bit_depth=16 if is_deep else 8),
        missing=(),
        has_alpha=values["plane"] == "alpha",
    )
    reader = FileFrames(part, read, origin, digest=values.get("digest"), is_kept=inside)
    return chosen_frames(reader.plane(values["plane"]), numbers)


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
