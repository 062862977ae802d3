"""Latents: colours through footprints and coarser levels, tracks and learnt grids."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vfield.core.clip import to_float
from vfield.core.coords import Footprint, pixel_uv
from vfield.core.errors import UserError
from vfield.core.splines import area_averages
from vfield.field.latents import ColourKeyframes, GlobalConfig, GlobalLatent, LatentGrids, LocalConfig
from vfield.video_io import read_clip


def test_colours_at_the_source_size_are_the_frames() -> None:
    frames = torch.randint(0, 256, (3, 3, 15, 21), dtype=torch.uint8)
    colours = ColourKeyframes(frames)
    uv = pixel_uv(15, 21).reshape(-1, 2)
    for keyframe in range(3):
        read = colours(keyframe, uv, Footprint.of_size(15, 21))
        torch.testing.assert_close(read.T.reshape(3, 15, 21), frames[keyframe] / 255, atol=1e-5, rtol=0)


def test_the_cache_of_colours_is_bounded() -> None:
    colours = ColourKeyframes(torch.zeros(10, 3, 8, 8, dtype=torch.uint8))
    colours.cache_bytes = 4 * 3 * 8 * 8 * 4
    for keyframe in range(10):
        colours.coefficients(keyframe, Footprint.of_size(8, 8))
    assert len(colours._cache) == 4
    assert len(colours._levels) == 0
    for keyframe in range(10):
        colours.coefficients(keyframe, Footprint.of_size(1, 1))
    # Coefficients of 4x4 are small: all ten fit. Of the levels that they were made from, a quarter of the bound.
    assert len(colours._cache) >= 10
    assert len(colours._levels) == 4


# --------------------------------------------------------------------------------------------- levels of detail


def averaged(picture: Tensor, rows: int, columns: int) -> Tensor:
    """Means over the cells of a grid, in float64: every pixel counts by the area of it that lies in the cell."""
    height, width = picture.shape[-2:]

    def overlaps(cells: int, size: int) -> Tensor:
        low = torch.arange(cells, dtype=torch.float64)[:, None] * size / cells
        pixel = torch.arange(size, dtype=torch.float64)
        return (torch.minimum(low + size / cells, pixel + 1) - torch.maximum(low, pixel)).clamp(min=0) * cells / size

    return overlaps(rows, height) @ to_float(picture).double() @ overlaps(columns, width).T


def reduced(picture: Tensor, rows: int, columns: int) -> Tensor:
    """The picture (3, h, w) uint8 as a field shows it at a smaller size."""
    uv = pixel_uv(rows, columns).reshape(-1, 2)
    return ColourKeyframes(picture[None])(0, uv, Footprint.of_size(rows, columns)).T.reshape(3, rows, columns)


def decibels(picture: Tensor, truth: Tensor) -> float:
    return float(-10 * (picture.clamp(0, 1) - truth).square().mean().log10())


@pytest.mark.parametrize("size", [(12, 20), (6, 10), (7, 9), (1, 1), (12, 7), (24, 40)])
def test_area_averages_are_exact_on_any_grid(size: tuple[int, int]) -> None:
    picture = torch.randint(0, 256, (3, 24, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for frame in (picture, to_float(picture)):
        torch.testing.assert_close(area_averages(frame, *size).double(), averaged(picture, *size), atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def detailed(demo_clip: Path) -> Tensor:
    return read_clip(demo_clip, max_frames=1).frames[0]


@pytest.mark.slow
@pytest.mark.parametrize("odd", [(0, 0), (3, 5)])
@pytest.mark.parametrize("scale", [0.5, 0.37, 0.25, 0.1, 1 / 8, 1 / 13, 1 / 16, 1 / 40])
def test_smaller_sizes_are_area_averages(detailed: Tensor, odd: tuple[int, int], scale: float) -> None:
    frame = detailed[:, : 720 - odd[0], : 1280 - odd[1]]
    rows, columns = (round(scale * pixels) for pixels in frame.shape[-2:])
    assert decibels(reduced(frame, rows, columns), averaged(frame, rows, columns)) > 49


@pytest.mark.parametrize("size", [(24, 32), (23, 31), (17, 32), (3, 2)])
def test_thumbnails_do_not_alias(size: tuple[int, int]) -> None:
    x, y = torch.arange(320)[None, :], torch.arange(240)[:, None]
    # One pixel black, one white: all grey when reduced, but for what a pixel cut in two leaves over.
    board = (255 * ((x + y) % 2)).to(torch.uint8).expand(3, -1, -1).contiguous()
    assert (reduced(board, *size) - 0.5).abs().max() < 0.01
    # Rings that get finer outwards, up to two pixels a ring at the corners.
    rings = (127.5 + 127.5 * torch.cos(torch.pi * ((x - 160) ** 2 + (y - 120) ** 2) / 400)).to(torch.uint8)
    rings = rings.expand(3, -1, -1).contiguous()
    assert decibels(reduced(rings, *size), averaged(rings, *size)) > 38


def test_the_smallest_thumbnail_is_the_mean(detailed: Tensor) -> None:
    mean = to_float(detailed).mean(dim=(1, 2))
    torch.testing.assert_close(reduced(detailed, 1, 1)[:, 0, 0], mean, atol=2e-3, rtol=0)


@pytest.mark.slow
def test_work_is_proportional_to_what_is_asked_for(detailed: Tensor) -> None:
    colours = ColourKeyframes(detailed[None])

    def shape(rows: float, columns: float) -> tuple[int, ...]:
        return tuple(colours.coefficients(0, Footprint(du=1 / columns, dv=1 / rows)).shape)

    assert shape(720, 1280) == shape(1440, 2560) == shape(240, 320) == (3, 720, 1280)
    assert shape(90, 160) == (3, 360, 640)
    # Each axis by its own footprint; and footprints that differ a little share a level.
    assert shape(9, 1280) == shape(8.9, 900) == (3, 45, 1280)
    assert len(colours._levels) == 2
    for size in (8, 20, 33, 60):
        _, rows, columns = shape(size, 2 * size)
        assert rows <= 6.1 * size
        assert columns <= 12.2 * size


def test_the_track_is_linear_between_its_knots() -> None:
    latent = GlobalLatent(GlobalConfig(width=2, knots_per_second=1.0), 3.0, torch.Generator())
    with torch.no_grad():
        latent.track.copy_(torch.arange(10.0).reshape(5, 2))
    out = latent(torch.tensor([0.0, 3.0 / 8, 3.0, -1.0, 9.0]))
    torch.testing.assert_close(out[:, 2:], torch.tensor([[0.0, 1], [1, 2], [8, 9], [0, 1], [8, 9]]))
    torch.testing.assert_close(out[:, :2], latent.code.expand(5, 2))


def test_latents_of_a_constant_grid_are_that_constant() -> None:
    grids = LatentGrids(LocalConfig(levels=(4, 9), channels=3), 2, 13, 17, torch.Generator())
    with torch.no_grad():
        for i, level in enumerate(grids.levels):
            level.fill_(i + 1.0)
    out = grids(1, torch.rand(7, 2))
    assert out.shape == (7, grids.width) == (7, 6)
    torch.testing.assert_close(out, torch.tensor([1.0] * 3 + [2.0] * 3).expand(7, 6))


def test_bad_values_are_named() -> None:
    with pytest.raises(UserError, match=r"levels must be from 1 to .* got 0 in \[0\]"):
        LocalConfig(levels=(0,))
    with pytest.raises(UserError, match="knots_per_second must be more than 0"):
        GlobalConfig(knots_per_second=0)
