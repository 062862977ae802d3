"""What the experiments may be told; nothing here loads torch, so that options are known at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vfield.core.errors import UserError
from vfield.core.ranges import Range, check_ranges

SNAPSHOT_STEPS = 25  # of the spectral experiment: steps between pictures
_MOST_GRADIENT_NUMBERS = 1 << 28  # of the tangent kernel's points together: a gigabyte


@dataclass(frozen=True)
class NtkConfig:
    """The experiment on tangent kernels."""

    line_points: Annotated[int, Range(4, 65536)] = 64  # on the line across the middle of the picture
    side: Annotated[int, Range(4, 4096)] = 14  # points along each side of the grid over the picture
    width: Annotated[int, Range(1, 1 << 20)] = 2048  # units in each hidden layer
    depth: Annotated[int, Range(1, 64)] = 1  # hidden layers
    count: Annotated[int, Range(1, 65536)] = 128  # Gaussian frequencies; half as many on each axis for positional ones
    sigma: Annotated[float, Range(0, 1e5, open=True)] = 4.0  # bandwidth of both, cycles across the picture
    steps: Annotated[int, Range(10, 10**9)] = 2000  # of gradient descent on the line
    seed: Annotated[int, Range(0, (1 << 31) - 1)] = 0  # of the weights and frequencies

    def __post_init__(self) -> None:
        check_ranges(self, "")
        numbers = self.width * (2 * self.count + (self.depth - 1) * self.width)
        if numbers * max(self.line_points, self.side**2) > _MOST_GRADIENT_NUMBERS:
            raise UserError(
                f"{self.line_points} points on the line and {self.side**2} on the grid have more gradients by the "
                f"weights of width {self.width} and depth {self.depth} than fit; choose fewer or narrower"
            )


@dataclass(frozen=True)
class SpectralConfig:
    """The experiment on spectral bias."""

    size: Annotated[int, Range(8, 512)] = 128  # side of the square picture, pixels
    steps: Annotated[int, Range(SNAPSHOT_STEPS, 10**7)] = 400  # of Adam, for each map
    points: Annotated[int, Range(1, 1 << 20)] = 2048  # seen pixels drawn for each step
    learning_rate: Annotated[float, Range(0, 10)] = 2e-3  # at the start; it falls to zero along a cosine
    width: Annotated[int, Range(1, 8192)] = 128  # units in each hidden layer
    depth: Annotated[int, Range(1, 64)] = 3  # hidden layers
    count: Annotated[int, Range(2, 65536)] = 128  # Gaussian frequencies; half as many on each axis for positional ones
    # Bandwidths to try with both, cycles across the picture.
    sigmas: Annotated[tuple[float, ...], Range(0, 1e5, open=True)] = (2.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0)
    seed: Annotated[int, Range(0, (1 << 31) - 1)] = 0  # of everything random

    def __post_init__(self) -> None:
        check_ranges(self, "")
        if self.count % 2:
            raise UserError(f"count must be even, got {self.count}: the positional map has half as many on each axis")
        if not self.sigmas:
            raise UserError("sigmas must be cycles across the picture, one or more, got none")
