"""The rate of the camera: what most pictures of a file are apart, however many are missing and however late some are.

A container's own rate is an average, or is not said at all; dropped frames pull it down, and a clock of 1/1000 s makes
it a little wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from av import VideoStream

from vfield.video_io.clock import begins_anew, picture_packets
from vfield.video_io.source import nominal_rate

_NTSC = (15, 24, 30, 48, 60, 120, 240)
_WHOLE = (5, 6, 8, 10, 12, 15, 20, 24, 25, 30, 40, 48, 50, 60, 72, 75, 90, 96, 100, 120, 144, 180, 200, 240)
_FASTER = (300, 480, 500, 960, 1000)
_USUAL = sorted({*(Fraction(1000 * whole, 1001) for whole in _NTSC), *map(Fraction, _WHOLE + _FASTER), Fraction(25, 2)})
_LOOKED_AT = 1000  # packets: half a minute tells the rate of a film
# Shares of a rate: what a rounded number in a header is off, what a camera's clock may be, what a coarse clock may do.
_ROUNDING, _DRIFT, _COARSEST = 0.0002, 0.005, 0.01
_SAME = 1.2  # steps of up to so many times the shortest, and a tick, are of one kind
_SHARE = 0.1  # of all steps that shorter ones must be to count as usual
_MAIN_SHARE = 0.6  # of all steps that one kind must be against an average that is a usual rate
_OFF_GRID = 0.25  # of a step that a time may be off, and still say how long so many steps are
_WHOLE_TIMES = 0.05  # likewise, of a longer kind that is a multiple of a shorter one
_MOST_MISSING = 8


def camera_rate(path: str | Path, stream: VideoStream) -> Fraction:
    """Frames per second at which pictures of a stream usually come: a usual rate where its times allow for one."""
    declared = nominal_rate(stream)
    if stream.start_time is None or stream.container.format.name == "avi":
        return declared  # there are no times
    if begins_anew(stream.container) and declared in _USUAL:
        return declared  # FFmpeg knows it from the codec; there, fields may come as packets of their own
    stat = Path(path).stat()
    return rate_of(_times(str(path), stat.st_size, stat.st_mtime_ns), stream.time_base or Fraction(1, 1000), declared)


@lru_cache(maxsize=32)
def _times(path: str, size: int, changed: int) -> list[int]:
    """When the first pictures of a file are shown, in order, in ticks."""
    shown = (packet.pts for packet in picture_packets(path) if not packet.is_discard and packet.pts is not None)
    found = sorted(islice(shown, _LOOKED_AT))
    # Of the last ones, some that are shown before them may be yet to come.
    return found[:-16] if len(found) == _LOOKED_AT else found


def rate_of(ticks: Sequence[int], tick: Fraction, declared: Fraction) -> Fraction:
    """The rate of pictures shown at times, in order: ticks of so many seconds.

    Where they are even, the rate that the container declares, made a usual one where that is within the clock.
    Otherwise that of the commonest step, or of a shorter one that is usual, too, and of which the commonest is a
    multiple: no picture comes too quickly for it.
    """
    steps: np.ndarray = np.diff(np.array(ticks, dtype=np.int64))
    steps = steps[steps > 0]
    if len(steps) == 0:
        return declared
    average = 1 / (int(steps.sum()) * tick / len(steps))
    rounded = 1 / int(steps.sum())  # the share that the first and the last time may be wrong by, being whole ticks
    clock = min(rounded, _COARSEST)
    if steps.max() - steps.min() <= 1:
        near = declared if abs(declared / average - 1) <= max(rounded, _ROUNDING) else average
        return min(_usual(near, max(clock, _ROUNDING)), default=near, key=lambda rate: abs(rate - near))
    step, share = _commonest(steps, len(steps))
    if share < _MAIN_SHARE and _usual(average, _ROUNDING):
        return _usual(average, _ROUNDING)[0]  # as film in interlaced video, whose frames take two fields and three
    while True:
        quicker, share = _commonest(steps[steps < step / 1.4], len(steps))
        if share < _SHARE or abs(step / quicker / round(step / quicker) - 1) > _WHOLE_TIMES:
            break
        step = quicker
    # Over runs of whole steps, what single times are late or early by does not add up.
    count = np.rint(steps / step)
    whole = (np.abs(steps - count * step) <= _OFF_GRID * step) & (count >= 1) & (count <= _MOST_MISSING)
    rate = 1 / (Fraction(int(steps[whole].sum())) * tick / int(count[whole].sum()))
    found = min(_usual(rate, max(clock, _DRIFT)), default=None, key=lambda usual: abs(usual - rate))
    return rate.limit_denominator(1001) if found is None else found


def _usual(rate: Fraction, tolerance: float) -> list[Fraction]:
    """The usual rates that differ from a rate by no more than a share."""
    return [usual for usual in _USUAL if abs(float(usual / rate) - 1) <= tolerance]


def _commonest(steps: np.ndarray, of: int) -> tuple[float, float]:
    """The mean of the commonest kind of step, the shorter of two as common; and its share of so many."""
    if len(steps) == 0:
        return 0.0, 0.0
    ordered = np.sort(steps)
    ends = np.searchsorted(ordered, ordered * _SAME + 1, side="right")
    counts = ends - np.arange(len(ordered))
    begin = int(np.argmax(counts))
    return float(ordered[begin : ends[begin]].mean()), int(counts[begin]) / of
