"""When a result shows what: the map from its time to the source's, and the instants of its frames.

All times are exact fractions of a second, so that nothing drifts, however long a clip is.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from vfield.core.clip import ClipFacts
from vfield.core.errors import UserError

# Half the last digit of a time typed in milliseconds: such a time means the frame, not a hair beside it.
_SNAP_SECONDS = Fraction(1, 2000)
_HALVINGS = 64
_LARGEST_SPEED = 1000
_MOST_FRAMES = 3_000_000  # of one result: more than a day at 30 a second

Rate = Fraction | Literal["source"]


def as_typed(value: Fraction | float) -> Fraction:
    """A finite number as it was typed: 0.1 is one tenth, not the binary fraction nearest to it."""
    return Fraction(str(value)) if isinstance(value, float) else Fraction(value)


def cubic(share: Any, rise: Any, slope: Any, end_slope: Any) -> Any:
    """Hermite's cubic from 0 to `rise` over a share from 0 to 1, with these slopes at its ends; of fractions, exact."""
    left, right = share * (1 - share) ** 2, share**2 * (1 - share)
    return rise * share**2 * (3 - 2 * share) + slope * left - end_slope * right


class Leg(NamedTuple):
    """A part of a result in which the source runs one way, or stands still: a cubic from output to source seconds."""

    begin: Fraction  # seconds of the output
    end: Fraction  # likewise
    source_begin: Fraction  # seconds of the source, on its own clock, at those
    source_end: Fraction  # likewise
    # Source seconds per output second at both ends, negative where the source runs backwards.
    speeds: tuple[Fraction, Fraction]

    @property
    def speed(self) -> Fraction:
        """The mean speed."""
        return (self.source_end - self.source_begin) / (self.end - self.begin)

    @property
    def is_constant(self) -> bool:
        """Whether the speed is the same all along."""
        return self.speeds == (self.speed, self.speed)

    def source_at(self, seconds: Fraction) -> Fraction:
        """The instant of the source that is shown at this time of the output."""
        if self.is_constant:
            return self.source_begin + (seconds - self.begin) * self.speed
        span = self.end - self.begin
        slopes = (span * speed for speed in self.speeds)
        return self.source_begin + cubic((seconds - self.begin) / span, self.source_end - self.source_begin, *slopes)

    def output_at(self, source: Fraction) -> Fraction:
        """When an instant of the source is shown; the nearer end of the leg for one that it does not reach."""
        low, high = sorted((self.source_begin, self.source_end))
        if low == high or source in (self.source_begin, self.source_end) or not low < source < high:
            ahead = (source - self.source_begin) * (self.source_end - self.source_begin)
            return self.end if ahead > 0 else self.begin
        if self.is_constant:
            return self.begin + (source - self.source_begin) / self.speed
        # By halves: the leg is monotone, and a rational cubic has no rational root to find.
        begin, end = self.begin, self.end
        for _ in range(_HALVINGS):
            middle = (begin + end) / 2
            is_before = (self.source_at(middle) < source) == (self.source_end > self.source_begin)
            begin, end = (middle, end) if is_before else (begin, middle)
            if end - begin < Fraction(1, 10**9):
                break
        return begin


