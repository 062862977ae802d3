"""Scenes with known motion: a smooth random picture, exact at any position, that moves as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from einops import rearrange
from torch import Tensor, nn

from vfield.core.clip import Clip
from vfield.field.config import FieldConfig
from vfield.field.motion import Curves
from vfield.field.timeline import gaps_between
from vfield.field.video_field import VideoField
from vfield.learn.start import Start, start_field
from vfield.prepare.flow import FlowConfig

Offset = tuple[float, float]
RATE = Fraction(25)
DEFAULT = FieldConfig()


def picture(size: tuple[int, int], offset: Offset = (0.0, 0.0), seed: int = 0, waves: int = 40) -> Tensor:
    """(3, h, w) in [0, 1]: the picture moved by x, y pixels."""
    generator = torch.Generator().manual_seed(seed)
    frequencies = torch.randn(3, waves, 2, generator=generator) * 0.3
    phases = torch.rand(3, waves, generator=generator) * 2 * math.pi
    y, x = torch.meshgrid(torch.arange(size[0]).float(), torch.arange(size[1]).float(), indexing="ij")
    xy = torch.stack([x - offset[0], y - offset[1]])
    angles = torch.einsum("k n d, d h w -> k n h w", frequencies, xy) + rearrange(phases, "k n -> k n 1 1")
    return (0.5 + 0.18 * angles.cos().sum(dim=1) / math.sqrt(waves / 2)).clamp(0, 1)


def moving(size: tuple[int, int], offsets: Sequence[Offset], seed: int = 0) -> Tensor:
    """(t, 3, h, w): one frame for each offset of the picture."""
    return torch.stack([picture(size, offset, seed) for offset in offsets])


def translating(size: tuple[int, int], frames: int, step: Offset = (2.0, -1.0)) -> Tensor:
    """(t, 3, h, w): the picture moves by `step` pixels every frame."""
    return moving(size, [(step[0] * k, step[1] * k) for k in range(frames)])


def with_cut(size: tuple[int, int], before: int, after: int) -> Tensor:
    """(t, 3, h, w): a dark moving picture, a cut, then a bright one of other colours."""
    tint = torch.tensor([0.1, 0.9, 0.6])[:, None, None]
    return torch.cat([translating(size, before) * 0.3, 0.3 * moving(size, [(k, 0.0) for k in range(after)], 1) + tint])


def crossing(size: tuple[int, int], lefts: Sequence[int], side: int, top: int) -> Tensor:
    """(t, 3, h, w): a bright textured square with its left edge at these pixels, before a dark textured background."""
    back = 0.7 * picture(size)
    frames = []
    for left in lefts:
        frame = back.clone()
        square = 0.3 + 0.7 * picture(size, (left, 0.0), seed=1)
        frame[:, top : top + side, left : left + side] = square[:, top : top + side, left : left + side]
        frames.append(frame)
    return torch.stack(frames)


def clip_of(frames: Tensor, pts_seconds: Sequence[Fraction] | None = None) -> Clip:
    """A clip at 25 frames a second, or with these times."""
    pts = tuple(pts_seconds) if pts_seconds else tuple(Fraction(k) / RATE for k in range(len(frames)))
    return Clip(frames, pts, pts[-1] + 1 / RATE, RATE)


def start_of(clip: Clip, config: FieldConfig = DEFAULT, seed: int = 0) -> Start:
    """The starting field of a clip and its rehearsal; the same seed gives the same learnt values."""
    return start_field(clip, config, FlowConfig(), seed)


def field_of(clip: Clip, config: FieldConfig = DEFAULT, seed: int = 0) -> VideoField:
    """The starting field alone."""
    return start_of(clip, config, seed).field


def curves_of(field: VideoField) -> Curves:
    """The curves of every gap of a field, found now."""
    assert field.motion is not None
    gaps = len(field.hidden_rows) or len(gaps_between(field.timeline.shots))
    return Curves(*(torch.stack(grids) for grids in zip(*map(field.motion.curves, range(gaps)), strict=True)))


@torch.no_grad()
def perturb(module: nn.Module, std: float = 0.3, seed: int = 1) -> None:
    """Move every learnt value, so that nothing is neutral any more."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.add_(std * torch.randn(parameter.shape, generator=generator))


def random_points(count: int, seconds: float, margin: float = 0.0, seed: int = 0) -> Tensor:
    """(n, 3) uvt, away from the picture's border by `margin` of its size."""
    uvt = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))
    return (uvt * (1 - 2 * margin) + margin) * torch.tensor([1, 1, 0.0]) + uvt * torch.tensor([0, 0, seconds])
