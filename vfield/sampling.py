"""Which points the trainer sees next.

Points come in square patches: neighbours share the grids' cells, and reading memory in order is several times faster
than random points. A batch is a pure function of (seed, step), so that a resumed run sees what an uninterrupted one
would, and every process of a run can draw the same batch and keep its own share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from vfield.clip import to_float
from vfield.coords import pixel_uv, with_t
from vfield.errors import UserError
from vfield.ranges import Range, check_ranges


@dataclass(frozen=True)
class SamplingConfig:
    """What a batch holds.

    Attributes:
        patches: patches in the whole batch, over all processes.
        patch_size: side of a patch in pixels.
        hidden_share: fraction of the patches whose keyframe is hidden from the field (the in-between task).
    """

    patches: Annotated[int, Range(1, 1 << 20)] = 32
    patch_size: Annotated[int, Range(1, 4096)] = 24
    hidden_share: Annotated[float, Range(0, 1)] = 0.75

    def __post_init__(self) -> None:
        check_ranges(self, "sampling")


def turn(seed: int, number: int, members: int) -> int:
    """Which of several clips batch `number` is of: each once a round, in an order that differs from round to round.

    Like a batch it is a pure function, so that all processes agree, as does a run that was resumed.
    """
    if members == 1:
        return 0
    round_, place = divmod(number, members)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + round_)
    return int(torch.randperm(members, generator=generator)[place])


class Batch(NamedTuple):
    """Points to learn from. Observed ones come first, then hidden ones.

    Attributes:
        uvt: (n, 3).
        rgb: (n, 3) float in [0, 1].
        between: (m, 3), points at instants between observed ones, where there is nothing to compare with.
        hidden: number of points at the end whose keyframe is hidden.
        visible: (n,) bool, where `rgb` is the truth; None where all of it is.
    """

    uvt: Tensor
    rgb: Tensor
    between: Tensor
    hidden: int
    visible: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        visible = None if self.visible is None else self.visible.to(device)
        return Batch(self.uvt.to(device), self.rgb.to(device), self.between.to(device), self.hidden, visible)


class PatchSampler:
    """Draws batches from observed frames."""

    def __init__(
        self,
        frames: Tensor,
        t: Tensor,
        small: Tensor,
        hideable: Sequence[int],
        config: SamplingConfig,
        seed: int,
        visible: Tensor | None = None,
        small_visible: Tensor | None = None,
    ) -> None:
        """Prepare to sample.

        Args:
            frames: (n, 3, h, w), the observed frames, uint8 or float in [0, 1].
            t: (n,) their instants in seconds since the first.
            small: (n, 3, h', w'), the frames as they are where they are hidden.
            hideable: frames that may be hidden; empty when none can.
            config: what a batch holds.
            seed: of the whole sequence of batches.
            visible: (n, h, w) bool, which pixels of `frames` are the truth; None for all. The others are drawn as if
                they were, so that every process has as many points, and marked.
            small_visible: (n, h', w'), likewise of `small`.
        """
        self.frames = frames
        self.times = t.tolist()
        self.hideable = list(hideable)
        self.config = config
        self.seed = seed
        self.small = small
        self.visible = [visible, small_visible]
        self.uv = [pixel_uv(*pictures.shape[-2:]) for pictures in (frames, small)]

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> Batch:
        """The share of batch number `step` that belongs to process `rank` of `processes`."""
        config = self.config
        if config.patches % processes:
            raise UserError(
                f"sampling.patches ({config.patches}) must be a multiple of the number of processes ({processes}), "
                "so that each gets an equal share"
            )
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        hidden_patches = round(config.patches * config.hidden_share) if self.hideable else 0

        def draw(below: int) -> int:
            return int(torch.randint(below, (1,), generator=generator))

        patches = []
        for i in range(config.patches):
            hide = i >= config.patches - hidden_patches
            frame = self.hideable[draw(len(self.hideable))] if hide else draw(len(self.frames))
            instant = float(torch.rand((), generator=generator))
            height, width = (self.small if hide else self.frames).shape[-2:]
            rows, columns = min(config.patch_size, height), min(config.patch_size, width)
            patches.append((hide, frame, draw(height - rows + 1), draw(width - columns + 1), instant))
        # Sorted by frame, so that the field reads each one in a single run.
        mine = sorted(patches[rank::processes])
        uvt, rgb, between, visible = [], [], [], []
        hidden = 0
        for hide, frame, y, x, instant in mine:
            pixels = (self.small if hide else self.frames)[
                frame, :, y : y + config.patch_size, x : x + config.patch_size
            ]
            uv = self.uv[hide][y : y + config.patch_size, x : x + config.patch_size]
            uvt.append(with_t(uv, self.times[frame]))
            later = min(frame + 1, len(self.times) - 1)
            between.append(with_t(uv, self.times[frame] + instant * (self.times[later] - self.times[frame])))
            rgb.append(rearrange(to_float(pixels), "c h w -> (h w) c"))
            hidden += hide * len(uvt[-1])
            true = self.visible[hide]
            if true is None:
                visible.append(torch.ones(len(uvt[-1]), dtype=torch.bool))
            else:
                visible.append(true[frame, y : y + config.patch_size, x : x + config.patch_size].reshape(-1))
        everywhere = all(true is None for true in self.visible)
        return Batch(
            torch.cat(uvt), torch.cat(rgb), torch.cat(between), hidden, None if everywhere else torch.cat(visible)
        )
