"""What a person sees in TensorBoard: pictures of the field beside the clip, its score, and what it has learnt.

The writer is somebody else's: this module only fills it. Pictures that are compared lie on the same raster, made of
whole source pixels, so that an error shown is the field's and not that of a resampling filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from textwrap import indent
from typing import Any, NamedTuple

import torch
from einops import rearrange, reduce
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.coords import keyframe_t, pixel_uv, with_t
from vfield.core.drawing import (
    Labelled,
    diverging_colours,
    error_picture,
    fitting,
    magnify,
    most_detailed,
    motion_colours,
    panel,
    with_colour_wheel,
)
from vfield.core.errors import UserError
from vfield.core.frames import Frames
from vfield.core.metrics import psnr, ssim
from vfield.core.timing import schedule
from vfield.field.render import Region, render
from vfield.field.video_field import Inspection, VideoField
from vfield.video_io import ENLARGE, encode_gif, enlarge_lanczos

_WIDEST = 960  # pixels, of any picture shown
_TALLEST = 2 * _WIDEST  # likewise

_CROP = 64  # side of the enlarged region, source pixels
_CROP_SHOWN = 512  # side at which the enlarged region is shown

_SCORED = 4  # frames of each kind that `quality` judges

_HOLE = (0.9, 0.1, 0.7)  # colour of what is hidden: few pictures have it

_DEMO_SECONDS = Fraction(1)
_DEMO_SLOWMO = Fraction(4)
_DEMO_RATE = Fraction(50, 3)  # six ticks of 1/100 s a frame, the unit in which a GIF keeps time
_DEMO_WIDEST = 400

_MOST_VALUES = 1 << 18  # of a histogram; more would not change its shape, only take longer


@dataclass(frozen=True)
class HeldOut:
    """Frames that the field never saw.

    Attributes:
        frames: n of (3, h, w).
        t: their instants, seconds since the clip's first frame.
    """

    frames: Frames
    t: list[float]

    def __post_init__(self) -> None:
        if len(self.frames) != len(self.t):
            raise UserError(f"{len(self.frames)} held-out frames but {len(self.t)} instants")


class _Raster(NamedTuple):
    """A picture whose every pixel is a box of whole source pixels: a square, unless the picture is less than that.

    Attributes:
        factors: rows and columns of those boxes.
        height: rows.
        width: columns.
        region: what it shows of the source; an incomplete last row or column of boxes is left out.
    """

    factors: tuple[int, int]
    height: int
    width: int
    region: Region

    @staticmethod
    def within(height: int, width: int, widest: int, tallest: int) -> _Raster:
        """The largest raster over a height x width picture that is at most so many pixels wide and high."""
        side = max(-(-width // widest), -(-height // tallest))
        down, across = min(side, height), min(side, width)
        rows, columns = height // down, width // across
        return _Raster((down, across), rows, columns, (0.0, 0.0, columns * across / width, rows * down / height))

    def shrink(self, frame: Tensor) -> Tensor:
        """A source frame (3, h, w) on this raster: (3, height, width) float in [0, 1]."""
        down, across = self.factors
        whole = to_float(frame)[:, : self.height * down, : self.width * across]
        return reduce(whole, "c (h a) (w b) -> c h w", "mean", a=down, b=across)


class _Between(NamedTuple):
    """An instant between two observed frames.

    Attributes:
        left, right: indices of those frames in the clip.
        t: the instant, seconds since the clip's first frame.
        hidden: index of the held-out frame of that instant, or None.
    """

    left: int
    right: int
    t: float
    hidden: int | None


class Board:
    """Writes what is worth seeing about one field and its clip."""

    def __init__(self, writer: SummaryWriter, clip: Clip, held_out: HeldOut | None, device: torch.device | str) -> None:
        """Prepare to write.

        Args:
            writer: where to.
            clip: the observed frames. What its `visible` hides is shown as a hole and not judged.
            held_out: frames that the field never sees, of the clip's size; None without.
            device: where the field lies.
        """
        self.writer = writer
        self.clip = clip
        self.held_out = held_out if held_out is not None and held_out.t else None
        self.device = device
        self._t: list[float] = keyframe_t(clip.pts_seconds).tolist()
        self._middle = len(clip) // 2
        self._raster = _Raster.within(clip.height, clip.width, _WIDEST, _TALLEST)
        self._crop = most_detailed(clip.frames[self._middle], _CROP)
        self._enlarged = enlarge_lanczos(clip.frames[self._middle], self._crop)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers by name."""
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, step)
        self.writer.flush()

    def describe(self, config_text: str, facts_text: str) -> None:
        """Write down what is being fitted, and how.

        Args:
            config_text: the settings, YAML.
            facts_text: the clip's facts, any lines of text.
        """
        for tag, text in (("about/clip", facts_text), ("about/settings", config_text)):
            self.writer.add_text(tag, indent(text, " " * 4))  # Markdown's code block, which keeps lines as they are

    @torch.no_grad()
    def pictures(self, field: VideoField, step: int) -> None:
        """Write pictures of the field: a few renderings, no larger than they are shown."""
        self._show("field/1 observed", self._observed(field), step)
        between = self._between(field)
        if between is not None:
            made = self._render(field, between.t)
            self._show("field/2 in between", self._neighbours(between, made), step)
            if self.held_out is not None and between.hidden is not None:
                self._show("field/3 held out", self._truth(self.held_out, between, made), step)
        self._show("field/4 enlarged", self._closer(field), step)
        if between is not None and field.motion is not None:
            self._motion(field, between.t, step)
        self.writer.flush()

    @torch.no_grad()
    def quality(self, field: VideoField, step: int) -> dict[str, float]:
        """How close the field is to frames, at the source's size: means over up to four of each kind.

        Writes nothing, so that whoever trains can log the scores beside its own.

        Args:
            field: the field.
            step: of training; the same frames are judged at every one.

        Returns:
            "psnr/observed" in dB and "ssim/observed", and likewise ".../held out" where there are such frames. A
            picture too small for SSIM has none.
        """
        kinds: list[tuple[str, Frames, Sequence[float]]] = [("observed", self.clip.frames, self._t)]
        if self.held_out is not None:
            kinds.append(("held out", self.held_out.frames, self.held_out.t))
        scores: dict[str, float] = {}
        size = (self.clip.height, self.clip.width)
        for kind, frames, t in kinds:
            chosen = _spread(len(t), _SCORED)
            made = torch.stack(list(render(field, size, [t[i] for i in chosen], device=self.device)))
            reference = torch.stack([frames[i].cpu() for i in chosen])
            visible = self.clip.visible if kind == "observed" else None
            if visible is not None:
                # Where there is nothing to compare with, nothing is wrong.
                reference = torch.where(visible[chosen][:, None], to_float(reference), made)
            scores[f"psnr/{kind}"] = float(psnr(made, reference).mean())
            scores[f"ssim/{kind}"] = float(ssim(made, reference).mean())
        return {name: value for name, value in scores.items() if value == value}

    @torch.no_grad()
    def histograms(self, field: VideoField, step: int) -> None:
        """Write how the learnt values are distributed: global and local latents."""
        values: dict[str, Tensor] = {}
        if field.shared is not None:
            values["values/global code"] = field.shared.code
            values["values/global track"] = field.shared.track
        if field.latents is not None:
            for cell, level in zip(field.config.local.levels, field.latents.levels, strict=True):
                values[f"values/latents, cells of {cell} px"] = level
        for tag, grid in values.items():
            sample = _sample(grid)
            if len(sample):
                self.writer.add_histogram(tag, sample, step)
        self.writer.flush()

    def demo(self, field: VideoField, step: int) -> None:
        """Write the middle second of the clip, four times slower, as a moving picture. An image has none."""
        clip = self.clip
        first, last = clip.pts_seconds[0], clip.pts_seconds[-1]
        if first == last:
            return
        span = min(_DEMO_SECONDS, last - first)
        start = (first + last - span) / 2
        plan = schedule(
            clip.pts_seconds,
            clip.end_seconds,
            clip.frame_rate,
            start=start,
            end=start + span,
            output_rate=_DEMO_RATE,
            slowmo=_DEMO_SLOWMO,
        )
        height, width = fitting(clip.height, clip.width, _DEMO_WIDEST)
        instants = [float(seconds - first) for seconds in plan.source_seconds]
        frames = [to_uint8(frame) for frame in render(field, (height, width), instants, device=self.device)]
        gif = encode_gif(torch.stack(frames), _DEMO_RATE)
        # The writer's own add_video wants moviepy. A GIF is an image like any other, to TensorBoard and to browsers.
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        tag = f"field/6 slow motion, {_DEMO_SLOWMO} times slower"
        events: Any = self.writer.file_writer  # declared as None, which it is only once the writer is closed
        events.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
        self.writer.flush()

    def _render(self, field: VideoField, t: float) -> Tensor:
        size = (self._raster.height, self._raster.width)
        return next(render(field, size, [t], region=self._raster.region, device=self.device))

    def _show(self, tag: str, pictures: Sequence[Labelled], step: int) -> None:
        self.writer.add_image(tag, panel(pictures), step)

    def _observed(self, field: VideoField) -> list[Labelled]:
        t = self._t[self._middle]
        source, made = self._raster.shrink(self.clip.frames[self._middle]), self._render(field, t)
        if self.clip.visible is not None:
            seen = self._raster.shrink(self.clip.visible[self._middle].expand(3, -1, -1))
            holed = torch.lerp(torch.tensor(_HOLE)[:, None, None].expand_as(seen), source, seen)
            error = error_picture(made * (seen == 1), source * (seen == 1), 10)
            return [(f"seen at {t:.3f} s", holed), ("field", made), ("error x10 of what is seen", error)]
        return [
            (f"source at {t:.3f} s", source),
            ("field", made),
            ("error x10", error_picture(made, source, 10)),
        ]

    def _between(self, field: VideoField) -> _Between | None:
        """The instant between frames nearest to the clip's middle, not across a cut where that can be helped.

        A held-out frame's instant is preferred, so that there is a truth to compare with.
        """
        gaps = list(pairwise(range(len(self._t))))
        found = [_Between(left, right, (self._t[left] + self._t[right]) / 2, None) for left, right in gaps]
        if self.held_out is not None:
            inside = [
                _Between(left, right, t, index)
                for index, t in enumerate(self.held_out.t)
                for left, right in gaps
                if self._t[left] < t < self._t[right]
            ]
            found = inside or found
        if not found:
            return None
        segments = field.timeline.find(torch.tensor([between.t for between in found])).tolist()
        cut = [field.timeline.segments[segment].gap is None for segment in segments]
        middle = (self._t[0] + self._t[-1]) / 2
        return min(zip(cut, found, strict=True), key=lambda item: (item[0], abs(item[1].t - middle)))[1]

    def _neighbours(self, between: _Between, made: Tensor) -> list[Labelled]:
        def observed(index: int) -> Tensor:
            return self._raster.shrink(self.clip.frames[index])

        return [
            (f"source at {self._t[between.left]:.3f} s", observed(between.left)),
            (f"field at {between.t:.3f} s", made),
            (f"source at {self._t[between.right]:.3f} s", observed(between.right)),
        ]

    def _truth(self, held_out: HeldOut, between: _Between, made: Tensor) -> list[Labelled]:
        """A held-out frame, the field there, and what both the field and the simplest rival get wrong."""
        assert between.hidden is not None
        truth = self._raster.shrink(held_out.frames[between.hidden].cpu())
        left, right = (self._raster.shrink(self.clip.frames[index]) for index in (between.left, between.right))
        start, end = self._t[between.left], self._t[between.right]
        fade = torch.lerp(left, right, (between.t - start) / (end - start))
        return [
            (f"held-out frame at {between.t:.3f} s", truth),
            ("field", made),
            ("fade: error x5", error_picture(fade, truth, 5)),
            ("field: error x5", error_picture(made, truth, 5)),
        ]

    def _closer(self, field: VideoField) -> list[Labelled]:
        """The most detailed region of the middle frame, enlarged by the usual filter and by the field."""
        y, x, side = self._crop
        height, width = self.clip.height, self.clip.width
        region = (x / width, y / height, (x + side) / width, (y + side) / height)
        size = (ENLARGE * side, ENLARGE * side)
        made = next(render(field, size, [self._t[self._middle]], region=region, device=self.device))
        factor = max(1, _CROP_SHOWN // size[0])
        return [
            (f"Lanczos x{ENLARGE}", magnify(to_float(self._enlarged), factor)),
            (f"field x{ENLARGE}", magnify(made, factor)),
        ]

    def _motion(self, field: VideoField, t: float, step: int) -> None:
        """Where things move at an instant, how fast, and which neighbouring frame the field believes."""
        raster = self._raster
        seen = _inspect(field, with_t(pixel_uv(raster.height, raster.width, raster.region), t), self.device)
        speed = seen.velocity.norm(dim=-1)
        most = _quantile(speed, 0.99)
        self.writer.add_scalar("motion/fastest point, px per s", float(speed.max()), step)
        self.writer.add_scalar("motion/99th percentile, px per s", most, step)
        # Colours tell speeds up to the 99th percentile apart: a few wild points would turn all others white.
        flow = rearrange(seen.velocity, "(h w) c -> c h w", h=raster.height)
        pictures = [(f"motion, to {most:.0f} px/s", to_float(with_colour_wheel(motion_colours(flow, most))))]
        if field.visibility is not None:
            share = rearrange(seen.right_share, "(h w) -> h w", h=raster.height)
            # Which neighbouring frame a point is taken from; grey where it is seen in both.
            pictures.append(("blue earlier, orange later", diverging_colours(share)))
        self._show("field/5 motion", pictures, step)


def _inspect(field: VideoField, uvt: Tensor, device: torch.device | str, chunk_points: int = 1 << 18) -> Inspection:
    """`VideoField.inspect` in chunks, on the CPU."""
    parts = [field.inspect(part.to(device)) for part in uvt.split(chunk_points)]
    return Inspection(*(torch.cat([grid.float().cpu() for grid in grids]) for grids in zip(*parts, strict=True)))


def _quantile(values: Tensor, share: float) -> float:
    """The value that a share of the values does not exceed; for any number of them, unlike `torch.quantile`."""
    return float(values.kthvalue(max(1, round(share * len(values)))).values)


def _sample(grid: Tensor) -> Tensor:
    """The finite values of a tensor, on the CPU; a fixed random sample of them where they are too many."""
    values = grid.detach().flatten()
    if len(values) > _MOST_VALUES:
        chosen = torch.randint(len(values), (_MOST_VALUES,), generator=torch.Generator().manual_seed(0))
        values = values[chosen.to(values.device)]
    values = values.float().cpu()
    return values[values.isfinite()]


def _spread(count: int, most: int) -> list[int]:
    """Up to so many of `count` indices, evenly spread from the first to the last."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]
