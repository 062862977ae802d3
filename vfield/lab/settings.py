"""What the experiments may be told; nothing here loads torch, so that options are known at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vfield.errors import UserError

SNAPSHOT_STEPS = 25  # of the spectral experiment: steps between pictures
_MOST_GRADIENT_NUMBERS = 1 << 28  # of the tangent kernel's points together: a gigabyte


@dataclass(frozen=True)
class NtkConfig:
    """The experiment.

    Attributes:
        line_points: on the line across the middle of the picture.
        side: points along each side of the grid over the picture.
        width: units in each of the `depth` hidden layers.
        depth: hidden layers.
        count: frequencies of the Gaussian map; half as many on each axis for the positional one.
        sigma: bandwidth of both, cycles across the picture.
        steps: of gradient descent on the line.
        seed: of the weights and frequencies.
    """

    line_points: int = 64
    side: int = 14
    width: int = 2048
    depth: int = 1
    count: int = 128
    sigma: float = 4.0
    steps: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.line_points, self.side) < 4:
            raise UserError(f"line_points and side must be at least 4, got {self.line_points} and {self.side}")
        if self.depth < 1 or self.width < 1 or self.steps < 10:
            raise UserError(
                f"width and depth must be at least 1 and steps 10, got {self.width}, {self.depth} and {self.steps}"
            )
        numbers = self.width * (2 * self.count + (self.depth - 1) * self.width)
        if numbers * max(self.line_points, self.side**2) > _MOST_GRADIENT_NUMBERS:
            raise UserError(
                f"{self.line_points} points on the line and {self.side**2} on the grid have more gradients by the "
                f"weights of width {self.width} and depth {self.depth} than fit; choose fewer or narrower"
            )
        if not self.sigma > 0:
            raise UserError(f"sigma must be a positive number of cycles across the picture, got {self.sigma}")


@dataclass(frozen=True)
class SpectralConfig:
    """The experiment.

    Attributes:
        size: side of the square picture, pixels.
        steps: of Adam, for each map.
        points: seen pixels drawn for each step.
        learning_rate: at the start; it falls to zero along a cosine.
        width: units in each of the `depth` hidden layers.
        depth: hidden layers.
        count: frequencies of the Gaussian map; half as many on each axis for the positional one, so it is as wide.
        sigmas: bandwidths to try with both, cycles across the picture.
        seed: of everything random.
    """

    size: int = 128
    steps: int = 400
    points: int = 2048
    learning_rate: float = 2e-3
    width: int = 128
    depth: int = 3
    count: int = 128
    sigmas: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 512:
            raise UserError(f"size must be 8 to 512 pixels, got {self.size}; 128 takes about two minutes")
        if self.steps < SNAPSHOT_STEPS:
            raise UserError(f"steps must be at least {SNAPSHOT_STEPS}, got {self.steps}: there is a snapshot so often")
        if self.count < 2 or self.count % 2:
            raise UserError(f"count must be even, got {self.count}: the positional map has half as many on each axis")
        if not self.sigmas or not all(0 < sigma < math.inf for sigma in self.sigmas):
            raise UserError(f"sigmas must be positive numbers of cycles across the picture, got {self.sigmas}")
