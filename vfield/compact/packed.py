"""A compact field as a file keeps it: made from a clip, and made into an ordinary field again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vfield.clip import to_uint8
from vfield.compact.codec import Coded, Source, code_clip
from vfield.compact.config import CompressionConfig
from vfield.compact.curves import curves_of
from vfield.compact.entropy import Reader, Writer
from vfield.compact.mend import Mender, learn_mender
from vfield.errors import UserError
from vfield.field.config import FieldConfig
from vfield.field.video_field import VideoField
from vfield.fit_config import FlowConfig

LATENTS, _MENDER = "latents", "mender."
# Smaller pictures do not fill what the network looks at.
_LEAST_SIDE_MENDED = 16

Progress = Callable[[Iterable[Any], int], Iterable[Any]]


class Packed(NamedTuple):
    """A compact field.

    Attributes:
        tensors: what a file holds: the coded latents as bytes, and the weights of the network that mends frames.
        config: how it was made.
        t: (n,) instants of the frames, seconds since the clip's first.
        shots: runs of frames between cuts.
        size: height and width in pixels.
    """

    tensors: dict[str, Tensor]
    config: CompressionConfig
    t: Tensor
    shots: list[range]
    size: tuple[int, int]


def check_parts(config: FieldConfig) -> None:
    """Raise a UserError where a field has parts that a compact one does not keep."""
    wrong = {
        "local.colours": not config.local.colours,
        "local.levels": bool(config.local.levels),
        "local.keyframe_stride": config.local.keyframe_stride != 1,
        "motion.enabled": not config.motion.enabled,
        "motion.visibility": config.motion.visibility,
        "motion.levels": bool(config.motion.levels),
        "detail.enabled": config.detail.enabled,
    }
    named = [f"field.{name}" for name, is_wrong in wrong.items() if is_wrong]
    if named:
        raise UserError(
            f"a compact field keeps colours and motion alone, but {', '.join(named)} ask(s) for something else; "
            "start from configs/compact.yaml"
        )


def pack(
    frames: Tensor,
    t: Tensor,
    shots: Sequence[range],
    config: CompressionConfig,
    flow: FlowConfig,
    seed: int,
    progress: Progress = lambda loop, _: loop,
) -> tuple[Packed, Coded]:
    """Make a clip small.

    Args:
        frames: (n, 3, h, w) observed frames.
        t: (n,) their instants in seconds.
        shots: runs of frames between cuts.
        config: how small.
        flow: how motion is found.
        seed: of what the network that mends frames sees.
        progress: wraps long loops.

    Returns:
        What a file holds, and what `unpack` will make of it.
    """
    frames = to_uint8(frames)
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    writer = Writer()
    coded = code_clip(writer, config, len(frames), size, shots, Source(frames, flow), progress)
    tensors = {LATENTS: torch.from_numpy(writer.words().view(np.uint8).copy())}
    if config.weight_steps and min(size) >= _LEAST_SIDE_MENDED:
        mender = learn_mender(coded.frames, frames, config.weight_steps, seed, progress)
        if mender is not None:
            tensors |= {_MENDER + name: value for name, value in mender.stored().items()}
    packed = Packed(tensors, config, t, list(shots), size)
    return packed, _mended(packed, coded)


def unpack(packed: Packed) -> Coded:
    """What the latents say, mended.

    Raises:
        UserError: when they are not what was written.
    """
    latents = packed.tensors[LATENTS]
    if latents.dtype != torch.uint8 or latents.ndim != 1 or len(latents) % 4:
        raise UserError("its coded latents are not a row of words")
    reader = Reader(latents.numpy().view(np.uint32))
    return _mended(packed, code_clip(reader, packed.config, len(packed.t), packed.size, packed.shots, None))


def _mended(packed: Packed, coded: Coded) -> Coded:
    kept = {name.removeprefix(_MENDER): value for name, value in packed.tensors.items() if name.startswith(_MENDER)}
    if kept:
        mender = Mender.of_stored(kept)
        # In place: a clip's frames are the largest thing in memory.
        for index, frame in enumerate(coded.frames):
            coded.frames[index] = mender.mend(frame)
    return coded


def field_of(packed: Packed, coded: Coded, config: FieldConfig, duration_seconds: float) -> VideoField:
    """The field: an ordinary one whose keyframes are all the observed frames.

    Args:
        packed: what a file holds.
        coded: what `unpack` makes of it.
        config: the field's parts.
        duration_seconds: of the clip.
    """
    check_parts(config)
    cells = tuple(-(-side // packed.config.motion_cell) for side in packed.size)
    curves = curves_of(coded.order, coded.sides, packed.t, packed.shots, packed.size, (cells[0], cells[1]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VideoField(
            config,
            keyframes=coded.frames,
            t=packed.t,
            shots=packed.shots,
            duration_seconds=duration_seconds,
            curves=curves,
            generator=torch.Generator().manual_seed(0),
        )
