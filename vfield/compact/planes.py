"""Coding the integers of a plane's blocks, with models that know what is around.

Most coefficients are zero, and those that are not sit at low frequencies and near each other. So each block first says
where it *ends*: one more than the last diagonal (i + j) that holds anything, 0 for nothing at all. Then, diagonal by
diagonal over all blocks at once, come: is it zero? is it more than one? by how much? its sign. The chances depend on
the coefficients of lower frequency in the same block, on those of the neighbouring blocks, on the frequency and on how
far the block's end is. This is the context modelling of H.264 and HEVC (Marpe, Schwarz and Wiegand 2003), by frequency
instead of by block, so that each step is one array operation; blocks of one colour of a checkerboard see those of the
other. Every context is made of integers: a reader finds the same ones on any machine.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfield.compact.entropy import Coder, Integers

# Upper bounds of classes.
_END_CLASSES = np.array([0, 1, 2, 4, 6, 9, 13, 18, 25, 36, 50])
_HINT_CLASSES = np.array([0, 2, 5, 10])
_NEAR_CLASSES = np.array([0, 1, 2, 3, 5, 8])
_DIAGONAL_CLASSES = np.array([0, 1, 2, 4, 7, 11])
_LEFT_CLASSES = np.array([0, 2, 5])
_BESIDE = 7  # classes of the neighbours: three where only lower frequencies are known, four where the same one is
_NEAR = len(_NEAR_CLASSES) + 1
_UNARY = 14  # larger magnitudes go on in an Exp-Golomb code


class Diagonal(NamedTuple):
    """The coefficients of one diagonal: rows and columns in the block, both (n,)."""

    i: NDArray[np.int64]
    j: NDArray[np.int64]


@lru_cache(maxsize=8)
def diagonals(block: int) -> list[Diagonal]:
    """All of a block's, lowest frequency first."""
    found = []
    for d in range(2 * block - 1):
        i = np.arange(max(0, d - block + 1), min(d, block - 1) + 1)
        found.append(Diagonal(i, d - i))
    return found


def ends_of(values: Integers) -> Integers:
    """Where blocks (rows, columns, k, k) end: (rows, columns), 0 for an empty one, at most 2 k - 1."""
    k = np.arange(values.shape[-1])
    where = np.where(values != 0, k[:, None] + k + 1, 0)
    ends: Integers = where.max(axis=(2, 3)).astype(np.int32)
    return ends


def code_blocks(
    coder: Coder, name: str, shape: tuple[int, int, int], values: Integers | None, hint: Integers | None
) -> Integers:
    """Code a plane's blocks.

    Args:
        coder: which way.
        name: of the statistics to use and to add to.
        shape: rows and columns of blocks, and their side k.
        values: (rows, columns, k, k); None for readers.
        hint: (rows, columns), where blocks of a like plane end; None where none is known.

    Returns:
        The values.
    """
    rows, columns, block = shape
    ends = _code_ends(coder, name, (rows, columns), 2 * block - 1, None if values is None else ends_of(values), hint)
    # A rim of nothing around blocks, and around the coefficients of each, saves asking for borders.
    found = np.zeros((rows + 2, columns + 2, block + 2, block + 2), np.int32)
    sizes = np.zeros(found.shape, np.uint8)
    colour = np.add.outer(np.arange(rows), np.arange(columns)) % 2
    for d, diagonal in enumerate(diagonals(block)):
        for phase in (0, 1):
            r, c = np.nonzero((ends > d) & (colour == phase))
            if not len(r):
                continue
            at = _At(r + 1, c + 1, diagonal.i + 2, diagonal.j + 2)
            contexts = _contexts(sizes, at, phase, d, ends[r, c] - 1 - d)
            told = None if values is None else values[r[:, None], c[:, None], diagonal.i, diagonal.j].reshape(-1)
            coded = _code_values(coder, name, contexts, told).reshape(len(r), -1)
            index = (at.r[:, None], at.c[:, None], at.i, at.j)
            found[index] = coded
            sizes[index] = np.minimum(np.abs(coded), 3)
    return found[1:-1, 1:-1, 2:, 2:]


