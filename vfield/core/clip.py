"""A clip: frames, their instants in seconds, and the facts needed to write it back unchanged."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from vfield.core.errors import UserError, brief

if TYPE_CHECKING:
    # Facts of clips are asked for without their frames, too; whoever has frames has loaded it.
    from torch import Tensor

    from vfield.core.frames import Frames

SHAPE_TOLERANCE = 0.01  # beyond it, shapes differ by more than the rounding of sides to whole pixels explains
LARGEST_SIDE = 16384  # of a picture, in pixels
_HDR_TRANSFERS = ("smpte2084", "arib-std-b67")


@dataclass(frozen=True)
class MasteringDisplay:
    """The screen on which HDR video was graded (SMPTE ST 2086)."""

    red: tuple[float, float]  # (x, y) chromaticities (CIE 1931)
    green: tuple[float, float]  # likewise
    blue: tuple[float, float]  # likewise
    white: tuple[float, float]  # likewise
    min_luminance: float  # of black and white, cd/m2
    max_luminance: float  # likewise


@dataclass(frozen=True)
class ContentLight:
    """How bright HDR video becomes (CTA-861.3)."""

    most: int  # of any pixel, cd/m2 (MaxCLL)
    most_average: int  # of the mean of any frame, cd/m2 (MaxFALL)


@dataclass(frozen=True)
class ColorInfo:
    """How the source coded colour, by FFmpeg's names, already resolved: nothing here is "unspecified".

    Attributes:
        matrix: YUV matrix: "bt709", "smpte170m" (BT.601), "bt2020nc" or "gbr" (no matrix: RGB source).
        range: "tv" (limited) or "pc" (full).
        primaries: for example "bt709".
        transfer: for example "bt709", "smpte2084" (PQ) or "arib-std-b67" (HLG).
        bit_depth: bits per component in the source, 8 to 16.
        mastering_display: the screen it was graded on, where the file says so.
        content_light: how bright it becomes, where the file says so.
    """

    matrix: str = "bt709"
    range: str = "tv"
    primaries: str = "bt709"
    transfer: str = "bt709"
    bit_depth: int = 8
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer is PQ or HLG, which show steps when coded in 8 bits."""
        return self.transfer in _HDR_TRANSFERS


@dataclass(frozen=True)
class ClipFacts:
    """Everything about a clip but its pixels: what a field must know to be written back as a video.

    Attributes:
        height, width: of the picture, in pixels.
        pts_seconds, end_seconds, frame_rate, color, pixel_aspect, source: as in `Clip`.
        missing: frames of which nothing is seen.
        has_alpha: whether any pixel is not opaque.
    """

    height: int
    width: int
    pts_seconds: tuple[Fraction, ...]
    end_seconds: Fraction
    frame_rate: Fraction
    color: ColorInfo
    pixel_aspect: Fraction
    source: str
    missing: tuple[int, ...] = ()
    has_alpha: bool = False

    def clip(self, frames: Frames, alpha: Frames | None) -> Clip:
        """The clip of which these are the facts, given its pixels; see `Clip.facts`."""
        times = (self.pts_seconds, self.end_seconds, self.frame_rate)
        return Clip(frames, *times, self.color, self.pixel_aspect, self.source, alpha=alpha)


