"""Quantising: coefficients to integers with a dead zone, weights to 8 bits, and gradients through the rounding.

A coefficient c becomes q = sign(c) floor(|c| / step + rounding) and is read as sign(q) (|q| - shift) step. With
rounding 1/2 and shift 0 the error is at most step / 2. Less rounding widens the zone that becomes zero, which costs
little error and saves more bits, because coefficients are Laplacian (Sullivan 1996); then the mean of what falls into a
bin lies nearer to zero than its middle, by `shift`, which is found in closed form.

Rounding has no gradient. The straight-through estimator (Bengio, Leonard and Courville 2013) takes round(x) in the
forward pass and d round(x) / dx = 1 in the backward pass, so that weights are trained as they will be stored
(quantisation-aware training: Jacob et al. 2018): w = scale round(w / scale), |round(w / scale)| <= 127, with a scale
for each output channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

WEIGHT_BITS = 8
_WEIGHT_MOST = 2 ** (WEIGHT_BITS - 1) - 1


@dataclass(frozen=True)
class Quantiser:
    """Uniform bins with a wider one at zero.

    Attributes:
        step: width of a bin, in the coefficients' unit.
        rounding: 1/2 rounds to the nearest; less widens the bin of zero.
    """

    step: float
    rounding: float = 0.5

    def quantise(self, values: Tensor) -> Tensor:
        """Integers, int32, of coefficients."""
        return (values.sign() * (values.abs() / self.step + self.rounding).floor()).to(torch.int32)


def dequantise(integers: Tensor, step: float, shift: float = 0.0) -> Tensor:
    """Coefficients, float32; those that are not zero are read `shift` steps nearer to it."""
    return (integers - shift * integers.sign()) * step


def best_shift(values: Tensor, integers: Tensor, step: float) -> float:
    """The shift, from 0 to 1/4 in 64ths, of the least squared error: the mean of |q| - |c| / step over q != 0."""
    taken = integers != 0
    if not bool(taken.any()):
        return 0.0
    mean = (integers[taken].abs() - values[taken].abs() / step).mean()
    return round(float(mean.clamp(0, 0.25)) * 64) / 64


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


def straight_through(values: Tensor) -> Tensor:
    """Round to integers; the gradient passes as if nothing had been done."""
    rounded: Tensor = _StraightThrough.apply(values)
    return rounded


class QuantisedWeight(NamedTuple):
    """A weight as it is stored.

    Attributes:
        integers: int8, in the weight's shape (outputs, ...).
        scale: (outputs,) float32.
    """

    integers: Tensor
    scale: Tensor

    def read(self) -> Tensor:
        """The weight, float32."""
        return self.integers.float() * _each_output(self.scale, self.integers)


def weight_scale(weight: Tensor) -> Tensor:
    """The scale (outputs,) of a weight (outputs, ...): its largest magnitude becomes 127. float32, never zero."""
    most = weight.detach().abs().reshape(len(weight), -1).amax(dim=1)
    return torch.where(most > 0, most / _WEIGHT_MOST, torch.ones_like(most))


def quantise_weight(weight: Tensor) -> QuantisedWeight:
    """A weight (outputs, ...) as 8-bit integers and a scale for each output."""
    scale = weight_scale(weight)
    return QuantisedWeight((weight.detach() / _each_output(scale, weight)).round().to(torch.int8), scale)


def as_stored(weight: Tensor) -> Tensor:
    """The weight as it will be read from a file, with straight-through gradients."""
    scale = _each_output(weight_scale(weight), weight)
    return straight_through(weight / scale) * scale


def _each_output(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (weight.ndim - 1))
