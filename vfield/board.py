"""What a person sees in TensorBoard: pictures of the field beside the clip, its score, and what it has learnt.

The writer is somebody else's: this module only fills it. Pictures that are compared lie on the same raster, made of
whole source pixels, so that an error shown is the field's and not that of a resampling filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from textwrap import indent
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from PIL import Image, ImageDraw, ImageFont
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms.functional import pil_to_tensor
from torchvision.utils import flow_to_image, make_grid

from vfield.clip import Clip, to_float, to_uint8
from vfield.coords import keyframe_t, pixel_uv, with_t
from vfield.errors import UserError
from vfield.field.video_field import Inspection, VideoField
from vfield.metrics import psnr, ssim
from vfield.peers import resize_lanczos
from vfield.render import WHOLE, Region, render, schedule
from vfield.video_io import encode_gif

# Pictures: the widest that one is shown, and the narrowest that still has room for its caption.
_WIDEST = 960
_NARROWEST = 320
_GAP = 8  # pixels between pictures of a row

_CROP = 64  # side of the enlarged region, source pixels
_ENLARGE = 4
_CROP_SHOWN = 512  # side at which the enlarged region is shown
_LANCZOS_REACH = 8  # source pixels around the region that its enlargement may look at

_SCORED = 4  # frames of each kind that `quality` judges

_DEMO_SECONDS = Fraction(1)
_DEMO_SLOWMO = Fraction(4)
_DEMO_RATE = Fraction(20)  # a whole number of a GIF's ticks of 1/100 s
_DEMO_WIDEST = 480

_MOST_VALUES = 1 << 18  # of a histogram; more would not change its shape, only take longer

_EARLIER = (0.10, 0.45, 0.90)
_BOTH = (0.50, 0.50, 0.50)
_LATER = (0.95, 0.50, 0.10)

Labelled = tuple[str, Tensor]


@dataclass(frozen=True)
class HeldOut:
    """Frames that the field never saw.

    Attributes:
        frames: (n, 3, h, w) uint8.
        t: their instants, seconds since the clip's first frame.
    """

    frames: Tensor
    t: list[float]

    def __post_init__(self) -> None:
        if len(self.frames) != len(self.t):
            raise UserError(f"{len(self.frames)} held-out frames but {len(self.t)} instants")


class _Raster(NamedTuple):
    """A picture whose every pixel is a square of whole source pixels.

    Attributes:
        factor: side of those squares.
        height: rows.
        width: columns.
        region: what it shows of the source; an incomplete last row or column of squares is left out.
    """

    factor: int
    height: int
    width: int
    region: Region

    @staticmethod
    def within(height: int, width: int, widest: int) -> _Raster:
        """The largest raster over a height x width picture that is at most so many pixels wide."""
        factor = min(-(-width // widest), height)
        rows, columns = height // factor, width // factor
        return _Raster(factor, rows, columns, (0.0, 0.0, columns * factor / width, rows * factor / height))

    def shrink(self, frame: Tensor) -> Tensor:
        """A source frame (3, h, w) on this raster: (3, height, width) float in [0, 1]."""
        whole = to_float(frame)[:, : self.height * self.factor, : self.width * self.factor]
        return reduce(whole, "c (h a) (w b) -> c h w", "mean", a=self.factor, b=self.factor)


class _Between(NamedTuple):
    """An instant between two observed frames.

    Attributes:
        left, right: indices of those frames in the clip.
        t: the instant, seconds since the clip's first frame.
    """

    left: int
    right: int
    t: float


class Board:
    """Writes what is worth seeing about one field and its clip."""

    def __init__(
        self, writer: SummaryWriter, clip: Clip, held_out: HeldOut | None, device: torch.device | str
    ) -> None:
        """Prepare to write.

        Args:
            writer: where to.
            clip: the observed frames.
            held_out: frames that the field never sees, of the clip's size; None without.
            device: where the field lies.
        """
        self.writer = writer
        self.clip = clip
        self.held_out = held_out if held_out is not None and held_out.t else None
        self.device = device
        self._t: list[float] = keyframe_t(clip.pts_seconds).tolist()
        self._middle = len(clip) // 2
        self._raster = _Raster.within(clip.height, clip.width, _WIDEST)
        self._crop = _most_detailed(clip.frames[self._middle], _CROP)
        self._enlarged = _enlarge_lanczos(clip.frames[self._middle], self._crop)

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
        self._show("pictures/1 observed", self._observed(field), step)
        between = self._between(field)
        if between is not None:
            shown = self._render(field, between.t)
            self._show("pictures/2 in between", self._neighbours(between, shown), step)
        if self.held_out is not None:
            self._show("pictures/3 held out", self._truth(field), step)
        self._show("pictures/4 enlarged", self._closer(field), step)
        if between is not None and field.motion is not None:
            uv = pixel_uv(self._raster.height, self._raster.width, self._raster.region)
            self._motion(_inspect(field, with_t(uv, between.t), self.device), field, between, step)
        self.writer.flush()

    @torch.no_grad()
    def quality(self, field: VideoField) -> dict[str, float]:
        """How close the field is to frames, at the source's size: means over up to four of each kind.

        Returns:
            "psnr/observed" in dB and "ssim/observed", and likewise ".../held out" where there are such frames. A
            picture too small for SSIM has none.
        """
        kinds: list[tuple[str, Tensor, Sequence[float]]] = [("observed", self.clip.frames, self._t)]
        if self.held_out is not None:
            kinds.append(("held out", self.held_out.frames, self.held_out.t))
        scores: dict[str, float] = {}
        size = (self.clip.height, self.clip.width)
        for kind, frames, t in kinds:
            chosen = _spread(len(t), _SCORED)
            made = torch.stack(list(render(field, size, [t[i] for i in chosen], device=self.device)))
            reference = frames[chosen].cpu()
            scores[f"psnr/{kind}"] = float(psnr(made, reference).mean())
            scores[f"ssim/{kind}"] = float(ssim(made, reference).mean())
        return {name: value for name, value in scores.items() if value == value}

    @torch.no_grad()
    def histograms(self, field: VideoField, step: int) -> None:
        """Write how the learnt values are distributed: global and local latents, and motion corrections."""
        values: dict[str, Tensor] = {}
        if field.shared is not None:
            values["latents/global code"] = field.shared.code
            values["latents/global track"] = field.shared.track
        if field.latents is not None:
            for cell, level in zip(field.config.local.levels, field.latents.levels, strict=True):
                values[f"latents/cells of {cell} px"] = level
        if field.motion is not None:
            for cell, level in zip(field.config.motion.levels, field.motion.levels, strict=True):
                values[f"motion corrections/cells of {cell} px"] = level
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
        width = min(clip.width, _DEMO_WIDEST)
        height = max(1, round(clip.height * width / clip.width))
        instants = [float(seconds - first) for seconds in plan.source_seconds]
        frames = [to_uint8(frame) for frame in render(field, (height, width), instants, device=self.device)]
        gif = encode_gif(torch.stack(frames), _DEMO_RATE)
        # The writer's own add_video wants moviepy. A GIF is an image like any other, to TensorBoard and to browsers.
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        tag = f"slow motion/{_DEMO_SLOWMO} times slower"
        self.writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
        self.writer.flush()

    def _render(self, field: VideoField, t: float) -> Tensor:
        size = (self._raster.height, self._raster.width)
        return next(render(field, size, [t], region=self._raster.region, device=self.device))

    def _show(self, tag: str, row: Sequence[Labelled], step: int) -> None:
        self.writer.add_image(tag, _row(row), step)

    def _observed(self, field: VideoField) -> list[Labelled]:
        t = self._t[self._middle]
        source, made = self._raster.shrink(self.clip.frames[self._middle]), self._render(field, t)
        return [
            (f"source at {t:.3f} s", source),
            ("field", made),
            ("error × 10", _error(made, source, 10)),
        ]

    def _between(self, field: VideoField) -> _Between | None:
        """The instant between frames nearest to the clip's middle, not across a cut where that can be helped.

        A held-out frame's instant is preferred, so that this row and the next show the same.
        """
        pairs = list(pairwise(range(len(self._t))))
        if not pairs:
            return None
        found = [_Between(left, right, (self._t[left] + self._t[right]) / 2) for left, right in pairs]
        if self.held_out is not None:
            hidden = [
                gap._replace(t=t)
                for t in self.held_out.t
                for gap in found
                if self._t[gap.left] < t < self._t[gap.right]
            ]
            found = hidden or found
        segments = field.timeline.find(torch.tensor([gap.t for gap in found])).tolist()
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
