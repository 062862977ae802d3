"""From colours to coefficients and back: a luma-chroma rotation and a blockwise discrete cosine transform.

The DCT-II over n x n pixels (Ahmed, Natarajan and Rao 1974), scaled to be orthonormal,

    C[k, i] = sqrt((1 + [k > 0]) / n) cos(pi k (2 i + 1) / (2 n)),        Y = C X C^T,   X = C^T Y C,

keeps squared errors: what quantising does to the coefficients is what it does to the pixels. For smooth pictures it
is close to the Karhunen-Loeve transform, so that most coefficients are about zero.

Luma and chroma are Y'CbCr of BT.709 in grey levels. Video has little chroma above half its bandwidth, so only the
lowest quarter of a chroma block's coefficients is kept: reducing by two, in the transform's own terms.

Where nothing predicts a picture, the blocks' means are still alike: they are transformed once more, as a small picture.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor

BLOCK = 16
"""Side of a block in pixels."""

MEANS_BLOCK = 4
"""Side of a block of blocks' means."""

_KR, _KB = 0.2126, 0.0722  # BT.709


@lru_cache(maxsize=8)
def dct_matrix(size: int) -> Tensor:
    """The orthonormal DCT-II (size, size) float32, one basis function a row."""
    k = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(torch.pi * k[:, None] * (2 * k + 1) / (2 * size)) * (2 / size) ** 0.5
    rows[0] /= 2**0.5
    return rows.float()


@lru_cache(maxsize=1)
def _luma_chroma() -> Tensor:
    luma = torch.tensor([_KR, 1 - _KR - _KB, _KB], dtype=torch.float64)
    blue = (torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) - luma) / (2 * (1 - _KB))
    red = (torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) - luma) / (2 * (1 - _KR))
    return torch.stack([luma, blue, red])


def to_luma_chroma(rgb: Tensor) -> Tensor:
    """RGB (3, h, w) in grey levels to luma, blue and red difference."""
    return torch.einsum("yc,chw->yhw", _luma_chroma().to(rgb), rgb)


def to_rgb(luma_chroma: Tensor) -> Tensor:
    """Inverse of `to_luma_chroma`."""
    return torch.einsum("cy,yhw->chw", torch.linalg.inv(_luma_chroma()).to(luma_chroma), luma_chroma)


def blocks_of(plane: Tensor, block: int) -> Tensor:
    """DCT coefficients (rows, columns, block, block) of a plane (h, w), its border repeated to whole blocks."""
    height, width = plane.shape
    down, across = -height % block, -width % block
    padded = torch.cat([plane, plane[-1:].expand(down, -1)], dim=0)
    padded = torch.cat([padded, padded[:, -1:].expand(-1, across)], dim=1)
    tiles = rearrange(padded, "(r y) (c x) -> r c y x", y=block, x=block)
    matrix = dct_matrix(block).to(plane)
    return matrix @ tiles @ matrix.T


def plane_of(coefficients: Tensor, block: int, height: int, width: int) -> Tensor:
    """Inverse of `blocks_of`: the plane (height, width).

    Args:
        coefficients: (rows, columns, k, k) with k <= block; those left out, the highest, are zero.
        block: side of a block.
        height: of the plane; its last blocks are cut off there.
        width: likewise.
    """
    matrix = dct_matrix(block).to(coefficients)[: coefficients.shape[-1]]
    tiles = matrix.T @ coefficients @ matrix
    return rearrange(tiles, "r c y x -> (r y) (c x)")[:height, :width]


def join_means(coefficients: Tensor) -> Tensor:
    """Coefficients (rows, columns, k, k) with the blocks' first ones transformed once more: orthonormal, too.

    The picture of the means is cut into blocks of its own; where it does not fill the last one, they are left as they
    are.
    """
    return _over_means(coefficients, dct_matrix(MEANS_BLOCK))


def part_means(coefficients: Tensor) -> Tensor:
    """Inverse of `join_means`."""
    return _over_means(coefficients, dct_matrix(MEANS_BLOCK).T)


def _over_means(coefficients: Tensor, matrix: Tensor) -> Tensor:
    rows, columns = (side - side % MEANS_BLOCK for side in coefficients.shape[:2])
    result = coefficients.clone()
    if rows and columns:
        means = coefficients[:rows, :columns, 0, 0]
        tiles = rearrange(means, "(r y) (c x) -> r c y x", y=MEANS_BLOCK, x=MEANS_BLOCK)
        tiles = matrix.to(means) @ tiles @ matrix.T.to(means)
        result[:rows, :columns, 0, 0] = rearrange(tiles, "r c y x -> (r y) (c x)")
    return result
