"""What decides how a clip is prepared: its flow, and its noise. Values out of range are UserErrors.

Nothing here loads torch, so options are known at once. The theory is in `vfield.prepare.flow` and `.denoise`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vfield.core.errors import UserError
from vfield.core.ranges import Range, check_ranges


@dataclass(frozen=True)
class FlowConfig:
    """Settings of DIS. The defaults search to the finest scale with large patches, which suits interpolation.

    Attributes:
        finest_scale: pyramid level at which the search ends, 0 for full size, 1 for half; the result is upscaled.
            Pictures too small for it are searched at a finer one.
        patch_size: side of the matched patches, pixels of the pyramid level.
        patch_stride: step between patches, 1 to patch_size.
        variational_iterations: rounds of variational refinement a level; 0 for none.
    """

    finest_scale: Annotated[int, Range(0, 10)] = 0
    patch_size: Annotated[int, Range(4, 64)] = 12
    patch_stride: Annotated[int, Range(1, 64)] = 4
    variational_iterations: Annotated[int, Range(0, 1000)] = 5

    def __post_init__(self) -> None:
        check_ranges(self, "flow")
        if self.patch_stride > self.patch_size:
            most = f"flow.patch_size ({self.patch_size})"
            raise UserError(f"flow.patch_stride must be at most {most}, got {self.patch_stride}")


@dataclass(frozen=True)
class DenoiseConfig:
    """Whether noise is taken out of the clip first.

    Attributes:
        strength: standard deviation of the noise in grey levels (0 to 255); 0 leaves the frames as they are. "auto"
            measures it and leaves the shots alone where it finds less than `least`.
        least: grey levels under which noise counts as content: film grain, and what coding leaves.
    """

    strength: Annotated[float | Literal["auto"], Range(0, 127.5)] = "auto"
    least: Annotated[float, Range(0, 255, open=True)] = 5.0

    def __post_init__(self) -> None:
        check_ranges(self, "denoising")
