"""From a view to its pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from einops import rearrange
from torch import Tensor, nn

from vfield.checkpoint import SavedField
from vfield.clip import to_uint8
from vfield.coords import Footprint, pixel_uv
from vfield.motion_files import full_colour_pixels
from vfield.panels import motion_colours
from vfield.render import Region, render
from vfield.view.source import SourceFrames, look
from vfield.view.views import Block, View, block_inside

_CHUNK_POINTS = 1 << 16
_LEAST_MOTION = 1e-3  # pixels; a clip in which nothing moves has colours, too


class OutdatedError(Exception):
    """Nobody waits for this view any more."""


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
        part = make(view, block, outdated)
        shown[:, block.rows.start : block.rows.stop, block.columns.start : block.columns.stop] = part
        return shown

    def _held(self, t: float) -> float:
        facts = self.saved.facts
        return min(max(t, 0.0), float(facts.end_seconds - facts.pts_seconds[0]))

    def _field(self, view: View, block: Block, outdated: Callable[[], bool]) -> Tensor:
        frames = render(
            _Watched(self.saved.field, outdated),
            (len(block.rows), len(block.columns)),
            [self._held(view.t)],
            region=block.region,
            chunk_points=_CHUNK_POINTS,
            device=self.device,
        )
        return to_uint8(next(frames))

    @cached_property
    def source(self) -> SourceFrames:
        """The source's frames, read when first asked for."""
        return self._read_source()

    def _source(self, view: View, block: Block, outdated: Callable[[], bool]) -> Tensor:
        if outdated():
            raise OutdatedError
        frame = self.source.at(self._held(view.t))
        return to_uint8(look(frame, block.region, (len(block.rows), len(block.columns)), view.scaling)).cpu()

    @cached_property
    def _full_colour(self) -> float:
        return max(full_colour_pixels(self.saved), _LEAST_MOTION)

    @torch.no_grad()
    def _motion(self, view: View, block: Block, outdated: Callable[[], bool]) -> Tensor:
        """How far things move in the time of a frame, by hue (direction) and opacity (distance): (4, h, w) uint8."""
        facts, most = self.saved.facts, self._full_colour
        t = self._held(view.t)
        later = t + float(1 / facts.frame_rate)
        pixels = torch.tensor([facts.width, facts.height], dtype=torch.float32, device=self.device)
        bands = []
        for rows, region in _bands(block):
            if outdated():
                raise OutdatedError
            uv = rearrange(pixel_uv(rows, len(block.columns), region), "h w c -> (h w) c").to(self.device)
            followed = self.saved.field.follow(uv, t, later)
            flow = rearrange((followed.uv - uv) * pixels, "(h w) c -> c h w", h=rows).cpu()
            known = rearrange(followed.known, "(h w) -> h w", h=rows).cpu()
            length = flow.norm(dim=0)
            hue = motion_colours(flow * (most / length.clamp(min=1e-9)), most)
            opacity = to_uint8((length / most).clamp(max=1) * known)
            bands.append(torch.cat([hue, opacity[None]]))
        return torch.cat(bands, dim=1)


class _Watched(nn.Module):
    """A field that stops answering when its view is outdated."""

    def __init__(self, field: nn.Module, outdated: Callable[[], bool]) -> None:
        super().__init__()
        self._field = field
        self._outdated = outdated

    def forward(self, uvt: Tensor, footprint: Footprint) -> Tensor:
        if self._outdated():
            raise OutdatedError
        answer: Tensor = self._field(uvt, footprint)
        return answer


def _bands(block: Block) -> list[tuple[int, Region]]:
    """A block cut into bands of whole rows, small enough to follow at once: rows and region of each."""
    u0, v0, u1, v1 = block.region
    height = len(block.rows)
    most = max(1, _CHUNK_POINTS // len(block.columns))
    step = (v1 - v0) / height
    return [
        (min(most, height - top), (u0, v0 + top * step, u1, v0 + min(top + most, height) * step))
        for top in range(0, height, most)
    ]
