"""Which points the trainer sees next.

Points come in square patches: neighbours share the grids' cells, and reading memory in order is several times faster
than random points. A batch is a pure function of (seed, step), so that a resumed run sees what an uninterrupted one
would, and every process of a run can draw the same batch and keep its own share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from vfield.core.clip import to_float
from vfield.core.coords import pixel_uv, with_t
from vfield.core.errors import UserError
from vfield.core.frames import Frames
from vfield.learn.config import SamplingConfig


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
        hidden: number of points at the end whose keyframe is hidden.
        visible: (n,) bool, where `rgb` is the truth; None where all of it is.
    """

    uvt: Tensor
    rgb: Tensor
    hidden: int
    visible: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        visible = None if self.visible is None else self.visible.to(device)
        return Batch(self.uvt.to(device), self.rgb.to(device), self.hidden, visible)


class PatchSampler:
    """Draws batches from observed frames."""

    def __init__(
        self,
        frames: Frames | None,
        t: Tensor,
        small: Frames,
        hideable: Sequence[int],
        config: SamplingConfig,
        seed: int,
        visible: Tensor | None = None,
        small_visible: Tensor | None = None,
    ) -> None:
        """Prepare to sample.

        Args:
            frames: n observed frames of (3, h, w), uint8 or float in [0, 1]; None where there is nothing to learn from
                them as they are.
            t: (n,) their instants in seconds since the first.
            small: of (3, h', w'), the frames as they are where they are hidden, by the same numbers.
            hideable: frames that may be hidden; empty when none can.
            config: what a batch holds.
            seed: of the whole sequence of batches.
            visible: (n, h, w) bool, which pixels of `frames` are the truth; None for all. The others are drawn as if
                they were, so that every process has as many points, and marked.
            small_visible: (n, h', w'), likewise of `small`.
        """
        self.times = t.tolist()
        self.hideable = list(hideable)
        self.config = config
        self.seed = seed
        self.pictures = {False: frames, True: small}
        self.visible = {False: visible, True: small_visible}
        self.uv = {
            hide: pixel_uv(some.shape[-2], some.shape[-1]) for hide, some in self.pictures.items() if some is not None
        }

    def _counts(self) -> tuple[int, int]:
        """Patches of observed and of hidden frames in a batch."""
        hidden = round(self.config.patches * self.config.hidden_share) if self.hideable else 0
        return 0 if self.pictures[False] is None else self.config.patches - hidden, hidden

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> Batch:
        """The share of batch number `step` that belongs to process `rank` of `processes`."""
        config = self.config
        counts = self._counts()
        if sum(counts) % processes:
            raise UserError(
                f"a batch of {sum(counts)} patches cannot be shared equally by {processes} processes; choose "
                "sampling.patches and sampling.hidden_share so that it can"
            )
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)

        def draw(below: int) -> int:
            return int(torch.randint(below, (1,), generator=generator))

        patches = []
        for hide, count in zip((False, True), counts, strict=True):
            for _ in range(count):
                pictures = self.pictures[hide]
                assert pictures is not None
                frame = self.hideable[draw(len(self.hideable))] if hide else draw(len(pictures))
                height, width = pictures.shape[-2:]
                rows, columns = min(config.patch_size, height), min(config.patch_size, width)
                patches.append((hide, frame, draw(height - rows + 1), draw(width - columns + 1)))
        # Sorted by frame, so that the field reads each one in a single run.
        parts = [self._patch(*patch) for patch in sorted(patches[rank::processes])]
        if not parts:
            return Batch(torch.zeros(0, 3), torch.zeros(0, 3), 0)
        uvt, rgb, visible, hidden = (list(column) for column in zip(*parts, strict=True))
        everywhere = all(true is None for true in self.visible.values())
        return Batch(torch.cat(uvt), torch.cat(rgb), sum(hidden), None if everywhere else torch.cat(visible))

    def _patch(self, hide: bool, frame: int, y: int, x: int) -> tuple[Tensor, Tensor, Tensor, int]:
        """Points (n, 3), colours (n, 3) and truth (n,) of one patch, and how many of them are hidden."""
        pictures, true = self.pictures[hide], self.visible[hide]
        assert pictures is not None
        rows, columns = (slice(start, start + self.config.patch_size) for start in (y, x))
        uvt = with_t(self.uv[hide][rows, columns], self.times[frame])
        rgb = rearrange(to_float(pictures[frame][:, rows, columns]), "c h w -> (h w) c")
        everywhere = torch.ones(len(uvt), dtype=torch.bool)
        visible = everywhere if true is None else true[frame, rows, columns].reshape(-1)
        return uvt, rgb, visible, len(uvt) if hide else 0
