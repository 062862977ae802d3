"""The transforms are orthonormal, and their inverses are inverses."""

from __future__ import annotations

import math

import pytest
import torch

from vfield.compact.transform import (
    BLOCK,
    blocks_of,
    dct_matrix,
    join_means,
    part_means,
    plane_of,
    to_luma_chroma,
    to_rgb,
)


@pytest.mark.parametrize("size", [1, 4, 8, 16])
def test_the_matrix_is_the_orthonormal_cosine_transform(size: int) -> None:
    matrix = dct_matrix(size)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size), atol=1e-6, rtol=0)
    for k in range(size):
        for i in range(size):
            norm = math.sqrt((1 if k == 0 else 2) / size)
            assert matrix[k, i] == pytest.approx(norm * math.cos(math.pi * k * (2 * i + 1) / (2 * size)), abs=1e-6)


@pytest.mark.parametrize("size", [(48, 80), (37, 53), (1, 1), (16, 200)])
def test_planes_come_back(size: tuple[int, int]) -> None:
    plane = 100 * torch.randn(size, generator=torch.Generator().manual_seed(0))
    coefficients = blocks_of(plane, BLOCK)
    torch.testing.assert_close(plane_of(coefficients, BLOCK, *size), plane, atol=1e-3, rtol=0)
    torch.testing.assert_close(part_means(join_means(coefficients)), coefficients, atol=1e-3, rtol=0)


def test_squared_errors_are_kept() -> None:
    plane = torch.randn(64, 96, generator=torch.Generator().manual_seed(1))
    coefficients = join_means(blocks_of(plane, BLOCK))
    assert coefficients.square().sum() == pytest.approx(float(plane.square().sum()), rel=1e-5)


def test_a_plane_of_one_colour_is_one_coefficient() -> None:
    coefficients = join_means(blocks_of(torch.full((64, 64), 3.0), BLOCK))
    assert coefficients[0, 0, 0, 0] == pytest.approx(3.0 * 64, rel=1e-5)
    assert int((coefficients.abs() > 1e-3).sum()) == 1


def test_colours_come_back_and_grey_has_no_chroma() -> None:
    rgb = 255 * torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(to_rgb(to_luma_chroma(rgb)), rgb, atol=1e-3, rtol=0)
    grey = to_luma_chroma(torch.full((3, 2, 2), 77.0))
    torch.testing.assert_close(grey[0], torch.full((2, 2), 77.0))
    assert float(grey[1:].abs().max()) < 1e-4
