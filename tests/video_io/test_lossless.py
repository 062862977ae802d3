"""Frames kept on the disk come back as they were, and nothing half-written is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from processes import ONE_THREAD
from torch import Tensor

from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.video_io import keep_lossless, kept_in_file, open_lossless


def noise(*shape: int, deep: bool = False, seed: int = 0) -> Tensor:
    """Any bytes, or any words of 16 bits as fractions of the most."""
    values = torch.randint(0, 65536 if deep else 256, shape, generator=torch.Generator().manual_seed(seed))
    return values.to(torch.float32) / 65535 if deep else values.to(torch.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 1), (17, 33), (64, 48)])
@pytest.mark.parametrize("deep", [False, True])
def test_every_value_comes_back(size: tuple[int, int], deep: bool, tmp_path: Path) -> None:
    frames = noise(5, 3, *size, deep=deep)
    kept = keep_lossless(tmp_path / "frames.mkv", iter(frames), frames)
    for read in (kept, open_lossless(tmp_path / "frames.mkv", size, 5, is_deep=deep)):
        assert read.dtype == frames.dtype
        # Each for itself, the last first: every frame is a key frame.
        for number in (4, 0, 2, 3, 1):
            assert torch.equal(read[number], frames[number])


def test_values_between_words_of_16_bits_are_rounded(tmp_path: Path) -> None:
    frames = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    kept = in_memory(keep_lossless(tmp_path / "frames.mkv", iter(frames), frames))
    assert (kept - frames.clamp(0, 1)).abs().max() <= 0.5 / 65535 + 1e-7


@pytest.mark.parametrize("deep", [False, True])
def test_planes_are_kept_as_grey(deep: bool, tmp_path: Path) -> None:
    planes = noise(4, 9, 12, deep=deep)
    kept = kept_in_file(planes, tmp_path / "alpha.mkv")
    assert tuple(kept.shape) == (4, 9, 12)
    assert torch.equal(in_memory(kept), planes)


def test_what_is_in_a_file_stays_there(tmp_path: Path) -> None:
    frames = noise(4, 3, 8, 8)
    kept = kept_in_file(frames, tmp_path / "frames.mkv")
    assert torch.equal(in_memory(kept), frames)
    assert kept_in_file(kept, tmp_path / "again.mkv") is kept
    assert os.listdir(tmp_path) == ["frames.mkv"]


def test_many_frames_are_each_found(tmp_path: Path) -> None:
    """As many as 25 a second do not fit into thousandths alone; each is the one of its number."""
    frames = torch.arange(400)[:, None, None, None].expand(-1, 3, 4, 4).div(400)
    kept = keep_lossless(tmp_path / "frames.mkv", iter(frames), frames)
    for number in (399, 0, 217, 218, 1):
        assert round(float(kept[number].mean()) * 400) == number


@pytest.mark.parametrize("given", [0, 3, 6])
def test_another_number_of_pictures_replaces_nothing(given: int, tmp_path: Path) -> None:
    path = tmp_path / "frames.mkv"
    earlier = noise(2, 3, 8, 8, seed=1)
    keep_lossless(path, iter(earlier), earlier)
    frames = noise(6, 3, 8, 8)
    with pytest.raises(UserError, match=rf"{given} pictures .* not 5"):
        keep_lossless(path, iter(frames[:given]), frames[:5])
    assert os.listdir(tmp_path) == ["frames.mkv"]
    assert torch.equal(in_memory(open_lossless(path, (8, 8), 2, is_deep=False)), earlier)


def test_pictures_that_fail_leave_nothing(tmp_path: Path) -> None:
    frames = noise(4, 3, 8, 8)

    def failing() -> Iterator[Tensor]:
        yield frames[0]
        raise UserError("the second cannot be made")

    with pytest.raises(UserError, match="cannot be made"):
        keep_lossless(tmp_path / "frames.mkv", failing(), frames)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_is_none_is_told_in_a_line(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    frames = noise(2, 3, 8, 8)
    with pytest.raises(UserError, match=folder) as caught:
        keep_lossless(tmp_path / folder / "frames.mkv", iter(frames), frames)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    """Files of this process may not grow beyond a limit, as on a disk without room."""
    script = f"""
import resource, signal, sys, torch
from pathlib import Path
from vfield.core.errors import UserError
from vfield.video_io import keep_lossless
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path({str(tmp_path / "frames.mkv")!r})
frames = torch.randint(0, 256, (30, 3, 64, 64), dtype=torch.uint8)
keep_lossless(path, iter(frames[:2]), frames[:2])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    keep_lossless(path, iter(frames), frames)
except UserError as error:
    sys.exit(str(error))
"""
    ended = subprocess.run([sys.executable, "-c", script], env=ONE_THREAD, capture_output=True, text=True, timeout=60)
    assert "could not write" in ended.stderr
    assert "free some space" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["frames.mkv"]
    assert len(open_lossless(tmp_path / "frames.mkv", (64, 64), 2, is_deep=False)[1]) == 3
