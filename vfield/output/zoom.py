"""Pan and zoom: a crop that moves, given at a few instants.

Each side of the picture is interpolated on its own, but by the same rule. The logarithm of the crop's length is a
monotone cubic of time (Fritsch and Carlson 1980, with the harmonic slopes of Fritsch and Butland 1984), so that a zoom
between two keyframes has constant perceived speed. Position follows length on a straight line, which keeps the point
still that two crops have in common. Where several keyframes meet and their lines differ, progress along each is warped
so that velocity is continuous. That is done in the share q of the room beside the crop that lies before it, because
any q in [0, 1] is inside the picture.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from vfield.core.clip import SHAPE_TOLERANCE, ClipFacts
from vfield.core.errors import UserError, brief, told_with
from vfield.core.json_files import is_number
from vfield.core.ranges import Range, check_ranges
from vfield.core.timing import cubic
from vfield.core.yaml_files import read_yaml
from vfield.field.render import Region

_SAME = 1e-9  # lengths and rooms closer than this share are equal


@dataclass(frozen=True)
class CropAt:
    """What to show at an instant.

    A UserError when the time is negative, or the crop empty or beyond the picture's left or upper edge.
    """

    at: Annotated[float, Range(0, 10**9)]  # seconds of the clip after its first frame
    crop: Annotated[tuple[float, float, float, float], Range(0, 1 << 20)]  # (x, y, width, height) in source pixels

    def __post_init__(self) -> None:
        check_ranges(self, "")
        if min(self.crop[2:]) <= 0:
            raise UserError(f"crop must have a positive size, got {crop_words(self.crop)}")


@dataclass(frozen=True)
class ZoomPath:
    """A moving crop. Before the first keyframe and after the last one it stands still.

    Attributes:
        keyframes: two or more, their times increasing, their crops of one shape; others are UserErrors.
    """

    keyframes: tuple[CropAt, ...]

    def __post_init__(self) -> None:
        if len(self.keyframes) < 2:
            raise UserError(f"a path needs two keyframes or more, got {len(self.keyframes)}; crop shows one part")
        for number, (earlier, later) in enumerate(pairwise(self.keyframes), start=2):
            if later.at <= earlier.at:
                raise UserError(f"keyframe {number}: times must increase, got {later.at:g} s after {earlier.at:g} s")
        *_, wide, high = self.keyframes[0].crop
        for number, keyframe in enumerate(self.keyframes[1:], start=2):
            *_, width, height = keyframe.crop
            if abs((width * high) / (height * wide) - 1) > SHAPE_TOLERANCE:
                raise UserError(
                    f"keyframe {number}: a crop of {width:g}x{height:g} is not the shape of the first, "
                    f"{wide:g}x{high:g}; all must have one, for example {width:g}x{width * high / wide:.6g}"
                )

    def regions(self, facts: ClipFacts) -> Callable[[float], Region]:
        """What to show of a clip at each t, seconds after its first frame: (u0, v0, u1, v1).

        A UserError when a crop reaches outside the picture, or a time lies after the clip's end.
        """
        duration = float(facts.end_seconds - facts.pts_seconds[0])
        for number, keyframe in enumerate(self.keyframes, start=1):
            x, y, width, height = keyframe.crop
            if keyframe.at > duration:
                raise UserError(
                    f"keyframe {number}: {keyframe.at:g} s is after the end of the clip, which lasts {duration:g} s; "
                    "times are the clip's own, whatever the slow motion"
                )
            if x + width > facts.width * (1 + _SAME) or y + height > facts.height * (1 + _SAME):
                raise UserError(
                    f"keyframe {number}: crop {crop_words(keyframe.crop)} reaches outside the picture, which is "
                    f"{facts.width}x{facts.height}"
                )
        times, crops = zip(*((keyframe.at, keyframe.crop) for keyframe in self.keyframes), strict=True)
        across = _Side(times, [(x / facts.width, width / facts.width) for x, _, width, _ in crops])
        down = _Side(times, [(y / facts.height, height / facts.height) for _, y, _, height in crops])

        def region(t: float) -> Region:
            (u0, u1), (v0, v1) = across.span(t), down.span(t)
            return u0, v0, u1, v1

        return region


def read_path(path: str | Path) -> ZoomPath:
    """The path that a YAML file describes: a list of `at: seconds` with `crop: [x, y, width, height]`.

    A UserError when the file is missing or is not that.
    """
    entries = read_yaml(path, "path")
    if not isinstance(entries, list):
        raise UserError(f"path {path} must be a list of keyframes, each with at and crop, got {brief(entries)}")
    with told_with(f"path {path}: "):
        return ZoomPath(tuple(_keyframe(number, entry) for number, entry in enumerate(entries, start=1)))


def _keyframe(number: int, entry: Any) -> CropAt:
    if not isinstance(entry, dict) or set(entry) != {"at", "crop"}:
        raise UserError(f"keyframe {number} must have the keys at and crop and no other, got {brief(entry)}")
    at, crop = entry["at"], entry["crop"]
    if not is_number(at):
        raise UserError(f"keyframe {number}: at must be a number of seconds, got {brief(at)}")
    if not isinstance(crop, list) or len(crop) != 4 or not all(map(is_number, crop)):
        raise UserError(f"keyframe {number}: crop must be [x, y, width, height] in source pixels, got {brief(crop)}")
    with told_with(f"keyframe {number}: "):
        x, y, width, height = map(float, crop)
        return CropAt(float(at), (x, y, width, height))


def crop_words(crop: Sequence[Fraction | float]) -> str:
    """A crop as messages say it."""
    return ",".join(f"{float(value):g}" for value in crop)


class _Leg(NamedTuple):
    """The way between two keyframes, along one side, as shares of that side."""

    start: float  # where the crop begins, and how long it is, at the earlier keyframe
    length: float
    end_start: float  # the same at the later one
    end_length: float
    seconds: float  # between them
    slopes: tuple[float, float]  # of the length's logarithm at both, per second

    def log_length(self, share: float) -> float:
        """Logarithm of the length after this share of the time."""
        rise = math.log(self.end_length / self.length)
        moved: float = cubic(share, rise, *(slope * self.seconds for slope in self.slopes))
        return math.log(self.length) + moved

    def room_share(self, share: float) -> float:
        """The share q of the room beside the crop that lies before it, on the straight line between both crops."""
        rise = math.log(self.end_length / self.length)
        if abs(rise) < _SAME:
            # A pan: nothing but time to go by.
            start, length = self.start + (self.end_start - self.start) * share, self.length
        else:
            change = self.log_length(share) - math.log(self.length)
            start = self.start + (self.end_start - self.start) * math.expm1(change) / math.expm1(rise)
            length = self.length * math.exp(change)
        if 1 - length > _SAME:
            return start / (1 - length)
        # The whole side: no room. Any share will do there, and on the way to it the line keeps the other end's.
        other = self.end_length if share < 0.5 else self.length
        other_start = self.end_start if share < 0.5 else self.start
        return other_start / (1 - other) if 1 - other > _SAME else 0.0

    def room_speed(self, end: int) -> float:
        """The derivative of `room_share` in time, per second, at the earlier (0) or later (1) keyframe."""
        if abs(math.log(self.end_length / self.length)) < _SAME:
            return (self.room_share(1) - self.room_share(0)) / self.seconds
        start, length = (self.end_start, self.end_length) if end else (self.start, self.length)
        if 1 - length <= _SAME:
            return 0.0
        along = (self.end_start - self.start) / (self.end_length - self.length)
        return (along * (1 - length) + start) / (1 - length) ** 2 * length * self.slopes[end]


class _Side:
    """Where the crop lies along one side of the picture at any instant."""

    def __init__(self, times: Sequence[float], spans: Sequence[tuple[float, float]]) -> None:
        """Find the way between keyframes at these times, given (start, length) of each crop, as shares of the side."""
        self.times = times
        logs = [math.log(length) for _, length in spans]
        secants = [
            (later - earlier) / (end - begin)
            for (earlier, later), (begin, end) in zip(pairwise(logs), pairwise(times), strict=True)
        ]
        slopes = [secants[0], *(_joined(left, right) for left, right in pairwise(secants)), secants[-1]]
        self.legs = [
            _Leg(*spans[i], *spans[i + 1], times[i + 1] - times[i], (slopes[i], slopes[i + 1]))
            for i in range(len(secants))
        ]
        # How much faster or slower than its own line each leg sets out and arrives.
        self.paces = [[1.0, 1.0] for _ in self.legs]
        for i, (left, right) in enumerate(pairwise(self.legs)):
            speeds = left.room_speed(1), right.room_speed(0)
            common = _joined(*speeds)
            self.paces[i][1], self.paces[i + 1][0] = (common / speed if speed else 1.0 for speed in speeds)

    def span(self, t: float) -> tuple[float, float]:
        """(begin, end) of the crop at an instant, as shares of the side."""
        t = min(max(t, self.times[0]), self.times[-1])
        i = min(bisect_right(self.times, t) - 1, len(self.legs) - 1)
        leg = self.legs[i]
        share = (t - self.times[i]) / leg.seconds
        length = math.exp(leg.log_length(share))
        start = leg.room_share(cubic(share, 1.0, *self.paces[i])) * (1 - length)
        return start, start + length


def _joined(left: float, right: float) -> float:
    """A slope for where two meet: their harmonic mean, at most twice the smaller, which keeps a cubic monotone."""
    return 2 * left * right / (left + right) if left * right > 0 else 0.0
