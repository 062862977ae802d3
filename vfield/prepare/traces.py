"""Where else a hidden point was seen: holes filled along the motion with what other frames show.

For a hidden pixel x of frame k the flows to the next frames are chained,

    x_0 = x,     x_(j+1) = x_j + f_(k+j -> k+j+1)(x_j),

until x_j lies where frame k + j was seen, and its colour there is taken; likewise into the past. How far each step and
the way back miss each other is summed up as e: a path that ends at an occlusion misses by much, and is given up. With j
steps the colour weighs exp(-(e / s)^2) / j, and what both directions found is averaged. Positions are chained rather
than colours, so that a colour is interpolated once however long its way was.

Flow must not see what hides the picture. It is found between frames that were filled roughly, and in a hole it is
replaced by a membrane over the flow around it: motion is much smoother than colour.

Method: Xu, Li, Zhou and Loy, "Deep flow-guided video inpainting", CVPR 2019, and Gao, Saraf, Huang and Kopf,
"Flow-edge guided video completion", ECCV 2020, section 3, with a membrane where they have a network that completes the
flow, and without propagation of gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vfield.core.splines import sample_bilinear
from vfield.prepare.flow import MEDIUM, dense_flow, read_points
from vfield.prepare.spread import spread

_RIM = 4  # pixels around a hole in which flow has looked into it
_MOST_STEPS = 100  # frames that a path is followed
_MISS_PX = 1.0  # s: a path that misses by so much counts 1 / e
_MOST_MISS_PX = 1.0  # in all; beyond it what is around a pixel tells more


class Motion(NamedTuple):
    """Flows (n - 1, 2, h, w) in pixels: from each frame to the next, and from the next one back to it."""

    forward: Tensor
    backward: Tensor


def motion_around(frames: Tensor, holes: Tensor, smooth: bool) -> Motion:
    """The flows of one shot of (n, 3, h, w) float frames, whose holes (n, h, w) are filled somehow.

    `smooth` replaces the flow in holes by a membrane; without it what they were filled with is believed.
    """
    forward = [_flow(frames, holes, k, k + 1, smooth) for k in range(len(frames) - 1)]
    backward = [_flow(frames, holes, k + 1, k, smooth) for k in range(len(frames) - 1)]
    none = frames.new_zeros(0, 2, *frames.shape[-2:])
    return Motion(torch.stack(forward), torch.stack(backward)) if forward else Motion(none, none)


def _flow(frames: Tensor, holes: Tensor, source: int, target: int, smooth: bool) -> Tensor:
    flow = dense_flow(frames[source], frames[target], MEDIUM)
    hole = holes[source]
    if not smooth or not bool(hole.any()):
        return flow
    around = F.max_pool2d(hole[None].float(), 2 * _RIM + 1, stride=1, padding=_RIM)[0] > 0
    return flow if bool(around.all()) else spread(flow, ~around)


def trace(
    frames: Tensor, holes: Tensor, motion: Motion, frame: int, wanted: Tensor, most_steps: int = _MOST_STEPS
) -> tuple[Tensor, Tensor]:
    """Look for hidden pixels of one frame in the others of its shot.

    Args:
        frames: (n, 3, h, w) float in [0, 1].
        holes: (n, h, w) bool: where nothing can be taken from.
        motion: of the shot.
        frame: which one.
        wanted: (h, w) bool, its m pixels to look for, in the order of `wanted.nonzero()`.
        most_steps: how many frames away, at most, to look.

    Returns:
        Colours (m, 3) in [0, 1], and how far they are to be believed (m,), 0 where no frame shows the pixel.
    """
    xy = wanted.nonzero().flip(-1).float()
    total, weights = torch.zeros(len(xy), 3), torch.zeros(len(xy))
    into_past = range(frame, max(-1, frame - most_steps - 1), -1)
    into_future = range(frame, min(len(frames), frame + most_steps + 1))
    for way in (into_past, into_future):
        for found, colours, weight in _sightings(frames, holes, motion, way, xy):
            total[found] += weight[:, None] * colours
            weights[found] += weight
    return total / weights.clamp(min=1e-12)[:, None], weights


def _sightings(
    frames: Tensor, holes: Tensor, motion: Motion, way: range, xy: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Which of the points (m, 2) of the way's first frame each of its others is the first to show.

    Yields their indices, their colours there and their weights.
    """
    height, width = frames.shape[-2:]
    left = torch.arange(len(xy))
    miss = torch.zeros(len(xy))
    for steps, (here, there) in enumerate(pairwise(way), start=1):
        if len(left) == 0:
            return
        on, back = motion.forward[min(here, there)], motion.backward[min(here, there)]
        if there < here:
            on, back = back, on
        moved = sample_bilinear(on, xy)
        xy = xy + moved
        miss = miss + (moved + sample_bilinear(back, xy)).norm(dim=-1)
        inside = (xy >= 0).all(dim=-1) & (xy[:, 0] <= width - 1) & (xy[:, 1] <= height - 1) & (miss < _MOST_MISS_PX)
        left, xy, miss = left[inside], xy[inside], miss[inside]
        seen = sample_bilinear(holes[there][None].float(), xy)[:, 0] == 0
        if bool(seen.any()):
            colours = read_points(frames[there], xy[seen])
            yield left[seen], colours, torch.exp(-((miss[seen] / _MISS_PX) ** 2)) / steps
        left, xy, miss = left[~seen], xy[~seen], miss[~seen]
