"""One look through a clip: its cuts, its flashes and its held frames, in the memory of a few frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from vfield.core.frames import Frames
from vfield.prepare.repeats import change_between, repeats_of
from vfield.prepare.shots import ShotSearch

LOOKED_AT_SIDE = 960
"""Longest side of the pictures that a file is looked through in: small things that move still show in its blocks."""
_BATCH = 16


class Scan(NamedTuple):
    """What a look through a clip has found.

    Attributes:
        shots: runs of frames between cuts, flashes apart, that together cover the clip.
        repeats: frames that repeat the one before them while the things around them move.
    """

    shots: list[range]
    repeats: list[int]


def scan_batches(batches: Iterable[Tensor]) -> Scan:
    """Look once through a clip that comes in pieces (n, 3, h, w), RGB, uint8 or float in [0, 1], n of at least 1.

    Raises:
        UserError: when there is none.
    """
    search = ShotSearch()
    changes: list[Tensor] = []
    last: Tensor | None = None
    for batch in batches:
        search.add(batch)
        for frame in batch:
            if last is not None:
                changes.append(change_between(last, frame))
            last = frame
    shots = search.shots_and_flashes()
    return Scan(shots, repeats_of(torch.stack(changes), shots) if changes else [])


def scan_frames(frames: Frames) -> Scan:
    """Look through frames that are at hand."""
    numbers = range(len(frames))
    batches = (numbers[start : start + _BATCH] for start in numbers[::_BATCH])
    return scan_batches(torch.stack([frames[number] for number in batch]) for batch in batches)
