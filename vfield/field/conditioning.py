"""How a condition (a global code) steers the decoder.

Concatenation appends the condition to the input. FiLM (Perez et al., 2018, equation 1) scales and shifts every hidden
layer by affine functions of it, h -> (1 + gamma(z)) h + beta(z), which costs almost nothing per point because the
condition changes only with time.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

ConditioningKind = Literal["none", "concatenate", "film"]


class FiLM(nn.Module):
    """Feature-wise linear modulation of one layer, neutral at the start."""

    def __init__(self, condition_width: int, width: int) -> None:
        super().__init__()
        self.affine = nn.Linear(condition_width, 2 * width)
        nn.init.normal_(self.affine.weight, std=1e-2)
        nn.init.zeros_(self.affine.bias)

    def forward(self, hidden: Tensor, condition: Tensor, index: Tensor) -> Tensor:
        """Modulate hidden (n, width) by condition (m, z), point i using row index[i]; a single row serves all."""
        gamma, beta = self.affine(condition).chunk(2, dim=-1)
        if len(condition) > 1:
            gamma, beta = gamma[index], beta[index]
        return torch.addcmul(hidden + beta, hidden, gamma)