@dataclass(frozen=True)
class TimeMap:
    """From the time of an output to the time of its source: legs, one after the other.

    Attributes:
        legs: without a gap between them. What is before the first (where a reversed output's first frame is shown a
            little longer than the source lasts) shows nothing of the source's time.
    """

    legs: tuple[Leg, ...]

    @staticmethod
    def uniform(
        first: Fraction,
        last: Fraction,
        *,
        slowmo: Fraction = Fraction(1),
        reverse: bool = False,
        delay: Fraction | int = 0,
    ) -> TimeMap:
        """One speed from `first` to `last` of the source (seconds, half-open), or back; `delay` seconds come before."""
        begin, speed = Fraction(delay), (-1 if reverse else 1) / slowmo
        ends = (last, first) if reverse else (first, last)
        return TimeMap((Leg(begin, begin + (last - first) * slowmo, *ends, (speed, speed)),))

    @property
    def duration_seconds(self) -> Fraction:
        """Length of the output."""
        return self.legs[-1].end

    @property
    def source_range(self) -> tuple[Fraction, Fraction]:
        """The earliest and the latest instant of the source that is shown."""
        edges = [edge for leg in self.legs for edge in (leg.source_begin, leg.source_end)]
        return min(edges), max(edges)

    @property
    def constant_speed(self) -> Fraction | None:
        """The speed where it is the same all along, negative for backwards; otherwise None."""
        return self.legs[0].speed if len(self.legs) == 1 and self.legs[0].is_constant else None

    def source_at(self, seconds: Fraction) -> Fraction:
        """The instant of the source that is shown at a time of the output."""
        leg = self.legs[max(0, bisect_right(self.legs, seconds, key=lambda leg: leg.begin) - 1)]
        return leg.source_at(min(max(seconds, leg.begin), leg.end))

    def shown(self, begin: Fraction, end: Fraction) -> list[tuple[Fraction, Fraction]]:
        """When [begin, end) of the source is shown: spans (begin, end) of the output, in order and apart."""
        spans: list[tuple[Fraction, Fraction]] = []
        for leg in self.legs:
            if leg.source_begin == leg.source_end:
                span = (leg.begin, leg.end) if begin <= leg.source_begin < end else None
            else:
                low, high = sorted((leg.source_begin, leg.source_end))
                low, high = max(low, begin), min(high, end)
                edges = sorted((leg.output_at(low), leg.output_at(high)))
                span = (edges[0], edges[1]) if low < high and edges[0] < edges[1] else None
            if span is None:
                continue
            if spans and spans[-1][1] == span[0]:
                span = (spans.pop()[0], span[1])
            spans.append(span)
        return spans


# ------------------------------------------------------------------------------------------- speed curves


@dataclass(frozen=True)
class SpeedCurve:
    """A speed that changes: which instant of the source is shown when.

    Attributes:
        pairs: (seconds of the output, seconds of the clip after its first frame), two or more; others are UserErrors.
            The first is at 0 of the output, the last at its end, and times of the output increase. The clip's may rise,
            stand still or fall: where they fall it plays backwards.
    """

    pairs: tuple[tuple[Fraction, Fraction], ...]

    def __post_init__(self) -> None:
        if len(self.pairs) < 2:
            raise UserError(f"a speed curve needs two pairs or more, got {len(self.pairs)}")
        if self.pairs[0][0] != 0:
            raise UserError(f"a speed curve begins at 0 s of the output, got {float(self.pairs[0][0]):g} s")
        for (before, start), (after, stop) in pairwise(self.pairs):
            if after <= before:
                got = f"got {float(after):g} s after {float(before):g} s"
                raise UserError(f"a speed curve's times of the output must increase, {got}")
            if min(start, stop) < 0:
                got = f"got {float(min(start, stop)):g} s"
                raise UserError(f"a speed curve's times of the clip count from its first frame, {got}")
            if abs(stop - start) > _LARGEST_SPEED * (after - before):
                got = f"got {float(stop - start):g} s of the clip within {float(after - before):g} s"
                raise UserError(f"a speed curve is at most {_LARGEST_SPEED} times as fast as the clip, {got}")

    def on(self, facts: ClipFacts) -> TimeMap:
        """The curve on a clip's own clock: a monotone cubic between any two pairs, through all of them exactly.

        Slopes are by Fritsch and Butland (1984): harmonic means, weighted by the steps, which lie in the region where
        Fritsch and Carlson (1980) prove the cubic monotone; at both ends the three-point formula, cut off to stay in
        it. Where a rise turns into a fall the slope is 0. All of it is rational, so nothing is rounded. A UserError
        where the curve reaches beyond the clip.
        """
        origin = facts.pts_seconds[0]
        source = [snapped(origin + at, facts) for _, at in self.pairs]
        if max(source) > facts.end_seconds:
            covered = f"the clip covers 0 to {float(facts.end_seconds - origin):g} s"
            raise UserError(f"the speed curve shows {float(max(source) - origin):g} s, and {covered}")
        output = [at for at, _ in self.pairs]
        slopes = _monotone_slopes(output, source)
        legs = zip(pairwise(output), pairwise(source), pairwise(slopes), strict=True)
        return TimeMap(tuple(Leg(*times, *ends, speeds) for times, ends, speeds in legs))


