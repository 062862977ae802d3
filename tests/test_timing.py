"""Which instant is shown when: exact arithmetic, maps there and back, and speed curves."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from vfield.errors import UserError
from vfield.timing import schedule

NTSC = Fraction(30000, 1001)


def even(frames: int, rate: Fraction, start: Fraction = Fraction(0)) -> tuple[tuple[Fraction, ...], Fraction, Fraction]:
    """(pts, end, rate) of a clip of constant rate."""
    return tuple(start + i / rate for i in range(frames)), start + frames / rate, rate


# ------------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize("k", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(24000, 1001)])
def test_slow_motion_hits_every_source_instant(k: int, rate: Fraction) -> None:
    pts, end, _ = even(13, rate, Fraction(127995, 15360))
    plan = schedule(pts, end, rate, output_rate=rate, slowmo=Fraction(k))
    assert tuple(plan.source_seconds[::k]) == pts
    assert len(plan.source_seconds) == 13 * k
    assert plan.output_seconds == [i / rate for i in range(13 * k)]
    assert plan.duration_seconds == 13 * k / rate


@pytest.mark.parametrize(
    ("source", "target", "hit_every"),
    [(Fraction(24), Fraction(60), 5), (Fraction(25), NTSC, None), (NTSC, 2 * NTSC, 2)],
)
@pytest.mark.parametrize("slowmo", [Fraction(1), Fraction(5, 2), Fraction(1, 3)])
def test_rate_conversion_is_exact(source: Fraction, target: Fraction, hit_every: int | None, slowmo: Fraction) -> None:
    pts, end, _ = even(101, source)
    plan = schedule(pts, end, source, output_rate=target, slowmo=slowmo)
    assert plan.frame_rate == target
    assert len(plan.source_seconds) == len(plan.output_seconds) == math.ceil((end - pts[0]) * slowmo * target)
    assert plan.source_seconds[0] == pts[0]
    step = 1 / (target * slowmo)
    assert plan.source_seconds[-1] < end <= plan.source_seconds[-1] + step
    assert all(shown * slowmo == at for shown, at in zip(plan.source_seconds, plan.output_seconds, strict=True))
    if slowmo == 1 and hit_every is not None:
        assert set(plan.source_seconds[::hit_every]) <= set(pts)


def test_uneven_times_are_kept() -> None:
    pts = tuple(Fraction(n, 1000) for n in (500, 533, 600, 617, 700))
    end = Fraction(733, 1000)
    plan = schedule(pts, end, Fraction(22))
    assert tuple(plan.source_seconds) == pts
    assert plan.output_seconds == [at - pts[0] for at in pts]
    assert plan.duration_seconds == end - pts[0]
    part = schedule(pts, end, Fraction(22), start=Fraction(55, 100), end=Fraction(7, 10))
    # On the screen at 0.55 s is still the frame of 0.533; the next ones keep their own times.
    assert part.source_seconds == [Fraction(55, 100), pts[2], pts[3]]
    assert part.output_seconds == [0, Fraction(5, 100), Fraction(67, 1000)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": Fraction(-1)},
        {"end": Fraction(2)},
        {"start": Fraction(1, 2), "end": Fraction(1, 2)},
        {"start": Fraction(1)},
        {"output_rate": Fraction(0)},
        {"slowmo": Fraction(-1)},
    ],
)
def test_impossible_times_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        schedule(*even(10, Fraction(10)), **wrong)
