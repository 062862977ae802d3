"""Latents: what the field remembers, globally (codes and tracks) and locally (grids at keyframes).

Local grids are read with cubic B-splines (`vfield.core.splines`), through any footprint where they hold colours.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from vfield.core.clip import to_float
from vfield.core.coords import Footprint, uv_to_xy
from vfield.core.frames import Frames
from vfield.core.splines import area_averages, resize_grid, sample_grid, spline_coefficients
from vfield.field.config import GlobalConfig, LocalConfig

Made = TypeVar("Made")

# Cells that a footprint spans at least on a coarser level: with 3 the level's own averaging is not seen (notes.md).
_LEVEL_CELLS = 3


class GlobalLatent(nn.Module):
    """One code for the clip, and a slow track over its time, linear between knots.

    An autodecoder: both are parameters, optimised with the decoder (Bojanowski et al. 2018; Park et al. 2019).
    """

    def __init__(self, config: GlobalConfig, duration_seconds: float, generator: torch.Generator) -> None:
        super().__init__()
        self.duration_seconds = max(duration_seconds, 1e-6)
        knots = 2 + math.ceil(self.duration_seconds * config.knots_per_second)
        self.code = nn.Parameter(0.1 * torch.randn(config.width, generator=generator))
        self.track = nn.Parameter(torch.zeros(knots, config.width))
        self.width = 2 * config.width

    def forward(self, t: Tensor) -> Tensor:
        """The latent at instants t (m,) in seconds since the first frame: (m, width), code then track."""
        code, track = self.codes()
        position = (t / self.duration_seconds).clamp(0, 1) * (len(track) - 1)
        left = position.floor().long().clamp(max=len(track) - 2)
        there = torch.lerp(track[left], track[left + 1], (position - left)[:, None])
        return torch.cat([code.expand(len(t), -1), there], dim=-1)

    def codes(self) -> tuple[Tensor, Tensor]:
        """The clip's code (c,) and its track (knots, c)."""
        return self.code, self.track


class Recent(Generic[Made]):
    """Tensors, or tuples of them, by key: those used last, within a bound of memory but two at least."""

    def __init__(self, measure: Callable[[Made], int]) -> None:
        """Keep nothing yet; `measure` says how many bytes something takes."""
        self._kept: OrderedDict[tuple[float, ...], Made] = OrderedDict()
        self.measure = measure

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: tuple[float, ...], most_bytes: int, make: Callable[[], Made]) -> Made:
        """What is kept under a key, or is made for it and kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        self._kept[key] = make()
        while len(self) > 2 and sum(map(self.measure, self._kept.values())) > most_bytes:
            self._kept.popitem(last=False)
        return self._kept[key]

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()


def tensor_bytes(tensor: Tensor) -> int:
    """The memory that a tensor's values take."""
    return tensor.numel() * tensor.element_size()


class Finer(NamedTuple):
    """A level at twice the keyframes' size.

    Attributes:
        version: changes whenever what is made does.
        make: keyframe -> (c, 2 h, 2 w) means over its cells, of which four make a pixel.
    """

    version: int
    make: Callable[[int], Tensor]


