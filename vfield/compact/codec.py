"""All frames of a clip to words and back: one walk over the hierarchy, for writers and readers alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vfield.clip import to_float, to_uint8
from vfield.compact.config import CompressionConfig
from vfield.compact.entropy import Coder
from vfield.compact.hierarchy import Made, order_of
from vfield.compact.pictures import code_grids, code_picture
from vfield.compact.prediction import Sides, averaged, best_shares, look, mixed
from vfield.fit_config import FlowConfig
from vfield.flow import dense_flow

# Steps of frames by level, in the config's step: what others are made from is worth more.
_ALONE, _KEY = 0.55, 0.65
_LEVELS = (0.9, 1.1, 1.3, 1.55)
_MOTION_STEP_PX = 0.6
_SHARE_STEP = 0.25

Progress = Callable[[Iterable[Made], int], Iterable[Made]]


class Source(NamedTuple):
    """What a writer codes: frames (n, 3, h, w) uint8, and how to find their motion."""

    frames: Tensor
    flow: FlowConfig


class Coded(NamedTuple):
    """What a reader finds.

    Attributes:
        frames: (n, 3, h, w) uint8.
        sides: where the cells of each frame lie in those it is made from; none for those that stand alone.
        order: how they were made.
    """

    frames: Tensor
    sides: dict[int, Sides]
    order: list[Made]


def code_clip(
    coder: Coder,
    config: CompressionConfig,
    count: int,
    size: tuple[int, int],
    shots: Sequence[range],
    source: Source | None,
    progress: Progress = lambda made, _: made,
) -> Coded:
    """Code a clip's frames.

    Args:
        coder: which way.
        config: how finely.
        count: number of frames.
        size: height and width in pixels.
        shots: runs of frames between cuts.
        source: the frames; None for readers.
        progress: wraps the loop over frames.
    """
    frames = torch.zeros(count, 3, *size, dtype=torch.uint8)
    order = order_of(shots, config.keyframe_stride)
    sides: dict[int, Sides] = {}
    for made in progress(order, len(order)):
        prediction = torch.full((3, *size), 0.5)
        if made.left is not None:
            sides[made.frame], prediction = _predict(coder, config, made, frames, source)
        lacking = None if source is None else 255 * (to_float(source.frames[made.frame]) - prediction)
        alone = made.left is None
        step = config.step * (_ALONE if alone else _step(made))
        read = code_picture(coder, _kind(made), size, step, lacking, alone)
        frames[made.frame] = to_uint8(prediction + read / 255)
    return Coded(frames, sides, order)


def _kind(made: Made) -> str:
    """Frames of one kind share their statistics."""
    return "alone" if made.left is None else "key" if made.right is None else f"between {min(made.level, 3)}"


def _step(made: Made) -> float:
    return _KEY if made.right is None else _LEVELS[min(made.level, len(_LEVELS)) - 1]


def _predict(
    coder: Coder, config: CompressionConfig, made: Made, frames: Tensor, source: Source | None
) -> tuple[Sides, Tensor]:
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    cells = tuple(-(-side // config.motion_cell) for side in size)
    kept = None
    if source is not None:
        kept = Sides(*(_displacement(source, made.frame, side, config) for side in (made.left, made.right))).kept()
    both = made.right is not None
    rows, columns = cells
    kept = code_grids(coder, f"motion {both:d}", (rows, columns), [_MOTION_STEP_PX] * (4 if both else 2), kept)
    sides = Sides.of_kept(kept)
    assert made.left is not None
    assert sides.left is not None
    left = look(frames[made.left], sides.left)
    if made.right is None or sides.right is None:
        return sides, left
    right = look(frames[made.right], sides.right)
    shares = None if source is None else best_shares(source.frames[made.frame], left, right, config.motion_cell)
    shares = code_grids(coder, "shares", (rows, columns), [_SHARE_STEP], shares)
    return sides, mixed(left, right, shares)


def _displacement(source: Source, frame: int, other: int | None, config: CompressionConfig) -> Tensor | None:
    if other is None:
        return None
    return averaged(dense_flow(source.frames[frame], source.frames[other], source.flow), config.motion_cell)
