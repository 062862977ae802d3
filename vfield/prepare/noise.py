"""How much noise a shot has, told from the shot alone, and what clipping at black and white does to noise.

Noise is what differs from pixel to pixel and also from frame to frame. Texture is alike in the next frame, once its
motion is followed; what motion gets wrong lies at edges and leaves flat places alone. So both are asked for: the
high-pass energy of a frame, and that of its difference to the next one, in small blocks, at a low quantile of them.
Either alone is fooled, by a lawn or by an explosion. A single picture is never said to be noisy.

Units are grey levels: 0 is black and 255 white, whatever the clip's bit depth.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vfield.core.clip import to_float
from vfield.core.frames import Frames
from vfield.prepare.flow import MEDIUM, dense_flow, warp

WHITE = 255.0

# Orthonormal: brightness, blue against red, green against both. White noise stays white in it.
_OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
_OPPONENT = _OPPONENT / _OPPONENT.norm(dim=1, keepdim=True)

# Immerkaer's operator, blind to planes and to straight edges along the axes, scaled to keep white noise as it is.
_HIGH_PASS = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6

_BLOCK = 8  # side of a block, in samples of every second pixel
_QUANTILE = 0.25  # of the blocks
# What this quantile of white noise reads, in standard deviations: 64 samples a block scatter, the least are chosen,
# and motion rounded to pixels shows some of them twice. Measured on noise of 5 to 50 levels on four clips and on grey.
_BIAS = 0.95
_BEST_OF_FIVE = 0.9  # part of the variance that the best of five shifts shows
_MOST_CLIPPED = 0.5  # of a block's pixels: beyond it, too little is seen of the noise
_COARSE = 1.2  # noise this many times stronger at half the size is not white, and the coarse reading counts
_TELLING = 4  # noise this many times weaker than what is said says nothing of its kind
_SMOOTHING = 2  # pixels; noise must not drive the flow
_NEARLY = 0.5  # grey levels from black or white that count as clipped


class Noise(NamedTuple):
    """Standard deviations of a shot's noise, in grey levels."""

    level: float  # over R, G and B together, of what differs from pixel to pixel
    # Of each channel of `to_opponent`, of what is to be taken out. White noise has `level` in each; noise that came
    # through a codec has more in the first, and more at coarse scales.
    opponent: tuple[float, float, float]

    @staticmethod
    def white(level: float) -> Noise:
        """Noise that is the same and independent in R, G and B."""
        return Noise(level, (level, level, level))

    def scaled(self, level: float) -> Noise:
        """The same kind of noise at another level; white where there is too little to tell its kind."""
        if self.level < level / _TELLING:
            return Noise.white(level)
        first, second, third = (level / self.level * value for value in self.opponent)
        return Noise(level, (first, second, third))


def to_opponent(frames: Tensor) -> Tensor:
    """(..., 3, h, w) RGB to three orthonormal opponent channels, brightness first."""
    return torch.einsum("c d, ... d h w -> ... c h w", _OPPONENT.to(frames), frames)


def from_opponent(frames: Tensor) -> Tensor:
    """The inverse of `to_opponent`."""
    return torch.einsum("c d, ... c h w -> ... d h w", _OPPONENT.to(frames), frames)


def to_levels(frames: Tensor) -> Tensor:
    """Frames as float32 grey levels, uint8 or float in [0, 1] alike."""
    return WHITE * to_float(frames)


def estimate_noise(frames: Frames, most_pairs: int = 8) -> Noise:
    """The noise of a shot.

    Method: the operator of Immerkaer, "Fast noise variance estimation", CVIU 1996, on frames and on differences along
    DIS flow rounded to whole pixels, which leaves noise white. It is zero for a single frame, or where the pictures are
    too small or too dark to tell.

    Args:
        frames: t of (3, h, w), uint8 or float in [0, 1]: one shot, without frames that repeat the one before.
        most_pairs: of neighbouring frames that are looked at, spread over the shot.
    """
    pairs = list(pairwise(range(len(frames))))
    step = max(1, len(pairs) // most_pairs)
    fine, coarse = list[Tensor](), list[Tensor]()
    for one, other in pairs[step // 2 :: step][:most_pairs]:
        picture = to_levels(frames[one])
        moved = _moved_onto(picture, to_levels(frames[other]))
        fine.append(_readings(picture, moved))
        # A mean of four has half the deviation.
        halves = F.avg_pool2d(torch.stack([picture, moved]), 2, ceil_mode=True)
        coarse.append(4 * _readings(halves[0], halves[1]))
    noise = _quantile(fine)
    both = zip(noise.opponent, _quantile(coarse).opponent, strict=True)
    first, second, third = (rough if rough > _COARSE * exact else exact for exact, rough in both)
    return Noise(noise.level, (first, second, third))


def _moved_onto(picture: Tensor, following: Tensor) -> Tensor:
    """The following picture moved onto one by whole pixels: noise stays as it is."""
    smooth = torch.stack([picture, following])
    for _ in range(3):
        smooth = F.avg_pool2d(F.pad(smooth, (_SMOOTHING,) * 4, mode="replicate"), 2 * _SMOOTHING + 1, stride=1)
    flow = dense_flow(smooth[0] / WHITE, smooth[1] / WHITE, MEDIUM).round()
    return WHITE * warp(following / WHITE, flow, "linear").to(picture)


def _readings(picture: Tensor, moved: Tensor) -> Tensor:
    """(2, 3, n): variance by space and by time, in the opponent channels of the blocks that are not too clipped."""
    reach = 2 * _BLOCK
    height, width = picture.shape[1:]
    if min(height, width) < reach + 2:
        return picture.new_zeros(2, 3, 0)
    by_space = _block_energies(picture)
    by_time = torch.stack([_block_energies((picture - near) / math.sqrt(2)) for near in _shifted(moved)])
    # Fine patterns are only seen to fit when they fit to the pixel, which flow on smoothed pictures cannot promise.
    best = by_time.sum(dim=1).argmin(dim=0).expand(1, 3, -1, -1)
    energy = torch.stack([by_space, by_time.gather(0, best)[0] / _BEST_OF_FIVE])
    clipped = ((picture <= _NEARLY) | (picture >= WHITE - _NEARLY)).float().mean(dim=0, keepdim=True)
    share = F.avg_pool2d(clipped[:, 1:, 1:], reach)[0, : energy.shape[2], : energy.shape[3]]
    seen = share <= _MOST_CLIPPED
    return (energy / _variance_left(share))[:, :, seen]


def _block_energies(picture: Tensor) -> Tensor:
    """(3, h, w) to (3, rows, columns): mean square of what passes the high pass, in opponent channels."""
    kernel = _HIGH_PASS.to(picture)[None, None].expand(3, 1, 3, 3)
    return F.avg_pool2d(F.conv2d(to_opponent(picture)[None], kernel, stride=2, groups=3).square(), _BLOCK)[0]


def _shifted(picture: Tensor) -> list[Tensor]:
    """A picture as it is and shifted by a pixel to each side, border pixels repeated."""
    height, width = picture.shape[1:]
    padded = F.pad(picture[None], (1, 1, 1, 1), mode="replicate")[0]
    return [padded[:, y : y + height, x : x + width] for y, x in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))]


