"""The frames of a schedule, from one field or from the windows of a long clip, made by one process or by several.

Several processes share the frames in pieces, in turn. Each makes its own and hands them over in files beside the
result; the main one takes all of them in order, so that what it codes is, bit for bit, what a single process codes.
Nobody runs ahead by more than two pieces, and what lies on the disk stays small, however long the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vfield.checkpoint import SavedField
from vfield.coords import seconds_to_t
from vfield.crew import Crew
from vfield.errors import UserError
from vfield.folders import Temporary
from vfield.render import Region, render
from vfield.timing import Schedule
from vfield.windows import WindowedRun

_PIECE_FRAMES = 16
_AHEAD = 2  # pieces that a process may have waiting


class Look(NamedTuple):
    """How frames are rendered: what `render` is told besides the field and the instants."""

    size: tuple[int, int]
    region: Region | Callable[[float], Region]
    chunk_points: int
    device: torch.device | str
    alpha: bool = False


def frames_of(saved: SavedField | WindowedRun, plan: Schedule, numbers: range, look: Look) -> Iterator[Tensor]:
    """Some of a schedule's frames, in order, one field in memory at a time.

    Args:
        saved: one field, or the windows of a long clip.
        plan: when the result shows what.
        numbers: which frames of it.
        look: how to render them.

    Yields:
        (3, height, width) float32 in [0, 1], or (4, height, width) with alpha; see `render`.

    Raises:
        UserError: when a window's field cannot be read, or the device cannot be used.
    """
    if isinstance(saved, SavedField):
        yield from _from_field(saved, plan, numbers, look)
        return
    origin = saved.facts.pts_seconds[0]
    for window, stretch in groupby(numbers, key=lambda number: saved.plan.window_at(plan.source_seconds[number])):
        members = list(stretch)
        yield from _from_window(saved, window, origin, plan, range(members[0], members[-1] + 1), look)


def _from_window(
    run: WindowedRun, window: int, origin: Fraction, plan: Schedule, numbers: range, look: Look
) -> Iterator[Tensor]:
    """Frames of one window. A function of its own, so that nothing here still holds the field when the next is read."""
    saved = run.field(window)
    later = float(saved.facts.pts_seconds[0] - origin)
    region = look.region
    if callable(region):
        # A path's times count from the first frame of the clip, the field's from the first of its window.
        path = region
        look = look._replace(region=lambda t: path(t + later))
    return _from_field(saved, plan, numbers, look)


def _from_field(saved: SavedField, plan: Schedule, numbers: range, look: Look) -> Iterator[Tensor]:
    return render(
        _on_device(saved, look.device),
        look.size,
        _instants(plan, numbers, saved),
        region=look.region,
        chunk_points=look.chunk_points,
        device=look.device,
        alpha=look.alpha,
    )


def _instants(plan: Schedule, numbers: range, saved: SavedField) -> list[float]:
    """The t of each frame: seconds after the field's first."""
    facts = saved.facts
    shown = plan.source_seconds[numbers.start : numbers.stop]
    instants = [seconds_to_t(seconds, facts.pts_seconds[0]) for seconds in shown]
    if plan.is_constant or abs(plan.timing.constant_speed or 0) != 1:
        return instants
    # At the clip's own times its frames are shown as they are, those that repeat the one before included. Frames that
    # were not seen are made like any others in between.
    own = {pts for frame, pts in enumerate(facts.pts_seconds) if frame not in facts.missing}
    held = saved.field.held(instants)
    return [at if seconds in own else t for seconds, t, at in zip(shown, instants, held, strict=True)]


def _on_device(saved: SavedField, device: torch.device | str) -> nn.Module:
    try:
        return saved.field.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"cannot render on device {device}: {str(error).splitlines()[0]}") from error


# ------------------------------------------------------------------------------------------- several processes


class Relay:
    """Frames that the processes of a crew make in turn, for the main one to take in order.

    Attributes:
        is_main: whether this process takes, and does not only supply.

    Args:
        crew: the processes.
        frames: which frames of the result.
        made: makes some of them, as they are to be written.
        path: of the result, beside which pieces are handed over.
    """

    def __init__(self, crew: Crew, frames: range, made: Callable[[range], Iterator[Tensor]], path: Path) -> None:
        self._crew, self._made = crew, made
        self.is_main = crew.is_main
        length = max(1, min(_PIECE_FRAMES, -(-len(frames) // crew.size)))
        self._pieces = [frames[start : start + length] for start in range(0, len(frames), length)]
        # All have found the request in order before the first frame is rendered, and so before anything is in place.
        crew.hear_all("ready", True)
        self._temporary = Temporary(path)
        self._folder = self._temporary.file

    def take(self) -> Iterator[Tensor]:
        """All frames in order, in the main process.

        Raises:
            UserError: when another process fails.
        """
        self._folder = self._temporary.make()
        self._folder.mkdir()
        self._crew.tell("takes frames", str(self._folder))
        for number, piece in enumerate(self._pieces):
            maker = number % self._crew.size
            yield from self._made(piece) if maker == self._crew.rank else self._handed(number, maker)

    def _handed(self, number: int, maker: int) -> Iterator[Tensor]:
        file = self._file(number)
        self._crew.wait(file.exists, maker)
        frames = np.load(file)
        file.unlink()
        yield from torch.from_numpy(frames)

    def supply(self) -> None:
        """Make one's share, in the other processes; returns when the main one takes no more.

        Raises:
            UserError: when the main process fails, or the disk is full.
        """
        self._folder = Path(self._crew.hear(0, "takes frames"))
        own = range(self._crew.rank, len(self._pieces), self._crew.size)
        for place, number in enumerate(own):
            if place >= _AHEAD:
                self._crew.wait(partial(_is_gone, self._file(own[place - _AHEAD])), 0)
            frames = torch.stack(list(self._made(self._pieces[number]))).numpy()
            file = self._file(number)
            unready = file.with_suffix(".partial")
            try:
                with unready.open("wb") as handle:
                    np.save(handle, frames)
                unready.rename(file)
            except OSError as error:
                raise UserError(f"could not write {file}: {error.strerror}; free some space") from error
        self._crew.hear(0, "takes no more")

    def end(self) -> None:
        """Clear away what was handed over, in the main process, and tell the others that no more will be taken."""
        self._temporary.remove()
        self._crew.tell("takes no more", True)

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06}.npy"


def _is_gone(file: Path) -> bool:
    return not file.exists()
