"""The in-between task on frames that were seen: what a field learns from, and what it is checked on.

The clip at half its size, one frame hidden at a time. Hiding a frame doubles the time between its neighbours; halving
the pictures makes the motion as many pixels long as it is in the task itself, so that what is learnt here carries over.
It does not at full size. Where frames are missing, the task's own gaps are twice as long, and the
clip is rehearsed at full size. (Learning from a clip's own coarser copies: Shocher, Cohen and Irani, "Zero-shot
super-resolution", CVPR 2018; in time, Zuckerman et al., "Across scales and across dimensions", ECCV 2020.)

At first every fourth hidden frame is kept for checking. What does not help there will be turned down or off in the
end; then they are learnt from like the others, since a clip has few frames and each teaches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from vfield.core.clip import to_float
from vfield.core.coords import pixel_uv, with_t
from vfield.core.frames import Frames
from vfield.field.video_field import VideoField

_CHECK_EVERY = 4
_MOST_CHECKED = 8
_SAMPLED_POINTS = 1 << 14
_FORCES = (1.0, 0.5, 0.0)
# dB that full force is given on the frames kept for checking. A choice among the keyframes' own colours is believed
# unless it clearly loses: few frames are kept, and it carried over wherever that was measured.
_HANDICAP = {"visibility": 0.1}


class Rehearsal(NamedTuple):
    """What can be hidden.

    Attributes:
        field: a field of the small frames that shares every learnt part with the field itself.
        frames: the hidden frames and their neighbours by their numbers in the clip, of (3, h / 2, w / 2), or (3, h, w)
            where the clip lacks frames; of the type of its frames.
        t: (n,) their instants in seconds.
        learning: indices of frames to hide while learning.
        checking: indices of frames that are not learnt from until the learnt parts have been checked.
        visible: bool, of the size of `frames`, which pixels of `frames` are the truth; None for all.
    """

    field: VideoField
    frames: Frames
    t: Tensor
    learning: list[int]
    checking: list[int]
    visible: Tensor | None = None

    @property
    def hidden(self) -> list[int]:
        """Every frame that can be hidden, in order."""
        return sorted([*self.learning, *self.checking])


def divided(hideable: Sequence[int]) -> tuple[list[int], list[int]]:
    """The frames that may be hidden, as those to learn from and those to check on; few are all learnt from."""
    checking = list(hideable[_CHECK_EVERY // 2 :: _CHECK_EVERY])
    checking = checking[:: -(-len(checking) // _MOST_CHECKED)] if checking else []
    return [frame for frame in hideable if frame not in checking], checking


@torch.no_grad()
def squared_errors(rehearsal: Rehearsal, frames: Sequence[int]) -> Tensor:
    """Mean squared error (len(frames),) of each hidden frame, made from its neighbours, on a scale of 0 to 1.

    Only some pixels are asked for: points are independent. Where none of them is the truth, the mean of the others.
    """
    device = rehearsal.field.device
    height, width = rehearsal.frames.shape[-2:]
    step = _sample_step(height, width)
    uv = sample_uv(height, width)
    errors = []
    for frame in frames:
        made = rehearsal.field(with_t(uv, float(rehearsal.t[frame])).to(device), hide=True).cpu().clamp(0, 1)
        truth = rearrange(to_float(rehearsal.frames[frame][:, ::step, ::step]), "c h w -> (h w) c")
        error = (made - truth).square()
        if rehearsal.visible is not None:
            error = error[rehearsal.visible[frame, ::step, ::step].reshape(-1)]
        errors.append(error.mean())
    found = torch.stack(errors)
    return torch.where(found.isnan(), found.nanmean().nan_to_num(), found)


def sample_uv(height: int, width: int) -> Tensor:
    """Evenly spread pixel positions (n, 2) of a picture, enough to judge it by."""
    step = _sample_step(height, width)
    return pixel_uv(height, width)[::step, ::step].reshape(-1, 2)


def _sample_step(height: int, width: int) -> int:
    return max(1, math.isqrt(height * width // _SAMPLED_POINTS))


def find_forces(*rehearsals: Rehearsal) -> dict[str, float]:
    """With how much of its force each learnt part does best on the frames kept for checking.

    Several clips that share the parts, one rehearsal each, are judged together.

    A part's force multiplies its last layer, which is zero at the start: none of it is the start itself. The parts are
    left as they were.

    Returns:
        The force of each part by name, 0 to 1; empty where nothing was kept for checking.
    """
    checked = [rehearsal for rehearsal in rehearsals if rehearsal.checking]
    if not checked:
        return {}
    forces: dict[str, float] = {}
    layers = {name: layer for name, layer in _last_layers(checked[0].field).items() if name in _HANDICAP}
    learnt = {name: [p.detach().clone() for p in layer.parameters()] for name, layer in layers.items()}
    for name, layer in layers.items():
        scores = {}
        for force in _FORCES:
            _turn(layer, learnt[name], force)
            errors = torch.cat([squared_errors(rehearsal, rehearsal.checking) for rehearsal in checked])
            psnr = -10 * errors.clamp(min=1e-10).log10().mean()
            scores[force] = float(psnr) + _HANDICAP[name] * force
        forces[name] = max(scores, key=scores.__getitem__)
        _turn(layer, learnt[name], forces[name])
    for name, layer in layers.items():
        _turn(layer, learnt[name], 1.0)
    return forces


def apply_forces(field: VideoField, forces: Mapping[str, float]) -> None:
    """Turn learnt parts down to what `find_forces` found."""
    for name, layer in _last_layers(field).items():
        _turn(layer, list(layer.parameters()), forces.get(name, 1.0))


def _last_layers(field: VideoField) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    if field.visibility is not None:
        layers["visibility"] = field.visibility.last
    if field.detail is not None:
        layers["detail"] = field.detail.last
    return layers


@torch.no_grad()
def _turn(layer: nn.Module, learnt: Sequence[Tensor], force: float) -> None:
    for parameter, value in zip(layer.parameters(), learnt, strict=True):
        parameter.copy_(force * value)
