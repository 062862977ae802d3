"""Stereo 3D, spheres and timecodes: carried to where they hold and can be written, otherwise named."""

from __future__ import annotations

import logging
import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from av.sidedata.sidedata import Type
from av.video.stream import VideoStream
from films import every, write_film

from vfield.core.clip import ColorInfo
from vfield.core.timing import TimeMap
from vfield.video_io import CarryPlan, VideoWriter, read_clip
from vfield.video_io.marks import moved_timecode
from vfield.video_io.tags import side_data

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("timecode", "rate", "seconds", "new_rate", "expected"),
    [
        ("10:00:00:05", 25, 0, 25, "10:00:00:05"),
        ("10:00:00:05", 25, 2, 25, "10:00:02:05"),
        ("23:59:59:24", 25, Fraction(1, 25), 25, "00:00:00:00"),
        ("01:00:00:12", 25, 0, 50, "01:00:00:24"),
        ("01:00:00:30", 60, 0, 24, "01:00:00:12"),
        ("01:00:00:12", Fraction(24000, 1001), 0, 24, "01:00:00:12"),
        # Two numbers are left out at every minute but each tenth (SMPTE 12M).
        ("00:00:59;29", NTSC, Fraction(1001, 30000), NTSC, "00:01:00;02"),
        ("00:09:59;29", NTSC, Fraction(1001, 30000), NTSC, "00:10:00;00"),
        ("01:02:03;04", NTSC, 0, NTSC, "01:02:03;04"),
        ("01:02:03;04", NTSC, 0, 2 * NTSC, "01:02:03;08"),
        ("01:00:00;00", NTSC, 0, 25, "00:59:59:24"),  # by the clock 3599.9964 s
        ("10:00:00:05", 25, 0, Fraction(1, 10), None),
        ("ten o'clock", 25, 0, 25, None),
    ],
)
def test_timecodes_are_counted_on(
    timecode: str, rate: Fraction, seconds: Fraction, new_rate: Fraction, expected: str | None
) -> None:
    assert moved_timecode(timecode, Fraction(rate), Fraction(seconds), Fraction(new_rate)) == expected


def marked(path: Path, tags: dict[str, str], options: dict[str, str] | None = None) -> Path:
    """A film with tags on its picture."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        stream.metadata.update(tags)
        for _ in range(25):
            container.mux(stream.encode(av.VideoFrame(32, 16, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def written(path: Path, source: Path, timing: TimeMap, *, rate: int = 25, whole: bool = True) -> None:
    plan = CarryPlan(str(source), timing, whole=whole)
    facts = {"height": 16, "width": 32, "frame_rate": Fraction(rate), "color": ColorInfo(), "carry": plan}
    with VideoWriter(path, **facts) as writer:  # type: ignore[arg-type]
        for _ in range(int(timing.duration_seconds * rate)):
            writer.write(torch.zeros(3, 16, 32, dtype=torch.uint8))


def timecode_of(path: Path) -> str | None:
    with av.open(path) as container:
        tags = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
        return tags.get("timecode")


WHOLE = TimeMap.uniform(Fraction(0), Fraction(1))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["in.mov", "in.mkv"])
@pytest.mark.parametrize("target", ["out.mp4", "out.mov", "out.mkv"])
def test_the_start_timecode_is_carried(
    tmp_path: Path, source: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    film = marked(tmp_path / source, {"timecode": "10:00:00:05"})
    part = TimeMap.uniform(Fraction(1, 5), Fraction(1))
    for timing, rate, expected in ((WHOLE, 25, "10:00:00:05"), (WHOLE, 50, "10:00:00:10"), (part, 25, "10:00:00:10")):
        (tmp_path / target).unlink(missing_ok=True)
        written(tmp_path / target, film, timing, rate=rate)
        assert timecode_of(tmp_path / target) == expected
    assert not caplog.messages


def test_a_timecode_is_left_out_of_slow_motion_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    film = marked(tmp_path / "in.mov", {"timecode": "10:00:00:05"})
    with caplog.at_level(logging.WARNING, "vfield"):
        written(tmp_path / "out.mp4", film, TimeMap.uniform(Fraction(0), Fraction(1), slowmo=Fraction(2)))
    assert timecode_of(tmp_path / "out.mp4") is None
    assert caplog.messages == [f"mp4 files cannot hold all of {film}: left out the start timecode 10:00:00:05"]


def stereo_of(path: Path) -> tuple[int, ...] | None:
    with av.open(path) as container:
        found = side_data(next(container.decode(video=0)), Type.STEREO3D)
        return None if found is None else struct.unpack_from("=2i", found)


@pytest.mark.parametrize(
    ("mode", "target", "expected"),
    [
        ("left_right", "out.mkv", (1, 0)),
        ("bottom_top", "out.mkv", (2, 1)),
        ("right_left", "out.webm", (1, 1)),
        ("left_right", "out.mp4", (1, 0)),
        ("row_interleaved_lr", "out.mov", (6, 0)),
    ],
)
def test_stereo_is_carried(
    tmp_path: Path, mode: str, target: str, expected: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    film = marked(tmp_path / "in.mkv", {"stereo_mode": mode})
    assert stereo_of(film) == expected
    written(tmp_path / target, film, WHOLE)
    assert stereo_of(tmp_path / target) == expected
    assert not caplog.messages


@pytest.mark.parametrize(
    ("mode", "target", "whole"), [("right_left", "out.mp4", True), ("left_right", "out.mkv", False)]
)
def test_stereo_that_cannot_be_written_or_does_not_hold_is_named(
    tmp_path: Path, mode: str, target: str, whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    film = marked(tmp_path / "in.mkv", {"stereo_mode": mode})
    written(tmp_path / target, film, WHOLE, whole=whole)
    assert stereo_of(tmp_path / target) is None
    assert [message.split("left out ")[1] for message in caplog.messages] == [
        f"the mark of stereo 3D ({mode.replace('_', ' ')})"
    ]


def test_a_sphere_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In MP4 by boxes in the description of the picture, which are put in here."""
    film, sphere = tmp_path / "film.mp4", tmp_path / "sphere.mp4"
    write_film(film, every(5, 25), tones=())

    def box(kind: bytes, held: bytes) -> bytes:
        return struct.pack(">I", 8 + len(held)) + kind + held

    flat = box(b"prhd", bytes(16)) + box(b"equi", bytes(20))
    mark = box(b"sv3d", box(b"svhd", bytes(4) + b"test\0") + box(b"proj", flat))
    held = film.read_bytes()
    at = held.index(b"avc1", held.index(b"stsd")) - 4
    ends = at + struct.unpack_from(">I", held, at)[0]
    grown = bytearray(held[:ends] + mark + held[ends:])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        place = held.rindex(kind, 0, at + 8) - 4
        struct.pack_into(">I", grown, place, struct.unpack_from(">I", held, place)[0] + len(mark))
    assert held.index(b"mdat") < held.index(b"moov")  # whose offsets stay true
    sphere.write_bytes(grown)
    assert len(read_clip(sphere)) == 5
    caplog.clear()
    written(tmp_path / "out.mp4", sphere, TimeMap.uniform(Fraction(0), Fraction(1, 5)))
    assert [message.split("left out ")[1] for message in caplog.messages] == ["the mark of a spherical picture"]