def _quantile(readings: list[Tensor]) -> Noise:
    """The noise by the variances of blocks, which space and time must both support."""
    blocks = torch.cat(readings, dim=2) if readings else torch.zeros(2, 3, 0)
    if blocks.shape[2] == 0:
        return Noise.white(0.0)
    low = blocks.quantile(_QUANTILE, dim=2).amin(dim=0) / _BIAS**2
    first, second, third = low.sqrt().tolist()
    return Noise(math.sqrt(float(low.mean())), (first, second, third))


def _variance_left(clipped: Tensor) -> Tensor:
    """What part of Gaussian noise's variance is left when this part of its pixels, 0 to 0.5, ends at one limit."""
    mean = -torch.special.ndtri(clipped.clamp(1e-4, 0.5))  # above the limit, in standard deviations
    density = torch.exp(-mean.square() / 2) / math.sqrt(2 * math.pi)
    above = 1 - clipped
    first = mean * above + density
    second = (mean.square() + 1) * above + mean * density
    return second - first.square()


class Clipped:
    """Gaussian noise that was clipped at black and white, or at one of them: its mean and variance by true brightness.

    Method: Foi, "Clipped noisy images: heteroskedastic modeling and practical denoising", Signal Processing 2009.
    Clipped noise brightens what is dark: averaging cannot bring black back, the inverse of the mean can.
    """

    def __init__(self, level: float, black: bool, white: bool) -> None:
        """Tabulate noise of a standard deviation in grey levels before it was clipped at 0, at 255, or at both."""
        true = torch.linspace(0, WHITE, 1021, dtype=torch.float64)
        low = -true / level if black else torch.full_like(true, -40.0)
        high = (WHITE - true) / level if white else torch.full_like(true, 40.0)
        inside = torch.special.ndtr(high) - torch.special.ndtr(low)
        at_low, at_high = (torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) for z in (low, high))
        saturated = 1 - torch.special.ndtr(high)
        mean = true * inside + level * (at_low - at_high) + WHITE * saturated
        square = (true.square() + level**2) * inside + 2 * true * level * (at_low - at_high)
        square += level**2 * (low * at_low - high * at_high) + WHITE**2 * saturated
        self.true, self.mean = true.float(), mean.float()
        # As a part of the variance before clipping.
        self.left = ((square - mean.square()) / level**2).float().clamp(min=1e-3)

    def unbiased(self, seen: Tensor) -> Tensor:
        """True brightness by the mean that is seen."""
        return _interpolated(seen, self.mean, self.true)

    def variance_left(self, seen: Tensor) -> Tensor:
        """The part of the noise's variance that clipping leaves, by the mean that is seen."""
        return _interpolated(seen, self.mean, self.left)

    @staticmethod
    def of(frames: Tensor, smooth: Tensor, level: float) -> Clipped:
        """Clipped at those ends at which the shot has as many pixels as the noise would bring there.

        Of (n, 3, h, w) noisy frames, the same with less noise, and the noise's standard deviation, in grey levels.
        """
        true = Clipped(level, black=True, white=True).unbiased(smooth)
        expected = [torch.special.ndtr((each - _NEARLY) / -level).mean() for each in (true, WHITE - true)]
        found = [(each <= _NEARLY).float().mean() for each in (frames, WHITE - frames)]
        black, white = (bool(seen > wanted / 2) for seen, wanted in zip(found, expected, strict=True))
        return Clipped(level, black, white)


def _interpolated(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Piecewise linear, held beyond the ends; x increases."""
    right = torch.searchsorted(x, values.contiguous()).clamp(1, len(x) - 1)
    share = ((values - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
    return torch.lerp(y[right - 1], y[right], share)
