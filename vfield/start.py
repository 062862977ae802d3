"""From a clip to a field at its start: shots, keyframes, and the curves that start its motion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vfield.clip import Clip
from vfield.coords import keyframe_t
from vfield.field.motion import Curves
from vfield.field.timeline import gaps_between, gaps_hiding
from vfield.field.video_field import FieldConfig, VideoField
from vfield.flow import FlowConfig
from vfield.shots import find_shots
from vfield.tracks import find_curves

# Wraps a loop of known length in a progress display.
Progress = Callable[[Iterable[Curves], int], Iterable[Curves]]


class Start(NamedTuple):
    """A field that has learnt nothing yet, and the frames it may hide while it learns.

    Attributes:
        field: the field.
        hideable: indices of the clip's frames that may be hidden: keyframes with a neighbour on both sides.
    """

    field: VideoField
    hideable: list[int]


def start_field(
    clip: Clip, config: FieldConfig, flow: FlowConfig, seed: int, progress: Progress = lambda curves, _: curves
) -> Start:
    """Build the starting field of a clip.

    Args:
        clip: the observed frames.
        config: the field's parts.
        flow: settings of the classical flow.
        seed: of the random starting values.
        progress: wraps the loop over gaps, the slow part.
    """
    t = keyframe_t(clip.pts_seconds)
    chosen, shots = _keyframes(find_shots(clip.frames), config.local.keyframe_stride)
    frames = clip.frames if len(chosen) == len(clip) else clip.frames[chosen]
    times = t[chosen]
    moving = config.motion.enabled and config.has_local
    # Hiding needs every frame to be a keyframe: otherwise the frames between keyframes already are the task.
    hiding = gaps_hiding(shots) if config.local.keyframe_stride == 1 and config.has_local else {}
    curves = hidden = None
    if moving:
        gaps = gaps_between(shots)
        every = [*gaps, *hiding.values()]
        both = _curves(
            progress(find_curves(frames, times, every, config.motion.cell, flow), len(every)), frames, config
        )
        curves, hidden = (Curves(*(grid[part] for grid in both)) for part in (slice(len(gaps)), slice(len(gaps), None)))
    # Layers draw their first weights from the global generator: seeded for them, and left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        field = VideoField(
            config,
            keyframes=frames,
            t=times,
            shots=shots,
            duration_seconds=float(clip.duration_seconds),
            curves=curves,
            generator=torch.Generator().manual_seed(seed),
        )
    field.attach_hidden(hidden, list(hiding))
    return Start(field, list(hiding))


def _keyframes(shots: Sequence[range], stride: int) -> tuple[list[int], list[range]]:
    """Every stride-th frame of each shot and its last one; and the shots counted in keyframes."""
    chosen: list[int] = []
    counted = []
    for shot in shots:
        first = len(chosen)
        chosen += sorted({*shot[::stride], shot[-1]})
        counted.append(range(first, len(chosen)))
    return chosen, counted


def _curves(found: Iterable[Curves], frames: Tensor, config: FieldConfig) -> Curves:
    height, width = frames.shape[-2:]
    rows, columns = -(-height // config.motion.cell), -(-width // config.motion.cell)
    empty = Curves.empty(rows, columns)
    return Curves(*(torch.cat(grids) for grids in zip(empty, *found, strict=True)))
