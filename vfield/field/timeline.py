"""Which keyframes surround an instant.

Time is divided into segments. Between two neighbouring keyframes of one shot lies a *gap*, in which things move. At a
cut there is no gap: the nearer keyframe is held on each side, so nothing ever reads across one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gap:
    """Two keyframes that motion joins, and their outer neighbours in the same shot (None at its ends)."""

    left: int
    right: int
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Segment:
    """A half-open range of t, starting at `start` and ending where the next begins.

    `gap` is a row of the motion grids, or None where the keyframe `left` == `right` is held.
    """

    start: float
    left: int
    right: int
    gap: int | None


def gaps_between(shots: Sequence[range]) -> list[Gap]:
    """The gaps between neighbouring keyframes of each shot, in order of time."""
    found = []
    for shot in shots:
        for k in shot[:-1]:
            before = k - 1 if k - 1 in shot else None
            after = k + 2 if k + 2 in shot else None
            found.append(Gap(k, k + 1, before, after))
    return found


def gaps_hiding(shots: Sequence[range]) -> dict[int, Gap]:
    """For every keyframe that has both neighbours: the gap that opens when it is hidden, joined two by two."""
    found = {}
    for shot in shots:
        for k in shot[1:-1]:
            before = k - 3 if k - 3 in shot else None
            after = k + 3 if k + 3 in shot else None
            found[k] = Gap(k - 1, k + 1, before, after)
    return found


class Passage(NamedTuple):
    """The part of a way through time that lies in one gap.

    Attributes:
        gap: row of the motion grids.
        fraction_from, fraction_to: where the way enters and leaves it, 0 at the left keyframe and 1 at the right.
    """

    gap: int
    fraction_from: float
    fraction_to: float


class Timeline:
    """Segments over the keyframes at times t (k,), increasing, float32."""

    def __init__(self, t: Tensor, shots: Sequence[range]) -> None:
        times = t.tolist()
        self.t = t
        self.shots = list(shots)
        self.segments: list[Segment] = []
        row = 0
        for shot in shots:
            for k in shot[:-1]:
                self.segments.append(Segment(times[k], k, k + 1, row))
                row += 1
            self.segments.append(Segment(times[shot[-1]], shot[-1], shot[-1], None))
        for earlier, later in pairwise(shots):
            # Each side of a cut is held up to half-way. The earlier keeps the very middle, as a frame on a screen
            # stays until the next one is due.
            middle = math.nextafter((times[earlier[-1]] + times[later[0]]) / 2, math.inf)
            self.segments.append(Segment(middle, later[0], later[0], None))
        self.segments.sort(key=lambda segment: segment.start)
        self._starts = torch.tensor([segment.start for segment in self.segments], dtype=torch.float64)

    def find(self, t: Tensor) -> Tensor:
        """Index of the segment that holds each instant t (n,); before the first keyframe it is the first one."""
        starts = self._starts.to(t.device)
        return (torch.searchsorted(starts, t.double().contiguous(), right=True) - 1).clamp(min=0)

    def at_start(self, segments: Tensor, t: Tensor) -> Tensor:
        """Whether each t (n,) is the very instant at which its segment, by `find`, begins: (n,) bool."""
        return t.double() == self._starts.to(t.device)[segments]

    def fraction(self, segment: Segment, t: Tensor) -> Tensor:
        """How far each t (n,) has gone from the left keyframe (0) to the right one (1); 0 where one is held."""
        if segment.gap is None:
            return torch.zeros_like(t)
        left, right = self.t[segment.left].item(), self.t[segment.right].item()
        return ((t - left) / (right - left)).clamp(0, 1)

    def route(self, t_from: float, t_to: float) -> list[Passage] | None:
        """The gaps passed on the way from one instant to another, in order; None where a cut lies between them.

        Stretches in which a keyframe is held are left out: nothing moves there.
        """
        ends = torch.tensor([t_from, t_to], dtype=torch.float32)
        first, last = self.find(ends).tolist()
        passed = self.segments[min(first, last) : max(first, last) + 1]
        if any(earlier.right != later.left for earlier, later in pairwise(passed)):
            return None
        step = 1 if first <= last else -1
        entry, exit_ = (0.0, 1.0) if step == 1 else (1.0, 0.0)
        passages = []
        for index in range(first, last + step, step):
            segment = self.segments[index]
            fraction_from, fraction_to = self.fraction(segment, ends).tolist()
            fraction_from = fraction_from if index == first else entry
            fraction_to = fraction_to if index == last else exit_
            if segment.gap is not None and fraction_from != fraction_to:
                passages.append(Passage(segment.gap, fraction_from, fraction_to))
        return passages

    def seconds(self, segment: Segment) -> float:
        """Time between the two keyframes of a segment; 1 where one is held, since nothing moves there."""
        return 1.0 if segment.left == segment.right else self.t[segment.right].item() - self.t[segment.left].item()
