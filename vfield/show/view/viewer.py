"""From a view to its pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from einops import rearrange
from torch import Tensor

from vfield.core.clip import to_uint8
from vfield.core.coords import pixel_uv
from vfield.core.drawing import motion_colours
from vfield.field.checkpoint import SavedField
from vfield.field.render import Region, render
from vfield.output.motion_files import full_colour_pixels
from vfield.show.view.source import SourceFrames, look
from vfield.show.view.views import Block, View, block_inside
from vfield.show.view.watch import OutdatedError, watched

_CHUNK_POINTS = 1 << 16
_LEAST_MOTION = 1e-3  # pixels; a clip in which nothing moves has colours, too


class Viewer:
    """Makes views of one field. One at a time: the field keeps what it made last."""

    def __init__(
        self, saved: SavedField, source: Callable[[], SourceFrames], device: torch.device | str = "cpu"
    ) -> None:
        """Prepare nothing yet.

        Args:
            saved: the field, on `device`, and the facts of its clip.
            source: gives the source's frames, when one is first looked at; may raise a UserError.
            device: where the field lies.
        """
        self.saved = saved
        self.device = device
        self._read_source = source

    def picture(self, view: View, outdated: Callable[[], bool] = lambda: False) -> Tensor:
        """The pixels of a view: (3, height, width) uint8, or (4, height, width) with opacity for motion.

        What lies outside the picture is black, and transparent. Motion is coloured as `panels.motion_colours` does,
        but what stands still is transparent rather than white; so is what is not known.

        Args:
            view: what to show.
            outdated: asked now and then; once it is True, the view is given up.

        Raises:
            UserError: when the field has no motion, or the source cannot be read.
            OutdatedError: when the view was given up.
        """
        height, width = view.size
        shown = torch.zeros(4 if view.layer == "motion" else 3, height, width, dtype=torch.uint8)
        block = block_inside(view)
        if block is None:
            return shown
        make = {"field": self._field, "source": self._source, "motion": self._motion}[view.layer]

        def check() -> None:
            if outdated():
                raise OutdatedError

        top, columns = block.rows.start, slice(block.columns.start, block.columns.stop)
        check()
        with watched(self.saved.field, check):
            for band in make(view, block):
                shown[:, top : top + band.shape[1], columns] = band
                top += band.shape[1]
                check()
        return shown

    def _held(self, t: float) -> float:
        facts = self.saved.facts
        return min(max(t, 0.0), float(facts.end_seconds - facts.pts_seconds[0]))

    def _field(self, view: View, block: Block) -> Iterator[Tensor]:
        frames = render(
            self.saved.field,
            (len(block.rows), len(block.columns)),
            [self._held(view.t)],
            region=block.region,
            chunk_points=_CHUNK_POINTS,
            device=self.device,
        )
        # Bytes are made of some rows at a time: of all at once, that would take three times the memory of the frame.
        return map(to_uint8, next(frames).split(_band_rows(block), dim=1))

    @cached_property
    def source(self) -> SourceFrames:
        """The source's frames, read when first asked for."""
        return self._read_source()

    def _source(self, view: View, block: Block) -> Iterator[Tensor]:
        frame = self.source.at(self._held(view.t))
        for band in look(frame, block.region, (len(block.rows), len(block.columns)), view.scaling):
            yield to_uint8(band).cpu()

    @cached_property
    def _full_colour(self) -> float:
        return max(full_colour_pixels(self.saved), _LEAST_MOTION)

    def _motion(self, view: View, block: Block) -> Iterator[Tensor]:
        """How far things move in the time of a frame, by hue (direction) and opacity (distance): (4, rows, w) uint8."""
        facts, most = self.saved.facts, self._full_colour
        t = self._held(view.t)
        later = t + float(1 / facts.frame_rate)
        pixels = torch.tensor([facts.width, facts.height], dtype=torch.float32, device=self.device)
        for rows, region in _bands(block):
            uv = rearrange(pixel_uv(rows, len(block.columns), region), "h w c -> (h w) c").to(self.device)
            with torch.no_grad():
                followed = self.saved.field.follow(uv, t, later)
            flow = rearrange((followed.uv - uv) * pixels, "(h w) c -> c h w", h=rows).cpu()
            known = rearrange(followed.known, "(h w) -> h w", h=rows).cpu()
            length = flow.norm(dim=0)
            hue = motion_colours(flow * (most / length.clamp(min=1e-9)), most)
            opacity = to_uint8((length / most).clamp(max=1) * known)
            yield torch.cat([hue, opacity[None]])


def _band_rows(block: Block) -> int:
    """So many rows of a block that they are no more than a chunk of points."""
    return max(1, _CHUNK_POINTS // len(block.columns))


def _bands(block: Block) -> list[tuple[int, Region]]:
    """A block cut into bands of whole rows, small enough to follow at once: rows and region of each."""
    u0, v0, u1, v1 = block.region
    height = len(block.rows)
    most = _band_rows(block)
    step = (v1 - v0) / height
    return [
        (min(most, height - top), (u0, v0 + top * step, u1, v0 + min(top + most, height) * step))
        for top in range(0, height, most)
    ]
