"""A picture, or what a prediction of it lacks, as quantised coefficients, and grids of motion in the same way.

Which integers to keep is a matter of rate and distortion: a block ends where

    J = D + lambda R,    D = sum of squared errors,   lambda = 0.12 step^2

is least, R being a rough count of bits (Sullivan and Wiegand 1998; at high rates D = step^2 / 12 and dD/dR
= -step^2 ln 2 / 6 = -0.116 step^2 for each bit).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vfield.compact.entropy import Coder, Integers
from vfield.compact.planes import code_blocks, ends_of
from vfield.compact.quantise import Quantiser, best_shift, dequantise
from vfield.compact.transform import BLOCK, blocks_of, join_means, part_means, plane_of, to_luma_chroma, to_rgb

GRID_BLOCK = 8
_LAMBDA = 0.12
_ROUNDING = 0.36
# Rough bits: of a block's end, and of a coefficient that is not zero, beside twice the digits of its size.
_END_BITS, _SOME_BITS, _ZERO_BITS = 3.0, 4.0, 0.25
_SHIFTS = 17


class Chosen(NamedTuple):
    """The integers of one plane (rows, columns, k, k), int32, and by how many 64ths of a step they are read nearer."""

    integers: Integers
    shift: int


def choose(coefficients: Tensor, step: float) -> Chosen:
    """What to keep of a plane's coefficients (rows, columns, k, k)."""
    integers = Quantiser(step, _ROUNDING).quantise(coefficients)
    read = dequantise(integers, step)
    size = integers.abs().float()
    bits = torch.where(size > 0, _SOME_BITS + 2 * size.clamp(min=1).log2(), torch.full_like(size, _ZERO_BITS))
    gain = coefficients.square() - (coefficients - read).square() - _LAMBDA * step * step * bits
    # The sum over each diagonal, then over all up to it; an end after none of them gains nothing and costs nothing.
    side = coefficients.shape[-1]
    diagonal = torch.arange(side)[:, None] + torch.arange(side)
    by_diagonal = torch.zeros(*gain.shape[:2], 2 * side - 1).index_add_(2, diagonal.flatten(), gain.flatten(2))
    total = by_diagonal.cumsum(dim=-1) - _LAMBDA * step * step * _END_BITS
    end = torch.cat([torch.zeros_like(total[..., :1]), total], dim=-1).argmax(dim=-1)
    integers = torch.where(diagonal < end[..., None, None], integers, torch.zeros_like(integers))
    return Chosen(integers.numpy(), round(64 * best_shift(coefficients, integers, step)))


def _code(coder: Coder, name: str, shape: tuple[int, int, int], chosen: Chosen | None, hint: Integers | None) -> Chosen:
    told = None if chosen is None else np.array([chosen.shift], np.int32)
    shift = coder.symbols(f"{name} shift", np.zeros(1, np.int32), (1, _SHIFTS), told)
    return Chosen(code_blocks(coder, name, shape, None if chosen is None else chosen.integers, hint), int(shift[0]))


def _read(chosen: Chosen, step: float) -> Tensor:
    return dequantise(torch.from_numpy(chosen.integers), step, chosen.shift / 64)


def code_picture(
    coder: Coder, name: str, size: tuple[int, int], step: float, picture: Tensor | None, alone: bool
) -> Tensor:
    """Code a picture, or what a prediction of one lacks.

    Args:
        coder: which way.
        name: of the statistics to use and to add to.
        size: height and width in pixels.
        step: of the quantiser, grey levels.
        picture: (3, h, w) RGB in grey levels about 0; None for readers.
        alone: whether nothing predicts it, so that neighbouring blocks are alike.

    Returns:
        What a reader finds: (3, h, w).
    """
    rows, columns = (-(-side // BLOCK) for side in size)
    planes: Sequence[Tensor | None] = [None] * 3 if picture is None else list(to_luma_chroma(picture))
    hint = None
    found = []
    for index, plane in enumerate(planes):
        kept = BLOCK // 2 if index else BLOCK
        chosen = None
        if plane is not None:
            coefficients = blocks_of(plane, BLOCK)[..., :kept, :kept]
            chosen = choose(join_means(coefficients) if alone else coefficients, step)
        chosen = _code(coder, f"{name} {min(index, 1)}", (rows, columns, kept), chosen, hint)
        hint = ends_of(chosen.integers)
        read = _read(chosen, step)
        found.append(plane_of(part_means(read) if alone else read, BLOCK, *size))
    return to_rgb(torch.stack(found))


def code_grids(coder: Coder, name: str, size: tuple[int, int], steps: Sequence[float], grids: Tensor | None) -> Tensor:
    """Code small grids, for example of motion: (n, rows, columns), None for readers; as they will be read.

    Args:
        coder: which way.
        name: of the statistics to use and to add to.
        size: rows and columns of cells.
        steps: of the quantisers, in each grid's own unit.
        grids: what to code.
    """
    shape = (-(-size[0] // GRID_BLOCK), -(-size[1] // GRID_BLOCK), GRID_BLOCK)
    found = []
    for index, step in enumerate(steps):
        chosen = None if grids is None else choose(blocks_of(grids[index], GRID_BLOCK), step)
        # x and y of the same kind of motion share their statistics.
        read = _read(_code(coder, f"{name} {index // 2}", shape, chosen, None), step)
        found.append(plane_of(read, GRID_BLOCK, *size))
    return torch.stack(found)
