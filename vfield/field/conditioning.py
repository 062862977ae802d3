"""How codes steer the decoder: the global latent, one row an instant, or the local latents, one row a point.

With h = W x + b a hidden layer, z a code, and gamma, beta, s affine functions of z:

- concatenate: x becomes [x, z] at the input, so that b becomes b + C z (done by the decoder, not here).
- film: (1 + gamma(z)) h + beta(z) (Perez et al., "FiLM", 2018, equation 1).
- batchnorm: (1 + gamma(z)) (h - mean) / sqrt(variance + eps) + beta(z) (de Vries et al., "Modulating early visual
  processing by language", 2017, section 3.2; Perez et al. 2018). Mean and variance are those of the points of a call
  while training, and running ones afterwards: then points are independent, and it is a FiLM of other numbers.
- hypernetwork: W(z) = W + U diag(s(z)) V^T of rank r, and b(z) = b + beta(z): a network that makes the weights of a
  network (Ha et al., "HyperNetworks", 2017), affine and of low rank (Hu et al., "LoRA", 2022), so that it scales. A
  code makes r numbers instead of a matrix, and a point with a code of its own takes r (inputs + width) products.

All begin close to neutral, h as it is (batch norm: normalised).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfield.field.config import ConditioningKind

_NORM_EPSILON = 1e-5
_NORM_MOMENTUM = 0.1  # share of a call in the running statistics


class Codes(NamedTuple):
    """The codes of some points.

    Attributes:
        values: (m, z), the distinct codes.
        rows: (n,) int64, which of them each point uses; None where code i is point i's own.
    """

    values: Tensor
    rows: Tensor | None = None

    @property
    def is_single(self) -> bool:
        """Whether all points share one code."""
        return self.rows is not None and len(self.values) == 1

    def spread(self, made: Tensor) -> Tensor:
        """What was made of each code (m, c), for each point (n, c)."""
        return made if self.rows is None else made[self.rows]


class Layer(NamedTuple):
    """x -> weight x + bias: (outputs, inputs) and (outputs,)."""

    weight: Tensor
    bias: Tensor


class Conditioner(nn.Module):
    """What modulates one layer by codes."""

    @property
    def folds(self) -> bool:
        """Whether one code for all points can be folded into the layer's own weights."""
        return True

    def folded(self, layer: Layer, code: Tensor) -> Layer:
        """The layer as a code (1, z) has it."""
        raise NotImplementedError

    def modulated(self, features: Tensor, hidden: Tensor, codes: Codes) -> Tensor:
        """The layer's outputs (n, width) for its inputs (n, inputs), as the points' codes have them."""
        raise NotImplementedError


def steered(layer: nn.Linear, features: Tensor, steering: Iterable[tuple[Conditioner, Codes]]) -> Tensor:
    """Apply a layer to features (n, inputs), modulated by each conditioner in turn.

    A single code is folded into the layer's weights: nothing is left to do a point.
    """
    folded = Layer(layer.weight, layer.bias)
    rest = list(steering)
    while rest and rest[0][0].folds and rest[0][1].is_single:
        conditioner, codes = rest.pop(0)
        folded = conditioner.folded(folded, codes.values)
    hidden = F.linear(features, *folded)
    for conditioner, codes in rest:
        hidden = conditioner.modulated(features, hidden, codes)
    return hidden


def _neutral(condition_width: int, outputs: int) -> nn.Linear:
    """An affine function of the code, close to zero at the start."""
    affine = nn.Linear(condition_width, outputs)
    nn.init.normal_(affine.weight, std=1e-2)
    nn.init.zeros_(affine.bias)
    return affine


