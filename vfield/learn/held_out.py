"""Clips divided into what is learnt from and what is held out, and how good a field is on the latter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vfield.core.clip import Clip, to_uint8
from vfield.core.coords import keyframe_t
from vfield.core.errors import UserError
from vfield.core.frames import Frames, chosen_frames, in_memory
from vfield.core.metrics import Scores, score
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.learn.board import HeldOut


@dataclass(frozen=True)
class Split:
    """A clip divided into what a method is given and what it is asked for.

    Frames after the last observed one have nothing beyond them and are left out.
    """

    observed: Clip  # every k-th frame, reduced where larger ones are asked for
    everything: Frames  # n of (3, h, w), observed and held-out frames in order, at the clip's own size
    t: list[float]  # their instants, seconds since the first
    holdout: int  # k; 1 where every frame is observed

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that are asked for."""
        return int(self.everything.shape[-2]), int(self.everything.shape[-1])

    @property
    def enlarges(self) -> bool:
        """Whether larger pictures are asked for than are given."""
        return self.size != (self.observed.height, self.observed.width)

    @property
    def hidden_indices(self) -> list[int]:
        """Which of `everything` are at instants that were held out."""
        return [i for i in range(len(self.everything)) if i % self.holdout]

    @property
    def judged_indices(self) -> list[int]:
        """Which of `everything` are judged: those held out, or all where only their size was."""
        return self.hidden_indices or list(range(len(self.everything)))

    @property
    def held_out(self) -> HeldOut:
        """The frames between the observed ones, and their instants."""
        hidden = self.hidden_indices
        return HeldOut(chosen_frames(self.everything, hidden), [self.t[i] for i in hidden])


def split(clip: Clip, holdout: int) -> Split:
    """Observe every `holdout`-th frame and hold out the others.

    A UserError when holdout is below 2 or the clip too short for it.
    """
    if holdout < 2:
        raise UserError(f"--holdout must be at least 2 (every second frame seen), got {holdout}")
    if len(clip) < holdout + 1:
        raise UserError(f"--holdout {holdout} needs at least {holdout + 1} frames, the clip has {len(clip)}")
    last = (len(clip) - 1) // holdout * holdout
    seen = clip.select(range(0, last + 1, holdout))
    everything = chosen_frames(clip.frames, range(last + 1))
    return Split(seen, everything, keyframe_t(clip.pts_seconds[: last + 1]).tolist(), holdout)


def whole(clip: Clip) -> Split:
    """Observe every frame; what is asked for must then be larger, see `reduced`."""
    return Split(clip, clip.frames, keyframe_t(clip.pts_seconds).tolist(), holdout=1)


def judge_held_out(field: VideoField, held_out: HeldOut) -> Scores:
    """The scores of a field on frames that it never saw."""
    return score(pictures_of(field, field.size, held_out.t), to_uint8(in_memory(held_out.frames)))


def pictures_of(field: VideoField, size: tuple[int, int], instants: list[float]) -> Tensor:
    """What a viewer would see at these instants: (n, 3, h, w) uint8."""
    return torch.stack([to_uint8(frame) for frame in render(field, size, instants, device=field.device)])
