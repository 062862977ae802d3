"""`vfield compare`: figures against those computed by hand, pairs by time, and the pictures of the two."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vfield.cli import main
from vfield.core.clip import ColorInfo, to_float
from vfield.core.metrics import ssim
from vfield.measure.comparison import DIFFERENCE_GAIN, compare
from vfield.video_io import VideoWriter, read_clip

RGB = ColorInfo("gbr", "pc", "bt709", "iec61966-2-1")


def written(path: Path, frames: Tensor, times: list[Fraction] | None = None) -> Path:
    """A file of (t, 3, h, w) uint8 frames, at 25 a second or at these times: without loss, but for its rounding."""
    with VideoWriter(
        path,
        height=frames.shape[2],
        width=frames.shape[3],
        frame_rate=Fraction(25),
        color=RGB,
        codec="ffv1",
        pixel_format="bgr0",
        time_base=Fraction(1, 1000),
    ) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, pts_seconds=Fraction(index, 25) if times is None else times[index])
    return path


@pytest.fixture
def frames() -> Tensor:
    """(6, 3, 24, 32) uint8."""
    return torch.randint(20, 230, (6, 3, 24, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def noisy(frames: Tensor) -> Tensor:
    """Frames 1 to 5 are wrong, frame 3 most."""
    error = torch.randint(-5, 6, frames.shape, generator=torch.Generator().manual_seed(1))
    error[3] *= 4
    error[0] = 0
    return (frames + error).to(torch.uint8)


def by_hand(made: Tensor, truth: Tensor) -> float:
    return 10 * math.log10(255**2 / float((made.double() - truth.double()).square().mean()))


@pytest.mark.slow
def test_figures_are_those_by_hand(
    tmp_path: Path, frames: Tensor, noisy: Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = written(tmp_path / "a.mkv", noisy), written(tmp_path / "b.mkv", frames)
    noisy, frames = read_clip(first).pixels, read_clip(second).pixels
    truth = [by_hand(noisy[i], frames[i]) for i in range(1, 6)]
    assert main(["compare", str(first), str(second), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert [frame["psnr"] for frame in told["frames"]] == [None, *(pytest.approx(value, abs=1e-4) for value in truth)]
    assert told["psnr"] == pytest.approx(sum(truth) / 5, abs=1e-4)
    assert told["ssim"] == pytest.approx(float(ssim(noisy, frames).mean()), abs=1e-6)
    assert told["worst"]["seconds"] == "3/25"
    assert (told["identical"], told["identical_frames"], told["left_out"]) == (False, 1, [0, 0])
    assert main(["compare", str(first), str(second)]) == 0
    shown = capfd.readouterr().out
    assert f"PSNR {sum(truth) / 5:.2f} dB" in shown
    assert f"worst: the frame at 0.120 s, PSNR {truth[2]:.2f} dB" in shown
    assert "1 identical" in shown


def test_identical_files(tmp_path: Path, frames: Tensor, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = written(tmp_path / "a.mkv", frames), written(tmp_path / "b.mkv", frames)
    assert main(["compare", str(first), str(second), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["psnr"], told["ssim"], told["identical"], told["identical_frames"]) == (None, 1.0, True, 6)
    assert main(["compare", str(first), str(second)]) == 0
    assert capfd.readouterr().out == "identical in all 6 frames compared: PSNR infinite, SSIM 1\n"


def test_frames_are_paired_by_their_times(tmp_path: Path, frames: Tensor, capfd: pytest.CaptureFixture[str]) -> None:
    """Every second frame, beginning later on the file's clock, with Matroska's rounding: the pairs are the same."""
    first = written(tmp_path / "a.mkv", frames)
    late = [Fraction(2000 + 80 * i + (i > 0), 1000) for i in range(3)]
    second = written(tmp_path / "b.mkv", frames[::2], late)
    found = compare(first, second)
    assert [frame.seconds for frame in found.frames] == [0, Fraction(2, 25), Fraction(4, 25)]
    assert (found.identical, found.left_out) == (3, (3, 0))
    assert main(["compare", str(second), str(first)]) == 0
    assert f"left out 0 frames of {second} and 3 of {first}" in capfd.readouterr().out


@pytest.mark.slow
def test_layouts(tmp_path: Path, frames: Tensor, noisy: Tensor) -> None:
    first, second = written(tmp_path / "a.mkv", noisy), written(tmp_path / "b.mkv", frames)
    noisy, frames = read_clip(first).pixels, read_clip(second).pixels
    side = tmp_path / "side.mp4"
    assert main(["compare", str(first), str(second), "-o", str(side)]) == 0
    video = read_clip(side)
    assert (len(video), video.height, video.width, video.frame_rate) == (6, 24, 64, 25)
    assert main(["compare", str(first), str(second), "-o", str(tmp_path / "wipe.mkv"), "--layout", "wipe"]) == 0
    assert read_clip(tmp_path / "wipe.mkv").width == 32

    def still(layout: str) -> Tensor:
        path = tmp_path / f"{layout}.png"
        assert main(["compare", str(first), str(second), "-o", str(path), "--at", "0.13", "--layout", layout]) == 0
        return read_clip(path).frames[0]

    assert torch.equal(still("side-by-side"), torch.cat([noisy[3], frames[3]], dim=2))
    assert torch.equal(still("wipe"), torch.cat([noisy[3][..., :16], frames[3][..., 16:]], dim=2))
    apart = DIFFERENCE_GAIN * (noisy[3].int() - frames[3].int()).abs()
    assert (to_float(still("difference")) * 255 - apart.clamp(max=255)).abs().max() <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["b.mkv"], "24x16"),
        (["a.mkv", "--layout", "diagonal"], "'diagonal'"),
        (["a.mkv", "-o", "a.png"], "--at"),
        (["a.mkv", "-o", "a.mp4", "--at", "1"], "--at"),
        (["a.mkv", "--at", "soon"], "'soon'"),
        (["a.mkv", "-o", "x.png", "--at", "0.24"], "0.24"),
        (["a.mkv", "-o", "there.mp4"], "--overwrite"),
        (["none.mkv"], "none.mkv"),
        ([], "second"),
    ],
)
def test_what_is_refused(
    tmp_path: Path,
    frames: Tensor,
    words: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("a.mkv"), frames)
    written(Path("b.mkv"), frames[:, :, :16, :24])
    Path("there.mp4").write_text("keep me")
    before = set(tmp_path.iterdir())
    assert main(["compare", "a.mkv", *words]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert told in shown.err.splitlines()[-1]
    assert set(tmp_path.iterdir()) == before
    assert Path("there.mp4").read_text() == "keep me"
