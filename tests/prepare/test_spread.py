"""Known values spread over what is not known."""

from __future__ import annotations

import pytest
import torch

from vfield.prepare.spread import spread

SIZE = (37, 50)


def ramp() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(SIZE[0]).float(), torch.arange(SIZE[1]).float(), indexing="ij")
    return torch.stack([0.02 * x, 0.03 * y, 0.01 * (x - y)])


def test_a_plane_is_its_own_membrane() -> None:
    known = torch.ones(SIZE, dtype=torch.bool)
    known[10:24, 15:31] = False
    assert (spread(ramp(), known) - ramp()).abs().max() < 0.03


def test_what_is_known_stays_and_the_rest_has_no_say() -> None:
    known = torch.rand(SIZE, generator=torch.Generator().manual_seed(0)) < 0.3
    made = spread(ramp(), known)
    assert torch.equal(made[:, known], ramp()[:, known])
    assert torch.equal(made, spread(torch.where(known, ramp(), torch.nan), known))
    # A membrane has no peaks of its own.
    assert made.min() >= ramp()[:, known].min() - 1e-6
    assert made.max() <= ramp()[:, known].max() + 1e-6


def test_edges_run_through() -> None:
    """A slanted edge that a membrane fades out inside a hole."""
    y, x = torch.meshgrid(torch.arange(40).float(), torch.arange(48).float(), indexing="ij")
    edge = torch.sigmoid(2 * (x - 24 + 0.5 * (y - 20))).expand(3, -1, -1)
    known = torch.ones(40, 48, dtype=torch.bool)
    known[12:28, 16:32] = False

    def error(edges: bool) -> float:
        made = spread(edge, known, edges=edges)
        assert torch.equal(made[:, known], edge[:, known])
        return float((made - edge)[:, ~known].square().mean())

    assert error(True) < error(False) / 3


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (2, 3)])
def test_small_pictures_take_what_they_have(size: tuple[int, int]) -> None:
    known = torch.zeros(size, dtype=torch.bool)
    assert torch.equal(spread(torch.ones(2, *size), known), torch.zeros(2, *size))
    known[0, 0] = True
    torch.testing.assert_close(spread(torch.full((2, *size), 0.7), known), torch.full((2, *size), 0.7))
