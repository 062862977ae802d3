"""What is read of the keyframes at some points: the record of it, and how the views of a point are blended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vfield.field.motion import Match, Visibility


class Read(NamedTuple):
    """What the keyframes say about the points of one segment.

    Attributes:
        colour: (n, 3), or (n, 0) without keyframe colours.
        features: (n, f) local latents, inputs of the decoder; (n, 0) with keyframe colours.
        disagreement: (n, 3) right minus left colour, zero where a keyframe is held.
        velocity: (n, 2) source pixels per second.
        weight: (n,) share of the right keyframe.
        opacity: (n, 1) alpha, or (n, 0) where it was not asked for.
    """

    colour: Tensor
    features: Tensor
    disagreement: Tensor
    velocity: Tensor
    weight: Tensor
    opacity: Tensor


def joined(parts: Sequence[Read]) -> Read:
    """What was read of several segments, one after the other."""
    return parts[0] if len(parts) == 1 else Read(*(torch.cat(pieces) for pieces in zip(*parts, strict=True)))


def blended(views: Sequence[Tensor], shares: Tensor) -> Tensor:
    """The sum of views (n, c), each by its share of (n, views): (n, c)."""
    return torch.stack([view * shares[:, i : i + 1] for i, view in enumerate(views)]).sum(dim=0)


def view_shares(visibility: Visibility, match: Match, views: Sequence[Tensor], fraction: Tensor) -> Tensor:
    """Shares (n, 4) of the views; at the keyframes' own instants exactly theirs.

    Args:
        visibility: what tells them in between.
        match: where the points are in the two keyframes.
        views: the four, (n, 3) each: left and right along the curve, and each along the motion that it alone knows of.
        fraction: (n,) instant between the keyframes, 0 to 1.
    """
    shares = visibility(match, views, fraction.clamp(1e-6, 1 - 1e-6))
    ends = torch.stack([1 - fraction, fraction, torch.zeros_like(fraction), torch.zeros_like(fraction)], dim=-1)
    inside = (fraction > 0) & (fraction < 1)
    return torch.where(inside[:, None], shares, ends)
