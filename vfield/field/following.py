"""Following points through a field's motion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vfield.field.motion import MotionField
from vfield.field.timeline import Passage, Timeline

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
    for passage in route:
        there = _along(motion, passage, there)
        known = known & ((there >= 0) & (there <= 1)).all(dim=-1)
    return Followed(torch.where(known[:, None], there, uv), known)


def _along(motion: MotionField, passage: Passage, uv: Tensor) -> Tensor:
    """Where points (n, 2) of one gap are at the passage's end."""
    match = motion.match(passage.gap, uv, torch.full_like(uv[:, 0], passage.fraction_from))
    if passage.fraction_to in (0, 1):
        return match.right_uv if passage.fraction_to == 1 else match.left_uv
    # Inside the gap a point is found from its position in the nearer keyframe, by a fixed point.
    there = torch.lerp(match.left_uv, match.right_uv, passage.fraction_to)
    fraction = torch.full_like(uv[:, 0], passage.fraction_to)
    for _ in range(_FOLLOW_ROUNDS):
        seen = motion.match(passage.gap, there, fraction)
        apart = match.left_uv - seen.left_uv if passage.fraction_to < 0.5 else match.right_uv - seen.right_uv
        there = there + apart
    return there
