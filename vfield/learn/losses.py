"""Pointwise losses: pure and unreduced, so that whoever calls them chooses weights, masks and means."""

from __future__ import annotations

import torch
from torch import Tensor

from vfield.core.errors import UserError


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    """The squared difference, d².

    Args:
        prediction: float, any shape.
        target: float, the same shape.

    Returns:
        As `prediction`, in squared units.

    Raises:
        UserError: when the shapes differ. Broadcasting here is nearly always a lost axis.
    """
    _check_shapes(prediction, target)
    return (prediction - target).square()


def charbonnier(prediction: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """The smooth absolute difference sqrt(d² + epsilon²) - epsilon: d² / (2 epsilon) near zero, |d| - epsilon far off.

    Method: Charbonnier, Blanc-Féraud, Aubert and Barlaud, "Two deterministic half-quadratic regularization
    algorithms for computed imaging", ICIP 1994; shifted to be zero where prediction and target agree.

    Args:
        prediction: float, any shape.
        target: float, the same shape.
        epsilon: where the parabola turns into straight lines, in the units of `prediction`; positive.

    Returns:
        As `prediction`, at least zero, in its units. The gradient is finite everywhere, and zero at d = 0.

    Raises:
        UserError: when the shapes differ or epsilon is not positive.
    """
    _check_shapes(prediction, target)
    return _smooth_absolute(prediction - target, epsilon)


def _smooth_absolute(difference: Tensor, epsilon: float) -> Tensor:
    if epsilon <= 0:
        # At zero, sqrt(d²) has the gradient 0/0.
        raise UserError(f"epsilon must be positive, got {epsilon}")
    return torch.sqrt(difference.square() + epsilon**2) - epsilon


def _check_shapes(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape:
        raise UserError(
            f"prediction and target must have the same shape, got {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
