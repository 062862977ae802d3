"""What decides how a fit goes beside field and loop; nothing here loads torch, so that options are known at once.

Whoever does the work holds the theory: `vfield.flow`, `vfield.sampling`, `vfield.objective` and `vfield.denoise`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vfield.errors import UserError

_MOST_NOISE = 127.5  # grey levels: half of white


@dataclass(frozen=True)
class FlowConfig:
    """Settings of DIS. The defaults search to the finest scale with large patches, which suits interpolation.

    Attributes:
        finest_scale: pyramid level at which the search ends, 0 for full size, 1 for half; the result is upscaled.
            Pictures too small for it are searched at a finer one.
        patch_size: side of the matched patches, pixels of the pyramid level.
        patch_stride: step between patches, 1 to patch_size.
        variational_iterations: rounds of variational refinement a level; 0 for none.

    Raises:
        UserError: when a value is out of range.
    """

    finest_scale: int = 0
    patch_size: int = 12
    patch_stride: int = 4
    variational_iterations: int = 5

    def __post_init__(self) -> None:
        if self.finest_scale < 0:
            raise UserError(f"finest_scale must be 0 (full size) or more, got {self.finest_scale}")
        if self.patch_size < 4:
            raise UserError(f"patch_size must be at least 4 pixels, got {self.patch_size}")
        if not 1 <= self.patch_stride <= self.patch_size:
            raise UserError(f"patch_stride must be 1 to patch_size ({self.patch_size}), got {self.patch_stride}")
        if self.variational_iterations < 0:
            raise UserError(f"variational_iterations must be 0 or more, got {self.variational_iterations}")


@dataclass(frozen=True)
class SamplingConfig:
    """What a batch holds.

    Attributes:
        patches: patches in the whole batch, over all processes.
        patch_size: side of a patch in pixels.
        hidden_share: fraction of the patches whose keyframe is hidden from the field (the in-between task). The others
            are of observed pixels, as they are; a field that shows its keyframes' own colours has nothing to learn
            from those, and does without them.
    """

    patches: int = 32
    patch_size: int = 24
    hidden_share: float = 0.75

    def __post_init__(self) -> None:
        if self.patches < 1 or self.patch_size < 1:
            raise UserError(
                f"sampling.patches and sampling.patch_size must be at least 1, got {self.patches}, {self.patch_size}"
            )
        if not 0 <= self.hidden_share <= 1:
            raise UserError(f"sampling.hidden_share must be in [0, 1], got {self.hidden_share}")


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the loss terms.

    Attributes:
        observed: weight of the squared error at observed pixels.
        hidden: weight of the smooth absolute error at pixels of hidden keyframes.
        detail: weight of the smooth absolute error of the finer cells, in units of the clip's own detail.
    """

    observed: float = 1.0
    hidden: float = 1.0
    detail: float = 1.0

    def __post_init__(self) -> None:
        weights = (self.observed, self.hidden, self.detail)
        if min(weights) < 0:
            raise UserError(f"objective weights must not be negative, got {weights}")


@dataclass(frozen=True)
class DenoiseConfig:
    """Whether noise is taken out of the clip first.

    Attributes:
        strength: standard deviation of the noise in grey levels (0 to 255); 0 leaves the frames as they are. "auto"
            measures it and leaves the shots alone where it finds less than `least`.
        least: grey levels under which noise counts as content: film grain, and what coding leaves.

    Raises:
        UserError: when a value is out of range.
    """

    strength: float | Literal["auto"] = "auto"
    least: float = 5.0

    def __post_init__(self) -> None:
        if self.strength != "auto" and not 0 <= self.strength <= _MOST_NOISE:
            raise UserError(
                f"denoising.strength must be auto or 0 (off) to {_MOST_NOISE:g} grey levels, got {self.strength}"
            )
        if not 0 < self.least < math.inf:
            raise UserError(f"denoising.least must be more than 0 grey levels, got {self.least}")
