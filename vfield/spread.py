"""What is known of a picture spread over what is not: smooth inside a hole, and continuous at its rim.

Pull and push: the known values are averaged to half the size again and again until the hole is closed, then each level
takes what it lacks from the coarser one. A few rounds of averaging with the four neighbours at each level bring the
result close to the membrane, which solves Laplace's equation inside the hole: a multigrid cycle.

Method: Gortler, Grzeszczuk, Szeliski and Cohen, "The Lumigraph", SIGGRAPH 1996, section 3.4 (pull-push), which
iterates normalised convolution (Knutsson and Westin, CVPR 1993) over scales.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ROUNDS = 12  # of averaging at each level


def spread(values: Tensor, known: Tensor) -> Tensor:
    """Fill in what is not known.

    Args:
        values: (c, h, w) float; what stands where nothing is known has no say.
        known: (h, w) bool.

    Returns:
        (c, h, w): the values themselves where they are known; zero everywhere where none is.
    """
    return _filled(torch.where(known, values, 0), known)


def _filled(values: Tensor, known: Tensor) -> Tensor:
    height, width = known.shape
    if max(height, width) == 1 or bool(known.all()):
        return values
    share = F.avg_pool2d(known[None].float(), 2, ceil_mode=True, count_include_pad=False)
    pooled = F.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)
    coarse = _filled(pooled / share.clamp(min=1e-6), share[0] > 0)
    enlarged = F.interpolate(coarse[None], size=(height, width), mode="bilinear")[0]
    filled = torch.where(known, values, enlarged)
    for _ in range(_ROUNDS):
        around = F.pad(filled[None], (1, 1, 1, 1), mode="replicate")[0]
        mean = (around[:, 1:-1, :-2] + around[:, 1:-1, 2:] + around[:, :-2, 1:-1] + around[:, 2:, 1:-1]) / 4
        filled = torch.where(known, values, mean)
    return filled
