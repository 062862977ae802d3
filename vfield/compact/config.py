"""What a compact field is made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vfield.ranges import Range, check_ranges


@dataclass(frozen=True)
class CompressionConfig:
    """How a field is made small.

    Attributes:
        enabled: True keeps the field as quantised, entropy-coded latents; colours and motion are all it has.
        step: of the colours' quantiser, in grey levels: the dial between quality and size. Smaller is better, in a
            larger file.
        keyframe_stride: every k-th frame of a shot is predicted from the keyframe before alone; those between them from
            both sides.
        motion_cell: side of the cells that motion and shares are kept for, in pixels.
        weight_steps: optimisation steps of the network that mends what quantising did; 0 leaves it out.
    """

    enabled: bool = False
    step: Annotated[float, Range(0.5, 256)] = 16.0
    keyframe_stride: Annotated[int, Range(1, 64)] = 16
    motion_cell: Annotated[int, Range(4, 64)] = 16
    weight_steps: Annotated[int, Range(0, 10**9)] = 1000

    def __post_init__(self) -> None:
        check_ranges(self, "compression")
