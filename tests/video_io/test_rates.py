"""The rate of the camera, however its times are written down and however many of its pictures are missing."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import every, write_film
from PIL import Image

from vfield.core.timing import schedule
from vfield.video_io import probe, read_clip
from vfield.video_io.rates import rate_of

NTSC, FILM, TWICE = Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60000, 1001)
MILLISECOND = Fraction(1, 1000)


def filmed(rate: Fraction, tick: Fraction, count: int, *, late: float = 0.0, lost: float = 0.0) -> list[int]:
    """Ticks of pictures at a rate, each up to a share of a step late, a share of them lost."""
    random = np.random.default_rng(0)
    kept = [n for n in range(count) if n in (0, count - 1) or random.random() >= lost]
    return [round((n / rate + Fraction(random.uniform(-late, late)) / rate) / tick) for n in kept]


def average(ticks: Sequence[int], tick: Fraction) -> Fraction:
    return (len(ticks) - 1) / ((ticks[-1] - ticks[0]) * tick)


@pytest.mark.parametrize("rate", [FILM, Fraction(24), Fraction(25), NTSC, Fraction(30), TWICE, Fraction(60)])
@pytest.mark.parametrize("tick", [MILLISECOND, Fraction(1, 600), Fraction(1, 90000)])
@pytest.mark.parametrize(("late", "lost"), [(0.0, 0.0), (0.1, 0.0), (0.1, 0.08), (0.0, 0.3)])
def test_a_usual_rate_is_found(rate: Fraction, tick: Fraction, late: float, lost: float) -> None:
    ticks = filmed(rate, tick, 600, late=late, lost=lost)
    assert rate_of(ticks, tick, average(ticks, tick)) == rate


def test_a_header_that_rounds() -> None:
    """As in FLV, which says 959/16 of 59.94."""
    for count in (3, 10, 100):
        assert rate_of(filmed(TWICE, MILLISECOND, count), MILLISECOND, Fraction(959, 16)) == TWICE


def test_rates_that_nobody_else_has_are_kept() -> None:
    for rate, tick in (
        (Fraction(100, 3), Fraction(1, 100)),
        (Fraction(7), Fraction(1, 90000)),
        (Fraction(50, 9), NTSC),
    ):
        ticks = filmed(rate, tick, 50)
        assert rate_of(ticks, tick, rate) == rate
    assert rate_of([0], MILLISECOND, Fraction(25)) == 25


def test_uneven_pictures_go_by_the_quickest_that_are_usual() -> None:
    centisecond = Fraction(1, 100)
    for delays, rate in (
        ((4, 4, 20, 4, 4), Fraction(25)),
        ((20, 20, 20, 4, 20, 20), Fraction(25)),
        ((10, 10, 5, 10, 10, 5), Fraction(20)),
        ((7, 30, 7, 30, 7), Fraction(100, 7)),
    ):
        ticks = np.cumsum([0, *delays]).tolist()
        assert rate_of(ticks, centisecond, average(ticks, centisecond)) == rate
    # Film in interlaced video, whose pictures are shown for two fields and three: no camera took 30 a second.
    fields = np.cumsum([0, *[2, 3] * 48])
    ticks = [round(n / TWICE * 90000) for n in fields.tolist()]
    assert rate_of(ticks, Fraction(1, 90000), FILM) == FILM


def test_a_late_picture_here_and_there_makes_no_quicker_rate() -> None:
    times = np.arange(300) * 1000 / 29.97
    times[20::8] += 13
    ticks = [round(time) for time in times]
    assert rate_of(ticks, MILLISECOND, average(ticks, MILLISECOND)) == NTSC


def test_a_phone_clip_with_missing_frames(tmp_path: Path) -> None:
    file = tmp_path / "phone.mp4"
    times = [Fraction(n) for n in filmed(NTSC, Fraction(1, 90000), 90, late=0.05, lost=0.1)]
    write_film(file, [max(at, Fraction(0)) / 90000 for at in times], tones=())
    assert probe(file).frame_rate == read_clip(file).frame_rate == NTSC


@pytest.mark.parametrize("suffix", [".flv", ".mkv"])
def test_containers_that_count_in_milliseconds(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"film{suffix}"
    write_film(file, every(40, TWICE), tones=())
    assert read_clip(file).frame_rate == TWICE


def test_an_uneven_gif_in_slow_motion_keeps_its_quick_pictures(tmp_path: Path) -> None:
    pictures = [Image.new("L", (16, 16), 20 + 30 * n) for n in range(6)]
    delays = [40, 40, 200, 40, 40, 1000]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=delays, loop=0)
    clip = read_clip(tmp_path / "a.gif")
    assert clip.frame_rate == 25
    assert clip.duration_seconds == Fraction(136, 100)
    plan = schedule(clip.pts_seconds, clip.end_seconds, clip.frame_rate, slowmo=Fraction(2))
    assert plan.duration_seconds == plan.edges_seconds[-1] == Fraction(272, 100)
    assert set(clip.pts_seconds) <= set(plan.source_seconds)
