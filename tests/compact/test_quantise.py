"""Bounds of the errors, and gradients through the rounding."""

from __future__ import annotations

import pytest
import torch

from vfield.compact.quantise import (
    Quantiser,
    as_stored,
    best_shift,
    dequantise,
    quantise_weight,
    straight_through,
)


@pytest.fixture
def values() -> torch.Tensor:
    return 20 * torch.randn(4000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("step", [0.5, 3.0, 17.0])
def test_rounding_errs_by_half_a_step_at_most(step: float, values: torch.Tensor) -> None:
    read = dequantise(Quantiser(step).quantise(values), step)
    assert float((read - values).abs().max()) <= step / 2 * (1 + 1e-5)
    assert float((read - values).abs().max()) > 0.4 * step


def test_a_dead_zone_is_as_wide_as_it_says() -> None:
    quantiser = Quantiser(2.0, rounding=0.25)
    inputs = torch.tensor([-3.6, -1.51, -1.49, 0.0, 1.49, 1.51, 3.49, 3.51])
    assert quantiser.quantise(inputs).tolist() == [-2, -1, 0, 0, 0, 1, 1, 2]


def test_the_shift_is_the_best_of_all(values: torch.Tensor) -> None:
    step = 12.0
    laplacian = torch.distributions.Laplace(0.0, 9.0).icdf(torch.linspace(0.001, 0.999, 20001))
    integers = Quantiser(step, 0.36).quantise(laplacian)
    shifts = [i / 64 for i in range(17)]
    errors = [float((dequantise(integers, step, shift) - laplacian).square().sum()) for shift in shifts]
    assert best_shift(laplacian, integers, step) == shifts[errors.index(min(errors))]
    assert best_shift(values, torch.zeros_like(values), step) == 0


def test_gradients_pass_through_the_rounding() -> None:
    x = torch.tensor([0.2, -1.7, 3.5], requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 0.5])
    rounded = straight_through(x)
    assert rounded.tolist() == [0.0, -2.0, 4.0]
    (rounded.square() * weights).sum().backward()
    # d/dx sum w round(x)^2 = 2 w round(x), with d round(x) / dx = 1.
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 8.0, 4.0]


def test_weights_are_stored_in_eight_bits_an_output_each() -> None:
    weight = (
        torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(1))
        * torch.logspace(-3, 2, 5)[:, None, None, None]
    )
    weight[2] = 0
    kept = quantise_weight(weight)
    assert kept.integers.dtype == torch.int8
    assert kept.integers.abs().amax(dim=(1, 2, 3)).tolist() == [127, 127, 0, 127, 127]
    apart = (kept.read() - weight).abs().amax(dim=(1, 2, 3))
    assert bool((apart <= kept.scale / 2 * (1 + 1e-4)).all())
    torch.testing.assert_close(as_stored(weight), kept.read())


def test_gradients_of_weights_as_stored_are_those_of_the_weights() -> None:
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
    slope = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
    (as_stored(weight) * slope).sum().backward()
    torch.testing.assert_close(weight.grad, slope)