def _monotone_slopes(x: Sequence[Fraction], y: Sequence[Fraction]) -> list[Fraction]:
    steps = [later - earlier for earlier, later in pairwise(x)]
    secants = [(later - earlier) / step for (earlier, later), step in zip(pairwise(y), steps, strict=True)]
    if len(secants) == 1:
        return [secants[0], secants[0]]
    inner = [_inner_slope(*step, *secant) for step, secant in zip(pairwise(steps), pairwise(secants), strict=True)]
    first = _end_slope(steps[0], steps[1], secants[0], secants[1])
    last = _end_slope(steps[-1], steps[-2], secants[-1], secants[-2])
    return [first, *inner, last]


def _inner_slope(step: Fraction, next_step: Fraction, secant: Fraction, next_secant: Fraction) -> Fraction:
    if secant * next_secant <= 0:
        return Fraction(0)
    weight, next_weight = 2 * next_step + step, next_step + 2 * step
    return (weight + next_weight) / (weight / secant + next_weight / next_secant)


def _end_slope(step: Fraction, other_step: Fraction, secant: Fraction, other: Fraction) -> Fraction:
    slope = ((2 * step + other_step) * secant - step * other) / (step + other_step)
    if slope * secant <= 0:
        return Fraction(0)
    return 3 * secant if secant * other <= 0 and abs(slope) > 3 * abs(secant) else slope


# ------------------------------------------------------------------------------------------- frames


class Schedule(NamedTuple):
    """When an exported video shows what; all times are exact."""

    source_seconds: list[Fraction]  # the source's instant (on its own clock) that each output frame shows
    output_seconds: list[Fraction]  # when each output frame is shown, from 0
    frame_rate: Fraction  # nominal output rate, frames per second
    duration_seconds: Fraction  # length of what is shown; the last frame of a constant rate may reach beyond it
    timing: TimeMap  # the continuous map that the frames sample
    is_constant: bool  # whether frames are 1 / frame_rate apart, the last one's end included

    @property
    def edges_seconds(self) -> list[Fraction]:
        """When each frame begins to be shown, and when the last one ends."""
        # The full length of the last frame keeps the rate constant, and nobody sees half a frame more.
        end = len(self.output_seconds) / self.frame_rate if self.is_constant else self.duration_seconds
        return [*self.output_seconds, end]


