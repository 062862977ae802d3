"""Spectral bias: the measures against closed forms, and the known order of the maps on a picture."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from vfield.cli import main
from vfield.core.coords import pixel_uv
from vfield.core.errors import UserError
from vfield.lab.spectral import (
    SpectralConfig,
    band_edges,
    band_power,
    chessboard,
    learnt_steps,
    map_config,
    square_picture,
    watch,
)
from vfield.video_io import read_clip

SMALL = SpectralConfig(size=32, steps=150, points=512, learning_rate=4e-3, width=48, depth=2, count=64)


@pytest.fixture(scope="module")
def picture(demo_clip: Path) -> Tensor:
    """A natural picture, small."""
    return square_picture(read_clip(demo_clip, max_frames=1), SMALL.size)


def wave(cycles_across: float, cycles_down: float, size: int = 32) -> Tensor:
    uv = pixel_uv(size, size)
    return (2 * math.pi * (cycles_across * uv[..., 0] + cycles_down * uv[..., 1])).cos()[None]


def test_the_bands_hold_all_power() -> None:
    noise = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))
    power = band_power(noise, band_edges(24))
    assert float(power.sum()) == pytest.approx(float(noise.square().mean()), rel=1e-5)
    assert float(power[0]) == pytest.approx(float(noise.mean(dim=(1, 2)).square().mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("across", "down", "band"), [(0, 0, 0), (1, 0, 1), (3, 0, 2), (3, 3, 3), (0, 9, 4), (15, 15, 5)]
)
def test_a_wave_is_in_the_band_of_its_frequency(across: int, down: int, band: int) -> None:
    edges = band_edges(32)
    assert edges == [1, 2, 4, 8, 16]
    power = band_power(wave(across, down), edges)
    expected = torch.zeros(6)
    expected[band] = 1.0 if band == 0 else 0.5
    torch.testing.assert_close(power, expected, atol=1e-5, rtol=0)


def test_half_of_the_pixels_are_seen_and_every_other_one_has_four_seen_neighbours() -> None:
    seen = chessboard(6, 8)
    assert seen.float().mean() == 0.5
    assert seen[:, 1:].logical_xor(seen[:, :-1]).all()
    assert seen[1:].logical_xor(seen[:-1]).all()


@pytest.mark.slow
def test_low_frequencies_are_learnt_first_without_features() -> None:
    # Three waves of one strength, told apart by their bands.
    target = 0.5 + 0.15 * (wave(1, 0) + wave(0, 3) + wave(6, 0)).expand(3, -1, -1)
    trace = watch(target, map_config("none", 1.0, SMALL.count), replace(SMALL, steps=300))
    slow, middle, fast = (trace.missing[:, band] for band in (1, 2, 3))
    assert learnt_steps(trace)[1] is not None
    assert (slow[4:] < middle[4:]).all()
    assert (middle[-4:] < fast[-4:]).all()


@pytest.mark.slow
def test_held_out_pixels_rank_the_maps_as_tancik_et_al_found(picture: Tensor) -> None:
    maps = [
        map_config("none", 1.0, SMALL.count),
        map_config("basic", 1.0, SMALL.count),
        map_config("positional", 4.0, SMALL.count),
        map_config("gaussian", 2.0, SMALL.count),
    ]
    reached = [watch(picture, fourier, SMALL).held_out_psnr[-1] for fourier in maps]
    assert reached == sorted(reached), reached
    assert reached[-1] > reached[0] + 1.5


@pytest.mark.slow
def test_the_bandwidth_has_an_optimum(picture: Tensor) -> None:
    narrow, right, wide = (
        watch(picture, map_config("gaussian", sigma, SMALL.count), SMALL) for sigma in (0.25, 2.0, 24.0)
    )
    assert right.held_out_psnr[-1] > narrow.held_out_psnr[-1] + 1
    assert right.held_out_psnr[-1] > wide.held_out_psnr[-1] + 1
    # Too wide is no lack of fit: the pixels that were seen are shown well, and what lies between them is made up.
    assert wide.seen_psnr[-1] > wide.held_out_psnr[-1] + 6


@pytest.mark.slow
def test_the_command_leaves_figures_and_pictures(
    demo_clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    words = ["lab", "spectral", "--image", str(demo_clip), "--out", str(tmp_path / "lab"), "--pixels", "16"]
    assert main([*words, "--steps", "25", "--sigmas", "1", "4"]) == 0
    assert {path.name for path in (tmp_path / "lab").iterdir()} == {
        *("training.gif", "curves.png", "spectrum.png", "sigma.png", "figures.json")
    }
    figures = json.loads((tmp_path / "lab" / "figures.json").read_text())
    assert set(figures["maps"]) == {"none", "basic", "positional", "gaussian", "gaussian, learnt"}
    best = figures["sweeps"]["gaussian"]
    assert best["best"] == best["sigmas"][best["held_out_psnr"].index(max(best["held_out_psnr"]))]
    assert figures["maps"]["gaussian"]["held_out_psnr"] == max(best["held_out_psnr"])
    with Image.open(tmp_path / "lab" / "training.gif") as moving:
        assert moving.n_frames == 2  # type: ignore[attr-defined]
    assert "none: held-out PSNR" in capfd.readouterr().out
    assert main([*words, "--steps", "25"]) == 2
    assert "--overwrite" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "name an experiment: vfield lab spectral or ntk or"),
        (["spectral", "--pixels", "4"], "size must be from 8 to 512, got 4"),
        (["spectral", "--steps", "3"], "steps must be from 25"),
        (["spectral", "--sigmas", "0"], "sigmas must be more than 0"),
        (["spectral", "--image", "nowhere.png"], "nowhere.png does not exist"),
    ],
)
def test_bad_input_is_one_line(words: list[str], line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "lab")] if words else []
    assert main(["lab", *words, *out]) == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert line in told
    assert list(tmp_path.iterdir()) == []


def test_a_picture_must_be_as_large_as_the_square(picture: Tensor, demo_clip: Path) -> None:
    small = read_clip(demo_clip, max_frames=1, size=(20, 30))
    with pytest.raises(UserError, match=r"30x20, too small for a square of 32"):
        square_picture(small, 32)