def _code_ends(
    coder: Coder, name: str, size: tuple[int, int], most: int, ends: Integers | None, hint: Integers | None
) -> Integers:
    """Every fourth block first, then those between four diagonal neighbours, then the rest."""
    rows, columns = size
    known = np.zeros((rows + 2, columns + 2), np.int32)
    seen = np.zeros_like(known)
    hints = np.full(size, len(_HINT_CLASSES) + 1) if hint is None else np.searchsorted(_HINT_CLASSES, hint)
    r, c = np.indices(size)
    hint_kinds, end_kinds = len(_HINT_CLASSES) + 2, len(_END_CLASSES) + 2
    across = ((-1, -1), (-1, 1), (1, -1), (1, 1))
    along = ((-1, 0), (1, 0), (0, -1), (0, 1))
    first, second = (r % 2 == 0) & (c % 2 == 0), (r % 2 == 1) & (c % 2 == 1)
    for phase, (chosen, around) in enumerate(((first, ()), (second, across), (~first & ~second, along))):
        here = np.nonzero(chosen)
        total, count = np.zeros(len(here[0]), np.int32), np.zeros(len(here[0]), np.int32)
        for down, right in around:
            total += known[here[0] + 1 + down, here[1] + 1 + right]
            count += seen[here[0] + 1 + down, here[1] + 1 + right]
        # The sum over four, whatever part of them is there.
        level = np.searchsorted(_END_CLASSES, 4 * total // np.maximum(count, 1))
        level = np.where(count > 0, level, end_kinds - 1)
        contexts = ((phase * hint_kinds + hints[here]) * end_kinds + level).astype(np.int32)
        told = None if ends is None else ends[here]
        shape = (3 * hint_kinds * end_kinds, most + 1)
        known[here[0] + 1, here[1] + 1] = coder.symbols(f"{name} ends", contexts, shape, told)
        seen[here[0] + 1, here[1] + 1] = 1
    return known[1:-1, 1:-1]


class _At(NamedTuple):
    """Blocks at rows r and columns c (n,), coefficients at rows i and columns j (m,), rims included."""

    r: NDArray[np.int64]
    c: NDArray[np.int64]
    i: NDArray[np.int64]
    j: NDArray[np.int64]


class _Contexts(NamedTuple):
    """What is known of each coefficient, as classes (n * m,)."""

    near: Integers
    beside: Integers
    diagonal: int
    left: Integers


def _contexts(sizes: NDArray[np.uint8], at: _At, phase: int, d: int, left: Integers) -> _Contexts:
    i, j = at.i, at.j
    r, c = at.r[:, None], at.c[:, None]
    near = 2 * (sizes[r, c, i - 1, j] + sizes[r, c, i, j - 1])
    near += sizes[r, c, i - 1, j - 1] + sizes[r, c, i - 2, j] + sizes[r, c, i, j - 2]
    beside = np.zeros_like(near)
    for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
        beside += sizes[y, x, i, j] if phase else sizes[y, x, i - 1, j] + sizes[y, x, i, j - 1]
    beside = 3 + np.minimum(beside, 3) if phase else np.searchsorted([0, 3], beside)
    return _Contexts(
        np.searchsorted(_NEAR_CLASSES, near).reshape(-1).astype(np.int32),
        beside.reshape(-1).astype(np.int32),
        int(np.searchsorted(_DIAGONAL_CLASSES, d)),
        np.repeat(np.searchsorted(_LEFT_CLASSES, left), len(i)).astype(np.int32),
    )


def _code_values(coder: Coder, name: str, at: _Contexts, values: Integers | None) -> Integers:
    """Code coefficients (n,): zero or not, one or more, how many more, the sign."""
    kinds_left = len(_LEFT_CLASSES) + 1
    kinds_diagonal = len(_DIAGONAL_CLASSES) + 1
    size = None if values is None else np.abs(values)
    some = ((at.near * _BESIDE + at.beside) * kinds_diagonal + at.diagonal) * kinds_left + at.left
    count = _NEAR * _BESIDE * kinds_diagonal * kinds_left
    told = None if size is None else (size > 0).astype(np.int32)
    coded = coder.bits(f"{name} some", some, count, told).copy()
    alive = np.nonzero(coded)[0]
    present = alive
    level = ((at.near * _BESIDE + at.beside) * 3 + min(at.diagonal, 2)).astype(np.int32)
    for step in range(_UNARY):
        if not len(alive):
            break
        if step == 0:
            contexts, kinds, label = level[alive], _NEAR * _BESIDE * 3, "more"
        else:
            contexts, kinds, label = at.near[alive] * _UNARY + step, _NEAR * _UNARY, "many"
        told = None if size is None else (size[alive] > step + 1).astype(np.int32)
        more = coder.bits(f"{name} {label}", contexts.astype(np.int32), kinds, told)
        coded[alive] += more
        alive = alive[more == 1]
    if len(alive):
        coded[alive] += _code_rest(coder, name, len(alive), None if size is None else size[alive] - _UNARY - 1)
    told = None if values is None else (values[present] < 0).astype(np.int32)
    negative = coder.plain_bits(len(present), told)
    coded[present] *= 1 - 2 * negative
    return coded


def _code_rest(coder: Coder, name: str, count: int, rest: Integers | None) -> Integers:
    """Code non-negative integers (n,) by Exp-Golomb: how many binary digits rest + 1 has, then the digits."""
    lengths = None if rest is None else (np.frexp(rest + 1)[1] - 1).astype(np.int32)
    lengths = coder.symbols(f"{name} digits", np.zeros(count, np.int32), (1, 24), lengths)
    result = np.ones(count, np.int32)
    for digit in range(int(lengths.max(initial=0)) - 1, -1, -1):
        here = np.nonzero(lengths > digit)[0]
        told = None if rest is None else ((rest[here] + 1) >> digit & 1).astype(np.int32)
        result[here] = 2 * result[here] + coder.plain_bits(len(here), told)
    return result - 1
