"""Times as real files have them: uneven, late, doubled, cut by edit lists, and an hour long."""

from __future__ import annotations

import logging
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from films import every, write_film
from scenes import moving

from vfield.core.clip import ColorInfo, to_float, to_uint8
from vfield.field.config import FieldConfig
from vfield.field.render import render
from vfield.learn.start import start_field
from vfield.prepare.flow import FlowConfig
from vfield.video_io import VideoWriter, read_clip

MILLISECONDS = (0, 33, 100, 117, 200, 250, 333, 350)


@pytest.mark.slow
def test_uneven_times_of_a_file_drive_the_motion(tmp_path: Path) -> None:
    """A scene that moves steadily, filmed at uneven times, is where it was at every instant between them."""
    speed, size = 30.0, (48, 64)  # pixels a second
    times = [Fraction(ms, 1000) for ms in MILLISECONDS]

    def at(seconds: float) -> torch.Tensor:
        return moving(size, [(speed * seconds, 0.0)])[0]

    options: dict[str, Any] = {"frame_rate": Fraction(20), "time_base": Fraction(1, 1000), "codec": "ffv1"}
    with VideoWriter(tmp_path / "uneven.mkv", height=48, width=64, color=ColorInfo(), **options) as writer:
        for pts in times:
            writer.write(to_uint8(at(float(pts))), pts_seconds=pts)
    clip = read_clip(tmp_path / "uneven.mkv")
    assert list(clip.pts_seconds) == times
    field = start_field(clip, FieldConfig(), FlowConfig(), seed=0).field.eval()
    # In long and short gaps; 3 milliseconds are 0.09 pixels. Frames taken as even would be off by up to 3 of them.
    for instant in (0.033 + 0.045, 0.1 + 0.004, 0.117 + 0.055, 0.25 + 0.06):
        made = next(render(field, size, [instant]))
        inner = (slice(None), slice(8, -8), slice(8, -8))
        error = float((made - at(instant))[inner].abs().mean())
        for beside in (-0.003, 0.003):
            assert error < 0.5 * float((made - at(instant + beside))[inner].abs().mean())


def test_a_variable_rate_is_read_as_it_is(tmp_path: Path) -> None:
    times = [Fraction(ms, 1000) for ms in MILLISECONDS]
    for name in ("film.mp4", "film.mkv"):
        write_film(tmp_path / name, times, tones=())
        clip = read_clip(tmp_path / name)
        assert list(clip.pts_seconds) == times
        light = to_float(clip.pixels).mean(dim=(1, 2, 3))
        assert light.diff().min() >= 0  # in their order


def test_doubled_timestamps_lose_no_frame(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "doubled.mkv"
    ticks = [0, 40, 40, 80, 120, 120, 120, 160, 200]
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 20 * index, np.uint8), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.pts = packet.dts = tick
                container.mux(packet)
    with caplog.at_level(logging.WARNING, "vfield"):
        clip = read_clip(path)
    assert len(clip) == len(ticks)
    assert (clip.pixels.float().mean(dim=(1, 2, 3)).diff() > 10).all()
    assert [float(pts) for pts in clip.pts_seconds[:4]] == pytest.approx([0, 0.04, 0.06, 0.08], abs=0.002)
    assert "4 frames had timestamps out of order" in caplog.text


def test_frames_before_the_start_are_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An MP4 with negative times has an edit list, which says that they are decoded but not shown."""
    write_film(tmp_path / "early.mp4", [Fraction(i - 12, 25) for i in range(40)], tones=(), mark_seconds=0.2)
    with caplog.at_level(logging.WARNING, "vfield"):
        clip = read_clip(tmp_path / "early.mp4")
    assert clip.pts_seconds == tuple(every(28, 25))
    assert int(clip.pixels.float().mean(dim=(1, 2, 3)).argmax()) == 5
    assert not caplog.text


def test_an_edit_list_that_shows_the_middle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cut.mp4"
    write_film(path, every(50, 25), tones=(), mark_seconds=1.0, options={"g": "5", "bf": "0"})
    content = bytearray(path.read_bytes())
    entry = content.index(b"elst") + 12
    duration, media_time = struct.unpack(">Ii", content[entry : entry + 8])
    assert media_time == 0
    # From 0.52 s on, within a group of pictures, for 0.8 s: as phones write what was trimmed in them.
    content[entry : entry + 8] = struct.pack(">Ii", duration * 8 // 20, round(0.52 * 90000))
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "vfield"):
        clip = read_clip(path)
    assert clip.pts_seconds == tuple(every(20, 25))
    assert clip.end_seconds == Fraction(20, 25)
    assert int(clip.pixels.float().mean(dim=(1, 2, 3)).argmax()) == 12
    assert not caplog.text


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001)])
def test_a_written_hour_is_exact(tmp_path: Path, rate: Fraction) -> None:
    last = int(3600 * rate)
    frames = [0, 1, last - 1, last]
    for name, tolerance in (("hour.mp4", Fraction(0)), ("hour.mkv", Fraction(1, 2000))):
        with VideoWriter(
            tmp_path / name, height=16, width=16, frame_rate=rate, color=ColorInfo(), time_base=1 / rate
        ) as writer:
            for index in frames:
                writer.write(torch.zeros(3, 16, 16), pts_seconds=index / rate)
        with av.open(tmp_path / name) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
            written = sorted((packet.pts or 0) * packet.time_base for packet in packets)
        assert all(abs(pts - index / rate) <= tolerance for pts, index in zip(written, frames, strict=True))
        assert read_clip(tmp_path / name, start_seconds=(last - Fraction(1, 2)) / rate).start_seconds == written[-1]
