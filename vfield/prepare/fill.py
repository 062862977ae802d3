"""Hidden pixels filled before a field is fitted, from other instants and from around them.

A field's finest latents are the frames' own colours, so a hole must be filled where the frames enter the fit. What is
hidden (`Clip.visible`) has no say in anything; what is seen stays bit for bit as it is. Shot by shot:

1. A rough fill: a membrane over each frame alone (`vfield.prepare.spread`), so that flow finds no logo.
2. *Scattered* pixels, those that have seen ones nearby, are filled by sparsity. Pictures aligned along the motion have
   few large coefficients in a DCT over 8x8 pixels, time and colour, and missing pixels are noise in it. With S the
   shrinkage that cuts off what is under a threshold t, y the frames and M the mask of what is seen,

       x  <-  M y + (1 - M) (x + a (S_t(x) - x)),        t falling,

   first each frame alone, then with its neighbours moved onto it, from what these show of x where they show it; flows
   are found anew as the frames get better. Going further than S says (a = 1.5) gets there in fewer rounds.
3. *Holes*, where 5x5 pixels or more are hidden together, are filled with what other frames show
   (`vfield.prepare.traces`). What no frame shows is a membrane over what is now known. Then the flow is found again on
   the filled frames, and the holes are filled once more along it; edges then run through what is left (edge-enhancing
   diffusion).

Frames of which nothing is seen are left out: the field makes what is between the others.

Methods: Guleryuz, "Nonlinear approximation based image recovery using adaptive sparse reconstructions and iterated
denoising", IEEE TIP 2006; Elad, Starck, Querre and Donoho, "Simultaneous cartoon and texture image inpainting using
morphological component analysis", ACHA 2005 (the falling threshold). Deterministic; on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.frames import Frames, chosen_frames
from vfield.prepare.denoise import Keep, Progress, aligned, flows_around, hard_thresholded, keep_in_memory, pieces
from vfield.prepare.noise import WHITE
from vfield.prepare.shots import ShotSearch
from vfield.prepare.spread import spread
from vfield.prepare.traces import motion_around, trace

_HOLE = 5  # side of a square of hidden pixels that makes a hole
_ALONE = (60.0, 30.0, 15.0)  # thresholds in grey levels, frame by frame
_TOGETHER = (40.0, 27.0, 18.0, 12.0, 8.0, 5.0, 3.0)  # and with the neighbours
_FURTHER = 1.5  # of the way to the shrunk frame that a round goes
_REACH = 2  # frames to either side
_BELIEVED = 0.3  # weight of what a neighbour shows, from which on it counts
# Frames that are filled together, of a long shot: those whose pixels take so much memory; and those beyond that help.
_PIECE_BYTES = 512 << 20
_LEAST_PIECE = 24
_MARGIN_FRAMES = 12
_MARGIN = 16  # pixels around scattered ones that are looked at


def fill(
    clip: Clip, progress: Progress = lambda frames, _: frames, *, rough: bool = False, keep: Keep = keep_in_memory
) -> Clip:
    """Fill what is hidden; long shots piece by piece, with some frames more on either side.

    `visible` and alpha are kept. Frames of which nothing is seen are left out; but the first one, which time is counted
    from, then is a copy of the first that is seen.

    Args:
        clip: frames with `visible`; without it, or with everything visible, there is nothing to fill.
        progress: wraps the loop over frames.
        rough: stop at the membrane: for fields that neither keep colours nor follow motion.
        keep: takes all frames of the filled clip, in order, and gives them by number.
    """
    visible = clip.visible
    if visible is None or bool(visible.all()):
        return replace(clip, visible=None)
    kept = [frame for frame in range(len(clip)) if bool(visible[frame].any())]
    seen = clip.select(kept)
    hidden = ~visible[kept]
    shots = [] if rough else _shots(seen.frames, hidden)
    total = len(seen) * (3 + len(_TOGETHER))
    steps = iter(() if rough else progress(range(total), total))

    pictures, alpha = _filled_frames(seen.frames, hidden, shots, rough, steps), seen.alpha
    if kept[0] != 0:
        first = next(pictures)
        pictures = chain([first, first], pictures)
        seen = clip.select([0, *kept])
        alpha = None if alpha is None else chosen_frames(alpha, [0, *range(len(alpha))])
    frames = keep(pictures, seen.frames)
    next(steps, None)  # lets the display end
    return replace(seen, frames=frames, alpha=alpha, end_seconds=clip.end_seconds, frame_rate=clip.frame_rate)


def _roughly_filled(picture: Tensor, hole: Tensor) -> Tensor:
    return spread(to_float(picture), ~hole)


def _shots(frames: Frames, hidden: Tensor) -> list[range]:
    search = ShotSearch()
    for index, hole in enumerate(hidden):
        search.add(to_uint8(_roughly_filled(frames[index], hole))[None])
    return search.flashes_apart(search.shots())


def _filled_frames(
    frames: Frames, hidden: Tensor, shots: Sequence[range], rough: bool, steps: Iterator[int]
) -> Iterator[Tensor]:
    """All frames (3, h, w), of their type, in order, with what is hidden filled."""
    if rough:
        for index, hole in enumerate(hidden):
            yield _seen_or_filled(frames[index], hole, _roughly_filled(frames[index], hole))
        return
    room = max(_LEAST_PIECE, _PIECE_BYTES // (4 * math.prod(frames.shape[1:])))
    for piece, around in chain.from_iterable(pieces(shot, room, _MARGIN_FRAMES) for shot in shots):
        filled = torch.stack([_roughly_filled(frames[index], hidden[index]) for index in around])
        filled = _filled_shot(filled, hidden[around.start : around.stop], steps)
        for index in piece:
            yield _seen_or_filled(frames[index], hidden[index], filled[index - around.start])


def _seen_or_filled(picture: Tensor, hole: Tensor, filled: Tensor) -> Tensor:
    """What is seen of a picture (3, h, w), and what it was filled with elsewhere."""
    made = filled.clamp(0, 1) if picture.is_floating_point() else to_uint8(filled)
    return torch.where(hole, made, picture)


@torch.no_grad()
def _filled_shot(frames: Tensor, hidden: Tensor, steps: Iterator[int]) -> Tensor:
    """(n, 3, h, w) float frames of one shot, filled roughly before; `steps` is advanced."""
    holes = _opened(hidden)
    scattered = hidden & ~holes
    frames = _from_sparsity(frames, hidden, scattered, steps) if bool(scattered.any()) else frames
    if bool(holes.any()):
        frames = _from_other_frames(frames, holes, True, steps)
        frames = _from_other_frames(frames, holes, False, steps)
    return frames


def _opened(hidden: Tensor) -> Tensor:
    """Where (n, h, w) hidden pixels lie in a whole square of them: a morphological opening."""
    # Beyond the border nothing is seen.
    reach = _HOLE // 2
    padded = F.pad(hidden[:, None].float(), (reach, reach, reach, reach), value=1.0)
    core = -F.max_pool2d(-padded, _HOLE, stride=1)
    return (F.max_pool2d(core, _HOLE, stride=1, padding=reach)[:, 0] > 0) & hidden


def _from_sparsity(frames: Tensor, hidden: Tensor, scattered: Tensor, steps: Iterator[int]) -> Tensor:
    """Scattered pixels among the hidden ones, made sparse in a DCT over space, then over time, too."""
    frames = frames.clone()
    windows = [_window(hidden) for hidden in scattered]
    for frame, window in enumerate(windows):
        next(steps, None)
        if window is None:
            continue
        picture, wanted = frames[frame][window], scattered[frame][window[1:]]
        for threshold in _ALONE:
            picture = torch.where(wanted, hard_thresholded(WHITE * picture[None], threshold, 0) / WHITE, picture)
        frames[frame][window] = picture
    if len(frames) == 1:
        return frames
    # Where a neighbour shows a pixel whole, that is the better start.
    before, motion = frames.clone(), motion_around(frames, hidden, smooth=False)
    for frame, wanted in enumerate(scattered):
        colours, weight = trace(before, hidden, motion, frame, wanted, _REACH)
        y, x = wanted.nonzero()[weight > _BELIEVED].unbind(-1)
        frames[frame][:, y, x] = colours[weight > _BELIEVED].T
    for threshold in _TOGETHER:
        # From the frames of the round before: the result does not depend on the order.
        before, looks = frames.clone(), to_uint8(frames)
        for frame, window in enumerate(windows):
            next(steps, None)
            if window is None:
                continue
            flows = flows_around(looks, frame, _REACH)
            made = hard_thresholded(aligned(before, flows)[:, *window], threshold, list(flows).index(frame)) / WHITE
            made = torch.lerp(before[frame][window], made, _FURTHER)
            frames[frame][window] = torch.where(scattered[frame][window[1:]], made, before[frame][window])
    return frames


def _window(hidden: Tensor) -> tuple[slice, slice, slice] | None:
    """The part of a picture (3, h, w) that holds these (h, w) pixels and what is around them; None for none."""
    if not bool(hidden.any()):
        return None
    inside = [hidden.any(dim=dim).nonzero()[:, 0] for dim in (1, 0)]
    rows, columns = (slice(max(0, int(at[0]) - _MARGIN), int(at[-1]) + _MARGIN + 1) for at in inside)
    return slice(None), rows, columns


def _from_other_frames(frames: Tensor, holes: Tensor, smooth: bool, steps: Iterator[int]) -> Tensor:
    """Holes filled with what other frames show, and the rest of them from around."""
    motion = motion_around(frames, holes, smooth)
    made = frames.clone()
    for frame, hole in enumerate(holes):
        next(steps, None)
        if not bool(hole.any()):
            continue
        colours, weight = trace(frames, holes, motion, frame, hole)
        picture, known = frames[frame].clone(), ~hole
        found = weight > 0
        y, x = hole.nonzero().unbind(-1)
        picture[:, y[found], x[found]] = colours[found].T
        known[y[found], x[found]] = True
        made[frame] = spread(picture, known, edges=not smooth)
    return made
