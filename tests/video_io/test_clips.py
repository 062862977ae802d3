"""Folders of clips: everything that is a video is taken, whatever its name, and everything else is named."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from PIL import Image

from vfield.core.errors import UserError
from vfield.video_io import clips_in, expanded

# Suffix, FFmpeg's name of the container, codec.
KINDS = [
    (".mp4", "mp4", "mpeg4"),
    (".MTS", "mpegts", "mpeg2video"),
    (".m2ts", "mpegts", "mpeg2video"),
    (".ts", "mpegts", "mpeg2video"),
    (".wmv", "asf", "wmv2"),
    (".flv", "flv", "flv1"),
    (".3gp", "3gp", "mpeg4"),
    (".ogv", "ogg", "libvpx"),
    (".mpeg", "mpeg", "mpeg1video"),
    (".vob", "vob", "mpeg2video"),
    (".mxf", "mxf", "mpeg2video"),
    (".y4m", "yuv4mpegpipe", "wrapped_avframe"),
    (".nut", "nut", "ffv1"),
    (".ivf", "ivf", "libvpx"),
    (".gif", "gif", "gif"),
    (".recording", "mp4", "mpeg4"),
    ("", "matroska", "mpeg4"),
]


def write_clip(path: Path, container: str = "mp4", codec: str = "mpeg4") -> None:
    """Three frames of 32x32."""
    with av.open(path, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb8" if codec == "gif" else "yuv420p"
        for number in range(3):
            picture = np.full((32, 32, 3), 60 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


@pytest.mark.slow
def test_every_kind_of_video_is_a_clip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, (suffix, container, codec) in enumerate(KINDS):
        write_clip(tmp_path / f"{number:02}{suffix}", container, codec)
    found = expanded([str(tmp_path)])
    assert found == [str(tmp_path / f"{number:02}{suffix}") for number, (suffix, _, _) in enumerate(KINDS)]
    assert not caplog.messages


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with a clip, and much that is none."""
    write_clip(tmp_path / "a.mp4")
    write_clip(tmp_path / ".b.partial.mp4")
    (tmp_path / "deeper").mkdir()
    write_clip(tmp_path / "deeper" / "c.mp4")
    (tmp_path / "code.ts").write_text("export const answer = 42;\n")
    (tmp_path / "list.txt").write_text("ffconcat version 1.0\nfile a.mp4\n")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n")
    (tmp_path / "notes.txt").write_bytes("Caf\xe9\n".encode("latin-1"))
    (tmp_path / "noise.bin").write_bytes(np.random.default_rng(0).bytes(5000))
    for name in ("photo.jpg", "photo.png", "photo.tif"):
        Image.new("RGB", (32, 24), "navy").save(tmp_path / name)
    with av.open(tmp_path / "song.mka", "w", format="matroska") as output:
        track = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        output.mux(track.encode(sound))
    return tmp_path


def test_what_is_no_video_is_left_out_by_name(mixed: Path, caplog: pytest.LogCaptureFixture) -> None:
    others = ["code.ts", "deeper/", "list.m3u8", "list.txt", "noise.bin", "notes.txt"]
    others += ["photo.jpg", "photo.png", "photo.tif", "song.mka"]
    assert clips_in(mixed) == ([mixed / "a.mp4"], others)
    with caplog.at_level(logging.WARNING, "vfield"):
        assert expanded([str(mixed)]) == str(mixed / "a.mp4")
    (message,) = caplog.messages
    assert message == f"of folder {mixed} this is no video, and left out: {', '.join(others[:8])} and 2 more"


def test_a_damaged_clip_is_tried_so_that_its_fault_is_told(mixed: Path) -> None:
    (mixed / "empty.mov").write_bytes(b"")
    (mixed / "cut.mp4").write_bytes((mixed / "a.mp4").read_bytes()[:200])
    (mixed / "text.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    assert [path.name for path in clips_in(mixed)[0]] == ["a.mp4", "cut.mp4", "empty.mov", "text.mp4"]


def test_a_folder_without_clips_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder without clips; name a video"):
        expanded([str(tmp_path)])
    (tmp_path / "notes.txt").write_text("Nothing to see.")
    with pytest.raises(UserError, match=r"is a folder without clips, only notes\.txt"):
        expanded([str(tmp_path)])
