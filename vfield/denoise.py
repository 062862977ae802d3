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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vfield.clip import Clip, to_uint8
from vfield.flow import MEDIUM, dense_flow, warp
from vfield.noise import WHITE, Clipped, Noise, estimate_noise, from_opponent, to_levels, to_opponent
from vfield.ranges import Range, check_ranges
from vfield.repeats import find_repeats
from vfield.shots import find_shots, flashes_apart

_REACH = 3  # frames to either side
_SIDE = 8  # of a patch, pixels
_STRIDE = 4  # between patches, pixels
_CUT_OFF = 2.7  # standard deviations under which a coefficient is taken for noise
_PASSES = 3
_LOOKED_AT = 8  # frames that tell whether the noise was clipped
_WINDOW = 2.0  # beta of the Kaiser window under which patches overlap

# Wraps a loop of known length in a progress display.
Progress = Callable[[Iterable[int], int], Iterable[int]]


@dataclass(frozen=True)
class DenoiseConfig:
    """Whether noise is taken out of the clip first.

    Attributes:
        strength: standard deviation of the noise in grey levels (0 to 255); 0 leaves the frames as they are. "auto"
            measures it and leaves the shots alone where it finds less than `least`.
        least: grey levels under which noise counts as content: film grain, and what coding leaves.

    Raises:
        UserError: when a value is out of range.
    """

    strength: Annotated[float | Literal["auto"], Range(0, WHITE / 2)] = "auto"
    least: Annotated[float, Range(0, 255, open=True)] = 5.0

    def __post_init__(self) -> None:
        check_ranges(self, "denoising")


class Denoised(NamedTuple):
    """What came of it.

    Attributes:
        clip: the clip, the very same where nothing was taken out.
        found: standard deviation of the noise that was measured, grey levels, in the shot that has most; None where
            it was not asked for.
        removed: that of the noise that was taken out, likewise; 0 for none.
    """

    clip: Clip
    found: float | None
    removed: float

    def __str__(self) -> str:
        if self.removed == 0:
            return (
                "no noise taken out"
                if self.found is None
                else f"noise of about {self.found:.1f} grey levels: kept as content"
            )
        return f"noise of about {self.removed:.0f} grey levels: taken out"


def denoise(clip: Clip, config: DenoiseConfig | None = None, progress: Progress = lambda frames, _: frames) -> Denoised:
    """Take the noise out of a clip.

    Nothing is read across a cut or a flash. A frame that repeats the one before is given the same result: noise that
    is shown twice would be taken for content.

    Args:
        clip: the frames, uint8 or float32.
        config: None for the defaults.
        progress: wraps the loop over frames.

    Returns:
        The clip with frames of the same type, and what was measured and taken out.
    """
    config = config or DenoiseConfig()
    if config.strength == 0:
        return Denoised(clip, None, 0.0)
    shots = flashes_apart(clip.frames, find_shots(clip.frames))
    repeats = set(find_repeats(clip.frames, shots))
    # Each shot by itself: a clean one stays as it is beside a noisy one.
    found: dict[tuple[int, ...], Noise] = {}
    for shot in shots:
        distinct = tuple(frame for frame in shot if frame not in repeats)
        if distinct:
            found[distinct] = estimate_noise(clip.frames[list(distinct)])
    if config.strength == "auto":
        level = max(noise.level for noise in found.values())
        removed = {frames: noise for frames, noise in found.items() if noise.level >= config.least}
        if not removed:
            return Denoised(clip, level, 0.0)
    else:
        level = None
        removed = {frames: noise.scaled(config.strength) for frames, noise in found.items()}
    total = sum(map(len, removed)) * (_PASSES + 1)
    cleaned = clip.frames.clone()
    steps = iter(progress(range(total), total))
    for frames, noise in removed.items():
        made = _denoised(clip.frames[list(frames)], noise, steps) / WHITE
        cleaned[list(frames)] = made.clamp(0, 1) if cleaned.is_floating_point() else to_uint8(made)
    # A repeat within a shot that was left alone is left alone, too.
    treated = {frame for frames in removed for frame in frames}
    for frame in sorted(repeats):
        if frame - 1 in treated:
            cleaned[frame] = cleaned[frame - 1]
            treated.add(frame)
    # Let the display end.
    next(steps, None)
    return Denoised(replace(clip, frames=cleaned), level, max(noise.level for noise in removed.values()))


@torch.no_grad()
def _denoised(frames: Tensor, noise: Noise, steps: Iterator[int]) -> Tensor:
    """(n, 3, h, w) frames of one shot without their noise, as float32 grey levels; `steps` is advanced once a frame."""
    variance = torch.tensor(noise.opponent).square()[:, None, None]
    estimate = torch.empty(frames.shape)
    for frame, picture in enumerate(frames):
        next(steps, None)
        alone = to_levels(picture)
        estimate[frame] = _shrunk(alone[None], None, variance.expand_as(alone), 0)
    some = slice(None, None, max(1, len(frames) // _LOOKED_AT))
    clipped = Clipped.of(to_levels(frames[some]), estimate[some], noise.level)
    for number in range(_PASSES):
        estimate /= WHITE
        looks = torch.stack([to_uint8(clipped.unbiased(WHITE * picture) / WHITE) for picture in estimate])
        made = torch.empty_like(estimate)
        for frame in range(len(frames)):
            next(steps, None)
            near = range(max(0, frame - _REACH), min(len(frames), frame + _REACH + 1))
            flows = {other: dense_flow(looks[frame], looks[other], MEDIUM) for other in near if other != frame}
            stack = _aligned(frames, frame, near, flows)
            # The first estimate has no help from other frames: too little to weigh by.
            pilot = _aligned(estimate, frame, near, flows) if number > 0 else None
            left = clipped.variance_left(WHITE * estimate[frame]).mean(dim=0)
            made[frame] = _shrunk(stack, pilot, variance * left, near.index(frame))
        estimate = made
    return clipped.unbiased(estimate)


def _aligned(frames: Tensor, frame: int, near: Sequence[int], flows: dict[int, Tensor]) -> Tensor:
    """(k, 3, h, w) grey levels: a frame and those near it, moved onto it."""
    return torch.stack(
        [
            to_levels(frames[other]) if other == frame else WHITE * warp(frames[other], flows[other], "cubic")
            for other in near
        ]
    )


def cut_off(stack: Tensor, threshold: float, centre: int) -> Tensor:
    """One frame of an aligned stack from its large coefficients: what is too small to be told from error is left out.

    Args:
        stack: (k, 3, h, w) frames, grey levels.
        threshold: what a coefficient must exceed, grey levels: the basis is orthonormal.
        centre: which frame of the stack to make.

    Returns:
        (3, h, w).
    """
    variance = torch.full_like(stack[0], (threshold / _CUT_OFF) ** 2)
    return _shrunk(stack, None, variance, centre)


def _shrunk(stack: Tensor, pilot: Tensor | None, variance: Tensor, centre: int) -> Tensor:
    """One frame of an aligned stack, from the coefficients that stand out of the noise.

    Args:
        stack: (k, 3, h, w) noisy frames, grey levels.
        pilot: like `stack`, with less noise: coefficients are weighed by its; None cuts off those that are small.
        variance: (3, h, w) of the noise in opponent channels.
        centre: which frame of the stack to make.

    Returns:
        (3, h, w).
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
