"""Long clips as windows: which frames each field is fitted to, which one is asked for an instant, and where they lie.

A window is a run of frames that one field is fitted to. Windows meet at *seams*. Where there is a scene cut near
enough, the seam is the cut: nothing reads across one, so two fields say there what one would. Elsewhere windows
overlap, and the seam is the instant of the frame in the middle of the overlap, which both fields show as it was. What
lies between two frames depends on some frames to either side (curves and views on two, detail on four more), and the
overlap is wide enough that all of them are in the window that is asked.
"""

from __future__ import annotations

import json
import shutil
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from vfield.checkpoint import FIELD_NAME, WINDOWS_NAME, SavedField, load_field
from vfield.clip import ClipFacts
from vfield.errors import UserError
from vfield.facts import facts_from_json, facts_to_json
from vfield.folders import remove, replaced
from vfield.json_files import exact, listed, mapping, read_json, whole

LEAST_FRAMES = 8
"""That a window must be allowed to have."""
FITTED_NAME = "fitted.json"
"""In a window's folder once its field is fitted to the end."""
EXPORTS_NAME = "exports"
"""In the folder of a run of windows: what is coded of exports that are not complete."""

_VERSION = 1
# Frames on either side of a seam that both windows have.
_MARGIN = 8


class Seam(NamedTuple):
    """Where one window hands over to the next.

    Attributes:
        at: seconds on the source's clock.
        is_cut: whether it lies half-way between the frames around a cut, and the earlier window keeps that instant;
            otherwise it is the instant of a frame, which the later window shows.
    """

    at: Fraction
    is_cut: bool


@dataclass(frozen=True)
class WindowPlan:
    """How a clip is divided.

    Attributes:
        facts: of the whole clip.
        origin: the first timestamp of the file, seconds, from which the clip itself may begin later.
        windows: the frames of each, half-open, in order.
        seams: between each two neighbours.
    """

    facts: ClipFacts
    origin: Fraction
    windows: tuple[range, ...]
    seams: tuple[Seam, ...]

    def window_at(self, seconds: Fraction) -> int:
        """The window whose field shows an instant of the source's clock."""
        # A cut sorts before what follows it at the same instant, a frame's instant after.
        return bisect_left(self.seams, (seconds, 0), key=lambda seam: (seam.at, 1 if seam.is_cut else -1))

    def span(self, number: int) -> tuple[Fraction | None, Fraction | None]:
        """Seconds from the file's first frame between which exactly a window's frames begin; None for no bound.

        Half-way to the frames outside, so that rounding to floating point does no harm.
        """
        pts, window = self.facts.pts_seconds, self.windows[number]
        edges = [
            (pts[edge - 1] + pts[edge]) / 2 - self.origin if 0 < edge < len(pts) else None
            for edge in (window.start, window.stop)
        ]
        return edges[0], edges[1]

    def spans(self) -> list[tuple[float, float]]:
        """What each window shows: from when to when, in seconds after the first frame."""
        origin = self.facts.pts_seconds[0]
        edges: list[Fraction] = [origin, *(seam.at for seam in self.seams), self.facts.end_seconds]
        return list(pairwise(float(edge - origin) for edge in edges))

    def folder(self, out: Path, number: int) -> Path:
        """Where a window's run lies."""
        return out / f"{number:03}"

    def is_fitted(self, out: Path, number: int) -> bool:
        """Whether a window's field is there and was fitted to the end."""
        folder = self.folder(out, number)
        return (folder / FITTED_NAME).is_file() and (folder / FIELD_NAME).is_file()


