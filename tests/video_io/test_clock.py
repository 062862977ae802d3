"""Clocks that jump: what was recorded in several pieces is read as one, with its sound and its length."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from films import every, middle_of_sound, read_chapters, read_cues, write_film

from vfield.core.clip import ColorInfo, to_float
from vfield.core.timing import TimeMap
from vfield.video_io import AudioPlan, CarryPlan, VideoWriter, inspect_file, probe, read_clip
from vfield.video_io.clock import clock_of

FRAMES = 20
STEP = Fraction(1, 25)


def joined(path: Path, *late: float, tones: Any = (("eng", 440.0),), marks: tuple[float, ...] = ()) -> Path:
    """Transport streams of 0.8 s, one after the other in one file, each of which begins at its own time."""
    whole = b""
    for number, seconds in enumerate(late):
        piece = path.with_suffix(f".{number}.ts")
        mark = marks[number] if marks else 0.4
        write_film(piece, every(FRAMES, 25), tones=tones, late_seconds=Fraction(seconds), mark_seconds=mark)
        whole += piece.read_bytes()
        piece.unlink()
    path.write_bytes(whole)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "late", [(10.0, 95400.0), (95400.0, 10.0), (50.0, 50.0), (50.0, 7200.0, 3.0), (50.0, 49.5), (50.0, 50.0, 50.0)]
)
def test_recordings_that_were_joined_go_on(tmp_path: Path, late: tuple[float, ...], caplog: Any) -> None:
    """Forwards, backwards, over the end of a clock of 33 bits, and the same recording once more."""
    file = joined(tmp_path / "joined.ts", *late)
    with caplog.at_level(logging.WARNING, "vfield"):
        clip = read_clip(file)
    assert len(clip) == FRAMES * len(late)
    assert {after - before for before, after in zip(clip.pts_seconds, clip.pts_seconds[1:], strict=False)} == {STEP}
    assert clip.duration_seconds == probe(file).duration_seconds == len(clip) * STEP
    (told,) = [record.message for record in caplog.records]
    assert "joined.ts jumps (by" in told
    details = inspect_file(file)
    assert not details.timestamps.uneven
    assert len(details.jumps) == len(late) - 1
    assert [jump.at_seconds for jump in details.jumps] == [FRAMES * STEP * n for n in range(1, len(late))]


def test_a_part_of_joined_recordings_is_that_part(tmp_path: Path) -> None:
    file = joined(tmp_path / "joined.ts", 50.0, 3.0, marks=(9.0, 0.2))
    whole, part = read_clip(file), read_clip(file, start_seconds=Fraction(9, 10), end_seconds=Fraction(5, 4))
    first = next(n for n, pts in enumerate(whole.pts_seconds) if pts - whole.start_seconds >= Fraction(9, 10))
    assert part.pts_seconds == whole.pts_seconds[first : first + len(part)]
    assert torch.equal(part.pixels, whole.pixels[first : first + len(part)])


@pytest.mark.slow
@pytest.mark.parametrize("late", [(50.0, 7200.0), (7200.0, 50.0), (50.0, 50.0)])
@pytest.mark.parametrize(("mode", "slowmo"), [("copy", 1), ("stretch", 1), ("stretch", 2)])
def test_sound_lies_beside_its_picture(tmp_path: Path, late: tuple[float, ...], mode: Any, slowmo: int) -> None:
    """The second recording swells: its light and its tone are at one instant, also in slow motion."""
    file = joined(tmp_path / "joined.ts", *late, marks=(9.0, 0.4))
    clip = read_clip(file)
    light = to_float(clip.pixels).mean(dim=(1, 2, 3))
    when = clip.pts_seconds[int(light.argmax())] - clip.start_seconds
    timing = TimeMap.uniform(clip.start_seconds, clip.end_seconds, slowmo=Fraction(slowmo))
    plan = AudioPlan(str(file), timing, mode)
    facts: dict[str, Any] = {"height": 16, "width": 16, "frame_rate": Fraction(25), "color": ColorInfo()}
    with VideoWriter(tmp_path / "out.mkv", audio=plan, **facts) as writer:
        for _ in range(int(timing.duration_seconds * 25)):
            writer.write(torch.zeros(3, 16, 16, dtype=torch.uint8))
    assert float(when) == pytest.approx(1.2, abs=0.041)
    assert middle_of_sound(tmp_path / "out.mkv") == pytest.approx(slowmo * float(when), abs=0.03)
    with av.open(tmp_path / "out.mkv") as container:
        times = [packet.dts for packet in container.demux(audio=0) if packet.dts is not None]
    assert times == sorted(times)


def test_a_still_picture_with_sound_is_no_jump(tmp_path: Path) -> None:
    """Fifteen seconds between two pictures, through which the sound goes on."""
    file = tmp_path / "slides.ts"
    times = [*every(5, 25), 15 + Fraction(1, 5)]
    write_film(file, times)
    assert read_clip(file).duration_seconds > 15
    assert not clock_of(file).jumps


def test_a_gap_of_a_year_is_a_broken_clock_anywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A camera whose clock was set meanwhile. A gap of a day is kept: it may be meant."""
    file, day = tmp_path / "gap.mkv", Fraction(24 * 3600)
    for gap, joins in ((day, False), (365 * day, True)):
        caplog.clear()
        write_film(file, [*every(5, 25), *(gap + at for at in every(5, 25))], tones=())
        clip = read_clip(file)
        assert clip.duration_seconds == (10 * STEP if joins else gap + 5 * STEP)
        assert ("jumps (by +31535999.8 s after 0.20 s)" in caplog.text) == joins
        assert inspect_file(file).info.duration_seconds == pytest.approx(float(clip.duration_seconds))


def test_words_and_chapters_follow_over_a_gap(tmp_path: Path) -> None:
    gap = 40 * 3600
    file, out = tmp_path / "gap.mkv", tmp_path / "out.mkv"
    cues = [(0.04, 0.12, "before"), (gap + 0.08, gap + 0.16, "after")]
    chapters = [(0.0, 0.1, "one"), (gap + 0.08, gap + 0.2, "two")]
    write_film(file, [*every(5, 25), *(gap + at for at in every(5, 25))], tones=(), cues=cues, chapters=chapters)
    clip = read_clip(file)
    assert clip.duration_seconds == 10 * STEP
    facts: dict[str, Any] = {"height": 16, "width": 16, "frame_rate": Fraction(25), "color": ColorInfo()}
    carry = CarryPlan(str(file), TimeMap.uniform(clip.start_seconds, clip.end_seconds))
    with VideoWriter(out, carry=carry, **facts) as writer:
        for _ in range(10):
            writer.write(torch.zeros(3, 16, 16, dtype=torch.uint8))
    for found, names in ((read_cues(out), ("before", "after")), (read_chapters(out), ("one", "two"))):
        assert tuple(name for _, _, name in found) == names
        assert found[1][0] == pytest.approx(0.28, abs=0.002)
    assert [float(mark.start_seconds) for mark in inspect_file(file).chapters] == pytest.approx([0, 0.28])
