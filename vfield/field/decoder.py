"""The decoder: a small MLP, evaluated pointwise."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from vfield.field.conditioning import Codes, Conditioner, ConditioningKind, conditioner, steered
from vfield.ranges import Range, check_ranges


@dataclass(frozen=True)
class DecoderConfig:
    """Size of the MLP and how the latents steer it.

    Attributes:
        width: units in a hidden layer.
        depth: number of hidden layers.
        conditioning: how the global latent steers: "none" (it is not used), "concatenate", "film", "batchnorm" or
            "hypernetwork".
        local_conditioning: how what is read at the keyframes steers, likewise.
        rank: of the weights that a hypernetwork makes.
    """

    width: Annotated[int, Range(1, 8192)] = 32
    depth: Annotated[int, Range(1, 64)] = 2
    conditioning: ConditioningKind = "film"
    local_conditioning: ConditioningKind = "concatenate"
    rank: Annotated[int, Range(1, 1024)] = 8

    def __post_init__(self) -> None:
        check_ranges(self, "field.decoder")


class Decoder(nn.Module):
    """(n, inputs) features -> (n, outputs), zero at the start so that the field begins as its latents say."""

    def __init__(
        self, config: DecoderConfig, inputs: int, condition_width: int, outputs: int, local_width: int = 0
    ) -> None:
        """Build the layers and what steers them; a latent of no width steers nothing."""
        super().__init__()
        self.kind: ConditioningKind = config.conditioning if condition_width else "none"
        self.local_kind: ConditioningKind = config.local_conditioning if local_width else "none"
        if self.local_kind == "concatenate":
            inputs += local_width
        if self.kind == "concatenate":
            inputs += condition_width
        widths = [inputs, *[config.width] * config.depth]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        # Called after the first kind there was, since field files call it so.
        self.films = self._conditioners(self.kind, condition_width, config.rank)
        self.head = nn.Linear(config.width, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.local_conditioners = self._conditioners(self.local_kind, local_width, config.rank)

    def _conditioners(self, kind: ConditioningKind, width: int, rank: int) -> nn.ModuleList:
        """One for each hidden layer, or none."""
        layers = [layer for layer in self.hidden if isinstance(layer, nn.Linear)]
        made = (conditioner(kind, width, layer, rank) for layer in layers)
        return nn.ModuleList(module for module in made if module is not None)

    def forward(self, features: Tensor, condition: Tensor, index: Tensor, local: Tensor | None = None) -> Tensor:
        """Decode.

        Args:
            features: (n, inputs).
            condition: (m, condition_width), the distinct conditions of this call.
            index: (n,) int64, which row of `condition` each point uses.
            local: (n, local_width), each point's own; None where that is 0.
        """
        parts = [features]
        if self.local_kind == "concatenate" and local is not None:
            parts.append(local)
        if self.kind == "concatenate":
            parts.append(condition[index])
        hidden = torch.cat(parts, dim=-1) if len(parts) > 1 else features
        for i, layer in enumerate(self.hidden):
            assert isinstance(layer, nn.Linear)
            hidden = steered(layer, hidden, self._steering(i, Codes(condition, index), local)).relu()
        return self.head(hidden)

    def _steering(self, layer: int, shared: Codes, local: Tensor | None) -> list[tuple[Conditioner, Codes]]:
        """What steers a layer: the global latent first, since it is often a single row, then the local ones."""
        steering: list[tuple[Conditioner, Codes]] = []
        for conditioners, codes in ((self.films, shared), (self.local_conditioners, local)):
            if len(conditioners) and codes is not None:
                found = conditioners[layer]
                assert isinstance(found, Conditioner)
                steering.append((found, codes if isinstance(codes, Codes) else Codes(codes)))
        return steering
