"""The codes of fields that share a decoder: between two of them, and new ones like those that were found.

A code is a point in a space that the decoder knows from the clips it has seen. Between two codes lies

    z = (1 - s) z_a + s z_b

and new ones are drawn from a Gaussian fitted to those that were found, N(mean, covariance). With n codes the
covariance has rank n - 1: a draw is mean + sum over i of g_i (z_i - mean) / sqrt(n - 1), with g_i from N(0, 1). (Park
et al., "DeepSDF", CVPR 2019, whose prior on codes is such a Gaussian, interpolate likewise.) A global code is one draw;
each cell of a grid of local latents is a draw of its own, since nothing was learnt about which cells go together.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vfield.core.errors import UserError
from vfield.field.video_field import VideoField


@torch.no_grad()
def interpolated(one: VideoField, other: VideoField, share: float, *, local: bool = True) -> VideoField:
    """A field between two that share their parts: the first, with its codes moved towards the second's.

    Args:
        one: the field to start from; its motion, timeline and keyframe colours are kept.
        other: the field to go to.
        share: 0 is the first, 1 has the second's codes.
        local: move the local latents, too, of each level whose grids have the same size in both.

    Raises:
        UserError: when the two are not of one config.
    """
    if one.config != other.config:
        raise UserError("codes of two configs cannot be mixed; take two clips of one run")
    made = _with_own_codes(one)
    if made.shared is not None and other.shared is not None:
        made.shared.code.lerp_(other.shared.code, share)
        made.shared.track.lerp_(_as_long(other.shared.track, len(made.shared.track)), share)
    if local and made.latents is not None and other.latents is not None:
        for level, goal in zip(made.latents.levels, other.latents.levels, strict=True):
            if level.shape == goal.shape:
                level.lerp_(goal, share)
    return made


@torch.no_grad()
def sampled(fields: Sequence[VideoField], generator: torch.Generator, *, local: bool = True) -> VideoField:
    """The first field with codes drawn anew, like those of all the fields.

    Args:
        fields: two or more of one run.
        generator: of the draws.
        local: draw the local latents anew, too.

    Raises:
        UserError: when there are fewer.
    """
    if len(fields) < 2:
        raise UserError(f"a Gaussian is fitted to the codes of two clips or more, got {len(fields)}")
    made = _with_own_codes(fields[0])
    globals_ = [field.shared for field in fields if field.shared is not None]
    if made.shared is not None:
        made.shared.code.copy_(_drawn(torch.stack([latent.code for latent in globals_]), 1, generator)[0])
        tracks = torch.stack([_as_long(latent.track, len(made.shared.track)).flatten() for latent in globals_])
        made.shared.track.copy_(_drawn(tracks, 1, generator).view_as(made.shared.track))
    if local and made.latents is not None:
        for number, level in enumerate(made.latents.levels):
            grids = [field.latents.levels[number] for field in fields if field.latents is not None]
            cells = torch.cat([rearrange(grid, "k c h w -> (k h w) c") for grid in grids])
            keyframes, _, rows, columns = level.shape
            # The cells are many: their covariance has full rank, and a factor of it does for all draws.
            spread = torch.linalg.eigh(torch.atleast_2d(torch.cov(cells.T)))
            factor = spread.eigenvectors * spread.eigenvalues.clamp(min=0).sqrt()
            noise = torch.randn(keyframes * rows * columns, len(factor), generator=generator)
            drawn = cells.mean(dim=0) + noise @ factor.T
            level.copy_(rearrange(drawn, "(k h w) c -> k c h w", k=keyframes, h=rows))
    return made


def _with_own_codes(field: VideoField) -> VideoField:
    """The same field, except that its codes are copies."""
    made = copy.copy(field)
    made._modules = {**field._modules, "shared": copy.deepcopy(field.shared), "latents": copy.deepcopy(field.latents)}
    return made


def _as_long(track: Tensor, knots: int) -> Tensor:
    """A track (k, c), linear between knots, with another number of them over the same whole."""
    return F.interpolate(track.T[None], size=knots, mode="linear", align_corners=True)[0].T


def _drawn(codes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws (count, c) from the Gaussian of codes (n, c)."""
    mean = codes.mean(dim=0)
    weights = torch.randn(count, len(codes), generator=generator) / (len(codes) - 1) ** 0.5
    return mean + weights @ (codes - mean)
