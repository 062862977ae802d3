"""Which instant is shown when: exact arithmetic, maps there and back, and speed curves."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from vfield.core.clip import ClipFacts, ColorInfo
from vfield.core.errors import UserError
from vfield.core.timing import SpeedCurve, TimeMap, schedule, schedule_curve

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
    ],
)
def test_impossible_times_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        schedule(*even(10, Fraction(10)), **wrong)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"output_rate": Fraction(1000), "slowmo": Fraction(1000)}, "at 1000 frames a second would be 10000000 frames"),
        ({"slowmo": Fraction(10**6)}, "at 10 frames a second would be 100000000 frames"),
        ({"output_rate": "source", "slowmo": Fraction(10**6)}, "frames with 1e\\+06 for each"),
    ],
)
def test_millions_of_frames_are_refused(wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        schedule(*even(100, Fraction(10)), **wanted)


# ------------------------------------------------------------------------------------------------ an hour, and back


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), NTSC])
def test_nothing_drifts_in_an_hour(rate: Fraction) -> None:
    frames = math.ceil(3600 * rate)
    # The first frame and those of the last minute or so: each frame's time is reckoned by itself.
    start = Fraction(1, 3)
    pts, end = (start, *(start + i / rate for i in range(frames - 2000, frames))), start + frames / rate
    own = schedule(pts, end, rate)
    assert own.output_seconds == [0, *(i / rate for i in range(frames - 2000, frames))]
    assert tuple(own.source_seconds) == pts
    slow = schedule(pts, end, rate, output_rate=rate, slowmo=Fraction(2), start=pts[-500])
    assert tuple(slow.source_seconds[::2]) == pts[-500:]
    faster = schedule(pts, end, rate, output_rate=2 * rate, start=pts[-1000])
    assert tuple(faster.source_seconds[::2]) == pts[-1000:]
    assert faster.edges_seconds[-1] == faster.duration_seconds


UNEVEN = tuple(Fraction(n, 1000) for n in (500, 533, 600, 617, 700))


@pytest.mark.parametrize("slowmo", [Fraction(1), Fraction(4), Fraction(5, 2)])
def test_the_sources_own_rhythm_is_kept_in_slow_motion(slowmo: Fraction) -> None:
    end = Fraction(780, 1000)
    plan = schedule(UNEVEN, end, Fraction(20), output_rate="source", slowmo=slowmo)
    # Frame j shows the source at frame j / slowmo, between frames by shares of their gap.
    edges = (*UNEVEN, end)
    for j, (shown, at) in enumerate(zip(plan.source_seconds, plan.output_seconds, strict=True)):
        gap, share = divmod(j / slowmo, 1)
        assert shown == edges[int(gap)] + share * (edges[int(gap) + 1] - edges[int(gap)])
        assert at == (shown - UNEVEN[0]) * slowmo
    assert set(UNEVEN[:: 2 if slowmo == Fraction(5, 2) else 1]) <= set(plan.source_seconds)
    assert plan.edges_seconds[-1] == (end - UNEVEN[0]) * slowmo
    assert len(plan.source_seconds) == math.ceil(5 * slowmo)


def test_backwards_frames_keep_their_lengths() -> None:
    end = Fraction(780, 1000)
    forwards = schedule(UNEVEN, end, Fraction(20))
    backwards = schedule(UNEVEN, end, Fraction(20), reverse=True)
    assert backwards.source_seconds == list(UNEVEN[::-1])
    lengths = [[b - a for a, b in pairwise(plan.edges_seconds)] for plan in (forwards, backwards)]
    assert lengths[1] == lengths[0][::-1]
    assert backwards.output_seconds[0] == 0
    assert backwards.timing.source_at(Fraction(0)) == end


@pytest.mark.parametrize("slowmo", [Fraction(1), Fraction(3), Fraction(2, 5)])
def test_backwards_at_a_rate_the_same_frames_come_in_the_opposite_order(slowmo: Fraction) -> None:
    options: dict[str, Any] = {"output_rate": Fraction(60), "slowmo": slowmo, "start": Fraction(55, 100)}
    forwards = schedule(UNEVEN, Fraction(780, 1000), Fraction(20), **options)
    backwards = schedule(UNEVEN, Fraction(780, 1000), Fraction(20), **options, reverse=True)
    assert backwards.source_seconds == forwards.source_seconds[::-1]
    assert backwards.output_seconds == forwards.output_seconds
    # A frame that is shown from s on is shown up to s when time runs backwards.
    for shown, until in zip(backwards.source_seconds, backwards.edges_seconds[1:], strict=True):
        assert backwards.timing.source_at(until) == shown


# ------------------------------------------------------------------------------------------------ speed curves


def facts_of(seconds: int, rate: int = 25) -> ClipFacts:
    pts = tuple(2 + Fraction(i, rate) for i in range(seconds * rate))
    return ClipFacts(4, 6, pts, Fraction(2 + seconds), Fraction(rate), ColorInfo(), Fraction(1), "")


def curve_of(*pairs: tuple[float, float]) -> SpeedCurve:
    return SpeedCurve(tuple((Fraction(str(output)), Fraction(str(clip))) for output, clip in pairs))


def slope(timing: TimeMap, at: Fraction, step: Fraction = Fraction(1, 10**6)) -> float:
    return float((timing.source_at(at + step) - timing.source_at(at - step)) / (2 * step))


RAMP = ((0, 0), (1, 1), (5, 2), (6, 3), (6.5, 3), (8, 1))


def test_a_curve_passes_its_pairs_exactly_and_runs_one_way_between_them() -> None:
    timing = curve_of(*RAMP).on(facts_of(4))
    for output, clip in RAMP:
        assert timing.source_at(Fraction(str(output))) == 2 + clip
    for (begin, start), (end, stop) in pairwise(RAMP):
        inside = [Fraction(str(begin)) + Fraction(str(end - begin)) * k / 50 for k in range(51)]
        shown = [timing.source_at(at) for at in inside]
        steps = [later - earlier for earlier, later in pairwise(shown)]
        direction = (stop > start) - (stop < start)
        assert all(step * direction >= 0 if direction else step == 0 for step in steps)
    assert timing.duration_seconds == 8
    assert timing.source_range == (2, 5)


def test_a_curve_eases_in_and_out() -> None:
    # Steps of one second and mean speeds 1 and 1/4: where they meet, their harmonic mean, 2/5. Equal ones: themselves.
    timing = curve_of((0, 0), (1, 1), (2, 1.25), (3, 1.5), (4, 2.5)).on(facts_of(4))
    assert [leg.speeds[1] for leg in timing.legs[:3]] == [Fraction(2, 5), Fraction(1, 4), Fraction(2, 5)]
    # At the ends, the parabola through three pairs: (3 - 1/4) / 2.
    assert timing.legs[0].speeds[0] == Fraction(11, 8)
    for at in (1, 2, 3):
        assert slope(timing, Fraction(at)) == pytest.approx(float(timing.legs[at].speeds[0]), abs=1e-5)
    # Unequal steps: weights 2 * 3 + 1 and 3 + 2 * 1 over the speeds 1 and 1/3 (Fritsch and Butland 1984).
    assert curve_of((0, 0), (1, 1), (4, 2)).on(facts_of(4)).legs[0].speeds[1] == 12 / (7 + 5 / Fraction(1, 3))


def test_a_straight_curve_is_plain_slow_motion() -> None:
    timing = curve_of((0, 0), (2, 1), (6, 3)).on(facts_of(3))
    plain = TimeMap.uniform(Fraction(2), Fraction(5), slowmo=Fraction(2))
    for k in range(61):
        assert timing.source_at(Fraction(k, 10)) == plain.source_at(Fraction(k, 10))
    plan = schedule_curve(facts_of(3), curve_of((0, 0), (6, 3)), Fraction(50))
    slow = schedule(facts_of(3).pts_seconds, Fraction(5), Fraction(25), output_rate=Fraction(50), slowmo=Fraction(2))
    assert (plan.source_seconds, plan.output_seconds) == (slow.source_seconds, slow.output_seconds)


def test_frames_of_a_curve_are_at_a_constant_rate_and_exact_at_the_pairs() -> None:
    facts = facts_of(4)
    plan = schedule_curve(facts, curve_of(*RAMP), Fraction(60))
    assert plan.output_seconds == [Fraction(i, 60) for i in range(480)]
    for output, clip in RAMP[:-1]:
        assert plan.source_seconds[int(60 * output)] == 2 + clip
    # A time typed in milliseconds means the frame.
    assert curve_of((0, 0.0397), (1, 2)).on(facts).source_at(Fraction(0)) == facts.pts_seconds[1]
    assert schedule_curve(facts, curve_of(*RAMP)).frame_rate == 25


def test_when_an_instant_is_shown() -> None:
    timing = curve_of(*RAMP).on(facts_of(4))
    assert timing.shown(Fraction(2), Fraction(3)) == [(0, 1)]
    (once, again) = timing.shown(Fraction(7, 2), Fraction(19, 4))
    for span, order in ((once, 1), (again, -1)):
        edges = [float(timing.source_at(at)) for at in span][::order]
        assert edges == pytest.approx([3.5, 4.75], abs=1e-6)
    # Up, standing still, and down again: one span.
    (around,) = timing.shown(Fraction(19, 4), Fraction(6))
    assert around[0] == once[1]
    assert around[1] == pytest.approx(float(again[0]), abs=1e-6)
    assert timing.shown(Fraction(5), Fraction(6)) == [(6, Fraction(13, 2))]
    assert timing.shown(Fraction(0), Fraction(2)) == []
    backwards = TimeMap.uniform(Fraction(1), Fraction(3), slowmo=Fraction(2), reverse=True)
    assert backwards.shown(Fraction(0), Fraction(3, 2)) == [(3, 4)]


@pytest.mark.parametrize(
    ("pairs", "word"),
    [
        (((0, 0),), "two pairs or more, got 1"),
        (((1, 0), (2, 1)), "begins at 0 s of the output, got 1 s"),
        (((0, 0), (2, 1), (2, 2)), "must increase, got 2 s after 2 s"),
        (((0, 0), (0.001, 2)), "1000 times as fast"),
    ],
)
def test_pairs_that_are_no_curve(pairs: tuple[tuple[float, float], ...], word: str) -> None:
    with pytest.raises(UserError, match=word):
        curve_of(*pairs)


def test_a_curve_beyond_the_clip_is_refused() -> None:
    with pytest.raises(UserError, match=r"shows 5 s, and the clip covers 0 to 4 s"):
        curve_of((0, 0), (3, 5)).on(facts_of(4))
    with pytest.raises(UserError, match="at 25 frames a second would be 24999999975 frames"):
        schedule_curve(facts_of(4), curve_of((0, 0), (999999999, 0.1)), Fraction(25))
    with pytest.raises(UserError, match="count from its first frame, got -1 s"):
        SpeedCurve(((Fraction(0), Fraction(-1)), (Fraction(1), Fraction(1))))
