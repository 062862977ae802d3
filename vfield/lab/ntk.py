"""The neural tangent kernel of a field, and what it foretells.

Jacot, Gabriel and Hongler, "Neural Tangent Kernel: Convergence and Generalization in Neural Networks", 2018. With J(p)
the gradient of the network's value at p by all its weights, the empirical kernel is

    K(p, q) = J(p) . J(q)

A wide network hardly changes its kernel while it learns, so gradient descent at a small rate eta on the loss
1/2 |f - y|^2 runs along

    f(t) = (1 - e^(-eta K t)) y            where f is what it shows less what it showed at first

and the part of the error along an eigenvector with eigenvalue lambda falls as e^(-eta lambda t): small eigenvalues are
what is learnt late, or never. In the limit of infinite width the kernel of the ReLU network below is known (Jacot et
al., theorem 1, with the arc-cosine kernels of order 0 and 1 of Cho and Saul, "Kernel Methods for Deep Learning", 2009).
With S_0(p, q) = p.q / d and, in each hidden layer, the angle theta between p and q as the layer below sees them,

    S' = (pi - theta) / pi                                                 cos(theta) = S / sqrt(S(p, p) S(q, q))
    S <- sqrt(S(p, p) S(q, q)) (sin(theta) + (pi - theta) cos(theta)) / pi
    K <- K S' + S                                                          from K = S = S_0

Of bare coordinates K depends on where p and q are. Of Fourier features, whose inner product is a function of p - q
alone and whose length is everywhere the same, so is K: it is stationary, a filter with the features' bandwidth (Tancik
et al., 2020, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from vfield.core.coords import Footprint, with_t
from vfield.field.config import FourierConfig
from vfield.field.fourier import FourierFeatures


class TangentMLP(nn.Module):
    """(n, inputs) -> (n,): a ReLU network in the parametrisation of Jacot et al. (section 2), without biases.

    Every weight is drawn from N(0, 1), and each layer divides by the root of its inputs, times sqrt(2) after a ReLU, so
    that values keep their size and the kernel has a limit as the width grows.
    """

    def __init__(self, inputs: int, width: int, depth: int, generator: torch.Generator) -> None:
        """Draw the weights for so many numbers a point, units in each hidden layer, and hidden layers."""
        super().__init__()
        sizes = [inputs, *[width] * depth, 1]
        self.layers = nn.ParameterList(torch.randn(b, a, generator=generator) for a, b in pairwise(sizes))

    def forward(self, features: Tensor) -> Tensor:
        """The values (n,) at points (n, inputs)."""
        hidden = features @ self.layers[0].T / math.sqrt(features.shape[-1])
        for layer in list(self.layers)[1:]:
            hidden = hidden.relu() @ layer.T * math.sqrt(2 / layer.shape[1])
        return hidden[..., 0]


class TangentField(nn.Module):
    """f(u, v): (n, 2) positions in the unit square -> (n,). The package's features, then a `TangentMLP`."""

    def __init__(self, fourier: FourierConfig, width: int, depth: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.features = FourierFeatures(fourier, 1.0, generator)
        # Bare coordinates get a constant beside them instead of biases: without it a ReLU network is blind to lengths.
        self.bare = len(self.features.matrix) == 0
        self.mlp = TangentMLP(self.features.width + self.bare, width, depth, generator)

    def encode(self, uv: Tensor) -> Tensor:
        """What the network sees of points (n, 2), scaled to a mean square of about one."""
        made = self.features(with_t(uv, 0.0), Footprint())
        return torch.cat([made, torch.ones_like(made[:, :1])], dim=-1) if self.bare else math.sqrt(2) * made

    def forward(self, uv: Tensor) -> Tensor:
        """The values (n,) at points (n, 2)."""
        values: Tensor = self.mlp(self.encode(uv))
        return values


def empirical_kernel(network: nn.Module, points: Tensor) -> Tensor:
    """The tangent kernel K (n, n) of a network at points, from the gradients of every value by every weight.

    Args:
        network: (n, d) -> (n,) or (n, c), each point on its own. Of several channels the kernel is the mean of theirs,
            what an error that is the same in all would see.
        points: (n, d).
    """
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def value(weights: dict[str, Tensor], point: Tensor) -> Tensor:
        made: Tensor = functional_call(network, weights, (point[None],))
        return made.reshape(-1)

    # (n, c, ...) for each weight tensor.
    gradients = vmap(jacrev(value), (None, 0))(weights, points)
    kernel = points.new_zeros(len(points), len(points))
    for gradient in gradients.values():
        channels = gradient.shape[1]
        flat = gradient.reshape(len(points), channels, -1)
        kernel += torch.einsum("n c w, m c w -> n m", flat, flat) / channels
    return kernel


def analytic_kernel(features: Tensor, depth: int) -> Tensor:
    """The kernel (n, n) of a `TangentMLP` of infinite width and so many hidden layers, of features (n, d)."""
    covariance = features @ features.T / features.shape[-1]
    kernel = covariance
    for _ in range(depth):
        lengths = covariance.diagonal().clamp(min=1e-12).sqrt()
        scale = lengths[:, None] * lengths
        cosine = (covariance / scale).clamp(-1, 1)
        angle = cosine.arccos()
        slope = (math.pi - angle) / math.pi
        covariance = scale * (angle.sin() + (math.pi - angle) * cosine) / math.pi
        kernel = kernel * slope + covariance
    return kernel


def eigenvalues(kernel: Tensor) -> Tensor:
    """Eigenvalues (n,) over the number of points, largest first: those of the integral operator that K stands for."""
    return torch.linalg.eigvalsh(kernel.double()).flip(0).clamp(min=0) / len(kernel)


def unexplained_by_difference(kernel: Tensor, differences: Tensor) -> float:
    """How far a kernel is from stationary: 0 for a function of the difference of positions, at most 1.

    It is the share of the variance of the entries of K (n, n) that is left when each entry's difference p - q is known:
    one minus the correlation ratio. `differences` (n, n, d) are whole numbers, steps of the points' grid.
    """
    _, group = torch.unique(differences.reshape(-1, differences.shape[-1]), dim=0, return_inverse=True)
    values = kernel.double().flatten()
    count = torch.bincount(group)
    mean = torch.zeros(len(count), dtype=torch.float64).index_add(0, group, values) / count
    within = (values - mean[group]).square().sum()
    return float(within / (values - values.mean()).square().sum())


def predicted(kernel: Tensor, target: Tensor, rate: float, steps: Sequence[int]) -> Tensor:
    """What the linearised network shows, from nothing, after each of s numbers of steps of descent: (s, n).

    Args:
        kernel: (n, n), K.
        target: (n,), y.
        rate: eta.
        steps: t.
    """
    values, vectors = torch.linalg.eigh(kernel.double())
    along = vectors.T @ target.double()
    time = torch.tensor(steps, dtype=torch.float64)
    done = 1 - (-rate * time[:, None] * values.clamp(min=0)).exp()
    return ((done * along) @ vectors.T).to(target.dtype)


def descend(network: nn.Module, points: Tensor, target: Tensor, rate: float, steps: Sequence[int]) -> Tensor:
    """What a real network, (n, d) -> (n,), shows after the same steps, increasing, of plain gradient descent: (s, n).

    Its weights change. What it showed at first is taken off, so that it, too, starts from nothing.
    """
    shown = []
    weights: list[Tensor] = list(network.parameters())
    start: Tensor = network(points).detach()
    for step in range(steps[-1] + 1):
        made = network(points) - start
        if step in steps:
            shown.append(made.detach().clone())
        gradients = torch.autograd.grad(0.5 * (made - target).square().sum(), weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= rate * gradient
    return torch.stack(shown)