class ColourKeyframes(nn.Module):
    """The keyframes' own colours, read through any footprint; or another picture of so many channels, their alpha.

    Wide footprints read a coarser level of the keyframe: its averages over cells of 2, 4, 8, ... pixels, in each axis
    on its own (a pyramid after Williams, "Pyramidal parametrics", 1983). Cells divide the picture evenly, so where the
    size is odd they are a little narrower than that.

    Reads may ask for a finer level, which somebody else makes (`vfield.field.detail`).

    Levels, and coefficients for the footprint in use, are made when a keyframe is first read and kept, newest first,
    within a bound of memory, since neighbouring points ask for the same keyframes again and again.
    """

    _anchor: Tensor

    def __init__(self, frames: Frames) -> None:
        """Read k frames of (c, h, w), uint8 or float in [0, 1], when they are asked for."""
        super().__init__()
        self.frames = frames
        # Tells on which device, and in which precision, to answer.
        self.register_buffer("_anchor", torch.empty(0), persistent=False)
        self.cache_bytes = 80 << 20
        self._cache = Recent(tensor_bytes)
        self._levels = Recent(tensor_bytes)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # What was made on another device or in another precision is of no use there.
        self.forget()
        return super()._apply(fn, recurse)

    def forget(self) -> None:
        """Let go of what was made of the frames; it is made again when it is asked for."""
        self._cache.clear()
        self._levels.clear()

    def picture(self, keyframe: int) -> Tensor:
        """One keyframe (c, h, w), float in [0, 1]."""
        return to_float(self.frames[keyframe]).to(self._anchor)

    def coefficients(self, keyframe: int, footprint: Footprint, finer: Finer | None = None) -> Tensor:
        """Spline coefficients (c, rows, columns) of one keyframe as seen through the footprint.

        They are laid over the unit square, as fine as the frame itself, coarser for a wide footprint, or on the finer
        level where one is given.
        """
        size = self.frames.shape[-2:]
        spans = (footprint.dv, footprint.du)
        if finer is not None:
            rows, columns = 2 * size[0], 2 * size[1]
        else:
            rows, columns = (_level_cells(pixels, span) for pixels, span in zip(size, spans, strict=True))
        to_width = (round(footprint.dv * rows, 6), round(footprint.du * columns, 6))
        version = -1 if finer is None else finer.version
        if finer is not None:
            # Asked for each time, so that of the few that are kept it is the oldest which goes: it costs seconds.
            self._level(keyframe, rows, columns, finer)

        def made() -> Tensor:
            # Kept for later calls, which may learn, or want full precision.
            device = self._anchor.device.type
            with torch.inference_mode(False), torch.no_grad(), torch.autocast(device, enabled=False):
                level = self._level(keyframe, rows, columns, finer)
                return spline_coefficients(level, (1.0, 1.0), to_width)

        return self._cache.get((keyframe, rows, columns, *to_width, version), self.cache_bytes, made)

    def _level(self, keyframe: int, rows: int, columns: int, finer: Finer | None) -> Tensor:
        """One keyframe (c, rows, columns) by its averages over so many cells."""
        if finer is not None:
            key = (keyframe, rows, columns, finer.version)
            return self._levels.get(key, self.cache_bytes // 4, lambda: finer.make(keyframe))
        if tuple(self.frames.shape[-2:]) == (rows, columns):
            return self.picture(keyframe)
        # Each from the frame itself and in floating point: halving bytes again and again would round again and again.
        return self._levels.get(
            (keyframe, rows, columns),
            self.cache_bytes // 4,
            lambda: area_averages(self.frames[keyframe], rows, columns).to(self._anchor),
        )

    def forward(self, keyframe: int, uv: Tensor, footprint: Footprint, finer: Finer | None = None) -> Tensor:
        """Colours (n, c) of one keyframe at uv (n, 2), averaged over the footprint."""
        coefficients = self.coefficients(keyframe, footprint, finer)
        return sample_grid(coefficients, uv_to_xy(uv, *coefficients.shape[-2:]))


def _level_cells(pixels: int, span: float) -> int:
    """Cells, of the level that suits a footprint, along a side: the side halved while footprints keep enough cells."""
    halvings = math.floor(math.log2(max(span * pixels / _LEVEL_CELLS, 1)) + 1e-9)
    return -(-pixels // 2**halvings)


class LatentGrids(nn.Module):
    """Learnt local latents: a multi-resolution stack of grids at every keyframe."""

    def __init__(
        self, config: LocalConfig, keyframes: int, height: int, width: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.levels = nn.ParameterList(
            nn.Parameter(
                1e-2
                * torch.randn(keyframes, config.channels, -(-height // cell), -(-width // cell), generator=generator)
            )
            for cell in config.levels
        )
        self.width = config.channels * len(config.levels)
        finest = min(config.levels)
        self._finest = (-(-height // finest), -(-width // finest))

    def forward(self, keyframe: int, uv: Tensor) -> Tensor:
        """Latents (n, width) of one keyframe at uv (n, 2)."""
        rows, columns = self._finest
        grid = torch.cat([resize_grid(level, rows, columns) for level in self.grids(keyframe)])
        return sample_grid(grid, uv_to_xy(uv, rows, columns))

    def grids(self, keyframe: int) -> list[Tensor]:
        """The levels (channels, rows, columns) of one keyframe."""
        return [level[keyframe] for level in self.levels]
