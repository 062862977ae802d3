"""What may be asked of an export, and what that means for a clip: size, part of the picture, shape of pixels, times."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal, get_args

from vfield.core.clip import LARGEST_SIDE, ClipFacts, check_size, reshaped_aspect
from vfield.core.errors import UserError
from vfield.core.ranges import Range, check_ranges
from vfield.core.timing import Schedule, SpeedCurve, as_typed, schedule, schedule_curve, snapped
from vfield.field.render import WHOLE, Region
from vfield.output.soundtrack import AudioMode
from vfield.output.zoom import ZoomPath, crop_words

Crop = tuple[Fraction | float, Fraction | float, Fraction | float, Fraction | float]

_LOG = logging.getLogger("vfield")
FACTORS = Range(Fraction(1, 1000), 1000)  # of frame rates and of slow motion
_SECONDS = Range(0, 10**9)


@dataclass(frozen=True)
class ExportConfig:
    """What to make of a field. Numbers with a decimal point mean what they say: 0.1 is one tenth.

    A UserError when a value is impossible, or two of them contradict each other.

    Attributes:
        scale: how many times larger than the source (or the crop of it); None for 1.
        size: (height, width) in pixels, instead of a scale.
        fps: frames per second of the result, constant; "source" keeps the source's own times, however uneven, and
            divides each of its gaps into `slowmo` equal steps; None is that, too, but in slow motion and under a speed
            curve the source's nominal rate (the camera's), constant. 1/1000 to 1000, as is slowmo.
        slowmo: how many times longer the result lasts.
        reverse: play it backwards.
        speed_curve: a speed that changes, instead of slowmo, reverse, start and end.
        start: seconds after the clip's first frame at which to begin; None for 0.
        end: seconds after the clip's first frame at which to stop (half-open); None for the end of the clip.
        crop: (x, y, width, height) of the part to show, in source pixels; None for all of it.
        path: a crop that moves, instead of one that stands still. A scale is one of its first crop.
        codec, crf, pixel_format, overwrite: as in `VideoWriter`.
        audio: "copy" the source's sound bit for bit; let it follow the picture, slower, backwards or along the speed
            curve, with its pitch kept ("stretch") or lower where it is slower ("varispeed", as a tape); "drop" it.
            "auto" copies it where the speed is the source's, and leaves it out with a line in the log otherwise.
    """

    scale: Annotated[Fraction | float | None, Range(0, LARGEST_SIDE, open=True)] = None
    size: Annotated[tuple[int, int] | None, Range(1, LARGEST_SIDE)] = None
    fps: Annotated[Fraction | Literal["source"] | None, FACTORS] = None
    slowmo: Annotated[Fraction, FACTORS] = Fraction(1)
    reverse: bool = False
    speed_curve: SpeedCurve | None = None
    start: Annotated[Fraction | float | None, _SECONDS] = None
    end: Annotated[Fraction | float | None, _SECONDS] = None
    crop: Annotated[Crop | None, Range(0, 1 << 20)] = None
    path: ZoomPath | None = None
    codec: str | None = None
    crf: Annotated[int | None, Range(0, 63)] = None
    pixel_format: str | None = None
    audio: AudioMode = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.size is not None:
            check_size(*self.size)
        check_ranges(self, "")
        self._check_picture()
        self._check_times()
        if self.audio not in get_args(AudioMode):
            raise UserError(f"audio must be one of {', '.join(get_args(AudioMode))}, got {self.audio!r}")
        if self.audio == "copy":
            curved = self.speed_curve is not None
            slow = (f"slowmo {_show(self.slowmo)}", self.slowmo != 1)
            for name, changed in (slow, ("reverse", self.reverse), ("a speed curve", curved)):
                if changed:
                    raise UserError(f"audio copy contradicts {name}, which changes the time; use audio stretch")

    def _check_picture(self) -> None:
        if self.scale is not None and self.size is not None:
            size = f"{self.size[1]}x{self.size[0]}"
            raise UserError(f"scale {_show(self.scale)} and size {size} contradict each other; give one")
        if self.crop is not None and self.path is not None:
            raise UserError(f"crop {crop_words(self.crop)} and a path contradict each other; give one")
        if self.crop is not None and min(self.crop[2:]) <= 0:
            raise UserError(f"crop must have a positive size, got {crop_words(self.crop)}")

    def _check_times(self) -> None:
        if self.end is not None and self.end <= (self.start or 0):
            raise UserError(f"end must come after start, got {_show(self.start or 0)} to {_show(self.end)} s")
        if self.speed_curve is None:
            return
        # A curve says by itself what is shown when.
        for name, given, instead in (
            (f"slowmo {_show(self.slowmo)}", self.slowmo != 1, "the curve says how slow it is"),
            ("reverse", self.reverse, "a curve whose times of the clip fall plays backwards"),
            ("start and end", self.start is not None or self.end is not None, "the curve says which part is shown"),
            ("fps source", self.fps == "source", "give a number of frames a second"),
        ):
            if given:
                raise UserError(f"a speed curve and {name} contradict each other; {instead}")


def _show(value: Fraction | float) -> str:
    return f"{float(value):g}"


def output_size(config: ExportConfig, source: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the result: that asked for, or of the scaled source, whose own is given, to the nearest pixel.

    A UserError when the crop is not in the picture, or the size is absurd.
    """
    _, _, crop_width, crop_height = _crop(config, source)
    if config.size is not None:
        return config.size
    scale = 1 if config.scale is None else as_typed(config.scale)
    half = Fraction(1, 2)
    height, width = math.floor(crop_height * scale + half), math.floor(crop_width * scale + half)
    check_size(height, width, f" (scale {_show(scale)} of {_show(crop_width)}x{_show(crop_height)})")
    return height, width


