"""Detail: the keyframes' latents at twice their size, predicted from the frames themselves.

A pixel is the mean of the scene over its footprint, so a frame alone does not say how colour is divided within a pixel.
Two things do: the neighbouring frames, which saw the same points at other sub-pixel positions, and the clip's habit of
looking alike at other sizes. Both are learnt from the clip alone, by asking for the source's own pixels from frames at
half the size ("zero-shot" super-resolution: Shocher, Cohen and Irani 2018; in space and time: Zuckerman et al. 2020).

An encoder, a small convolutional network, looks at a keyframe and at its neighbours, brought to it along the motion,
and divides every pixel into 2 x 2 cells:

    fine = spline(frame) + residual,     residual = scale (r - mean of r over the pixel's four cells)

The spline already has the frame's own averages, and the residual has none, so a fine frame averaged down *is* the
source's: nothing has to be projected back (Irani and Peleg 1991). The fine cells are read like any other level of
latents, by splines and through any footprint: the field stays one continuous function, and any size may be asked for.

What it makes of a frame errs in its own way. So in the end each fine frame is averaged with its neighbours' along the
motion, as far as they agree, and again without a say in the pixels' own means: detail that was predicted five times
errs less, and moves with the scene instead of boiling.

For each keyframe the encoder sees, at the source's resolution, its colours, its spline at the four cells of each pixel
(less the pixel), and for each neighbour: its spline at those four points along the motion (less the keyframe's), where
in its own pixel the point falls (cosine and sine of the phase, each x and y: Tao et al. 2017 call for sub-pixel motion)
and by how much the way there and back misses.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vfield.core.coords import Footprint, pixel_uv, uv_to_xy
from vfield.core.splines import sample_grid, spline_coefficients
from vfield.field.config import DetailConfig
from vfield.field.latents import ColourKeyframes, Recent, tensor_bytes

CELLS = 4  # that a pixel is divided into
_FINE = 3 * CELLS
_OWN = 3 + _FINE
_ALIGNMENT = _FINE + 5
# Motion is smooth: it is followed at every second pixel.
_FOLLOW_STRIDE = 2
_UNSEEN_PX = 20.0  # how far from its start a point counts as returned that a neighbour does not show
# Differences are seen in units of twice the clip's own detail, up to so many: a wrong match must not shout.
_LOUDEST = 6.0
# A neighbour counts by 1 / e whose detail differs by so many times the clip's own, whose means over pixels do, that
# misses by a pixel, or that is followed by motion which changes by so many pixels from pixel to pixel.
_AGREEING = 3.0
_ALIKE = 2.0
_TEARING = 1.5
_AGREEING_CELLS = 5  # side of the neighbourhood that is judged
# Of the source: what is made of so many fits a processor's cache.
_BAND_PIXELS = 1 << 16
_KEPT_BYTES = 192 << 20


class Alignment(NamedTuple):
    """Where a neighbour shows a keyframe's points, on a raster laid over the picture.

    Attributes:
        keyframe: the neighbour.
        displacement: (2, rows, columns) to the position there, x and y in source pixels.
        miss: (1, rows, columns) source pixels by which the way there and back misses its start.
    """

    keyframe: int
    displacement: Tensor
    miss: Tensor


Alignments = Callable[[int], list[Alignment | None]]
"""From a keyframe to where its neighbours show it; None for one that is not there."""


class _Predicted(NamedTuple):
    """What the encoder makes of a keyframe.

    Attributes:
        fine: (3, 2 h, 2 w) means over the fine cells.
        alignments: of the keyframe's neighbours.
    """

    fine: Tensor
    alignments: list[Alignment | None]


def align(
    follow: Callable[[Tensor, float, float], tuple[Tensor, Tensor]],
    t: Tensor,
    keyframe: int,
    other: int,
    pixels: tuple[int, int],
    device: torch.device,
) -> Alignment:
    """Follow a keyframe's points to another one and back.

    Args:
        follow: positions (n, 2) in u, v, at one instant and for another -> where they are, and whether that is known.
        t: (k,) instants of the keyframes in seconds.
        keyframe: whose points.
        other: the neighbour.
        pixels: (height, width) of the keyframes.
        device: where the field lies.
    """
    rows, columns = (-(-side // _FOLLOW_STRIDE) for side in pixels)
    uv = pixel_uv(rows, columns).reshape(-1, 2).to(device)
    here_t, there_t = float(t[keyframe]), float(t[other])
    there, known = follow(uv, here_t, there_t)
    back, known_back = follow(there, there_t, here_t)
    to_pixels = uv.new_tensor([pixels[1], pixels[0]])
    miss = ((back - uv) * to_pixels).norm(dim=-1, keepdim=True)
    miss = torch.where((known & known_back)[:, None], miss, torch.full_like(miss, _UNSEEN_PX))
    found = torch.cat([(there - uv) * to_pixels, miss], dim=-1)
    displacement, miss = _raster(found, rows).split([2, 1])
    return Alignment(other, displacement, miss)


def gather(
    colours: ColourKeyframes, keyframe: int, alignments: Sequence[Alignment | None], rows: range | None = None
) -> tuple[Tensor, Tensor]:
    """What the encoder sees of a keyframe, and the spline that it adds to.

    Args:
        colours: the keyframes.
        keyframe: which one.
        alignments: of its neighbours, in the order of `neighbours`; None where there is none.
        rows: rows of the keyframe to look at; None for all.

    Returns:
        Evidence (c, rows, w) and the spline at the fine cells (3, 2 rows, 2 w).
    """
    frame = colours.picture(keyframe)
    height, width = frame.shape[-2:]
    rows = range(height) if rows is None else rows
    half = Footprint(du=0.5 / width, dv=0.5 / height)
    fine = pixel_uv(2 * height, 2 * width)[2 * rows.start : 2 * rows.stop].reshape(-1, 2).to(frame.device)
    own = frame[:, rows.start : rows.stop]
    # A spline through means over smaller boxes has the frame's own means but for some thousandths: here, exactly.
    base = _within_pixels(_raster(colours(keyframe, fine, half), 2 * len(rows)))
    base = base + F.interpolate(own[None], scale_factor=2, mode="nearest")[0]
    seen = [own - 0.5, _cells_last(base) - own.repeat_interleave(CELLS, dim=0)]
    to_uv = 1 / frame.new_tensor([width, height])
    for alignment in alignments:
        if alignment is None:
            absent = own.new_zeros(_ALIGNMENT, *own.shape[-2:])
            absent[-1] = math.log1p(_UNSEEN_PX)
            seen.append(absent)
            continue
        moved = _resized(alignment.displacement, 2 * height, 2 * width)[:, 2 * rows.start : 2 * rows.stop]
        there = colours(alignment.keyframe, fine + rearrange(moved, "c h w -> (h w) c") * to_uv, half)
        phase = 2 * math.pi * _resized(alignment.displacement, height, width)[:, rows.start : rows.stop]
        miss = _resized(alignment.miss, height, width)[:, rows.start : rows.stop]
        seen += [_cells_last(_raster(there, 2 * len(rows)) - base), phase.cos() / 2, phase.sin() / 2, miss.log1p()]
    return torch.cat(seen), base


def neighbours(keyframe: int, radius: int) -> list[int]:
    """The keyframes that an encoder looks at beside its own, nearest first; some may not exist."""
    return [keyframe + side * step for step in range(1, radius + 1) for side in (-1, 1)]


class Symmetry(NamedTuple):
    """One of the eight ways in which a square lies on itself: the mirrors come first, then rows change with columns."""

    across: bool
    down: bool
    swapped: bool

    def of_picture(self, picture: Tensor) -> Tensor:
        """(..., h, w) mirrored and turned."""
        axes = [axis for axis, mirrored in ((-1, self.across), (-2, self.down)) if mirrored]
        picture = picture.flip(axes) if axes else picture
        return picture.transpose(-1, -2) if self.swapped else picture

    def of_evidence(self, evidence: Tensor) -> Tensor:
        """What the encoder would have seen (..., c, h, w) of the scene mirrored and turned."""
        order, sign = _turned_channels(self, evidence.shape[-3])
        turned = evidence[..., order, :, :] * torch.tensor(sign).to(evidence)[:, None, None]
        return self.of_picture(turned)


@lru_cache(maxsize=32)
def _turned_channels(symmetry: Symmetry, channels: int) -> tuple[list[int], list[float]]:
    """Which channel of evidence takes each one's place, and with what sign."""
    order, sign = list(range(channels)), [1.0] * channels
    places = symmetry.of_picture(torch.arange(CELLS).reshape(2, 2)).flatten().tolist()
    for first in (3, *range(_OWN, channels, _ALIGNMENT)):
        order[first : first + _FINE] = [first + CELLS * colour + place for colour in range(3) for place in places]
    for phase in range(_OWN + _FINE, channels, _ALIGNMENT):
        # Cosines of x and y, then sines.
        x, y = (1, 0) if symmetry.swapped else (0, 1)
        order[phase : phase + 4] = [phase + x, phase + y, phase + 2 + x, phase + 2 + y]
        sign[phase + 2 + x] = -1.0 if symmetry.across else 1.0
        sign[phase + 2 + y] = -1.0 if symmetry.down else 1.0
    return order, sign


