"""From a clip to a field at its start: shots, keyframes, the curves that start its motion, and what to learn from.

The field itself reads frames and finds motion when it is asked. What it learns from is a bounded sample of places,
spread over the clip: hidden keyframes, each made from its neighbours at half their size, and small frames to enlarge.
So neither the time that learning takes nor its memory depends on how long the clip is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.coords import keyframe_t
from vfield.core.frames import Frames, MadeFrames, chosen_frames
from vfield.field.config import FieldConfig
from vfield.field.latents import Recent, tensor_bytes
from vfield.field.motion import Curves
from vfield.field.timeline import Gap, gaps_between, gaps_hiding
from vfield.field.tracks import AskedCurves, find_curves
from vfield.field.video_field import VideoField
from vfield.learn.enlarging import MOST_FRAMES, Enlarging, make_enlarging
from vfield.learn.prior import start_from_prior
from vfield.learn.rehearsal import Rehearsal, divided
from vfield.prepare.config import FlowConfig
from vfield.prepare.scan import MOST_CHANGE, Scan, scan_frames

# Hidden keyframes that are learnt from, at most, and the memory for their neighbours' pixels.
_MOST_HIDDEN = 64
_MOST_CHECKED_FROM_PRIOR = 16  # that tell with how much force it speaks; nothing is learnt from them
_MOST_HIDDEN_BYTES = 256 << 20
# Of the small frames and curves that are made on the way to what is kept.
_PASSING_BYTES = 64 << 20
# To be enlarged of a piece that teaches a prior: there are many pieces, and not all pictures were made small alike.
_PIECE_FRAMES = 2
_PIECE_REDUCTIONS = ("area", "area", "bicubic")
_LONG_STEP = Fraction(3, 2)  # times the median: a frame is missing there
_NO_DETAIL = 1e-4  # of a clip, on a scale of 0 to 1

# Wraps a loop of known length in a progress display.
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


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
    prior: bool = False,
    piece: bool = False,
    scan: Scan | None = None,
) -> Start:
    """Build the starting field of a clip.

    Frames that repeat the one before (`repeats.py`) are left out where there is motion to run past them. Where there is
    none they are learnt like any others.

    Args:
        clip: the observed frames.
        config: the field's parts.
        flow: settings of the classical flow.
        seed: of the random starting values.
        progress: wraps the loops over places to learn from, the slow part.
        rehearse: False makes nothing to learn from: nothing will be learnt.
        like: another clip's field, whose shared parts this one uses, too; None for parts of its own.
        prior: start from what other clips have taught, where there is no `like`.
        piece: the clip is a piece to teach a prior with: frames are hidden at its own size, and few are enlarged.
        scan: what a look through the clip has found; None looks now.
    """
    moving = config.motion.enabled and config.has_local
    seen, shots = distinct(clip, moving, scan_frames(clip.frames) if scan is None else scan)
    chosen, shots = _keyframes(shots, config.local.keyframe_stride)
    frames = chosen_frames(seen.frames, chosen)
    times = keyframe_t(seen.pts_seconds)[chosen]
    curves = None
    if moving:
        views = config.motion.visibility and config.local.colours
        found = (frames, times, gaps_between(shots), config.motion.cell, flow)
        curves = AskedCurves(*found, views=views, least_kept=config.gaps_beside)
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
            alpha=None if seen.alpha is None else chosen_frames(seen.alpha, chosen),
        )
    if like is not None:
        field.adopt(like)
    elif prior:
        start_from_prior(field)
    if not rehearse:
        return Start(field, None, None, seen)
    visible = None if seen.visible is None else seen.visible[chosen]
    whole_size = piece or _lacks_frames(clip.pts_seconds)
    most_hidden = _MOST_CHECKED_FROM_PRIOR if prior else _MOST_HIDDEN
    rehearsal = _rehearsal(field, frames, visible, flow, whole_size, most_hidden, progress)
    if rehearsal is not None and prior:
        rehearsal = rehearsal._replace(learning=[], checking=rehearsal.hidden)
    by, most = (_PIECE_REDUCTIONS[seed % len(_PIECE_REDUCTIONS)], _PIECE_FRAMES) if piece else ("area", MOST_FRAMES)
    enlarging = _enlarging(field, _small(frames, by), frames, visible, flow, progress, most)
    if enlarging is not None and field.detail is not None:
        field.detail.scale.fill_(enlarging.scale)
    elif like is not None and field.detail is not None:
        # Nothing can be told of this clip's own detail: another's must not be laid over it.
        field.detail.scale.fill_(_NO_DETAIL)
    return Start(field, rehearsal, enlarging, seen)


def _rehearsal(
    field: VideoField,
    frames: Frames,
    visible: Tensor | None,
    flow: FlowConfig,
    whole_size: bool,
    most: int,
    progress: Progress,
) -> Rehearsal | None:
    """What can be hidden of the keyframes; None where nothing can.

    Where frames are missing, gaps are as long as those that hiding leaves: there the task is rehearsed at full size. A
    repeat that is left out is not missing.
    """
    config = field.config
    # Hiding needs every frame to be a keyframe: otherwise the frames between keyframes already are the task.
    hiding = gaps_hiding(field.timeline.shots) if config.local.keyframe_stride == 1 and config.has_local else {}
    stage = frames if whole_size else _small(frames)
    hiding = _spread(hiding, stage, most)
    if not hiding:
        return None
    needed = sorted({near for hidden in hiding for near in (hidden - 1, hidden, hidden + 1)})
    held = {index: stage[index] for index in needed}
    kept = MadeFrames(stage.shape, stage.dtype, held.__getitem__)
    curves = None
    if field.motion is not None:
        views = config.motion.visibility and config.local.colours
        found = find_curves(stage, field.timeline.t, list(hiding.values()), config.motion.cell, flow, views=views)
        curves = Curves(*(torch.cat(grids) for grids in zip(*progress(found, len(hiding)), strict=True)))
    twin = field.rehearsal(kept, curves, list(hiding))
    true = visible if visible is None or whole_size else _halved_visible(visible)
    return Rehearsal(twin, kept, field.timeline.t, *divided(list(hiding)), true)


def _spread(hiding: dict[int, Gap], stage: Frames, most: int) -> dict[int, Gap]:
    """At most so many of the keyframes that can be hidden as memory is allowed for, spread evenly over the clip."""
    _, channels, height, width = stage.shape
    # Each has two neighbours, whose spline coefficients are kept in 32 bits.
    most = max(1, min(most, _MOST_HIDDEN_BYTES // (2 * channels * height * width * 4)))
    keys = list(hiding)
    if len(keys) <= most:
        return hiding
    return {keys[i]: hiding[keys[i]] for i in (round(k * (len(keys) - 1) / max(most - 1, 1)) for k in range(most))}


def _enlarging(
    field: VideoField,
    small: Frames,
    frames: Frames,
    visible: Tensor | None,
    flow: FlowConfig,
    progress: Progress,
    most: int,
) -> Enlarging | None:
    """Small frames to be enlarged, along motion found at their size; None where no detail is to be learnt."""
    if field.detail is None:
        return None
    curves = None
    if field.motion is not None:
        gaps, cell = gaps_between(field.timeline.shots), field.config.motion.cell
        curves = AskedCurves(small, field.timeline.t, gaps, cell, flow, views=False, kept_bytes=_PASSING_BYTES)
    even = MadeFrames(
        (len(frames), 3, *(max(side - side % 2, 1) for side in frames.shape[-2:])),
        frames.dtype,
        lambda index: _even(frames[index]),
    )
    twin = field.at_size(small, curves)
    assert twin.colours is not None
    twin.colours.cache_bytes = _PASSING_BYTES
    return make_enlarging(twin, even, None if visible is None else _even(visible), progress, most)


def _small(frames: Frames, by: str = "area") -> Frames:
    """Frames at half their size, by area averaging or a wider kernel, of the same type; those made last are kept."""
    kept: Recent[Tensor] = Recent(tensor_bytes)
    size = [-(-max(side - side % 2, 1) // 2) for side in frames.shape[-2:]]

    def made(index: int) -> Tensor:
        return kept.get((index,), _PASSING_BYTES, lambda: _halved(frames[index], size, by))

    return MadeFrames((len(frames), frames.shape[1], *size), frames.dtype, made)


def _lacks_frames(pts_seconds: Sequence[Fraction]) -> bool:
    """Whether some frame comes much later after the one before than most do."""
    steps = [later - earlier for earlier, later in pairwise(pts_seconds)]
    return bool(steps) and max(steps) > _LONG_STEP * median(steps)


def _even(frames: Tensor) -> Tensor:
    """Frames (..., h, w) without their last row or column where its number is odd, unless it is the only one."""
    height, width = (max(side - side % 2, 1) for side in frames.shape[-2:])
    return frames[..., :height, :width]


def _halved(frame: Tensor, size: Sequence[int], by: str) -> Tensor:
    """A frame (3, h, w) at half its size: (3, h / 2, w / 2) of the same type."""
    half = F.interpolate(to_float(_even(frame))[None], size=list(size), mode=by, antialias=by != "area")[0].clamp(0, 1)
    return to_uint8(half) if frame.dtype == torch.uint8 else half


def _halved_visible(visible: Tensor) -> Tensor:
    """Which pixels of the halved frames are the truth: (n, h, w) -> (n, h / 2, w / 2), all of whose parts are."""
    hidden = (~_even(visible))[:, None].float()
    return F.max_pool2d(hidden, 2, ceil_mode=True)[:, 0] == 0


def distinct(clip: Clip, moving: bool, scan: Scan) -> tuple[Clip, list[range]]:
    """What to learn from, and its shots: the clip, without held repeats where anything moves.

    A picture that is held up to a cut is on the screen until then. Its last repeat stays, as a shot of its own: nothing
    moves between the two, and the nearer side at the cut is still this picture.
    """
    shots = scan.shots
    if 0 in clip.missing and len(shots[0]) > 1:
        # A copy that stands for a first frame nobody saw: nothing moves from it.
        shots = [range(1), range(1, shots[0].stop), *shots[1:]]
    repeats = set(scan.repeats) if moving else set()
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
