"""A clip that is opened is the clip that is read, in the memory of a few of its frames."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from films import every, write_film
from processes import ONE_THREAD
from scenes import translating, with_cut
from torch import Tensor

from vfield.core.clip import ColorInfo, to_uint8
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.prepare.opening import open_clip
from vfield.prepare.scan import scan_frames
from vfield.video_io import VideoWriter, read_clip


def written(path: Path, frames: Tensor, **options: Any) -> Path:
    """Frames (t, 3 or 4, h, w) in a file, 25 a second."""
    height, width = frames.shape[2:]
    options.setdefault("color", ColorInfo())
    with VideoWriter(path, height=height, width=width, frame_rate=Fraction(25), **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def check_same(path: Path, **part: Any) -> None:
    clip, (opened, scan, _) = read_clip(path, **part), open_clip(path, **part)
    assert opened.facts == clip.facts
    assert repr(opened) == repr(clip)
    assert torch.equal(in_memory(opened.frames), clip.pixels)
    assert (opened.alpha is None) == (clip.alpha is None)
    if opened.alpha is not None and clip.alpha is not None:
        assert torch.equal(in_memory(opened.alpha), in_memory(clip.alpha))
    assert scan == scan_frames(clip.frames)


@pytest.mark.slow
def test_a_clip_with_cuts_and_repeats(tmp_path: Path) -> None:
    frames = torch.cat([with_cut((48, 64), 8, 8), translating((48, 64), 6).repeat_interleave(2, dim=0)])
    path = written(tmp_path / "film.mkv", to_uint8(frames), codec="ffv1")
    check_same(path)
    opened, scan, _ = open_clip(path)
    assert scan.shots == [range(8), range(8, 16), range(16, 28)]
    assert scan.repeats
    assert opened.select([3, 9, 27]).pts_seconds == tuple(Fraction(number, 25) for number in (3, 9, 27))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(20, 960), (960, 20)])
def test_a_clip_as_large_as_it_is_looked_at(size: tuple[int, int], tmp_path: Path) -> None:
    check_same(written(tmp_path / "film.mkv", to_uint8(with_cut(size, 3, 3)), codec="ffv1"))


@pytest.mark.slow
def test_a_larger_clip_has_the_same_cuts(tmp_path: Path) -> None:
    path = written(tmp_path / "film.mkv", to_uint8(with_cut((16, 1920), 3, 3)), codec="ffv1")
    clip, (opened, scan, _) = read_clip(path), open_clip(path)
    assert torch.equal(in_memory(opened.frames), clip.pixels)
    assert scan.shots == [range(3), range(3, 6)]


def test_uneven_and_late_times(tmp_path: Path) -> None:
    times = [Fraction(5000 + at, 1000) for at in (0, 33, 100, 117, 200, 250, 333)]
    write_film(tmp_path / "film.mp4", times, mark_seconds=5.1)
    check_same(tmp_path / "film.mp4")
    check_same(tmp_path / "film.mp4", start_seconds=0.1, end_seconds=0.3, size=(9, 16))


def test_transparent_deep_and_interlaced_clips(tmp_path: Path) -> None:
    frames = translating((24, 32), 5)
    alpha = torch.linspace(0, 1, 32).expand(5, 1, 24, 32)
    check_same(written(tmp_path / "alpha.webm", to_uint8(torch.cat([frames, alpha], dim=1)), alpha=True))
    check_same(written(tmp_path / "deep.mp4", frames, color=ColorInfo(bit_depth=10)))
    write_film(tmp_path / "combed.mp4", every(12, 25), tones=())
    check_same(tmp_path / "combed.mp4", deinterlace="field")


def test_what_cannot_be_opened_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.mp4 does not exist"):
        open_clip(tmp_path / "missing.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match="not a video"):
        open_clip(tmp_path / "text.mp4")
    write_film(tmp_path / "film.mp4", every(5, 25), tones=())
    with pytest.raises(UserError, match="after the end"):
        open_clip(tmp_path / "film.mp4", start_seconds=3)
    with pytest.raises(UserError, match="size must be"):
        open_clip(tmp_path / "film.mp4", size=(0, 4))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    """150 frames of 330 kB are 50 MB, of which a few are held."""
    picture = to_uint8(translating((332, 332), 2))
    script = """
import resource, sys
from vfield.prepare.opening import open_clip
clip = open_clip(sys.argv[1]).clip
clip.frames[len(clip) - 2]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""

    def peak_megabytes(count: int) -> float:
        path = written(tmp_path / f"{count}.mkv", picture.repeat(count // 2, 1, 1, 1), codec="ffv1")
        words = [sys.executable, "-c", script, str(path)]
        ended = subprocess.run(words, env=ONE_THREAD, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        return float(ended.stdout)

    few, many = peak_megabytes(20), peak_megabytes(150)
    assert many < few + 20
