"""Losses: closed forms, finite differences, and no reduction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vfield.core.errors import UserError
from vfield.learn.losses import charbonnier, squared


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_squared_is_unreduced() -> None:
    a, b = numbers(4, 3), numbers(4, 3, seed=1)
    torch.testing.assert_close(squared(a, b), (a - b) ** 2)


def test_charbonnier_closed_forms() -> None:
    prediction = torch.tensor([0.0, 3.0, -3.0, 1e-5, 100.0], dtype=torch.float64)
    values = charbonnier(prediction, torch.zeros_like(prediction), epsilon=4.0)
    # 3, 4, 5; d² / (2 epsilon) near zero; |d| - epsilon far off.
    expected = torch.tensor([0.0, 1.0, 1.0, 1e-10 / 8, 96.0799], dtype=torch.float64)
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=1e-4)


def test_charbonnier_gradient_agrees_with_finite_differences() -> None:
    # At zero difference too, where the absolute value has no gradient.
    prediction = torch.cat([numbers(8) * 1e-2, torch.zeros(1, dtype=torch.float64)]).requires_grad_()
    target = torch.zeros(9, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: charbonnier(p, target), (prediction,), eps=1e-7, atol=1e-4)


def test_charbonnier_gradient_is_zero_where_both_agree() -> None:
    prediction = torch.full((3,), 0.5, requires_grad=True)
    charbonnier(prediction, torch.full((3,), 0.5)).sum().backward()
    assert prediction.grad is not None
    assert torch.equal(prediction.grad, torch.zeros(3))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UserError, match=r"got \(4, 3\) and \(4, 1\)"):
        squared(numbers(4, 3), numbers(4, 1))
    with pytest.raises(UserError, match=r"got \(4, 3\) and \(3,\)"):
        charbonnier(numbers(4, 3), numbers(3))
    with pytest.raises(UserError, match="epsilon must be positive, got 0"):
        charbonnier(numbers(3), numbers(3), epsilon=0)