class FiLM(Conditioner):
    """Feature-wise linear modulation."""

    def __init__(self, condition_width: int, width: int) -> None:
        super().__init__()
        self.affine = _neutral(condition_width, 2 * width)

    def folded(self, layer: Layer, code: Tensor) -> Layer:
        """See `Conditioner`."""
        gamma, beta = self.affine(code).chunk(2, dim=-1)
        scale = 1 + gamma[0]
        return Layer(layer.weight * scale[:, None], layer.bias * scale + beta[0])

    def modulated(self, features: Tensor, hidden: Tensor, codes: Codes) -> Tensor:
        """See `Conditioner`."""
        gamma, beta = (codes.spread(part) for part in self.affine(codes.values).chunk(2, dim=-1))
        return torch.addcmul(hidden + beta, hidden, gamma)


class BatchNorm(FiLM):
    """Conditional batch norm: FiLM of normalised features.

    In a fit of several processes each normalises its own share of a batch; the running statistics are then brought to
    the mean over them (`vfield.learn`), so all processes hold the same field. Its fit differs from that of one
    process, as it does between batch sizes.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, condition_width: int, width: int) -> None:
        super().__init__(condition_width, width)
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    @property
    def folds(self) -> bool:
        """See `Conditioner`. While training, the points themselves are needed."""
        return not self.training

    def folded(self, layer: Layer, code: Tensor) -> Layer:
        """See `Conditioner`."""
        scale = torch.rsqrt(self.running_var + _NORM_EPSILON)
        normal = Layer(layer.weight * scale[:, None], (layer.bias - self.running_mean) * scale)
        return super().folded(normal, code)

    def modulated(self, features: Tensor, hidden: Tensor, codes: Codes) -> Tensor:
        """See `Conditioner`."""
        # A single point has no variance.
        measure = self.training and len(hidden) > 1
        # In full precision: a mean over many points in half of it would not move any more.
        with torch.autocast(hidden.device.type, enabled=False):
            normal = F.batch_norm(
                hidden.float() if hidden.dtype in (torch.bfloat16, torch.float16) else hidden,
                self.running_mean,
                self.running_var,
                training=measure,
                momentum=_NORM_MOMENTUM,
                eps=_NORM_EPSILON,
            )
        return super().modulated(features, normal, codes)


class Hypernetwork(Conditioner):
    """Weights of low rank made from the code."""

    def __init__(self, condition_width: int, inputs: int, width: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.affine = _neutral(condition_width, rank + width)
        # Each term u s v^T is about as strong as s says, whatever the layer's size.
        self.down = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.up = nn.Parameter(torch.randn(width, rank) / rank**0.5)

    def folded(self, layer: Layer, code: Tensor) -> Layer:
        """See `Conditioner`."""
        strength, beta = self.affine(code)[0].split([self.rank, len(layer.bias)])
        return Layer(layer.weight + (self.up * strength) @ self.down, layer.bias + beta)

    def modulated(self, features: Tensor, hidden: Tensor, codes: Codes) -> Tensor:
        """See `Conditioner`."""
        made = self.affine(codes.values).split([self.rank, hidden.shape[-1]], dim=-1)
        strength, beta = (codes.spread(part) for part in made)
        return hidden + F.linear(F.linear(features, self.down) * strength, self.up) + beta


def conditioner(kind: ConditioningKind, condition_width: int, layer: nn.Linear, rank: int) -> Conditioner | None:
    """What steers one layer, by its kind; None for the kinds that steer no layer ("none", "concatenate")."""
    if kind == "film":
        return FiLM(condition_width, layer.out_features)
    if kind == "batchnorm":
        return BatchNorm(condition_width, layer.out_features)
    if kind == "hypernetwork":
        return Hypernetwork(condition_width, layer.in_features, layer.out_features, rank)
    return None


def running_statistics(module: nn.Module) -> dict[str, Tensor]:
    """The buffers of a module that a fit changes, by name: the running statistics of its batch norms."""
    return {
        f"{name}.{key}": buffer
        for name, part in module.named_modules()
        if isinstance(part, BatchNorm)
        for key, buffer in part.named_buffers(recurse=False)
    }
