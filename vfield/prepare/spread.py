"""What is known of a picture spread over what is not: continuous at the rim of a hole, and without peaks inside.

Pull and push: the known values are averaged to half the size again and again until the hole is closed, then each level
takes what it lacks from the coarser one. A few rounds of averaging with the four neighbours at each level bring the
result close to the membrane, which solves Laplace's equation inside the hole: a multigrid cycle.

A membrane lets edges end at the rim. Edge-enhancing diffusion carries them through: with J the structure tensor of the
picture smoothed a little, summed over channels, mu its larger eigenvalue and e the direction across the edge,

    du/dt = div(D grad u),     D = 1 - (1 - g) e e^T,     g = (1 + mu / lambda^2)^(-1/2),

from the membrane on, at each level. Gradients live on the corners of pixels and the divergence is their adjoint, so
that every step lowers an energy.

Methods: Gortler, Grzeszczuk, Szeliski and Cohen, "The Lumigraph", SIGGRAPH 1996, section 3.4 (pull-push), which
iterates normalised convolution (Knutsson and Westin, CVPR 1993) over scales; Weickert, "Theoretical foundations of
anisotropic diffusion in image processing", Computing Suppl. 1996 (the diffusion), and Galic et al., "Image compression
with anisotropic diffusion", JMIV 2008 (inpainting by it).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ROUNDS = 12  # of averaging at each level
_EDGE_ROUNDS = 100  # of diffusion at each level
_STEP = 0.24  # of time a round; stable below 1 / 2
_RENEWED = 5  # rounds for which a tensor serves
_CONTRAST = 0.005  # lambda: a change from pixel to pixel that counts as an edge
_LEAST_SIDE = 9  # pixels, of a picture that has edges


def spread(values: Tensor, known: Tensor, *, edges: bool = False) -> Tensor:
    """Fill in what is not `known` (h, w) of (c, h, w) float values; with none known, zero everywhere.

    `edges` carries edges through holes, of values in [0, 1].
    """
    return _filled(torch.where(known, values, 0), known, edges)


def _filled(values: Tensor, known: Tensor, edges: bool) -> Tensor:
    height, width = known.shape
    if max(height, width) == 1 or bool(known.all()):
        return values
    share = F.avg_pool2d(known[None].float(), 2, ceil_mode=True, count_include_pad=False)
    pooled = F.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)
    coarse = _filled(pooled / share.clamp(min=1e-6), share[0] > 0, edges)
    enlarged = F.interpolate(coarse[None], size=(height, width), mode="bilinear")[0]
    filled = torch.where(known, values, enlarged)
    for _ in range(_ROUNDS):
        around = F.pad(filled[None], (1, 1, 1, 1), mode="replicate")[0]
        mean = (around[:, 1:-1, :-2] + around[:, 1:-1, 2:] + around[:, :-2, 1:-1] + around[:, 2:, 1:-1]) / 4
        filled = torch.where(known, values, mean)
    return _diffused(filled, known) if edges and min(height, width) >= _LEAST_SIDE else filled


def _diffused(values: Tensor, known: Tensor) -> Tensor:
    """(c, h, w) after edge-enhancing diffusion where it is not known, whose pixels alone are looked at."""
    height, width = known.shape
    # A corner lies between four pixels, named by the first of them; those around an unknown pixel take part.
    corners = (F.max_pool2d((~known)[None].float(), 2, stride=1)[0] > 0).nonzero()
    first = corners[:, 0] * width + corners[:, 1]
    # The last row of fluxes is that of corners beyond the border: none.
    place = torch.full((height + 1, width + 1), len(corners))
    place[corners[:, 0] + 1, corners[:, 1] + 1] = torch.arange(len(corners))
    y, x = (~known).nonzero().unbind(-1)
    north_west, north_east, south_west, south_east = (place[y + dy, x + dx] for dy in (0, 1) for dx in (0, 1))
    unknown = y * width + x
    flat = values.flatten(1).clone()
    for round_ in range(_EDGE_ROUNDS):
        if round_ % _RENEWED == 0:
            across, both, down = _tensor(flat.view_as(values), first)
        right, below = _gradient(flat, first, width)
        flow_x = F.pad(across * right + both * below, (0, 1))
        flow_y = F.pad(both * right + down * below, (0, 1))
        rising, falling = flow_x + flow_y, flow_x - flow_y
        # The adjoint of the gradient.
        change = rising[:, north_west] - falling[:, north_east] + falling[:, south_west] - rising[:, south_east]
        flat[:, unknown] -= _STEP / 2 * change
    return flat.view_as(values)


def _gradient(flat: Tensor, first: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Derivatives (c, k) across and down at corners, of pictures (c, h w)."""
    one, two, three, four = (flat[:, first + step] for step in (0, 1, width, width + 1))
    rising, falling = four - one, two - three
    return (rising + falling) / 2, (rising - falling) / 2


def _tensor(values: Tensor, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The entries xx, xy and yy of D at corners of a picture (c, h, w): (k,) each."""
    # Two boxes of 5 pixels are a Gaussian of 2, nearly.
    for _ in range(2):
        values = F.avg_pool2d(values, 5, stride=1, padding=2, count_include_pad=False)
    x, y = _gradient(values.flatten(1), first, values.shape[-1])
    xx, xy, yy = (x * x).sum(0), (x * y).sum(0), (y * y).sum(0)
    apart = ((xx - yy).square() + 4 * xy.square()).sqrt()
    g = (1 + (xx + yy + apart) / (2 * _CONTRAST**2)).rsqrt()
    # e e^T by its double angle; without a direction nothing is an edge.
    cosine, sine = (xx - yy) / apart.clamp(min=1e-12), 2 * xy / apart.clamp(min=1e-12)
    mean, half = (1 + g) / 2, (g - 1) / 2
    return mean + half * cosine, half * sine, mean - half * cosine
