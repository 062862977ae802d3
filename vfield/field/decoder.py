"""The decoder: a small MLP, evaluated pointwise."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from vfield.errors import UserError
from vfield.field.conditioning import ConditioningKind, FiLM


@dataclass(frozen=True)
class DecoderConfig:
    """Size of the MLP and how the global latent steers it.

    Attributes:
        width: units in a hidden layer.
        depth: number of hidden layers.
        conditioning: "film", "concatenate" or "none" (the global latent is not used).
    """

    width: int = 32
    depth: int = 2
    conditioning: ConditioningKind = "film"

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise UserError(f"decoder.width and decoder.depth must be at least 1, got {self.width} and {self.depth}")


class Decoder(nn.Module):
    """(n, inputs) features -> (n, outputs), zero at the start so that the field begins as its latents say."""

    def __init__(self, config: DecoderConfig, inputs: int, condition_width: int, outputs: int) -> None:
        super().__init__()
        self.kind: ConditioningKind = config.conditioning if condition_width else "none"
        if self.kind == "concatenate":
            inputs += condition_width
        widths = [inputs, *[config.width] * config.depth]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.films = nn.ModuleList(FiLM(condition_width, config.width) for _ in self.hidden if self.kind == "film")
        self.head = nn.Linear(config.width, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, condition: Tensor, index: Tensor) -> Tensor:
        """Decode.

        Args:
            features: (n, inputs).
            condition: (m, condition_width), the distinct conditions of this call.
            index: (n,) int64, which row of `condition` each point uses.
        """
        if self.kind == "concatenate":
            features = torch.cat([features, condition[index]], dim=-1)
        hidden = features
        for i, layer in enumerate(self.hidden):
            hidden = self.films[i](layer, hidden, condition, index) if self.kind == "film" else layer(hidden)
            hidden = hidden.relu()
        return self.head(hidden)