def plan_windows(
    facts: ClipFacts, shots: Sequence[range], most_frames: int, origin: Fraction | None = None
) -> WindowPlan:
    """Divide a clip into windows of no more than so many frames.

    Args:
        facts: of the clip.
        shots: its runs of frames between cuts, that together cover all frames.
        most_frames: of a window, at least `LEAST_FRAMES`.
        origin: the first timestamp of its file; None for the clip's own.

    Raises:
        UserError: when windows may have fewer frames than that.
    """
    if most_frames < LEAST_FRAMES:
        raise UserError(f"a window needs {LEAST_FRAMES} frames or more, got {most_frames}")
    pts, count = facts.pts_seconds, len(facts.pts_seconds)
    margin = min(_MARGIN, max(2, most_frames // 5))
    cuts = [shot.start for shot in shots[1:]]
    windows: list[range] = []
    seams: list[Seam] = []
    first = 0
    while count - first > most_frames:
        cut = _best_cut(cuts, first, count, most_frames)
        if cut is not None:
            windows.append(range(first, cut))
            seams.append(Seam((pts[cut - 1] + pts[cut]) / 2, is_cut=True))
            first = cut
            continue
        # What is left is divided evenly where two windows are enough for it.
        stop = min(first + most_frames, -(-(first + count + 2 * margin + 1) // 2))
        middle = stop - 1 - margin
        windows.append(range(first, stop))
        seams.append(Seam(pts[middle], is_cut=False))
        # Nothing reads across a cut before the seam: the next window need not begin there.
        wall = _last_at_most(cuts, middle)
        first = max(middle - margin, wall or 0)
    windows.append(range(first, count))
    return WindowPlan(facts, pts[0] if origin is None else origin, tuple(windows), tuple(seams))


def _best_cut(cuts: Sequence[int], first: int, count: int, most_frames: int) -> int | None:
    """The cut to end a window at that begins with a frame: one that fills at least half of it, if there is one.

    The last one; or that which divides best, where two windows are enough for what is left.
    """
    found = cuts[bisect_left(cuts, first + most_frames // 2) : bisect_left(cuts, first + most_frames + 1)]
    if count - first <= 2 * most_frames:
        return min(found, key=lambda cut: abs(2 * cut - first - count), default=None)
    return found[-1] if found else None


def _last_at_most(cuts: Sequence[int], frame: int) -> int | None:
    place = bisect_left(cuts, frame + 1)
    return cuts[place - 1] if place else None


# ------------------------------------------------------------------------------------------- files


def write_plan(out: Path, plan: WindowPlan) -> None:
    """Keep a plan in a run folder.

    Raises:
        UserError: when it cannot be written.
    """
    described = {
        "version": _VERSION,
        "windows": [[window.start, window.stop] for window in plan.windows],
        "seams": [[str(seam.at), seam.is_cut] for seam in plan.seams],
        "origin": str(plan.origin),
        "clip": facts_to_json(plan.facts),
    }
    with replaced(out / WINDOWS_NAME) as partial:
        partial.write_text(json.dumps(described))


def read_plan(out: Path) -> WindowPlan:
    """The plan of a run folder.

    Raises:
        UserError: when it is damaged, or of another version.
    """
    path = out / WINDOWS_NAME
    try:
        return _plan_of(mapping(read_json(path, "plan"), "the plan"))
    except UserError as error:
        raise UserError(f"{path}: {error}; fit again with --overwrite") from error
    except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError, IndexError) as error:
        raise UserError(f"{path} is damaged ({error}); fit again with --overwrite") from error


def _plan_of(described: dict[str, Any]) -> WindowPlan:
    if described["version"] != _VERSION:
        raise UserError(f"it is of version {described['version']}, not {_VERSION}")
    return WindowPlan(
        facts_from_json(described["clip"]),
        exact(described["origin"], "origin"),
        tuple(range(*(whole(frame, "a frame", 0, 10**9) for frame in window)) for window in described["windows"]),
        tuple(Seam(exact(at, "a seam"), bool(is_cut)) for at, is_cut in listed(described["seams"], "seams")),
    )


def mark_fitted(folder: Path, told: dict[str, Any]) -> None:
    """Say that a window's field is fitted to the end, with JSON about it."""
    with replaced(folder / FITTED_NAME) as partial:
        partial.write_text(json.dumps(told))


def remove_windows(out: Path) -> None:
    """Remove an earlier run's windows from a folder; nothing else that lies there."""
    if not (out / WINDOWS_NAME).is_file():
        return
    remove(out / EXPORTS_NAME)
    for folder in out.glob("[0-9][0-9][0-9]*"):
        if folder.is_dir() and folder.name.isdigit():
            shutil.rmtree(folder)
    (out / WINDOWS_NAME).unlink()  # last: whoever is killed before leaves folders that are known for windows


# ------------------------------------------------------------------------------------------- asking the fields


class WindowedRun:
    """The fields of a long clip's run, of which one at a time is in memory.

    Attributes:
        facts: of the whole clip.
        plan: how it is divided.
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        """Read the plan.

        Raises:
            UserError: when it is damaged.
        """
        self.folder = folder
        self._loaded: tuple[int, SavedField] | None = None
        self.plan = read_plan(folder)
        self.facts = self.plan.facts

    def check(self, instants: Iterable[Fraction]) -> None:
        """Refuse instants whose windows are not fitted yet.

        Raises:
            UserError: for the first such window.
        """
        for number in sorted({self.plan.window_at(seconds) for seconds in instants}):
            if not self.plan.is_fitted(self.folder, number):
                raise UserError(
                    f"window {self.plan.folder(self.folder, number)} is not fitted yet; go on with "
                    f"vfield train --resume --out {self.folder}, or render a part that is"
                )

    def fingerprint(self) -> str:
        """Words that change when any window is divided or fitted in another way, or again."""
        words = [(self.folder / WINDOWS_NAME).read_text()]
        for number in range(len(self.plan.windows)):
            if self.plan.is_fitted(self.folder, number):
                held = (self.plan.folder(self.folder, number) / FIELD_NAME).stat()
                words.append(f"{number}: {held.st_size} bytes, {held.st_mtime_ns}")
        return "\n".join(words)

    def field(self, number: int) -> SavedField:
        """A window's field; the one that was asked for before is let go of first."""
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = None
            self._loaded = (number, load_field(self.plan.folder(self.folder, number)))
        return self._loaded[1]


def open_run(path: str | Path, device: str = "cpu") -> SavedField | WindowedRun:
    """A field file, the one in a run folder, or the windows in one.

    Args:
        path: the file or folder.
        device: where to put the field of a run that has only one.

    Raises:
        UserError: when there is none, or it is damaged.
    """
    if (Path(path) / WINDOWS_NAME).is_file():
        return WindowedRun(Path(path))
    return load_field(path, device)
