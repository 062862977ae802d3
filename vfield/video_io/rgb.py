"""Decoded frames as upright RGB pictures: colour, alpha, size and orientation."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from av import VideoFrame
from einops import rearrange, repeat

from vfield.core.clip import ColorInfo
from vfield.video_io.color import is_grey, resolve_color, rgb_frame, tag, yuv16_to_rgb
from vfield.video_io.graph import ACCURATE, FilterChain, chroma_left, even_size
from vfield.video_io.source import may_have_alpha, orientation

# Codecs whose chroma lies between the columns; frames say nothing about it here.
_CENTRED_CHROMA = {"mjpeg", "mpeg1video", "h263", "webp"}


class Picture(NamedTuple):
    """An upright picture."""

    # (3, h, w), uint8 in 0..255 or float32 in [0, 1], as it looks over black: colours multiplied by alpha, in the
    # source's own transfer curve.
    rgb: np.ndarray
    alpha: np.ndarray | None  # (h, w) of that type, the most for what is opaque; None where everything is

    def contiguous(self) -> Picture:
        """A copy where the picture was only turned: tensors cannot go backwards through memory."""
        return Picture(np.ascontiguousarray(self.rgb), None if self.alpha is None else np.ascontiguousarray(self.alpha))

    def opaque(self) -> np.ndarray:
        """The alpha (h, w) of a picture that has none."""
        return np.full(self.rgb.shape[1:], 255 if self.rgb.dtype == np.uint8 else 1, self.rgb.dtype)


class RgbConverter:
    """Decoded frames to upright pictures of one size: uint8, or float32 for sources beyond 8 bits."""

    def __init__(self, first: VideoFrame, size: tuple[int, int] | None, codec: str) -> None:
        """Go by the first frame, for upright pictures of (height, width), or of its size; the codec places chroma."""
        self.color: ColorInfo = resolve_color(first)  # the source's
        self.orientation = orientation(first)  # how the stored picture is turned to be upright
        self.saw_alpha = False  # whether any pixel so far was not opaque
        stored = (first.height, first.width)
        sideways = self.orientation.turns % 2
        self.upright_size = stored[::-1] if sideways else stored  # (height, width) of the upright picture as stored
        self._size = stored if size is None else (size[1], size[0]) if sideways else size
        self._chroma_is_centred = codec in _CENTRED_CHROMA
        self._chains: dict[str, tuple[tuple[int, int, str], FilterChain]] = {}

    def __call__(self, frame: VideoFrame) -> Picture:
        """The picture of a frame."""
        coded = self.color
        tag(frame, coded)
        alpha = None
        if may_have_alpha(frame.format):
            # Before it is scaled: colours under transparent pixels must not bleed into their neighbours.
            frame, alpha = self._flattened(frame)
            coded = ColorInfo("gbr", "pc", bit_depth=coded.bit_depth)
        elif is_grey(frame.format.name) and coded.bit_depth > 8:
            # To 16 bits of grey, not of colour: swscale rounds on the way there.
            grey = self._reformatted(frame, coded, "gray16le", self._size)
            return Picture(self._upright(repeat(grey / np.float32(65535), "h w -> c h w", c=3)), None)
        rgb = self._upright(self._scaled(frame, coded))
        # As a grey picture by the way that colours go, so that both are rounded and clipped alike.
        return Picture(rgb, None if alpha is None else self._upright(self._scaled(alpha, coded))[0])

    def _scaled(self, frame: VideoFrame, coded: ColorInfo) -> np.ndarray:
        """(3, h, w) of the size asked for, but not turned yet."""
        deep = "rgb48le" if coded.matrix == "gbr" else "yuv444p16le"  # YUV until `yuv16_to_rgb`
        target = "rgb24" if coded.bit_depth == 8 else deep
        return _to_rgb(self._reformatted(frame, coded, target, self._size), coded)

    def _upright(self, rgb: np.ndarray) -> np.ndarray:
        if self.orientation.mirrored:
            rgb = rgb[:, :, ::-1]
        return np.rot90(rgb, self.orientation.turns, (1, 2))

    def _flattened(self, frame: VideoFrame) -> tuple[VideoFrame, VideoFrame | None]:
        """The frame over black, and its alpha in all channels unless everything is opaque: RGB of 8 or 16 bits."""
        color = replace(self.color, matrix="gbr") if is_grey(frame.format.name) else self.color
        kind, most = (np.uint8, np.float32(255)) if color.bit_depth == 8 else (np.uint16, np.float32(65535))
        deep = "rgba64le" if color.matrix == "gbr" else "yuva444p16le"
        target = "rgba" if color.bit_depth == 8 else deep
        pixels = self._reformatted(frame, color, target, (frame.height, frame.width))
        alpha = _plane_of_alpha(frame)
        if alpha is None:
            alpha = pixels[..., 3] / most
        opaque = not bool((alpha < 1).any())
        self.saw_alpha = self.saw_alpha or not opaque
        rgb = _to_rgb(pixels[..., :3], color) * alpha
        flat = rgb_frame(np.rint(rgb if color.bit_depth == 8 else rgb * most).astype(kind))
        if opaque:
            return flat, None
        return flat, rgb_frame(repeat(np.rint(alpha * most).astype(kind), "h w -> c h w", c=3))

    def _reformatted(self, frame: VideoFrame, color: ColorInfo, target: str, size: tuple[int, int]) -> np.ndarray:
        """A frame through swscale; its chain is built anew when a stream changes its size or format half-way."""
        stored = (frame.height, frame.width)
        described = (*stored, frame.format.name)
        even = even_size(frame.format, *stored)
        if even != stored:
            frame = _evened(frame, even)
            tag(frame, color)
        if color.matrix != "gbr" and color.bit_depth > 8:
            frame.color_range = 1  # only the word size changes, which must not touch the range
        known, chain = self._chains.get(target, (None, None))
        if chain is None or known != described:
            located = "" if self._chroma_is_centred else chroma_left(frame.format).format("in")
            chain = FilterChain(frame, _filters(stored, even, color, target, size, located))
            self._chains[target] = described, chain
        pixels: np.ndarray = chain.map(frame).to_ndarray()
        return pixels


def _plane_of_alpha(frame: VideoFrame) -> np.ndarray | None:
    """Alpha (h, w) of a frame, float32 in [0, 1], where it is a plane of its own; None elsewhere.

    Straight from the plane: where swscale moves words up it stretches those of alpha on some ways and not on others.
    """
    stored = next((component for component in frame.format.components if component.is_alpha), None)
    if stored is None or sum(component.plane == stored.plane for component in frame.format.components) > 1:
        return None
    plane = frame.planes[stored.plane]
    word = np.dtype("u1" if stored.bits == 8 else (">u2" if frame.format.is_big_endian else "<u2"))
    rows = np.asarray(memoryview(plane)).view(word).reshape(plane.height, -1)
    share: np.ndarray = rows[:, : frame.width] / np.float32(2**stored.bits - 1)
    return share


def _to_rgb(pixels: np.ndarray, color: ColorInfo) -> np.ndarray:
    """(h, w, 3) as the chains give them to (3, h, w), uint8 or float32 in [0, 1]."""
    if color.bit_depth > 8 and color.matrix != "gbr":
        return yuv16_to_rgb(pixels, color)
    rgb: np.ndarray = rearrange(pixels, "h w c -> c h w")
    return rgb if color.bit_depth == 8 else rgb / np.float32(65535)


def _evened(frame: VideoFrame, even: tuple[int, int]) -> VideoFrame:
    """The frame with room for the pixels that its last chroma samples are for; what those hold will be cropped."""
    made = VideoFrame(even[1], even[0], frame.format.name)
    for source, target in zip(frame.planes, made.planes, strict=True):
        rows, room = (np.asarray(memoryview(plane)).reshape(-1, plane.line_size) for plane in (source, target))
        height, width = min(source.height, target.height), min(source.line_size, target.line_size)
        room[:height, :width] = rows[:height, :width]
    return made


def _filters(
    stored: tuple[int, int], even: tuple[int, int], color: ColorInfo, target: str, size: tuple[int, int], located: str
) -> list[tuple[str, str]]:
    if color.matrix == "gbr":
        coded = located
    elif color.bit_depth == 8:
        coded = f":in_color_matrix={color.matrix}:in_range={color.range}:out_range=pc{located}"
    else:
        coded = f":in_range=tv:out_range=tv{located}"
    smaller = size[0] <= stored[0] and size[1] <= stored[1]
    kernel = "area" if smaller and size != stored else "bicubic"
    formatted = ("format", target)
    if even == stored:
        return [_scale(size, kernel, coded), formatted]
    cropped = ("crop", f"w={stored[1]}:h={stored[0]}:x=0:y=0")
    full = [_scale(even, "bicubic", coded), formatted, cropped]
    return full if size == stored else [*full, _scale(size, kernel), formatted]


def _scale(size: tuple[int, int], kernel: str, coded: str = "") -> tuple[str, str]:
    return "scale", f"w={size[1]}:h={size[0]}:flags={kernel}+{ACCURATE}:sws_dither=none{coded}"
