"""What a person sees in TensorBoard: pictures of the field beside the clip, its score, and what it has learnt.

The writer is somebody else's: this module only fills it. Looking must not cost what learning does. So nothing is shown
or judged at the clip's own size: pictures have at most `_WIDEST` pixels a side, each the mean of whole source pixels,
and what takes motion or detail is asked of a `Glimpse`, which has the field's learnt parts and a small part of its
clip. What a set of pictures takes, in time, memory and bytes, then depends neither on how large the clip is nor on how
long. How often there is one is up to a `TimeShare`, and to how far the fit is (`Board.is_due`).

Pictures that are compared lie on the same raster, so that an error shown is the field's and not that of a resampling
filter.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from textwrap import indent
from typing import Any, NamedTuple

import torch
from einops import rearrange
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms.functional import to_pil_image

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.coords import keyframe_t, pixel_uv, with_t
from vfield.core.drawing import (
    Labelled,
    diverging_colours,
    error_picture,
    magnify,
    most_detailed,
    motion_colours,
    panel,
    with_colour_wheel,
)
from vfield.core.errors import UserError
from vfield.core.frames import Frames, MadeFrames
from vfield.core.metrics import psnr, ssim
from vfield.core.splines import area_averages
from vfield.core.timing import schedule
from vfield.field.latents import Recent, tensor_bytes
from vfield.field.render import WHOLE, Region, render
from vfield.field.timeline import gaps_between
from vfield.field.tracks import AskedCurves
from vfield.field.video_field import Inspection, VideoField
from vfield.prepare.config import FlowConfig
from vfield.video_io import ENLARGE, encode_gif, enlarge_lanczos

_WIDEST = 480  # pixels of either side of a picture, before small ones are magnified

_CROP = 80  # side of the enlarged region, source pixels
_MARGIN = 24  # source pixels around a region that the encoder of detail, and what moves into it, may look at
_CROP_SHOWN = 320  # side at which the enlarged region is shown

_SCORED = 4  # held-out frames that `quality` judges

_HOLE = (0.9, 0.1, 0.7)  # colour of what is hidden: few pictures have it

_DEMO_SECONDS = Fraction(1, 2)
_DEMO_GAPS = 6  # between frames, at most: the motion of each has to be found
_DEMO_SLOWMO = Fraction(4)
_DEMO_RATE = Fraction(25, 2)  # eight ticks of 1/100 s a frame, the unit in which a GIF keeps time
_DEMO_WIDEST = 288  # pixels of either side
_DEMO_WORK_SECONDS = 4.0  # after which a moving picture ends with what there is

_MOST_VALUES = 1 << 16  # of a histogram; more would not change its shape, only take longer
_BINS = 64

# What the events of a run may take: sets of pictures, bytes of a set and of the moving picture. Several clips share it,
# down to so much each.
_MOST_SETS, _LEAST_SETS = 6, 2
_MOST_SET_BYTES, _LEAST_SET_BYTES = 380 << 10, 80 << 10
_MOST_DEMO_BYTES, _LEAST_DEMO_BYTES = 400 << 10, 64 << 10
# From best to worst: JPEG's quality, and how it divides chroma (0: not at all, 2: by four).
_QUALITIES = ((90, 0), (82, 2), (70, 2), (55, 2), (40, 2), (25, 2), (12, 2))

_KEPT_BYTES = 16 << 20  # of small frames, of each kind


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


class TimeShare:
    """Time that goes into something beside the work: a context that counts it, and tells whether there may be more."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count.

        Args:
            share: of all time since now, 0 to 1.
            clock: what the time is, in seconds.
        """
        self.share = share
        self._clock = clock
        self._began = clock()
        self._entered = self.spent = self.last = 0.0

    def __enter__(self) -> None:
        self._entered = self._clock()

    def __exit__(self, *_: object) -> None:
        self.last = self._clock() - self._entered
        self.spent += self.last

    def allows_more(self) -> bool:
        """Whether what takes as long as the last time would stay within the share. The first time it does."""
        return self.spent + self.last <= self.share * (self._clock() - self._began)


class Raster(NamedTuple):
    """A picture whose every pixel is a box of whole source pixels: a square, unless the picture is less than that.

    Attributes:
        factors: rows and columns of those boxes.
        height: rows.
        width: columns.
        top: first source row.
        left: first source column.
    """

    factors: tuple[int, int]
    height: int
    width: int
    top: int = 0
    left: int = 0

    @staticmethod
    def within(height: int, width: int, widest: int) -> Raster:
        """The largest raster over a height x width picture that is at most so many pixels wide and high.

        An incomplete last row or column of boxes is left out.
        """
        side = max(-(-width // widest), -(-height // widest))
        down, across = min(side, height), min(side, width)
        return Raster((down, across), height // down, width // across)

    @staticmethod
    def around(crop: tuple[int, int, int], height: int, width: int) -> Raster:
        """The source's own pixels in and around a square (y, x, side) of a height x width picture."""
        y, x, side = crop
        top, left = max(0, y - _MARGIN), max(0, x - _MARGIN)
        bottom, right = min(height, y + side + _MARGIN), min(width, x + side + _MARGIN)
        return Raster((1, 1), bottom - top, right - left, top, left)

    def region(self, height: int, width: int) -> Region:
        """What it shows of a height x width picture."""
        down, across = self.factors
        bottom, right = self.top + self.height * down, self.left + self.width * across
        return self.left / width, self.top / height, right / width, bottom / height

    def region_of(self, crop: tuple[int, int, int]) -> Region:
        """Where a square (y, x, side) of source pixels lies in the raster."""
        y, x, side = crop
        high, wide = self.height * self.factors[0], self.width * self.factors[1]
        y, x = y - self.top, x - self.left
        return x / wide, y / high, (x + side) / wide, (y + side) / high

    def shrink(self, frame: Tensor) -> Tensor:
        """A source frame (c, h, w) on this raster: (c, height, width) float in [0, 1]."""
        down, across = self.factors
        rows = slice(self.top, self.top + self.height * down)
        columns = slice(self.left, self.left + self.width * across)
        return area_averages(frame[:, rows, columns], self.height, self.width)


