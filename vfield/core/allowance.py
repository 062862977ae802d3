"""A bound on what is allocated while something is built from a description that may be false."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from vfield.core.errors import UserError

# What makes a new tensor, and options of these that have no say in its size.
_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.arange}
_ELSEWHERE = {"device", "generator", "out", "pin_memory"}


class Allowance(TorchFunctionMode):
    """Within it new tensors may take so many bytes in all; what would go beyond is refused before it is made."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self.left = most_bytes

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Ask the meta device, which allocates nothing, how large the result will be."""
        given = dict(kwargs or {})
        if func in _FACTORIES:
            plain = {name: value for name, value in given.items() if name not in _ELSEWHERE}
            planned = func(*args, **plain, device="meta")
            self.left -= planned.numel() * planned.element_size()
            if self.left < 0:
                raise UserError("its config describes far larger parts than the file holds values for")
        return func(*args, **given)
