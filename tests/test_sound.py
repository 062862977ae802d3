"""Sound beside a written picture: bit for bit where time goes on as it did, and in step with the picture elsewhere."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from films import SOUND_RATE, every, hear, middle_of_sound, pitch_of, read_packets, write_film

from vfield.clip import ColorInfo
from vfield.timing import SpeedCurve, TimeMap
from vfield.video_io import AudioPlan, VideoWriter, read_clip
from vfield.video_io.retime import sound_along

SECONDS = Fraction(2)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds with a swell of 440 Hz at 0.7 s, and one of 660 Hz in another language."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_film(path, every(50, 25), tones=(("eng", 440.0), ("fra", 660.0)))
    return path


def with_sound(path: Path, film: Path, timing: TimeMap, mode: Any) -> None:
    """A black picture as long as the sound, with it."""
    with VideoWriter(
        path,
        height=16,
        width=16,
        frame_rate=Fraction(25),
        color=ColorInfo(),
        audio=AudioPlan(str(film), timing, mode),
        overwrite=True,
    ) as writer:
        for _ in range(int(timing.duration_seconds * 25)):
            writer.write(torch.zeros(3, 16, 16, dtype=torch.uint8))


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_whole_copy_is_heard_as_the_original(tmp_path: Path, film: Path, suffix: str) -> None:
    """AAC begins with a packet that is decoded but not heard; without it the first 1024 samples are wrong."""
    with_sound(tmp_path / f"out{suffix}", film, TimeMap.uniform(Fraction(0), SECONDS), "copy")
    for track in (0, 1):
        assert read_packets(tmp_path / f"out{suffix}", track) == read_packets(film, track)
        assert np.array_equal(hear(tmp_path / f"out{suffix}", track), hear(film, track))


def test_several_tracks_keep_their_languages(tmp_path: Path, film: Path) -> None:
    modes = (("copy", Fraction(1)), ("stretch", Fraction(2)))
    for name in ("out.mp4", "out.mkv"):
        for mode, slowmo in modes:
            with_sound(tmp_path / name, film, TimeMap.uniform(Fraction(0), SECONDS, slowmo=slowmo), mode)
            with av.open(tmp_path / name) as container:
                assert [stream.language for stream in container.streams.audio] == ["eng", "fra"]
            assert pitch_of(tmp_path / name, 1) == pytest.approx(660, abs=1)


@pytest.mark.parametrize("start", [Fraction(1, 2), Fraction(617, 1000)])
def test_a_trimmed_copy_begins_at_the_sample(tmp_path: Path, film: Path, start: Fraction) -> None:
    end = start + 1
    whole, begin = hear(film), round(start * SOUND_RATE)
    for suffix in (".mp4", ".mov", ".mkv"):
        with_sound(tmp_path / f"out{suffix}", film, TimeMap.uniform(start, end), "copy")
        part = hear(tmp_path / f"out{suffix}")
        # All of it lies where it belongs. In Matroska what sounds within the first packet or two is missing.
        missing = 0 if suffix != ".mkv" else 2 * 1024
        error = part[missing:SOUND_RATE] - whole[begin + missing : begin + SOUND_RATE]
        assert np.abs(error[48:]).max() < (1e-3 if suffix != ".mkv" else 0.06)  # mkv: times of 1/1000 s, 0.5 wrong
        assert SOUND_RATE <= len(part) < SOUND_RATE + 1024 + 1024
        assert read_clip(tmp_path / f"out{suffix}").start_seconds == 0


@pytest.mark.parametrize("mode", ["stretch", "varispeed"])
@pytest.mark.parametrize(
    ("slowmo", "reverse", "suffix"),
    [
        (Fraction(2), False, ".mp4"),
        (Fraction(7), False, ".mkv"),
        (Fraction(2, 3), False, ".webm"),
        (Fraction(1), True, ".mp4"),
        (Fraction(5, 2), True, ".mkv"),
    ],
)
def test_sound_at_another_speed_stays_with_the_picture(
    tmp_path: Path, film: Path, mode: str, slowmo: Fraction, reverse: bool, suffix: str
) -> None:
    start, end = Fraction(2, 5), Fraction(9, 5)
    timing = TimeMap.uniform(start, end, slowmo=slowmo, reverse=reverse, delay=Fraction(1, 50) if reverse else 0)
    out = tmp_path / f"out{suffix}"
    with_sound(out, film, timing, mode)
    (shown, _) = timing.shown(Fraction(7, 10), Fraction(71, 100))[0]
    assert middle_of_sound(out) == pytest.approx(float(shown), abs=0.03)
    assert len(hear(out)) / SOUND_RATE == pytest.approx(float(timing.duration_seconds), abs=0.05)
    lowered = 440 / float(slowmo) if mode == "varispeed" else 440
    assert pitch_of(out) == pytest.approx(lowered, rel=0.01)


def test_reversed_twice_is_the_original(tmp_path: Path, film: Path) -> None:
    timing = TimeMap.uniform(Fraction(0), SECONDS, reverse=True)
    with_sound(tmp_path / "once.mp4", film, timing, "varispeed")
    with_sound(tmp_path / "twice.mp4", tmp_path / "once.mp4", timing, "varispeed")
    original, twice = hear(film)[: 2 * SOUND_RATE], hear(tmp_path / "twice.mp4")[: 2 * SOUND_RATE]
    assert np.abs(original - twice).max() < 0.05  # coded three times
    assert np.abs(original - hear(tmp_path / "once.mp4")[: 2 * SOUND_RATE]).max() > 0.4


# ------------------------------------------------------------------------------------------------ speed curves


def curve(*pairs: tuple[float, float]) -> TimeMap:
    read_film = SpeedCurve(tuple((Fraction(str(output)), Fraction(str(clip))) for output, clip in pairs))
    return read_film.on_clock_of(SECONDS)  # type: ignore[attr-defined, no-any-return]
