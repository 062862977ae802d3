"""Pictures by number: in memory, in a file, or made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Frames(Protocol):
    """Pictures of one size by their number: a tensor (n, c, h, w), or what reads or makes each when it is asked for."""

    @property
    def shape(self) -> Sequence[int]:
        """(n, c, h, w)."""

    @property
    def dtype(self) -> torch.dtype:
        """uint8 for values in 0..255, float32 for values in [0, 1]."""

    def __len__(self) -> int:
        """n."""

    def __getitem__(self, index: int, /) -> Tensor:
        """One picture (c, h, w)."""


class MadeFrames:
    """Frames that are made when they are asked for; whoever makes them decides what is kept.

    Attributes:
        shape, dtype: as of any `Frames`.
        maker: gives each by its number.
        numbers: which of the maker's frames these are; None stands for all, in order.
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: torch.dtype,
        maker: Callable[[int], Tensor],
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.shape, self.dtype, self.maker = tuple(shape), dtype, maker
        self.numbers = range(self.shape[0]) if numbers is None else numbers

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> Tensor:
        if not 0 <= index < self.shape[0]:
            raise IndexError(f"there are frames 0 to {self.shape[0] - 1}, got {index}")
        return self.maker(self.numbers[index])


def as_planes(frames: Frames) -> Frames:
    """Planes (n, h, w) as pictures of one channel (n, 1, h, w)."""
    return MadeFrames((len(frames), 1, *frames.shape[1:]), frames.dtype, lambda index: frames[index][None])


def in_memory(frames: Frames) -> Tensor:
    """All frames as one tensor (n, c, h, w); what is one already stays as it is."""
    return frames if isinstance(frames, Tensor) else torch.stack([frames[index] for index in range(len(frames))])


def chosen_frames(frames: Frames, indices: Sequence[int]) -> Frames:
    """Only these frames, numbered anew; nothing is read."""
    if isinstance(frames, Tensor):
        return frames[list(indices)]
    made = frames if isinstance(frames, MadeFrames) else MadeFrames(frames.shape, frames.dtype, frames.__getitem__)
    numbers = [made.numbers[index] for index in indices]
    return MadeFrames((len(numbers), *made.shape[1:]), made.dtype, made.maker, numbers)
