"""Any real factor and any aspect, from the command line: what comes out is the picture, averaged over each pixel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scenes import clip_of
from torch import Tensor

from vfield.cli import render_main
from vfield.core.clip import Clip, to_float
from vfield.core.metrics import psnr
from vfield.field.checkpoint import FIELD_NAME, save_field
from vfield.field.config import FieldConfig
from vfield.field.motion import MotionConfig
from vfield.learn.start import start_field
from vfield.prepare.flow import FlowConfig
from vfield.video_io import probe, read_clip

pytestmark = pytest.mark.slow

SOURCE = (96, 171)
LOSSLESS = ["--codec", "ffv1", "--pix-fmt", "yuv444p"]


def pattern(size: tuple[int, int], periods: float, footprint: tuple[int, int] | None = None) -> Tensor:
    """A smooth picture at any size: (3, h, w), each pixel the exact mean over an area of the unit square about it.

    The area is the pixel's own, or that of a pixel of a picture of another size.
    """

    def means(pixels: int, spans: int, waves: float) -> Tensor:
        # Whole half periods: flat at both edges, so that the picture goes on as its own mirror image.
        centres = (torch.arange(pixels, dtype=torch.float64) + 0.5) / pixels
        low, high = (torch.pi * waves * (centres + side / 2 / spans) for side in (-1, 1))
        return (high.sin() - low.sin()) * spans / (torch.pi * waves)

    rows, columns = footprint or size
    channels = [
        0.5
        + 0.4
        * means(size[0], rows, round(periods * part))[:, None]
        * means(size[1], columns, round(2 * periods * part))
        for part in (1.0, 0.6, 1.5)
    ]
    return torch.stack(channels).float()


def run_folder(folder: Path, clip: Clip) -> str:
    """A run folder with the field of a clip that has learnt nothing, and knows of no motion."""
    config = FieldConfig(motion=MotionConfig(enabled=False))
    field = start_field(clip, config, FlowConfig(), seed=0, rehearse=False).field
    save_field(folder / FIELD_NAME, field, clip.facts)
    return str(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_folder(tmp_path_factory.mktemp("small"), clip_of(pattern(SOURCE, 18)[None]))


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ([], (96, 171)),
        (["--scale", "1.37"], (132, 234)),  # 131.52 and 234.27
        (["--scale", "3"], (288, 513)),
        (["--scale", "0.37"], (36, 63)),  # 35.52 and 63.27
        (["--scale", "0.15"], (14, 26)),  # 14.4 and 25.65
        (["--size", "320x180"], (180, 320)),
        (["--size", "57x240"], (240, 57)),  # a third as wide, two and a half times as high
        (["--size", "300x40"], (40, 300)),
    ],
)
def test_any_size_is_the_mean_over_each_pixel(
    small: str, tmp_path: Path, words: list[str], size: tuple[int, int]
) -> None:
    assert render_main([small, *words, "-o", str(tmp_path / "out")]) == 0
    made = read_clip(tmp_path / "out" / "000000.png").pixels
    assert made.shape == (1, 3, *size)
    right = float(psnr(to_float(made), pattern(size, 18)[None]))
    assert right > 50
    if size != SOURCE:
        # Pixels as large as the source's in either axis would make another picture.
        for wrong in ((SOURCE[0], size[1]), (size[0], SOURCE[1])):
            assert float(psnr(to_float(made), pattern(size, 18, wrong)[None])) < right - 8


def test_wide_screen_from_an_odd_size(tmp_path: Path) -> None:
    """854x480 is not quite 16:9: pixels of 1920x1080 are 0.4448 wide and 0.4444 high, and square to players."""
    run = run_folder(tmp_path, clip_of(pattern((480, 854), 31)[None]))
    assert render_main([run, "--size", "1920x1080", *LOSSLESS, "-o", str(tmp_path / "out.mkv")]) == 0
    assert probe(tmp_path / "out.mkv").pixel_aspect == 1
    made = read_clip(tmp_path / "out.mkv").pixels
    assert made.shape == (1, 3, 1080, 1920)
    assert float(psnr(to_float(made), pattern((1080, 1920), 31)[None])) > 40


def test_the_own_size_of_a_real_clip(demo_clip: Path, tmp_path: Path) -> None:
    clip = read_clip(demo_clip, max_frames=2)
    run, frames = run_folder(tmp_path, clip), clip.pixels
    assert render_main([run, "-o", str(tmp_path / "out.mp4")]) == 0
    assert float(psnr(read_clip(tmp_path / "out.mp4").pixels, frames).min()) > 40
    assert render_main([run, "-o", str(tmp_path / "pictures")]) == 0
    for i, frame in enumerate(frames):
        assert torch.equal(read_clip(tmp_path / "pictures" / f"{i:06d}.png").pixels[0], frame)
