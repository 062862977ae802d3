"""Following points through a field's motion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vfield.field.motion import MotionField
from vfield.field.timeline import Leg, Timeline

# Each round of looking for a point inside a gap shrinks the error by the motion's own gradient, over half a gap.
_FOLLOW_ROUNDS = 3


class Followed(NamedTuple):
    """Where some points have gone.

    Attributes:
        uv: (n, 2) their positions; where they were, if that is not known.
        known: (n,) bool, False across a cut, and for points that left the picture on the way.
    """

    uv: Tensor
    known: Tensor


def follow(motion: MotionField, timeline: Timeline, uv: Tensor, t_from: float, t_to: float) -> Followed:
    """Follow points (n, 2) from one instant to another; see `VideoField.follow`."""
    route = timeline.route(t_from, t_to)
    if route is None:
        return Followed(uv, torch.zeros_like(uv[:, 0], dtype=torch.bool))
    there = uv
    known = torch.ones_like(uv[:, 0], dtype=torch.bool)
    for leg in route:
        there = _along(motion, leg, there)
        known = known & ((there >= 0) & (there <= 1)).all(dim=-1)
    return Followed(torch.where(known[:, None], there, uv), known)


def _along(motion: MotionField, leg: Leg, uv: Tensor) -> Tensor:
    """Where points (n, 2) of one gap are at the leg's end."""
    match = motion.match(leg.gap, uv, torch.full_like(uv[:, 0], leg.alpha_from))
    if leg.alpha_to in (0, 1):
        return match.right_uv if leg.alpha_to == 1 else match.left_uv
    # Inside the gap a point is found from its position in the nearer keyframe, by a fixed point.
    there = torch.lerp(match.left_uv, match.right_uv, leg.alpha_to)
    alpha = torch.full_like(uv[:, 0], leg.alpha_to)
    for _ in range(_FOLLOW_ROUNDS):
        seen = motion.match(leg.gap, there, alpha)
        apart = match.left_uv - seen.left_uv if leg.alpha_to < 0.5 else match.right_uv - seen.right_uv
        there = there + apart
    return there
