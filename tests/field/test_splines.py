"""Splines against a slow reference, footprints against box averages."""

import pytest
import torch
from torch import Tensor

from vfield.core.coords import pixel_uv, uv_to_xy
from vfield.core.splines import footprint_filter, sample_bilinear, sample_grid, spline_coefficients


def b_spline(x: Tensor) -> Tensor:
    """The cubic B-spline by its pieces."""
    a = x.abs()
    return torch.where(a < 1, 2 / 3 - a**2 + a**3 / 2, torch.where(a < 2, (2 - a) ** 3 / 6, 0.0))


def slow_sample(coefficients: Tensor, x: float, y: float) -> Tensor:
    """Sum over every coefficient, mirrored about the edges of the outer cells."""
    height, width = coefficients.shape[-2:]
    total = torch.zeros(len(coefficients), dtype=coefficients.dtype)
    for j in range(-3, height + 3):
        for i in range(-3, width + 3):
            row = j if 0 <= j < height else (-1 - j if j < 0 else 2 * height - 1 - j)
            column = i if 0 <= i < width else (-1 - i if i < 0 else 2 * width - 1 - i)
            weight = b_spline(torch.tensor(x - i)) * b_spline(torch.tensor(y - j))
            total += coefficients[:, row, column] * weight
    return total


def test_four_bilinear_reads_are_the_spline() -> None:
    coefficients = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[3.0, 2.0], [0.0, 0.0], [6.0, 4.0], [-0.5, 4.5], [2.3, 1.7], [5.99, 0.01], [0.2, 3.9]])
    slow = torch.stack([slow_sample(coefficients, *point.tolist()) for point in points])
    torch.testing.assert_close(sample_grid(coefficients, points), slow, atol=1e-5, rtol=0)


def test_outside_reads_the_border() -> None:
    coefficients = torch.rand(1, 4, 6)
    outside = torch.tensor([[-20.0, 1.0], [50.0, 1.0], [2.0, -7.0]])
    border = torch.tensor([[-0.5, 1.0], [5.5, 1.0], [2.0, -0.5]])
    torch.testing.assert_close(sample_grid(coefficients, outside), sample_grid(coefficients, border))


def test_coefficients_interpolate_their_samples() -> None:
    samples = torch.rand(3, 9, 11)
    read = sample_grid(spline_coefficients(samples), uv_to_xy(pixel_uv(9, 11).reshape(-1, 2), 9, 11))
    torch.testing.assert_close(read.T.reshape(3, 9, 11), samples, atol=1e-5, rtol=0)


def test_gradients_agree_with_finite_differences() -> None:
    coefficients = torch.rand(2, 5, 6, dtype=torch.float64, requires_grad=True)
    # Away from integers, where the pair of taps changes and finite differences straddle two pieces.
    xy = torch.tensor([[1.3, 2.6], [3.7, 0.4], [4.2, 3.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sample_grid, (coefficients, xy))


def test_a_ramp_is_read_exactly_by_both_samplers() -> None:
    ramp = (2 * torch.arange(12.0) + 1).expand(1, 10, 12) + 3 * torch.arange(10.0)[:, None]
    xy = torch.tensor([[5.3, 4.6], [6.75, 5.5]])
    expected = 2 * xy[:, :1] + 1 + 3 * xy[:, 1:]
    torch.testing.assert_close(sample_bilinear(ramp, xy), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(sample_grid(spline_coefficients(ramp), xy), expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("width", [0.0, 0.25, 1.0, 1.7, 4.0])
def test_filters_keep_the_mean(width: float) -> None:
    taps = footprint_filter(1.0, width)
    assert float(taps.sum()) == pytest.approx(1)
    torch.testing.assert_close(taps, taps.flip(0))


def smooth_picture(height: int, width: int, scale: int) -> Tensor:
    """Box averages of one smooth function at `scale` times the size: (1, h, w) float64, in closed form."""
    u = torch.arange(width * scale + 1, dtype=torch.float64) / scale
    v = torch.arange(height * scale + 1, dtype=torch.float64) / scale
    # Integrals of cosines that are flat at the picture's edges, so that mirroring continues them smoothly.
    across = torch.sin(u * 3 * torch.pi / width).diff() * scale * width / (3 * torch.pi)
    down = torch.sin(v * 5 * torch.pi / height).diff() * scale * height / (5 * torch.pi)
    return (0.5 + 0.4 * down[:, None] * across[None, :])[None]


@pytest.mark.parametrize("scale", [2, 3])
def test_a_finer_footprint_gives_the_finer_averages(scale: int) -> None:
    small, large = smooth_picture(24, 32, 1), smooth_picture(24, 32, scale)
    uv = pixel_uv(24 * scale, 32 * scale).reshape(-1, 2).double()
    fine = spline_coefficients(small, (1.0, 1.0), (1 / scale, 1 / scale))
    plain = spline_coefficients(small)
    error = [
        float((sample_grid(c, uv_to_xy(uv, 24, 32)).reshape(large.shape) - large).abs().max()) for c in (fine, plain)
    ]
    assert error[0] < 5e-4
    # Without the footprint the picture stays as soft as the source's own pixels.
    assert error[0] < error[1] / 10


def test_a_coarser_footprint_gives_the_coarser_averages() -> None:
    large, small = smooth_picture(24, 32, 4), smooth_picture(24, 32, 1)
    uv = pixel_uv(24, 32).reshape(-1, 2).double()
    read = sample_grid(spline_coefficients(large, (1.0, 1.0), (4.0, 4.0)), uv_to_xy(uv, 96, 128))
    torch.testing.assert_close(read.reshape(small.shape), small, atol=2e-4, rtol=0)