class Detail(nn.Module):
    """(n, c, h, w) evidence -> (n, 3, 2 h, 2 w) residual, in units of `scale`; zero at the start."""

    scale: Tensor

    def __init__(self, config: DetailConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("scale", torch.ones(()))
        self._made: Recent[_Predicted] = Recent(lambda made: tensor_bytes(made.fine))
        channels = config.channels
        seen = _OWN + 2 * config.radius * _ALIGNMENT
        self.head = nn.Conv2d(seen, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(config.blocks)
        )
        self.last = nn.Conv2d(channels, _FINE, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)
        # Which channels are differences of colours, to be seen in units of the clip's own detail.
        differences = torch.zeros(seen, dtype=torch.bool)
        for first in (3, *range(_OWN, seen, _ALIGNMENT)):
            differences[first : first + _FINE] = True
        self.register_buffer("differences", differences, persistent=False)

    differences: Tensor

    def forward(self, evidence: Tensor) -> Tensor:
        """The residual of each fine cell; its mean over each pixel is zero."""
        heard = (evidence / (2 * self.scale)).clamp(-_LOUDEST, _LOUDEST)
        x = self.head(torch.where(self.differences[:, None, None], heard, evidence))
        x = F.leaky_relu(x, 0.1)
        for block in self.blocks:
            x = x + block(x)
        residual = rearrange(self.last(F.leaky_relu(x, 0.1)), "n (c cell) h w -> n c cell h w", cell=CELLS)
        residual = residual - residual.mean(dim=2, keepdim=True)
        return F.pixel_shuffle(rearrange(residual, "n c cell h w -> n (c cell) h w"), 2)

    def for_clip(self) -> Detail:
        """The same network for another clip, whose detail has a scale of its own."""
        other = copy.copy(self)
        other._buffers = {name: buffer if buffer is None else buffer.clone() for name, buffer in self._buffers.items()}
        other._made = Recent(self._made.measure)
        return other

    @property
    def is_mute(self) -> bool:
        """Whether it adds nothing: not before it has learnt, nor when turned off."""
        return not any(bool(parameter.any()) for parameter in self.last.parameters())

    @property
    def version(self) -> int:
        """Counts the changes of what it has learnt."""
        return sum(parameter._version for parameter in self.parameters())

    @property
    def reach(self) -> int:
        """By how many pixels the evidence around a pixel has a say in it."""
        return 2 + 2 * len(self.blocks)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._made.clear()
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def finer(self, colours: ColourKeyframes, keyframe: int, alignments: Alignments) -> Tensor:
        """A keyframe at twice its size.

        Args:
            colours: the keyframes.
            keyframe: which one.
            alignments: those of any keyframe, in the order of `neighbours`.

        Returns:
            (3, 2 h, 2 w) means over the fine cells; the mean of a pixel's four is the pixel.
        """
        fine, seen = self._predicted(colours, keyframe, alignments)
        height, width = colours.frames.shape[-2:]
        total, shares = torch.zeros_like(fine), torch.ones_like(fine[:1])
        for alignment in seen:
            if alignment is None:
                continue
            # Made anew each time, which is quick: kept, it would take as much memory again.
            other = _coefficients(self._predicted(colours, alignment.keyframe, alignments).fine)
            for rows, around in _bands(height, width, _AGREEING_CELLS):
                own = fine[:, 2 * around.start : 2 * around.stop]
                change = _moved(other, alignment, around, (height, width)) - own
                share = self._agreement(change, alignment, around, (height, width))
                inner = slice(2 * (rows.start - around.start), 2 * (rows.stop - around.start))
                total[:, 2 * rows.start : 2 * rows.stop] += (share * change)[:, inner]
                shares[:, 2 * rows.start : 2 * rows.stop] += share[:, inner]
        return fine + _within_pixels(total / shares)

    def _predicted(self, colours: ColourKeyframes, keyframe: int, alignments: Alignments) -> _Predicted:
        """What the encoder makes of one keyframe; kept, since its neighbours ask for it, too."""

        def made() -> _Predicted:
            seen = alignments(keyframe)
            return _Predicted(self._encoded(colours, keyframe, seen), seen)

        height, width = colours.frames.shape[-2:]
        # Those that one keyframe is averaged with, however large: each is asked for by all of its neighbours.
        least = (2 * self.config.radius + 2) * _FINE * height * width * 4
        return self._made.get((keyframe, height, width, self.version), max(_KEPT_BYTES, least), made)

    def _encoded(self, colours: ColourKeyframes, keyframe: int, alignments: Sequence[Alignment | None]) -> Tensor:
        parts = []
        height, width = colours.frames.shape[-2:]
        for rows, around in _bands(height, width, self.reach):
            evidence, base = gather(colours, keyframe, alignments, around)
            made = base + self.scale * self(evidence[None])[0]
            parts.append(_inner(made, rows, around))
        return torch.cat(parts, dim=1)

    def residual(self, evidence: Tensor) -> Tensor:
        """What `forward` makes of a whole frame (c, h, w), a band at a time: (3, 2 h, 2 w)."""
        height, width = evidence.shape[-2:]
        parts = []
        for rows, around in _bands(height, width, self.reach):
            seen = evidence[None, :, around.start : around.stop].to(self.scale)
            parts.append(_inner(self(seen)[0], rows, around))
        return torch.cat(parts, dim=1)

    def _agreement(self, change: Tensor, alignment: Alignment, rows: range, pixels: tuple[int, int]) -> Tensor:
        """How far a neighbour's fine cells are believed, (1, 2 rows, 2 w) from 0 to 1.

        Judged by their means over pixels, too, although those have no say in the result: where something is uncovered,
        what the neighbour shows may have as little detail as what is there, and is another thing all the same.
        """
        within = _within_pixels(change)
        apart = (_around(within) / _AGREEING) ** 2 + (_around(change - within) / _ALIKE) ** 2
        doubt = alignment.miss**2 + (_tearing(alignment.displacement) / _TEARING) ** 2
        doubt = _resized(doubt, 2 * pixels[0], 2 * pixels[1])[:, 2 * rows.start : 2 * rows.stop]
        return torch.exp(-apart / self.scale**2 - doubt)


def _inner(fine: Tensor, rows: range, around: range) -> Tensor:
    """The cells (c, 2 rows, 2 w) of some rows, of those (c, 2 around, 2 w) of these and the rows around them."""
    return fine[:, 2 * (rows.start - around.start) : 2 * (rows.stop - around.start)]


def _coefficients(fine: Tensor) -> Tensor:
    """Of the spline through fine cells (3, 2 h, 2 w)."""
    return spline_coefficients(fine, (1.0, 1.0), (1.0, 1.0))


def _around(change: Tensor) -> Tensor:
    """(3, rows, columns) to the mean size (1, rows, columns) of what is around each cell."""
    side = _AGREEING_CELLS
    return F.avg_pool2d(change.abs().mean(dim=0, keepdim=True), side, 1, side // 2, count_include_pad=False)


def _tearing(displacement: Tensor) -> Tensor:
    """By how much motion changes around each point of a alignment, (1, rows, columns) in pixels from pixel to pixel."""
    torn = torch.zeros_like(displacement[:1])
    for axis in (1, 2):
        if displacement.shape[axis] > 1:
            steps = displacement.diff(dim=axis).abs().amax(dim=0, keepdim=True) / _FOLLOW_STRIDE
            ends = steps.narrow(axis, 0, 1), steps.narrow(axis, -1, 1)
            # Each point has two steps beside it, the first and the last but one.
            torn = torch.maximum(
                torn, torch.maximum(torch.cat([ends[0], steps], axis), torch.cat([steps, ends[1]], axis))
            )
    return F.max_pool2d(torn[None], 3, stride=1, padding=1)[0]


def _bands(height: int, width: int, reach: int) -> Iterator[tuple[range, range]]:
    """Bands of rows that keep memory bounded: those to make, and those to look at, `reach` further on each side."""
    band = max(1, _BAND_PIXELS // width)
    for top in range(0, height, band):
        bottom = min(top + band, height)
        yield range(top, bottom), range(max(0, top - reach), min(height, bottom + reach))


def _moved(fine: Tensor, alignment: Alignment, rows: range, pixels: tuple[int, int]) -> Tensor:
    """A neighbour's fine cells, by their spline coefficients, where it shows a keyframe's: (3, 2 rows, 2 w)."""
    height, width = pixels
    cells = slice(2 * rows.start, 2 * rows.stop)
    uv = pixel_uv(2 * height, 2 * width)[cells].reshape(-1, 2).to(fine.device)
    displacement = _resized(alignment.displacement, 2 * height, 2 * width)[:, cells]
    there = uv_to_xy(uv, 2 * height, 2 * width) + 2 * rearrange(displacement, "c h w -> (h w) c")
    return _raster(sample_grid(fine, there), 2 * len(rows))


def _within_pixels(fine: Tensor) -> Tensor:
    """Fine cells (c, 2 h, 2 w) less the mean of the four of each pixel."""
    return fine - F.interpolate(F.avg_pool2d(fine[None], 2), scale_factor=2, mode="nearest")[0]


def _raster(values: Tensor, rows: int) -> Tensor:
    """(rows columns, c) -> (c, rows, columns)."""
    return rearrange(values, "(h w) c -> c h w", h=rows)


def _cells_last(fine: Tensor) -> Tensor:
    """(c, 2 h, 2 w) -> (4 c, h, w): the four cells of a pixel as channels."""
    return F.pixel_unshuffle(fine[None], 2)[0]


def _resized(raster: Tensor, rows: int, columns: int) -> Tensor:
    return F.interpolate(raster[None], size=(rows, columns), mode="bilinear", align_corners=False)[0]
