"""Few bytes that ask for much memory are refused before it is taken; small and cut files are read as before."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vfield.core.clip import ColorInfo
from vfield.core.errors import UserError
from vfield.core.memory import available_bytes, check_memory
from vfield.learn.sources import Source
from vfield.video_io import VideoWriter, probe, read_clip

MANY = 50_000_000
HUGE = 16000


@pytest.fixture
def plain(tmp_path: Path) -> bytearray:
    """An MP4 file of six frames."""
    path = tmp_path / "plain.mp4"
    with VideoWriter(path, height=16, width=32, frame_rate=Fraction(25), color=ColorInfo("bt709", "tv")) as writer:
        for level in range(6):
            writer.write(torch.full((3, 16, 32), 40 * level, dtype=torch.uint8))
    return bytearray(path.read_bytes())


def patch(data: bytearray, box: bytes, *words: int) -> None:
    """Overwrites a box's words after its version and flags."""
    struct.pack_into(f">{len(words)}I", data, data.index(box) + 8, *words)


def peak_growth(code: str, folder: Path) -> int:
    """By how many bytes a process's memory has peaked above that of having imported vfield."""
    script = f"""
import resource
from vfield.video_io import inspect_file
from vfield.core.errors import UserError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    {code}
except UserError as error:
    print(error)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.slow
def test_more_samples_than_bytes_are_not_believed(plain: bytearray, tmp_path: Path) -> None:
    patch(plain, b"stsz", 1, MANY)
    patch(plain, b"stts", 1, MANY, 1)
    patch(plain, b"stsc", 1, 1, MANY, 1)
    (tmp_path / "bomb.mp4").write_bytes(plain)
    with pytest.raises(UserError, match=f"claims to hold {MANY} samples"):
        probe(tmp_path / "bomb.mp4")
    assert peak_growth("inspect_file('bomb.mp4')", tmp_path) < 100_000_000


def test_fragments_that_claim_more_samples_than_bytes_are_not_believed(plain: bytearray, tmp_path: Path) -> None:
    run = struct.pack(">I4sII", 16, b"trun", 0, MANY)
    header = struct.pack(">I4sII", 16, b"tfhd", 0x20000, 1)
    fragment = struct.pack(">I4s", 8 + len(header) + len(run), b"traf") + header + run
    (tmp_path / "bomb.mp4").write_bytes(plain + struct.pack(">I4s", 8 + len(fragment), b"moof") + fragment)
    with pytest.raises(UserError, match="claims to hold"):
        probe(tmp_path / "bomb.mp4")


def test_plain_sound_has_more_samples_than_entries(tmp_path: Path) -> None:
    # Two million samples of one byte, cut to a tenth after the index: no burden, and read as a cut file is.
    path = tmp_path / "a.mov"
    with av.open(str(path), "w", container_options={"movflags": "faststart"}) as container:
        picture = container.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = 32, 16, "yuv420p"
        sound = container.add_stream("pcm_u8", rate=48000, layout="mono")
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((16, 32, 3), np.uint8), "rgb24")))
        container.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2_000_000), np.uint8), "u8", "mono")
        frame.sample_rate = 48000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    os.truncate(path, 200_000)
    assert len(read_clip(path).frames) == 1


@pytest.mark.parametrize("damage", range(60))
def test_damaged_boxes_end_the_look(plain: bytearray, tmp_path: Path, damage: int) -> None:
    random = np.random.default_rng(damage)
    for at in random.integers(0, len(plain), 8):
        plain[at] = random.integers(256)
    (tmp_path / "a.mp4").write_bytes(plain)
    with suppress(UserError):
        probe(tmp_path / "a.mp4")


@pytest.mark.slow
def test_a_huge_screen_of_few_bytes_is_looked_at_for_little(tmp_path: Path) -> None:
    Image.new("P", (HUGE, HUGE)).save(tmp_path / "a.gif")
    assert peak_growth("assert inspect_file('a.gif').info.width == 16000", tmp_path) < 100_000_000


@pytest.mark.slow
def test_what_no_machine_could_fit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    Image.new("P", (HUGE, HUGE)).save(tmp_path / "a.gif")
    if available_bytes() > 128e9:
        pytest.skip("this machine has the memory")
    with pytest.raises(UserError, match=r"to fit .* of 16000x16000, takes 128"):
        Source(str(tmp_path / "a.gif")).read()


@pytest.mark.slow
def test_what_memory_cannot_hold_is_refused_before_it_is_taken(tmp_path: Path, plain: bytearray) -> None:
    Image.new("P", (HUGE, HUGE)).save(tmp_path / "a.gif")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    clip = tmp_path / "plain.mp4"
    # The limit is a real one of the system; a margin is left so that Python itself goes on.
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + 600_000_000, limits[1]))
    try:
        assert 0 < available_bytes() <= 600_000_000
        with pytest.raises(UserError, match=r"16000x16000, takes 1.5 GB of memory, and 0\.\d GB are free"):
            read_clip(tmp_path / "a.gif")
        with pytest.raises(UserError, match="6 frames of 8000x8000 takes 1"):
            read_clip(clip, size=(8000, 8000))
        with pytest.raises(UserError, match="much takes 0"):
            check_memory(700_000_000, "much", "do less")
        assert len(read_clip(clip).frames) == 6
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    check_memory(0, "nothing", "")


def empty_chunks(path: Path, empty: set[int], frames: int = 10) -> bytes:
    """An AVI whose frames of these numbers are chunks without content, as programs write for "as before"."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuvj420p"
        for level in range(frames):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.full((16, 32, 3), 20 * level, np.uint8), "rgb24"))
            )
        container.mux(stream.encode(None))
    data = path.read_bytes()
    head, at = data.index(b"movi") - 8, data.index(b"movi") + 4
    movi, index, number = b"movi", b"", 0
    while data[at : at + 4] == b"00dc":
        (size,) = struct.unpack_from("<I", data, at + 4)
        kept = b"" if number in empty else data[at + 8 : at + 8 + size]
        index += struct.pack("<4sIII", b"00dc", 16, len(movi), len(kept))
        movi += struct.pack("<4sI", b"00dc", len(kept)) + kept + b"\0" * (len(kept) % 2)
        at, number = at + 8 + size + size % 2, number + 1
    body = struct.pack("<4sI", b"LIST", len(movi)) + movi + struct.pack("<4sI", b"idx1", len(index)) + index
    made = data[:head] + body
    return made[:4] + struct.pack("<I", len(made) - 8) + made[8:]


def test_an_avi_whose_frames_repeat_is_not_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(empty_chunks(path, {3, 4}))
    assert [round(25 * pts) for pts in read_clip(path).pts_seconds] == [0, 1, 2, 5, 6, 7, 8, 9]
    assert "damaged" not in caplog.text
    path.write_bytes(path.read_bytes()[:-1200])
    read_clip(path)
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_a_matroska_file_that_is_cut_off_is_told(suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / f"a{suffix}"
    noise = torch.Generator().manual_seed(0)
    with VideoWriter(path, height=48, width=64, frame_rate=Fraction(25), color=ColorInfo("bt709", "tv")) as writer:
        for _ in range(12):
            writer.write(torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8, generator=noise))
    read_clip(path)
    assert "damaged" not in caplog.text
    os.truncate(path, path.stat().st_size * 6 // 10)
    assert 1 <= len(read_clip(path).frames) < 12
    assert "bytes before its header says" in caplog.text


def test_an_animated_webp_is_called_what_it_is(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 16), (level, 0, 0)) for level in (0, 100, 200)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=40)
    with pytest.raises(UserError, match="animated WebP"):
        probe(tmp_path / "a.webp")
