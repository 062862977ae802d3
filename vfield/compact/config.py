"""What a compact field is made with."""

from __future__ import annotations

from dataclasses import dataclass

from vfield.errors import UserError


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
    step: float = 16.0
    keyframe_stride: int = 16
    motion_cell: int = 16
    weight_steps: int = 1000

    def __post_init__(self) -> None:
        if not 0.5 <= self.step <= 256:
            raise UserError(f"compression.step must be from 0.5 to 256 grey levels, got {self.step:g}")
        if not 1 <= self.keyframe_stride <= 64:
            raise UserError(f"compression.keyframe_stride must be from 1 to 64, got {self.keyframe_stride}")
        if not 4 <= self.motion_cell <= 64:
            raise UserError(f"compression.motion_cell must be from 4 to 64 pixels, got {self.motion_cell}")
        if self.weight_steps < 0:
            raise UserError(f"compression.weight_steps must not be negative, got {self.weight_steps}")
