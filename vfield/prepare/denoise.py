"""Noise taken out of a clip before a field is fitted to it: a field that reproduces noise enlarges it.

Each frame is stacked with its neighbours, moved onto it, and the stack is shrunk in a basis in which pictures are
sparse and noise is not: DCT over 8x8 pixels, over the frames and over the colours. What motion gets wrong lies in the
high frequencies of time and is kept like any detail, so nothing needs to know where motion fails. The first pass cuts
coefficients off, the next two weigh them (Wiener) by what the pass before found. Motion is found anew in each.

Method: in the manner of Maggioni, Boracchi, Foi and Egiazarian, "Video denoising, deblocking, and enhancement through
separable 4-D nonlocal spatiotemporal transforms", IEEE TIP 2012, with dense flow instead of block matching and
without grouping over space. Deterministic; on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vfield.core.clip import Clip, to_uint8
from vfield.core.frames import Frames, chosen_frames
from vfield.prepare.config import DenoiseConfig
from vfield.prepare.flow import MEDIUM, dense_flow, warp
from vfield.prepare.noise import WHITE, Clipped, Noise, estimate_noise, from_opponent, to_levels, to_opponent
from vfield.prepare.scan import Scan, scan_frames

_REACH = 3  # frames to either side
_SIDE = 8  # of a patch, pixels
_STRIDE = 4  # between patches, pixels
_CUT_OFF = 2.7  # standard deviations under which a coefficient is taken for noise
_PASSES = 3
_LOOKED_AT = 8  # frames that tell whether the noise was clipped
_WINDOW = 2.0  # beta of the Kaiser window under which patches overlap

# Pairs of frames that tell the noise of a shot; of a clip of many shots fewer each, but two.
_MOST_PAIRS, _ALL_PAIRS, _LEAST_PAIRS = 8, 96, 2
# Frames that are cleaned together, of a long shot: those whose estimates take so much memory.
_PIECE_BYTES = 384 << 20
_LEAST_PIECE = 12

# Wraps a loop of known length in a progress display.
Progress = Callable[[Iterable[int], int], Iterable[int]]
# Takes pictures in order, and the frames they stand for; gives them by number.
Keep = Callable[[Iterator[Tensor], Frames], Frames]


def keep_in_memory(pictures: Iterator[Tensor], _: Frames) -> Frames:
    """Keep pictures in memory."""
    return torch.stack(list(pictures))


class Denoised(NamedTuple):
    """What came of it."""

    clip: Clip  # the very same where nothing was taken out
    found: float | None  # deviation of the noise measured in the worst shot, grey levels; None where not asked for
    removed: float  # that of the noise that was taken out, likewise; 0 for none

    def __str__(self) -> str:
        if self.removed != 0:
            return f"noise of about {self.removed:.0f} grey levels: taken out"
        if self.found is None:
            return "no noise taken out"
        return f"noise of about {self.found:.1f} grey levels: kept as content"


def denoise(
    clip: Clip,
    config: DenoiseConfig | None = None,
    progress: Progress = lambda frames, _: frames,
    *,
    scan: Scan | None = None,
    keep: Keep = keep_in_memory,
) -> Denoised:
    """Take the noise out of a clip; its frames keep their type.

    Nothing is read across a cut or a flash. A frame that repeats the one before is given the same result: noise that
    is shown twice would be taken for content. Long shots are cleaned piece by piece.

    Args:
        clip: the frames, uint8 or float32.
        config: None for the defaults.
        progress: wraps the loop over frames.
        scan: what a look through the clip has found; None looks now.
        keep: takes all frames of the clean clip, in order, and gives them by number.
    """
    config = config or DenoiseConfig()
    if config.strength == 0:
        return Denoised(clip, None, 0.0)
    scan = scan_frames(clip.frames) if scan is None else scan
    repeats = set(scan.repeats)
    # Each shot by itself: a clean one stays as it is beside a noisy one.
    found: dict[tuple[int, ...], Noise] = {}
    pairs = max(_LEAST_PAIRS, min(_MOST_PAIRS, _ALL_PAIRS // len(scan.shots)))
    for shot in scan.shots:
        distinct = tuple(frame for frame in shot if frame not in repeats)
        if distinct:
            found[distinct] = estimate_noise(chosen_frames(clip.frames, distinct), pairs)
    if config.strength == "auto":
        level = max(noise.level for noise in found.values())
        removed = {frames: noise for frames, noise in found.items() if noise.level >= config.least}
        if not removed:
            return Denoised(clip, level, 0.0)
    else:
        level = None
        removed = {frames: noise.scaled(config.strength) for frames, noise in found.items()}
    total = sum(map(len, removed)) * (_PASSES + 1)
    steps = iter(progress(range(total), total))
    frames = keep(_clean_frames(clip.frames, removed, repeats, steps), clip.frames)
    next(steps, None)  # lets the display end
    return Denoised(replace(clip, frames=frames), level, max(noise.level for noise in removed.values()))


def _clean_frames(
    frames: Frames, removed: Mapping[tuple[int, ...], Noise], repeats: Collection[int], steps: Iterator[int]
) -> Iterator[Tensor]:
    """All frames of a clip in order, those of noisy shots without their noise."""
    noisy = {shot[0]: (shot, noise) for shot, noise in removed.items()}
    treated = set[int]()
    pictures: Iterator[Tensor] = iter(())
    last: Tensor | None = None
    for number in range(len(frames)):
        if number in noisy:
            shot, noise = noisy[number]
            treated, pictures = set(shot), _denoised(chosen_frames(frames, shot), noise, steps)
        if number in treated:
            made = next(pictures) / WHITE
            last = made.clamp(0, 1) if frames.dtype.is_floating_point else to_uint8(made)
        elif number not in repeats:
            # A repeat within a shot that was left alone is left alone, too.
            last = None
        yield frames[number] if last is None else last


@torch.no_grad()
def _denoised(frames: Frames, noise: Noise, steps: Iterator[int]) -> Iterator[Tensor]:
    """The frames (3, h, w) of one shot without their noise, float32 grey levels; `steps` is advanced four a frame."""
    variance = torch.tensor(noise.opponent).square()[:, None, None]

    def alone(picture: Tensor) -> Tensor:
        levels = to_levels(picture)
        return _shrunk(levels[None], None, variance.expand_as(levels), 0)

    some = [frames[index] for index in range(0, len(frames), max(1, len(frames) // _LOOKED_AT))]
    looked_at = torch.stack([to_levels(picture) for picture in some])
    clipped = Clipped.of(looked_at, torch.stack([alone(picture) for picture in some]), noise.level)
    room = max(_LEAST_PIECE, _PIECE_BYTES // (4 * math.prod(frames.shape[1:])))
    for piece, around in pieces(range(len(frames)), room, _PASSES * _REACH):
        pictures = torch.stack([frames[index] for index in around])
        estimate = torch.stack([alone(picture) for picture in pictures])
        _advance(steps, len(piece))
        for number in range(_PASSES):
            estimate = _pass(pictures, estimate, clipped, variance, is_first=number == 0)
            _advance(steps, len(piece))
        yield from clipped.unbiased(estimate)[piece.start - around.start : piece.stop - around.start]


def _pass(frames: Tensor, estimate: Tensor, clipped: Clipped, variance: Tensor, *, is_first: bool) -> Tensor:
    """One round of shrinkage over (n, 3, h, w) frames, helped by the estimate of the round before, grey levels."""
    estimate = estimate / WHITE
    looks = torch.stack([to_uint8(clipped.unbiased(WHITE * picture) / WHITE) for picture in estimate])
    made = torch.empty_like(estimate)
    for frame in range(len(frames)):
        flows = flows_around(looks, frame, _REACH)
        stack = aligned(frames, flows)
        # The first estimate has no help from other frames: too little to weigh by.
        pilot = None if is_first else aligned(estimate, flows)
        left = clipped.variance_left(WHITE * estimate[frame]).mean(dim=0)
        made[frame] = _shrunk(stack, pilot, variance * left, list(flows).index(frame))
    return made


def _advance(steps: Iterator[int], count: int) -> None:
    for _ in range(count):
        next(steps, None)


def pieces(shot: range, room: int, margin: int) -> Iterator[tuple[range, range]]:
    """A shot in pieces of at most `room` frames, and the frames each looks at: up to `margin` more on either side."""
    for start in range(shot.start, shot.stop, room):
        piece = range(start, min(start + room, shot.stop))
        yield piece, range(max(shot.start, start - margin), min(piece.stop + margin, shot.stop))


def flows_around(frames: Tensor, frame: int, reach: int) -> dict[int, Tensor | None]:
    """The flows from one of (n, 3, h, w) frames to those up to `reach` away, in order; None for the frame itself."""
    near = range(max(0, frame - reach), min(len(frames), frame + reach + 1))
    return {other: None if other == frame else dense_flow(frames[frame], frames[other], MEDIUM) for other in near}


def aligned(frames: Tensor, flows: Mapping[int, Tensor | None]) -> Tensor:
    """A frame and those near it, moved onto it along `flows_around`: (k, 3, h, w), float32 grey levels."""
    return torch.stack(
        [
            to_levels(frames[other]) if flow is None else WHITE * warp(frames[other], flow, "cubic")
            for other, flow in flows.items()
        ]
    )


def hard_thresholded(stack: Tensor, threshold: float, centre: int) -> Tensor:
    """One frame (3, h, w) of an aligned stack (k, 3, h, w), grey levels, from its large coefficients.

    Those under the threshold, grey levels (the basis is orthonormal), cannot be told from error. `centre` says which
    frame of the stack to make.
    """
    variance = torch.full_like(stack[0], (threshold / _CUT_OFF) ** 2)
    return _shrunk(stack, None, variance, centre)


def _shrunk(stack: Tensor, pilot: Tensor | None, variance: Tensor, centre: int) -> Tensor:
    """One frame (3, h, w) of an aligned stack (k, 3, h, w), from the coefficients that stand out of the noise.

    `pilot` is like `stack` with less noise: coefficients are weighed by its; None cuts off those that are small.
    `variance` (3, h, w) is the noise's in opponent channels.
    """
    count, _, height, width = stack.shape
    over_time, over_side = _dct(count), _dct(_SIDE)
    basis = rearrange(torch.einsum("a i, b j -> a b i j", over_side, over_side), "a b i j -> (a b) 1 i j")
    rows, columns = (max(0, -(-(side - _SIDE) // _STRIDE)) * _STRIDE + _SIDE for side in (height, width))
    padding = (0, columns - width, 0, rows - height)

    def coefficients(pictures: Tensor) -> Tensor:
        """(k, 3, h, w) to (k, 3, 64, rows, columns): frequency in time, colour, frequency in space, place."""
        turned = torch.einsum("l k, k c h w -> l c h w", over_time, to_opponent(pictures))
        each = rearrange(F.pad(turned, padding, mode="replicate"), "l c h w -> (l c) 1 h w")
        return rearrange(F.conv2d(each, basis, stride=_STRIDE), "(l c) f h w -> l c f h w", l=count)

    floor = F.avg_pool2d(F.pad(variance[None], padding, mode="replicate"), _SIDE, _STRIDE)[0][:, None].clamp(min=1e-3)
    seen = coefficients(stack)
    if pilot is None:
        gain = (seen.square() > _CUT_OFF**2 * floor).float()
        gain[0, :, 0] = 1  # the mean
    else:
        power = coefficients(pilot).square()
        gain = power / (power + floor)
    # Patches count by how little noise is left in them.
    weight = 1 / (floor * gain.square()).sum(dim=(0, 2), keepdim=True)[0].clamp(min=1e-3)
    kept = torch.einsum("l, l c f h w -> c f h w", over_time[:, centre], seen * gain)
    ramp = torch.kaiser_window(_SIDE, periodic=False, beta=_WINDOW)
    window = (ramp[:, None] * ramp)[None, None]
    total = F.conv_transpose2d(kept * weight, basis * window, stride=_STRIDE)
    weights = F.conv_transpose2d(weight, window, stride=_STRIDE)
    return from_opponent((total / weights)[:, 0, :height, :width])


def _dct(count: int) -> Tensor:
    """(count, count): the orthonormal discrete cosine transform, type II; frequency first."""
    frequency = torch.arange(count, dtype=torch.float32)[:, None]
    place = torch.arange(count, dtype=torch.float32) + 0.5
    matrix = torch.cos(math.pi / count * frequency * place) * math.sqrt(2 / count)
    matrix[0] /= math.sqrt(2)
    return matrix