def small_frames(field: VideoField, raster: Raster) -> Frames:
    """A field's keyframes on a raster, of their type; those made last are kept."""
    kept: Recent[Tensor] = Recent(tensor_bytes)
    source = field.frames

    def made(index: int) -> Tensor:
        def small() -> Tensor:
            picture = raster.shrink(source[index])
            return to_uint8(picture) if source.dtype == torch.uint8 else picture

        return kept.get((index,), _KEPT_BYTES, small)

    return MadeFrames((len(source), 3, raster.height, raster.width), source.dtype, made)


class Glimpse:
    """A field's learnt parts on a part of its clip, or on the whole clip made smaller.

    What it takes to ask is what so many pixels take: its motion is found in them, and its detail made of them alone.
    So it shows what the parts have learnt, and differs from the field where motion does that was found at another size,
    or comes from outside. A field without keyframe colours, whose codes are laid over the whole picture, has glimpses
    only of that.
    """

    def __init__(self, field: VideoField, raster: Raster, *, detail: bool) -> None:
        """Prepare to ask; nothing is read before.

        Args:
            field: the field, or any other of the same clip.
            raster: the pixels, and what they show of the clip.
            detail: whether there is to be a level at twice the raster's size, which takes longest by far; it needs the
                source's own pixels.
        """
        self._raster, self._detail = raster, detail
        self._frames = small_frames(field, raster)
        self._curves: AskedCurves | None = None
        if field.motion is not None:
            found = field.motion.source
            self._curves = AskedCurves(
                self._frames,
                field.timeline.t,
                gaps_between(field.timeline.shots),
                field.config.motion.cell,
                found.config if isinstance(found, AskedCurves) else FlowConfig(),
                views=field.visibility is not None,
            )

    @staticmethod
    def to_enlarge(field: VideoField, crop: tuple[int, int, int]) -> Glimpse:
        """What a square (y, x, side) of source pixels is to be enlarged from: they and those around them.

        Of a field without keyframe colours, which makes no detail of them, the whole picture made smaller.
        """
        if field.colours is None:
            return Glimpse(field, Raster.within(*field.size, _WIDEST), detail=False)
        return Glimpse(field, Raster.around(crop, *field.size), detail=True)

    def enlarged(self, field: VideoField, crop: tuple[int, int, int], t: float, device: torch.device | str) -> Tensor:
        """A square (y, x, side) of source pixels as the field enlarges it: (3, h, w) float32 in [0, 1]."""
        size = (ENLARGE * crop[2], ENLARGE * crop[2])
        return next(render(self.of(field), size, [t], region=self._raster.region_of(crop), device=device))

    def of(self, field: VideoField) -> VideoField:
        """The small field, with what the field has learnt by now; made anew, so that it keeps nothing for long."""
        small = field.at_size(self._frames, self._curves)
        # Its own, or none: what a field's encoder keeps is of its whole keyframes.
        small.detail = field.detail.for_clip() if self._detail and field.detail is not None else None
        for part in (small.colours, small.motion):
            if part is not None:
                part.to(field.device)
        if small.colours is not None:
            small.colours.cache_bytes = _KEPT_BYTES
        return small


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
    """Writes what is worth seeing about one field and its clip.

    Attributes:
        sets: how many sets of pictures there were.
    """

    def __init__(
        self,
        writer: SummaryWriter,
        clip: Clip,
        held_out: HeldOut | None,
        device: torch.device | str,
        clips: int = 1,
    ) -> None:
        """Prepare to write.

        Args:
            writer: where to.
            clip: the observed frames. What its `visible` hides is shown as a hole and not judged.
            held_out: frames that the field never sees, of the clip's size; None without.
            device: where the field lies.
            clips: how many boards a run has, which share what its events may take.
        """
        self.writer = writer
        self.clip = clip
        self.held_out = held_out if held_out is not None and held_out.t else None
        self.device = device
        self.sets = 0
        self._most_sets = min(_MOST_SETS, max(_LEAST_SETS, round(_MOST_SETS / clips)))
        share = _MOST_SETS * _MOST_SET_BYTES // (clips * self._most_sets)
        self._set_bytes = min(_MOST_SET_BYTES, max(_LEAST_SET_BYTES, share))
        self._demo_bytes = max(_LEAST_DEMO_BYTES, _MOST_DEMO_BYTES // clips)
        self._t: list[float] = keyframe_t(clip.pts_seconds).tolist()
        self._middle = len(clip) // 2
        self._raster = Raster.within(clip.height, clip.width, _WIDEST)
        self._small: Glimpse | None = None
        self._close: Glimpse | None = None
        self._seen: Recent[Tensor] = Recent(tensor_bytes)
        middle = clip.frames[self._middle]
        self._crop = detailed_square(self._raster.shrink(middle), (clip.height, clip.width), _CROP)
        self._enlarged = enlarge_lanczos(middle, self._crop)

    def is_due(self, done: float) -> bool:
        """Whether there may be another set of pictures before the last, of a fit of which `done` (0 to 1) is done.

        A run has so many sets at most, evenly over its length. One that is gone on with has had those of its part.
        """
        if self.sets == 0 and done > 0:
            self.sets = 1 + int(done * (self._most_sets - 1))
        return self.sets == 0 or (self.sets < self._most_sets - 1 and done >= self.sets / (self._most_sets - 1))

    def show(self, field: VideoField, step: int, *, moving: bool = False) -> None:
        """Write a set: scores, pictures, histograms, and a moving picture if there is to be one."""
        self.scalars(self.quality(field, step), step)
        self.pictures(field, step)
        self.histograms(field, step)
        if moving:
            self.demo(field, step)
        if field.colours is not None:
            # Splines of whole frames, which nothing but pictures asks for while the field learns.
            field.colours.forget()
        self.sets += 1

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers by name."""
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, step)
        self.writer.flush()

    def describe(self, config_text: str, facts_text: str) -> None:
        """Write down what is being fitted, and how, and what the pictures show.

        Args:
            config_text: the settings, YAML.
            facts_text: the clip's facts, any lines of text.
        """
        raster = self._raster
        size = f"{raster.width}x{raster.height}"
        shown = (
            f"Pictures and scores are of the clip at {size}: a pixel is the mean of {raster.factors[1]}x"
            f"{raster.factors[0]} of the source's.\nMotion is found at that size, too. Scores are means over two "
            f"observed frames and up to {_SCORED} held-out ones.\n"
            "The enlarged region is made from the source's own pixels in and around it."
        )
        for tag, text in (("about/clip", facts_text), ("about/settings", config_text), ("about/pictures", shown)):
            self.writer.add_text(tag, indent(text, " " * 4))  # Markdown's code block, which keeps lines as they are

    @torch.no_grad()
    def pictures(self, field: VideoField, step: int) -> None:
        """Write pictures of the field: a few small renderings."""
        small = self._glimpse(field)
        shown = {"field/1 observed": panel(self._observed(field))}
        between = self._between(field)
        if between is not None:
            made = self._render(small, between.t)
            shown["field/2 in between"] = panel(self._neighbours(between, made))
            if self.held_out is not None and between.hidden is not None:
                shown["field/3 held out"] = panel(self._truth(self.held_out, between, made))
        shown["field/4 enlarged"] = panel(self._closer(field))
        if between is not None and field.motion is not None:
            shown["field/5 motion"] = panel(self._motion(small, between.t, step))
        for tag, (jpeg, size) in zip(shown, _jpegs(list(shown.values()), self._set_bytes), strict=True):
            self._add_image(tag, jpeg, size, step)
        self.writer.flush()

    @torch.no_grad()
    def quality(self, field: VideoField, step: int) -> dict[str, float]:
        """How close the field is to frames, all made as small as they are shown: means over few of them.

        Of observed frames, which a field with keyframe colours has, they are the first and the middle one; of held-out
        ones up to four, spread over the clip. So they tell how learning goes, and are not those of the clip at its own
        size. Writes nothing, so that whoever trains can log the scores beside its own.

        Args:
            field: the field.
            step: of training; the same frames are judged at every one.

        Returns:
            "psnr/observed" in dB and "ssim/observed", and likewise ".../held out" where there are such frames. A
            picture too small for SSIM has none.
        """
        pairs: dict[str, list[tuple[Tensor, Tensor]]] = {"observed": []}
        for index in sorted({0, self._middle}):
            made, truth, seen = self._shown_again(field, index), self._frame(index), self._visible(index)
            if seen is not None:
                # Where there is nothing to compare with, nothing is wrong.
                truth = torch.where(seen == 1, truth, made)
            pairs["observed"].append((made, truth))
        if self.held_out is not None:
            small, t = self._glimpse(field), self.held_out.t
            chosen = _spread(len(t), _SCORED)
            pairs["held out"] = [(self._render(small, t[index]), self._hidden(index)) for index in chosen]
        scores: dict[str, float] = {}
        for kind, judged in pairs.items():
            frames, reference = (torch.stack(part) for part in zip(*judged, strict=True))
            scores[f"psnr/{kind}"] = float(psnr(frames, reference).mean())
            scores[f"ssim/{kind}"] = float(ssim(frames, reference).mean())
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
                self.writer.add_histogram(tag, sample, step, bins=_BINS)
        self.writer.flush()

    @torch.no_grad()
    def demo(self, field: VideoField, step: int) -> None:
        """Write the middle of the clip, four times slower, as a moving picture. An image has none.

        It is half a second of the clip, or six gaps between frames where those are less.
        """
        pts = self.clip.pts_seconds
        first = max(0, self._middle - _DEMO_GAPS // 2)
        start, end = pts[first], pts[min(first + _DEMO_GAPS, len(pts) - 1)]
        if start == end:
            return
        late = max(Fraction(0), end - start - _DEMO_SECONDS) / 2
        plan = schedule(
            pts,
            self.clip.end_seconds,
            self.clip.frame_rate,
            start=start + late,
            end=end - late,
            output_rate=_DEMO_RATE,
            slowmo=_DEMO_SLOWMO,
        )
        raster = Raster.within(self.clip.height, self.clip.width, _DEMO_WIDEST)
        small = Glimpse(field, raster, detail=False).of(field)
        instants = [float(seconds - pts[0]) for seconds in plan.source_seconds]
        frames: list[Tensor] = []
        until = time.monotonic() + _DEMO_WORK_SECONDS
        for frame in render(small, (raster.height, raster.width), instants, device=self.device):
            frames.append(to_uint8(frame))
            if time.monotonic() > until:
                break
        gif, size = _gif(torch.stack(frames), self._demo_bytes)
        self._add_image(f"field/6 slow motion, {_DEMO_SLOWMO} times slower", gif, size, step)
        self.writer.flush()

    def _glimpse(self, field: VideoField) -> VideoField:
        """The field of the whole clip on the raster of the pictures."""
        self._small = self._small or Glimpse(field, self._raster, detail=False)
        return self._small.of(field)

    def _render(self, asked: VideoField, t: float, region: Region = WHOLE) -> Tensor:
        return next(render(asked, (self._raster.height, self._raster.width), [t], region=region, device=self.device))

    def _shown_again(self, field: VideoField, index: int) -> Tensor:
        """What is made of an observed frame: by the field itself where that needs no motion, else by its glimpse."""
        t = self._t[index]
        if field.colours is None or not bool((field.timeline.t == t).any()):
            return self._render(self._glimpse(field), t)
        return self._render(field, t, self._raster.region(*field.size))

    def _frame(self, index: int) -> Tensor:
        """An observed frame on the raster of the pictures."""
        return self._shrunk(0, index, lambda: self.clip.frames[index])

    def _hidden(self, index: int) -> Tensor:
        """A held-out frame, likewise."""
        assert self.held_out is not None
        frames = self.held_out.frames
        return self._shrunk(1, index, lambda: frames[index].cpu())

    def _visible(self, index: int) -> Tensor | None:
        """How much of each pixel of an observed frame is to be believed, likewise; None for all of it."""
        visible = self.clip.visible
        if visible is None:
            return None
        return self._shrunk(2, index, lambda: (255 * visible[index].to(torch.uint8)).expand(3, -1, -1))

    def _shrunk(self, kind: int, index: int, read: Callable[[], Tensor]) -> Tensor:
        return self._seen.get((kind, index), _KEPT_BYTES, lambda: self._raster.shrink(read()))

    def _add_image(self, tag: str, encoded: bytes, size: tuple[int, int], step: int) -> None:
        # The writer's own add_image knows only PNG, and its add_video wants moviepy. A JPEG and a GIF are images like
        # any other, to TensorBoard and to browsers.
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=encoded)
        events: Any = self.writer.file_writer  # declared as None, which it is only once the writer is closed
        events.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def _observed(self, field: VideoField) -> list[Labelled]:
        t, made = self._t[self._middle], self._shown_again(field, self._middle)
        source, seen = self._frame(self._middle), self._visible(self._middle)
        if seen is not None:
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
        return [
            (f"source at {self._t[between.left]:.3f} s", self._frame(between.left)),
            (f"field at {between.t:.3f} s", made),
            (f"source at {self._t[between.right]:.3f} s", self._frame(between.right)),
        ]

    def _truth(self, held_out: HeldOut, between: _Between, made: Tensor) -> list[Labelled]:
        """A held-out frame, the field there, and what both the field and the simplest rival get wrong."""
        assert between.hidden is not None
        truth = self._hidden(between.hidden)
        left, right = (self._frame(index) for index in (between.left, between.right))
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
        self._close = self._close or Glimpse.to_enlarge(field, self._crop)
        made = self._close.enlarged(field, self._crop, self._t[self._middle], self.device)
        factor = max(1, _CROP_SHOWN // made.shape[-1])
        return [
            (f"Lanczos x{ENLARGE}", magnify(to_float(self._enlarged), factor)),
            (f"field x{ENLARGE}", magnify(made, factor)),
        ]

    def _motion(self, small: VideoField, t: float, step: int) -> list[Labelled]:
        """Where things move at an instant, how fast, and which neighbouring frame the field believes."""
        raster = self._raster
        seen = _inspect(small, with_t(pixel_uv(raster.height, raster.width), t), self.device)
        velocity = seen.velocity * torch.tensor([raster.factors[1], raster.factors[0]])
        speed = velocity.norm(dim=-1)
        most = _quantile(speed, 0.99)
        self.writer.add_scalar("motion/fastest point, px per s", float(speed.max()), step)
        self.writer.add_scalar("motion/99th percentile, px per s", most, step)
        # Colours tell speeds up to the 99th percentile apart: a few wild points would turn all others white.
        flow = rearrange(velocity, "(h w) c -> c h w", h=raster.height)
        pictures = [(f"motion, to {most:.0f} px/s", to_float(with_colour_wheel(motion_colours(flow, most))))]
        if small.visibility is not None:
            share = rearrange(seen.right_share, "(h w) -> h w", h=raster.height)
            # Which neighbouring frame a point is taken from; grey where it is seen in both.
            pictures.append(("blue earlier, orange later", diverging_colours(share)))
        return pictures


def detailed_square(shown: Tensor, size: tuple[int, int], side: int) -> tuple[int, int, int]:
    """The most detailed square of a frame: y, x and side, in source pixels.

    Args:
        shown: the frame (3, h, w), as small as may be: detail of a reduced frame is a stand-in for that of the frame.
        size: height and width of the source.
        side: of the square, where the frame is not less.
    """
    (rows, columns), (height, width) = shown.shape[-2:], size
    side = min(side, *size)
    y, x, _ = most_detailed(shown, max(1, side * columns // width))
    return min(y * height // rows, height - side), min(x * width // columns, width - side), side


def _jpegs(pictures: list[Tensor], most_bytes: int) -> list[tuple[bytes, tuple[int, int]]]:
    """Pictures (3, h, w) uint8 in so many bytes together, all as good as they allow, each with its size.

    They are made smaller if the least quality does not do.
    """
    while True:
        for quality, chroma in _QUALITIES:
            found = []
            for picture in pictures:
                buffer = io.BytesIO()
                to_pil_image(picture).save(buffer, format="JPEG", quality=quality, subsampling=chroma)
                found.append((buffer.getvalue(), (picture.shape[-2], picture.shape[-1])))
            if sum(len(jpeg) for jpeg, _ in found) <= most_bytes or all(picture.numel() <= 3 for picture in pictures):
                return found
        pictures = [_smaller(picture) for picture in pictures]


def _gif(frames: Tensor, most_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """Frames (t, 3, h, w) uint8 as a GIF of so many bytes, and its size: as large as they allow."""
    while True:
        gif = encode_gif(frames, _DEMO_RATE)
        if len(gif) <= most_bytes or max(frames.shape[-2:]) <= 16:
            return gif, (frames.shape[-2], frames.shape[-1])
        frames = _smaller(frames)


def _smaller(pictures: Tensor) -> Tensor:
    """(..., 3, h, w) uint8 a quarter smaller a side."""
    rows, columns = (max(1, 3 * side // 4) for side in pictures.shape[-2:])
    return to_uint8(area_averages(pictures, rows, columns))


def _inspect(field: VideoField, uvt: Tensor, device: torch.device | str, chunk_points: int = 1 << 16) -> Inspection:
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
