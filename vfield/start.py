"""From a clip to a field at its start: shots, keyframes, and the curves that start its motion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import chain, islice, pairwise
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vfield.clip import Clip, to_float, to_uint8
from vfield.coords import keyframe_t
from vfield.enlarging import Enlarging, make_enlarging
from vfield.field.config import FieldConfig
from vfield.field.motion import Curves
from vfield.field.timeline import gaps_between, gaps_hiding
from vfield.field.video_field import VideoField
from vfield.fit_config import FlowConfig
from vfield.rehearsal import Rehearsal, divided
from vfield.repeats import MOST_CHANGE, find_repeats
from vfield.shots import find_shots, flashes_apart
from vfield.tracks import find_curves

_LONG_STEP = Fraction(3, 2)  # times the median: a frame is missing there
_NO_DETAIL = 1e-4  # of a clip, on a scale of 0 to 1

# Wraps a loop of known length in a progress display.
Progress = Callable[[Iterable[Curves], int], Iterable[Curves]]


class Start(NamedTuple):
    """A field that has learnt nothing yet, and what it rehearses on.

    Attributes:
        field: the field.
        rehearsal: None where no frame can be hidden.
        enlarging: None where no detail is to be learnt.
        seen: what to learn from: the clip without the frames that motion runs past.
    """

    field: VideoField
    rehearsal: Rehearsal | None
    enlarging: Enlarging | None
    seen: Clip


def start_field(
    clip: Clip,
    config: FieldConfig,
    flow: FlowConfig,
    seed: int,
    progress: Progress = lambda curves, _: curves,
    *,
    rehearse: bool = True,
    like: VideoField | None = None,
) -> Start:
    """Build the starting field of a clip.

    Frames that repeat the one before (`repeats.py`) are left out where there is motion to run past them. Where there is
    none they are learnt like any others.

    Args:
        clip: the observed frames.
        config: the field's parts.
        flow: settings of the classical flow.
        seed: of the random starting values.
        progress: wraps the loop over gaps, the slow part.
        rehearse: False makes nothing to learn from: nothing will be learnt.
        like: another clip's field, whose shared parts this one uses, too; None for parts of its own.
    """
    moving = config.motion.enabled and config.has_local
    seen, shots = distinct(clip, moving)
    chosen, shots = _keyframes(shots, config.local.keyframe_stride)
    frames = seen.frames if len(chosen) == len(seen) else seen.frames[chosen]
    visible = None if seen.visible is None else seen.visible[chosen]
    times = keyframe_t(seen.pts_seconds)[chosen]
    # Hiding needs every frame to be a keyframe: otherwise the frames between keyframes already are the task.
    hiding = gaps_hiding(shots) if rehearse and config.local.keyframe_stride == 1 and config.has_local else {}
    views = config.motion.visibility and config.local.colours
    enlarges = rehearse and config.detail.enabled and config.local.colours
    gaps = gaps_between(shots)
    # Where frames are missing, gaps are as long as those that hiding leaves: there the task is rehearsed at full size.
    # A repeat that is left out is not missing.
    lacks = _lacks_frames(clip.pts_seconds)
    small = _halved(frames) if enlarges or (hiding and not lacks) else frames
    stage = frames if lacks else small
    total = len(gaps) + len(hiding) + (len(gaps) if enlarges else 0)
    made = iter(
        progress(
            chain(
                find_curves(frames, times, gaps, config.motion.cell, flow, views=views),
                find_curves(stage, times, list(hiding.values()), config.motion.cell, flow, views=views),
                find_curves(small, times, gaps if enlarges else [], config.motion.cell, flow, views=False),
            ),
            total,
        )
        if moving
        else ()
    )
    curves = _collect(islice(made, len(gaps)), frames, config) if moving else None
    hidden = _collect(islice(made, len(hiding)), stage, config) if moving else None
    joined = _collect(made, small, config) if moving else None
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
            alpha=None if seen.alpha is None else seen.alpha[chosen],
        )
    if like is not None:
        field.adopt(like)
    rehearsal = enlarging = None
    if hiding:
        twin = field.rehearsal(stage, hidden, list(hiding))
        true = visible if visible is None or stage is frames else _halved_visible(visible)
        rehearsal = Rehearsal(twin, stage, times, *divided(list(hiding)), true)
    if enlarges:
        enlarging = make_enlarging(
            field.at_size(small, joined), _even(frames), None if visible is None else _even(visible)
        )
        if enlarging is not None and field.detail is not None:
            field.detail.scale.fill_(enlarging.scale)
        elif like is not None and field.detail is not None:
            # Nothing can be told of this clip's own detail: another's must not be laid over it.
            field.detail.scale.fill_(_NO_DETAIL)
    return Start(field, rehearsal, enlarging, seen)


def _lacks_frames(pts_seconds: Sequence[Fraction]) -> bool:
    """Whether some frame comes much later after the one before than most do."""
    steps = [later - earlier for earlier, later in pairwise(pts_seconds)]
    return bool(steps) and max(steps) > _LONG_STEP * median(steps)


def _even(frames: Tensor) -> Tensor:
    """Frames (..., h, w) without their last row or column where its number is odd, unless it is the only one."""
    height, width = (max(side - side % 2, 1) for side in frames.shape[-2:])
    return frames[..., :height, :width]


def _halved(frames: Tensor) -> Tensor:
    """Frames at half their size, by area averaging: (n, 3, h, w) -> (n, 3, h / 2, w / 2) of the same type."""
    even = _even(frames)
    size = [-(-side // 2) for side in even.shape[-2:]]
    halves = (F.interpolate(to_float(frame), size=size, mode="area") for frame in even.split(1))
    return torch.cat([to_uint8(half) if frames.dtype == torch.uint8 else half for half in halves])


def _halved_visible(visible: Tensor) -> Tensor:
    """Which pixels of the halved frames are the truth: (n, h, w) -> (n, h / 2, w / 2), all of whose parts are."""
    hidden = (~_even(visible))[:, None].float()
    return F.max_pool2d(hidden, 2, ceil_mode=True)[:, 0] == 0


def distinct(clip: Clip, moving: bool) -> tuple[Clip, list[range]]:
    """What to learn from, and its shots: the clip, without held repeats where anything moves.

    A picture that is held up to a cut is on the screen until then. Its last repeat stays, as a shot of its own: nothing
    moves between the two, and the nearer side at the cut is still this picture.
    """
    shots = flashes_apart(clip.frames, find_shots(clip.frames))
    if 0 in clip.missing and len(shots[0]) > 1:
        # A copy that stands for a first frame nobody saw: nothing moves from it.
        shots = [range(1), range(1, shots[0].stop), *shots[1:]]
    repeats = set(find_repeats(clip.frames, shots)) if moving else set()
    if clip.alpha is not None:
        repeats = {frame for frame in repeats if _shown_alike(clip.alpha[frame - 1], clip.alpha[frame])}
    if not repeats:
        return clip, shots
    kept: list[int] = []
    counted = []
    for shot in shots:
        distinct = [frame for frame in shot if frame not in repeats]
        counted.append(range(len(kept), len(kept) + len(distinct)))
        kept += distinct
        if shot[-1] in repeats and shot is not shots[-1]:
            counted.append(range(len(kept), len(kept) + 1))
            kept.append(shot[-1])
    return clip.select(kept), counted


def _shown_alike(one: Tensor, other: Tensor) -> bool:
    """Whether two frames whose colours are alike are as transparent: black may fade without a change of colour."""
    return float((to_float(one) - to_float(other)).abs().mean()) <= MOST_CHANGE


def _keyframes(shots: Sequence[range], stride: int) -> tuple[list[int], list[range]]:
    """Every stride-th frame of each shot and its last one; and the shots counted in keyframes."""
    chosen: list[int] = []
    counted = []
    for shot in shots:
        first = len(chosen)
        chosen += sorted({*shot[::stride], shot[-1]})
        counted.append(range(first, len(chosen)))
    return chosen, counted


def _collect(found: Iterable[Curves], frames: Tensor, config: FieldConfig) -> Curves:
    height, width = frames.shape[-2:]
    rows, columns = -(-height // config.motion.cell), -(-width // config.motion.cell)
    empty = Curves.empty(rows, columns)
    return Curves(*(torch.cat(grids) for grids in zip(empty, *found, strict=True)))
