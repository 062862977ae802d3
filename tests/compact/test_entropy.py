"""What is read is what was written, in about as many bits as the symbols' entropy."""

from __future__ import annotations

import numpy as np
import pytest

from vfield.compact.entropy import Reader, Writer
from vfield.compact.planes import code_blocks, diagonals, ends_of

RANDOM = np.random.default_rng(0)


def entropy_bits(symbols: np.ndarray) -> float:
    """Empirical entropy of all symbols together, bits."""
    shares = np.bincount(symbols) / len(symbols)
    shares = shares[shares > 0]
    return float(-len(symbols) * (shares * np.log2(shares)).sum())


def test_symbols_come_back_in_about_their_entropy() -> None:
    contexts = RANDOM.integers(0, 3, 60000).astype(np.int32)
    tables = np.array([[0.9, 0.05, 0.03, 0.02], [0.25, 0.25, 0.25, 0.25], [0.01, 0.01, 0.49, 0.49]])
    symbols = (RANDOM.random(60000)[:, None] > tables.cumsum(axis=1)[contexts, :3]).sum(axis=1).astype(np.int32)
    writer = Writer()
    for start in range(0, len(symbols), 500):
        part = slice(start, start + 500)
        writer.symbols("a", contexts[part], (3, 4), symbols[part])
    words = writer.words()
    reader = Reader(words)
    for start in range(0, len(symbols), 500):
        part = slice(start, start + 500)
        assert np.array_equal(reader.symbols("a", contexts[part], (3, 4), None), symbols[part])
    least = sum(entropy_bits(symbols[contexts == c]) for c in range(3))
    assert least < 32 * len(words) < 1.02 * least


def test_bits_come_back_in_about_their_entropy() -> None:
    contexts = RANDOM.integers(0, 20, 60000).astype(np.int32)
    chances = RANDOM.uniform(0.01, 0.6, 20)
    bits = (RANDOM.random(60000) < chances[contexts]).astype(np.int32)
    writer = Writer()
    for start in range(0, len(bits), 1000):
        writer.bits("b", contexts[start : start + 1000], 20, bits[start : start + 1000])
    words = writer.words()
    reader = Reader(words)
    found = [reader.bits("b", contexts[start : start + 1000], 20, None) for start in range(0, len(bits), 1000)]
    assert np.array_equal(np.concatenate(found), bits)
    least = sum(entropy_bits(bits[contexts == c]) for c in range(20))
    assert least * 0.999 < 32 * len(words) < 1.03 * least


def laplacian_blocks(shape: tuple[int, int, int], scale: float) -> np.ndarray:
    """Integers that are smaller the higher their frequency."""
    k = np.arange(shape[2])
    widths = scale / (1 + k[:, None] + k)
    return np.round(RANDOM.laplace(0, widths, (*shape, shape[2]))[: shape[0], : shape[1]]).astype(np.int32)


@pytest.mark.parametrize("shape", [(5, 6, 16), (1, 1, 8), (3, 2, 8)])
@pytest.mark.parametrize("scale", [0.0, 2.0, 300.0])
def test_blocks_come_back(shape: tuple[int, int, int], scale: float) -> None:
    planes = [laplacian_blocks(shape, scale) for _ in range(2)]
    planes[1][0, 0, 0, 0] = -70000  # beyond the unary code
    writer = Writer()
    code_blocks(writer, "x", shape, planes[0], None)
    code_blocks(writer, "x", shape, planes[1], ends_of(planes[0]))
    reader = Reader(writer.words())
    first = code_blocks(reader, "x", shape, None, None)
    assert np.array_equal(first, planes[0])
    assert np.array_equal(code_blocks(reader, "x", shape, None, ends_of(first)), planes[1])


def test_blocks_take_about_the_entropy_of_their_frequencies() -> None:
    shape = (40, 50, 8)
    values = laplacian_blocks(shape, 6.0)
    writer = Writer()
    code_blocks(writer, "x", shape, values, None)
    cells = [(i, j) for diagonal in diagonals(8) for i, j in zip(*diagonal, strict=True)]
    least = sum(entropy_bits((values[:, :, i, j] - values.min()).flatten()) for i, j in cells)
    # 64 models would have to be learnt for these; the contexts tell frequencies apart only roughly.
    assert 0.9 * least < 32 * len(writer.words()) < 1.1 * least


def test_ends_are_one_more_than_the_last_diagonal() -> None:
    values = np.zeros((1, 3, 8, 8), np.int32)
    values[0, 1, 0, 0] = 5
    values[0, 2, 3, 2] = -1
    assert ends_of(values).tolist() == [[0, 1, 6]]
    cells = sorted((int(i), int(j)) for diagonal in diagonals(8) for i, j in zip(*diagonal, strict=True))
    assert cells == [(i, j) for i in range(8) for j in range(8)]