def schedule(
    pts_seconds: tuple[Fraction, ...],
    end_seconds: Fraction,
    frame_rate: Fraction,
    *,
    start: Fraction | None = None,
    end: Fraction | None = None,
    output_rate: Rate | None = None,
    slowmo: Fraction = Fraction(1),
    reverse: bool = False,
) -> Schedule:
    """Exact output times at one speed.

    With a rate, or slow motion, output frame i is shown at i / rate and shows source instant start + i / (rate
    slowmo), for every such instant in [start, end): a source frame's instant is hit exactly where it falls on that
    grid. Otherwise every source frame is shown at its own time, however uneven; in slow motion at the rate "source",
    each of its gaps is divided into `slowmo` equal steps.

    Backwards, the same frames come in the opposite order, each shown for as long as it would be. A UserError when the
    range is empty or outside the clip, or there would be millions of frames.

    Args:
        pts_seconds: the source's presentation times.
        end_seconds: when its last frame stops being shown.
        frame_rate: the source's nominal rate.
        start: first source instant, on the source's clock; None for the first frame.
        end: source instant to stop before; None for the end of the clip.
        output_rate: frames per second of the output; "source" for the source's own times; None for those at the
            source's own speed, and for its nominal rate in slow motion.
        slowmo: how many times longer the output lasts.
        reverse: play it backwards.
    """
    origin = pts_seconds[0]
    first = origin if start is None else start
    last = end_seconds if end is None else end
    if not origin <= first < last <= end_seconds:
        covered = f"the clip covers 0 to {float(end_seconds - origin):g} s"
        raise UserError(f"cannot export {float(first - origin):g} to {float(last - origin):g} s: {covered}")
    duration = (last - first) * slowmo
    if isinstance(output_rate, str) or (output_rate is None and slowmo == 1):
        own = bisect_left(pts_seconds, last) - bisect_left(pts_seconds, first) + 1
        if slowmo > 1:
            _check_count(math.ceil(own * slowmo), f"{own} frames with {float(slowmo):g} for each")
        shown = _own_instants((*pts_seconds, end_seconds), first, last, slowmo)
        edges = [(instant - first) * slowmo for instant in (*shown, last)]
        if reverse:
            shown, edges = shown[::-1], [duration - edge for edge in reversed(edges)]
        timing = TimeMap.uniform(first, last, slowmo=slowmo, reverse=reverse)
        return Schedule(shown, edges[:-1], frame_rate, duration, timing, is_constant=False)
    rate = frame_rate if output_rate is None else output_rate
    count = _frames_in(duration, rate)
    output = [i / rate for i in range(count)]
    shown = [first + seconds / slowmo for seconds in output]
    if reverse:
        shown.reverse()
    delay = count / rate - duration if reverse else 0
    timing = TimeMap.uniform(first, last, slowmo=slowmo, reverse=reverse, delay=delay)
    return Schedule(shown, output, rate, duration, timing, is_constant=True)


def schedule_curve(facts: ClipFacts, curve: SpeedCurve, output_rate: Fraction | None = None) -> Schedule:
    """Exact output times under a speed curve: output frame i is at i / rate, within the curve (half-open).

    The rate is frames per second of the output; None for the source's nominal rate. A UserError where the curve reaches
    beyond the clip, or there would be millions of frames.
    """
    timing = curve.on(facts)
    rate = facts.frame_rate if output_rate is None else output_rate
    output = [i / rate for i in range(_frames_in(timing.duration_seconds, rate))]
    shown = [timing.source_at(seconds) for seconds in output]
    return Schedule(shown, output, rate, timing.duration_seconds, timing, is_constant=True)


def _frames_in(duration: Fraction, rate: Fraction) -> int:
    """How many frames of a constant rate a result has; a UserError where they are more than anybody wants."""
    count = math.ceil(duration * rate)
    _check_count(count, f"{float(duration):g} s at {float(rate):g} frames a second")
    return count


def _check_count(count: int, what: str) -> None:
    if count > _MOST_FRAMES:
        advice = "choose a lower rate, less slow motion or a shorter part"
        raise UserError(f"{what} would be {count} frames, and at most {_MOST_FRAMES} are made in one go; {advice}")


def _own_instants(edges: tuple[Fraction, ...], first: Fraction, last: Fraction, parts: Fraction) -> list[Fraction]:
    """`first`, and what follows it before `last` where each gap between two edges is divided into so many parts."""
    if parts == 1:
        return [first, *(edge for edge in edges[:-1] if first < edge < last)]
    instants = [first]
    gap = bisect_right(edges, first) - 1
    begin = gap + (first - edges[gap]) / (edges[gap + 1] - edges[gap])
    number = math.floor(begin * parts) + 1
    while True:
        position = number / parts
        gap = math.floor(position)
        if gap >= len(edges) - 1:
            return instants
        instant = edges[gap] + (position - gap) * (edges[gap + 1] - edges[gap])
        if instant >= last:
            return instants
        instants.append(instant)
        number += 1


def snapped(seconds: Fraction, facts: ClipFacts) -> Fraction:
    """The frame's instant (or the clip's end) that a time rounded to milliseconds means, or the time itself."""
    nearest = min((*facts.pts_seconds, facts.end_seconds), key=lambda instant: abs(instant - seconds))
    return nearest if abs(nearest - seconds) <= _SNAP_SECONDS else seconds
