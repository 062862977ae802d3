"""How a condition (a global code) steers the decoder.

Concatenation appends the condition to the input. FiLM (Perez et al., 2018, equation 1) scales and shifts every hidden
layer by affine functions of it, h -> (1 + gamma(z)) h + beta(z), which costs almost nothing per point because the
condition changes only with time.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ConditioningKind = Literal["none", "concatenate", "film"]


class FiLM(nn.Module):
    """Feature-wise linear modulation of one layer, neutral at the start."""

    def __init__(self, condition_width: int, width: int) -> None:
        super().__init__()
        self.affine = nn.Linear(condition_width, 2 * width)
        nn.init.normal_(self.affine.weight, std=1e-2)
        nn.init.zeros_(self.affine.bias)

    def forward(self, layer: nn.Linear, features: Tensor, condition: Tensor, index: Tensor) -> Tensor:
        """Apply a layer to features (n, inputs), modulated by condition (m, z), point i by row index[i].

        With a single row the modulation is folded into the layer's own weights: nothing is left to do a point.
        """
        gamma, beta = self.affine(condition).chunk(2, dim=-1)
        if len(condition) == 1:
            scale = 1 + gamma[0]
            return F.linear(features, layer.weight * scale[:, None], layer.bias * scale + beta[0])
        hidden = layer(features)
        return torch.addcmul(hidden + beta[index], hidden, gamma[index])