@dataclass(frozen=True, eq=False)
class Clip:
    """One continuous piece of video. A clip of a single frame (an image) is legal.

    Attributes:
        frames: (t, 3, h, w), RGB in the source's own transfer curve; uint8 in 0..255 or float32 in [0, 1]. What is not
            opaque is as it looks over black: colours are multiplied by alpha. A tensor, or frames of a file that are
            read when they are asked for.
        pts_seconds: presentation time of each frame, exact, strictly increasing, as the container gives it.
        end_seconds: when the last frame stops being shown; the clip covers [pts_seconds[0], end_seconds).
        frame_rate: the source's nominal rate, frames per second.
        color: how the source coded colour.
        pixel_aspect: width / height of one pixel (1 for square pixels).
        source: path of the file it was read from, or "" for a clip made in memory.
        visible: (t, h, w) bool, False where a pixel is not to be believed; None where all are. A frame may be hidden as
            a whole, but not every frame.
        alpha: (t, h, w) of the frames' type, 0 where nothing is seen and the most where a pixel is opaque; None where
            all are.

    Shapes, ranges or times that contradict each other are a UserError.
    """

    frames: Frames
    pts_seconds: tuple[Fraction, ...]
    end_seconds: Fraction
    frame_rate: Fraction
    color: ColorInfo = ColorInfo()
    pixel_aspect: Fraction = Fraction(1)
    source: str = ""
    visible: Tensor | None = None
    alpha: Frames | None = None

    def __post_init__(self) -> None:
        import torch

        if len(self.frames.shape) != 4 or self.frames.shape[1] != 3:
            raise UserError(f"frames must be (t, 3, h, w), got {tuple(self.frames.shape)}")
        if self.frames.dtype not in (torch.uint8, torch.float32):
            raise UserError(f"frames must be uint8 or float32, got {self.frames.dtype}")
        if min(self.frames.shape) == 0:
            raise UserError(f"a clip needs at least one frame and one pixel, got {tuple(self.frames.shape)}")
        if len(self.pts_seconds) != len(self.frames):
            raise UserError(f"{len(self.frames)} frames but {len(self.pts_seconds)} timestamps")
        for earlier, later in pairwise((*self.pts_seconds, self.end_seconds)):
            if later <= earlier:
                raise UserError(f"timestamps must increase, got {float(earlier)} s and then {float(later)} s")
        if self.frame_rate <= 0:
            raise UserError(f"frame rate must be positive, got {self.frame_rate}")
        shape = (len(self.frames), *self.frames.shape[2:])
        if self.visible is not None:
            if self.visible.dtype != torch.bool or self.visible.shape != shape:
                got = f"{tuple(self.visible.shape)} {self.visible.dtype}"
                raise UserError(f"visible must be bool and of the frames' {shape}, got {got}")
            if not bool(self.visible.any()):
                raise UserError("every pixel of the clip is hidden; leave something to learn from")
        if self.alpha is not None and (self.alpha.dtype != self.frames.dtype or tuple(self.alpha.shape) != shape):
            got = f"{tuple(self.alpha.shape)} {self.alpha.dtype}"
            raise UserError(f"alpha must be of the frames' type and of their {shape}, got {got}")

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        times = f"{float(self.start_seconds):g} to {float(self.end_seconds):g} s, {float(self.frame_rate):g} fps"
        return f"Clip({len(self)} frames of {self.width}x{self.height}, {times}, {self.frames.dtype})"

    @property
    def pixels(self) -> Tensor:
        """All frames (t, 3, h, w) in memory; of a clip in a file, read now."""
        from vfield.core.frames import in_memory

        return in_memory(self.frames)

    @property
    def height(self) -> int:
        """Picture height in pixels."""
        return int(self.frames.shape[2])

    @property
    def width(self) -> int:
        """Picture width in pixels."""
        return int(self.frames.shape[3])

    @property
    def start_seconds(self) -> Fraction:
        """The first frame's presentation time."""
        return self.pts_seconds[0]

    @property
    def duration_seconds(self) -> Fraction:
        """Length of the half-open range that the clip covers."""
        return self.end_seconds - self.start_seconds

    @property
    def facts(self) -> ClipFacts:
        """The clip without its pixels."""
        times = (self.pts_seconds, self.end_seconds, self.frame_rate)
        color, aspect, has_alpha = self.color, self.pixel_aspect, self.alpha is not None
        return ClipFacts(self.height, self.width, *times, color, aspect, self.source, self.missing, has_alpha)

    @property
    def missing(self) -> tuple[int, ...]:
        """Frames of which nothing is seen."""
        if self.visible is None:
            return ()
        return tuple((~self.visible.flatten(1).any(dim=1)).nonzero()[:, 0].tolist())

    def select(self, indices: range | list[int]) -> Clip:
        """The clip made of only these frames, of increasing indices, at least one.

        It ends when the source's next frame would have been shown.
        """
        from vfield.core.frames import chosen_frames

        chosen = list(indices)
        if not chosen:
            raise UserError("selected no frames of the clip; keep at least one")
        pts = tuple(self.pts_seconds[i] for i in chosen)
        return replace(
            self,
            frames=chosen_frames(self.frames, chosen),
            pts_seconds=pts,
            end_seconds=(*self.pts_seconds, self.end_seconds)[chosen[-1] + 1],
            frame_rate=(len(pts) - 1) / (pts[-1] - pts[0]) if len(pts) > 1 else self.frame_rate,
            visible=None if self.visible is None else self.visible[chosen],
            alpha=None if self.alpha is None else chosen_frames(self.alpha, chosen),
        )


def reshaped_aspect(
    pixel_aspect: Fraction, part: tuple[Fraction | int, Fraction | int], size: tuple[int, int]
) -> Fraction:
    """Width / height of a pixel that keeps things on the screen in shape when a picture gets another size.

    Args:
        pixel_aspect: width / height of a pixel of the picture; the result where the shapes are alike, to a hundredth.
        part: (height, width) of the picture, or of the part of it that is shown.
        size: (height, width) that it gets.
    """
    change = Fraction(part[1]) / size[1] / (Fraction(part[0]) / size[0])
    return pixel_aspect if abs(change - 1) <= SHAPE_TOLERANCE else (pixel_aspect * change).limit_denominator(1000)


def check_size(height: int, width: int, why: str = "") -> None:
    """Refuse a picture that is empty or absurdly large, in one line that may say why it would be."""
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        size = f"{brief(width)}x{brief(height)}"
        raise UserError(f"a picture of {size}{why} cannot be made; both sides must be 1 to {LARGEST_SIDE} pixels")


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from "WIDTHxHEIGHT"."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*[xX]\s*(\d{1,9})\s*", text)
    if found is None:
        raise UserError(f"size must be WIDTHxHEIGHT, like 1280x720, got {brief(text)}")
    height, width = int(found[2]), int(found[1])
    check_size(height, width)
    return height, width


def to_float(frames: Tensor) -> Tensor:
    """Frames as float32 in [0, 1], whatever they were."""
    import torch

    return frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()


def to_uint8(frames: Tensor) -> Tensor:
    """Frames as uint8: the one place where float pictures are clamped, scaled and rounded to bytes."""
    import torch

    return frames if frames.dtype == torch.uint8 else (frames.clamp(0, 1) * 255).round().to(torch.uint8)