def _crop(config: ExportConfig, source: tuple[int, int]) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """The crop whose size and shape count: of a path the first, since the others are of its shape."""
    crop = config.crop if config.path is None else config.path.keyframes[0].crop
    if crop is None:
        return Fraction(0), Fraction(0), Fraction(source[1]), Fraction(source[0])
    x, y, width, height = map(as_typed, crop)
    if config.crop is not None and (x + width > source[1] or y + height > source[0]):
        raise UserError(f"crop {crop_words(config.crop)} reaches outside the picture, which is {source[1]}x{source[0]}")
    return x, y, width, height


def region_of(config: ExportConfig, facts: ClipFacts) -> Region | Callable[[float], Region]:
    """What the result shows of the picture, or that as a function of t where it moves.

    A UserError when that is not in the picture.
    """
    if config.path is not None:
        return config.path.regions(facts)
    if config.crop is None:
        return WHOLE
    x, y, width, height = _crop(config, (facts.height, facts.width))
    left, top = x / facts.width, y / facts.height
    return float(left), float(top), float(left + width / facts.width), float(top + height / facts.height)


def pixel_aspect_of(config: ExportConfig, facts: ClipFacts) -> Fraction:
    """The shape of the result's pixels that keeps things on the screen in shape, whatever size was asked for."""
    if config.size is None:
        return facts.pixel_aspect
    _, _, crop_width, crop_height = _crop(config, (facts.height, facts.width))
    height, width = config.size
    aspect = reshaped_aspect(facts.pixel_aspect, (crop_height, crop_width), (height, width))
    if aspect not in (1, facts.pixel_aspect):
        _LOG.warning(
            "%dx%d is not the shape of the source's %sx%s: pixels are marked as %s times as wide as high, so that the "
            "picture is not distorted where the player heeds that; for square pixels choose another size, or crop",
            *(width, height, _show(crop_width), _show(crop_height), _show(aspect)),
        )
    return aspect


def schedule_of(config: ExportConfig, facts: ClipFacts) -> Schedule:
    """When the result shows which instant; a UserError when what is asked for is not in the clip."""
    rate = as_typed(config.fps) if isinstance(config.fps, int | float | Fraction) else config.fps
    if config.speed_curve is not None:
        assert not isinstance(rate, str)
        return schedule_curve(facts, config.speed_curve, rate)
    origin = facts.pts_seconds[0]
    return schedule(
        *(facts.pts_seconds, facts.end_seconds, facts.frame_rate),
        start=origin if config.start is None else snapped(origin + as_typed(config.start), facts),
        end=facts.end_seconds if config.end is None else snapped(origin + as_typed(config.end), facts),
        output_rate=rate,
        slowmo=as_typed(config.slowmo),
        reverse=config.reverse,
    )
