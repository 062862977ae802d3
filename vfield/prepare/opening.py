"""A clip in a file, looked through once and then read frame by frame when asked."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from vfield.core.clip import Clip
from vfield.core.errors import UserError
from vfield.core.facts import facts_from_json, facts_to_json, numbers_from_json, numbers_to_json, shots_from_json
from vfield.core.json_files import exact, mapping, read_json
from vfield.prepare.scan import LOOKED_AT_SIDE, Scan, scan_batches
from vfield.video_io import Deinterlacing, FileFrames, FilePart, FileScan, as_seconds, scan_clip

SCAN_NAME = "scan.json"
"""In a run folder: what a look through its clip has found."""

_LOG = logging.getLogger("vfield")

# Wraps the batches of frames that are looked through in a progress display.
Progress = Callable[[Iterator[Tensor]], Iterable[Tensor]]


class OpenedClip(NamedTuple):
    """A clip that reads its frames when asked."""

    clip: Clip  # the clip
    scan: Scan  # what a look through it has found
    kept: str  # the same as JSON, to be kept in a file (`SCAN_NAME`) from which `open_clip` takes it again


def open_clip(
    path: str | Path,
    *,
    start_seconds: Fraction | float | None = None,
    end_seconds: Fraction | float | None = None,
    size: tuple[int, int] | None = None,
    deinterlace: Deinterlacing | None = None,
    kept: Path | None = None,
    progress: Progress = lambda batches: batches,
) -> OpenedClip:
    """Look through a part of a file once: its times, cuts, flashes and held frames. No frame is kept.

    The part is chosen, and refused, as by `vfield.video_io.read_clip`. `kept` is a file that may hold what was found of
    it before, so that it is not looked through again; `progress` wraps the frames in a display.
    """
    # A frame's own instant, given as a decimal, is that frame's, for whoever reads the part again, too.
    start, end = as_seconds(start_seconds, "start_seconds"), as_seconds(end_seconds, "end_seconds")
    part = FilePart(Path(path), start, end, size, deinterlace)
    found = None if kept is None else _kept_scan(kept, part)
    if found is None:
        found = scan_clip(part, lambda batches: scan_batches(progress(batches)), LOOKED_AT_SIDE)
    frames = FileFrames(part, found.facts, found.origin)
    return OpenedClip(found.facts.clip(frames.rgb, frames.alpha), found.seen, _to_json(part, found))


def _identity(part: FilePart) -> dict[str, Any]:
    """What tells a part of a file from another, and from the same after it was changed."""
    held = part.path.stat()
    plain = {name: None if value is None else str(value) for name, value in part._asdict().items()}
    return {**plain, "path": os.fspath(part.path.absolute()), "bytes": held.st_size, "modified_ns": held.st_mtime_ns}


def _to_json(part: FilePart, found: FileScan[Scan]) -> str:
    described = {
        "of": _identity(part),
        "clip": facts_to_json(found.facts),
        "origin": str(found.origin),
        "shots": [[shot.start, shot.stop] for shot in found.seen.shots],
        "repeats": numbers_to_json(found.seen.repeats) if found.seen.repeats else [],
    }
    return json.dumps(described)


def _kept_scan(kept: Path, part: FilePart) -> FileScan[Scan] | None:
    """What was kept of a look through this part; None where there is none, or the file has changed since."""
    if not kept.is_file():
        return None
    try:
        described = mapping(read_json(kept, "scan"), "scan")
        if described.get("of") != _identity(part):
            return None
        facts = facts_from_json(described.get("clip"))
        count, told = len(facts.pts_seconds), described.get("repeats")
        shots = shots_from_json(described.get("shots"), count)
        repeats = [] if told == [] else numbers_from_json(told, count)
        return FileScan(facts, exact(described.get("origin"), "origin"), Scan(shots, repeats))
    except UserError as error:
        _LOG.warning("%s is damaged (%s): the clip is looked through again", kept, error)
        return None
