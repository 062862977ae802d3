"""Colour facts of a stream by FFmpeg's names, static HDR metadata, and the exact arithmetic between RGB and YUV.

swscale's own matrix is right to 0.06 of a level on the average for 8-bit YUV to RGB, and is used there. It is half a
level off in the chroma of full-range YUV, and up to a level off beyond 8 bits (measured), so those directions are
computed here and swscale only resamples chroma and changes word sizes.
In NumPy, because PyTorch's and the decoder's thread pools would fight over the cores for every frame.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
from av import VideoCodecContext, VideoFrame
from av.sidedata.sidedata import Type
from einops import rearrange

from vfield.core.clip import ColorInfo, ContentLight, MasteringDisplay
from vfield.core.errors import UserError
from vfield.video_io.tags import side_data

# Codes of ISO/IEC 23091-2, which FFmpeg's enums follow, by FFmpeg's names. Code 2 means "unspecified" everywhere.
_PRIMARIES = {"bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "film": 8, "bt2020": 9}
_PRIMARIES |= {"smpte428": 10, "smpte431": 11, "smpte432": 12, "ebu3213": 22}
_TRANSFERS = {"bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "linear": 8, "log100": 9}
_TRANSFERS |= {"log316": 10, "iec61966-2-4": 11, "bt1361e": 12, "iec61966-2-1": 13, "bt2020-10": 14, "bt2020-12": 15}
_TRANSFERS |= {"smpte2084": 16, "smpte428": 17, "arib-std-b67": 18}
_CODES = {
    "matrix": {"gbr": 0, "bt709": 1, "fcc": 4, "smpte170m": 6, "smpte240m": 7, "bt2020nc": 9},
    "range": {"tv": 1, "pc": 2},
    "primaries": _PRIMARIES,
    "transfer": _TRANSFERS,
}
_NAMES = {fact: {code: name for name, code in codes.items()} for fact, codes in _CODES.items()}
# bt470bg is BT.601's matrix under its European name; constant-luminance BT.2020 is read as the usual kind, as
# players do.
_NAMES["matrix"] |= {5: "smpte170m", 10: "bt2020nc"}
# Where frames and codec contexts have them.
_TAGS = {"matrix": "colorspace", "range": "color_range", "primaries": "color_primaries", "transfer": "color_trc"}

# Weights of red and blue in luma (ITU-R BT.601, BT.709, BT.2020; FCC 73.682; SMPTE 240M).
_LUMA_WEIGHTS = {
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "smpte170m": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}
_FOLLOWING = {"gbr": ("bt709", "iec61966-2-1"), "bt2020nc": ("bt2020", "bt2020-10"), "fcc": ("bt470m", "bt470m")}


# FFmpeg's AVMasteringDisplayMetadata: ten rationals (x and y of red, green, blue and white, least and most luminance),
# and whether chromaticities and luminances are known.
_MASTERING = struct.Struct("=22i")
_LIGHT = struct.Struct("=2I")
# HEVC and H.264 count chromaticity in steps of 0.00002 and luminance in steps of 0.0001 cd/m2.
_CHROMATICITY_STEPS = 50_000
_LUMINANCE_STEPS = 10_000
# Encoders that can write this metadata, which PyAV has no way to put into a container beside the stream:
# (option, the key of the screen, the key of the brightness, whether it counts in those steps).
HDR_WRITERS = {
    "libx265": ("x265-params", "master-display", "max-cll", True),
    "libx264": ("x264-params", "mastering-display", "cll", True),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", False),
}


def resolve_color(frame: VideoFrame) -> ColorInfo:
    """The colour facts of a decoded frame; what its stream leaves open is settled by the rule that players use.

    Untagged matrix: BT.709 from 720 rows or 1280 columns on, otherwise BT.601. Untagged range: limited for YUV, full
    for the yuvj formats. Grey is full range, whatever its tags. Untagged primaries and transfer follow the matrix. A
    UserError when the matrix is one that vfield cannot compute.
    """
    code = int(frame.colorspace)
    if frame.format.is_rgb or frame.format.has_palette:
        matrix = "gbr"
    elif code in (0, 2, 3):  # that of RGB, unspecified, reserved
        matrix = "bt709" if frame.height >= 720 or frame.width >= 1280 else "smpte170m"
    elif code in _NAMES["matrix"]:
        matrix = _NAMES["matrix"][code]
    else:
        raise UserError(f"the video's colour matrix (code {code}) is not supported; convert it to bt709 first")
    full = _need_not_say(frame) or _NAMES["range"].get(int(frame.color_range)) == "pc"
    primaries, transfer = _FOLLOWING.get(matrix, (matrix, matrix))
    bits = max(component.bits for component in frame.format.components)
    return ColorInfo(
        matrix=matrix,
        range="pc" if full else "tv",
        primaries=_NAMES["primaries"].get(int(frame.color_primaries), primaries),
        transfer=_NAMES["transfer"].get(int(frame.color_trc), transfer),
        bit_depth=min(max(bits, 8), 16),
        mastering_display=mastering_display(frame),
        content_light=content_light(frame),
    )


def is_grey(format_name: str) -> bool:
    """Whether a pixel format holds lightness alone, perhaps with transparency. swscale takes these for full range."""
    return format_name.startswith(("gray", "ya", "mono"))


def _need_not_say(frame: VideoFrame) -> bool:
    """Whether a frame's format settles how colour is coded: RGB, grey, and that of JPEG."""
    described = frame.format
    return described.is_rgb or described.has_palette or described.name.startswith("yuvj") or is_grey(described.name)


def tagged_color(frame: VideoFrame) -> dict[str, str | None]:
    """The colour tags of a frame by FFmpeg's names, a code without a name as "code 2".

    None is what a frame of YUV leaves open, so that `resolve_color` goes by the rule.
    """
    found: dict[str, str | None] = {}
    for fact, attribute in _TAGS.items():
        code = int(getattr(frame, attribute))
        found[fact] = _NAMES[fact].get(code, f"code {code}")
        if not _need_not_say(frame) and (code not in _NAMES[fact] or found[fact] == "gbr"):
            found[fact] = None
    return found


def video_color(color: ColorInfo) -> ColorInfo:
    """The colour facts to write YUV video with: the source's own, or BT.709 limited for an RGB source.

    A UserError when a name is unknown.
    """
    for fact, codes in _CODES.items():
        if getattr(color, fact) not in codes:
            raise UserError(f"unknown colour {fact} {getattr(color, fact)!r}; known are {', '.join(codes)}")
    return color if color.matrix != "gbr" else replace(color, matrix="bt709", range="tv")


def tag(target: VideoFrame | VideoCodecContext, color: ColorInfo) -> None:
    """Writes the colour facts into a frame or a codec context."""
    for fact, attribute in _TAGS.items():
        setattr(target, attribute, _CODES[fact][getattr(color, fact)])


def rgb_frame(pixels: np.ndarray) -> VideoFrame:
    """A frame of full-range RGB from (3, h, w): uint8, or uint16 in 0..65535."""
    name = "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(rearrange(pixels, "c h w -> h w c")), name)
    tag(frame, ColorInfo("gbr", "pc"))
    return frame


def _affine(color: ColorInfo, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) matrix and (3, 1) offset from R, G, B in [0, 1] to `bits`-bit codes in the high bits of 16-bit words."""
    red, blue = _LUMA_WEIGHTS[color.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    chroma_blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    chroma_red = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    full = (2**bits - 1) << (16 - bits)
    black, luma_span, chroma_span = (16 << 8, 219 << 8, 224 << 8) if color.range == "tv" else (0, full, full)
    matrix = np.stack([luma * luma_span, chroma_blue * chroma_span, chroma_red * chroma_span])
    return matrix, np.array([[black], [1 << 15], [1 << 15]])


def rgb_to_yuv16(rgb: np.ndarray, color: ColorInfo, bits: int) -> np.ndarray:
    """RGB (3, h, w), uint8 in 0..255 or float32 in [0, 1], to YUV codes of 8 to 16 bits by a matrix and a range.

    They are (h, w, 3) uint16: Y, Cb, Cr at full resolution, code << (16 - bits), kept with their fraction.
    """
    matrix, offset = _affine(color, bits)
    if rgb.dtype == np.uint8:
        matrix = matrix / 255
    pixels = rearrange(rgb, "c h w -> c (h w)").astype(np.float32)
    words = matrix.astype(np.float32) @ pixels + offset.astype(np.float32)
    np.clip(words, 0, (2**bits - 1) << (16 - bits), out=words)
    return rearrange(np.rint(words, out=words).astype(np.uint16), "c (h w) -> h w c", h=rgb.shape[1])


def alpha_to_words(alpha: np.ndarray, bits: int) -> np.ndarray:
    """Alpha (h, w), uint8 in 0..255 or float32 in [0, 1], as codes of `bits` bits, full range, code << (16 - bits)."""
    most = (2**bits - 1) << (16 - bits)
    share = np.float32(most / 255 if alpha.dtype == np.uint8 else most)
    # Codes and not their fractions, which words would carry past the most.
    codes = np.rint(np.clip(alpha * share, 0, most) / (1 << (16 - bits)))
    return codes.astype(np.uint16) << (16 - bits)


def yuv16_to_rgb(yuv: np.ndarray, color: ColorInfo) -> np.ndarray:
    """Inverse of `rgb_to_yuv16`, for codes of `color.bit_depth` bits: (3, h, w) float32 in [0, 1]."""
    matrix, offset = _affine(color, color.bit_depth)
    inverse = np.linalg.inv(matrix)
    words = rearrange(yuv, "h w c -> c (h w)").astype(np.float32)
    rgb = inverse.astype(np.float32) @ words - (inverse @ offset).astype(np.float32)
    return rearrange(np.clip(rgb, 0, 1, out=rgb), "c (h w) -> c h w", h=yuv.shape[0])


def mastering_display(frame: VideoFrame) -> MasteringDisplay | None:
    """The screen that the video was graded on; None where the file does not say all of it."""
    found = side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    if found is None:
        return None
    *rationals, has_chromaticities, has_luminances = _MASTERING.unpack_from(found)
    pairs = list(zip(rationals[::2], rationals[1::2], strict=True))
    if not (has_chromaticities and has_luminances and all(denominator for _, denominator in pairs)):
        return None
    values = [numerator / denominator for numerator, denominator in pairs]
    red, green, blue, white = zip(values[0:8:2], values[1:8:2], strict=True)
    return MasteringDisplay(red, green, blue, white, min_luminance=values[8], max_luminance=values[9])


def content_light(frame: VideoFrame) -> ContentLight | None:
    """How bright the video becomes; None where the file does not say."""
    found = side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    return None if found is None else ContentLight(*_LIGHT.unpack_from(found))


def with_hdr_metadata(options: dict[str, str], encoder: str, color: ColorInfo) -> dict[str, str]:
    """The encoder's options, those that write the metadata added."""
    if encoder not in HDR_WRITERS:
        return options
    name, screen_key, light_key, in_steps = HDR_WRITERS[encoder]
    parts = [options[name]] if name in options else []
    if color.mastering_display is not None:
        parts.append(f"{screen_key}={_described(color.mastering_display, in_steps)}")
    if color.content_light is not None:
        parts.append(f"{light_key}={color.content_light.most},{color.content_light.most_average}")
    return {**options, name: ":".join(parts)} if parts else options


def _described(screen: MasteringDisplay, in_steps: bool) -> str:
    def pair(values: tuple[float, float], steps: int) -> str:
        return ",".join(str(round(value * steps)) if in_steps else f"{value:.6f}" for value in values)

    colours = {"G": screen.green, "B": screen.blue, "R": screen.red, "WP": screen.white}
    written = "".join(f"{name}({pair(xy, _CHROMATICITY_STEPS)})" for name, xy in colours.items())
    return f"{written}L({pair((screen.max_luminance, screen.min_luminance), _LUMINANCE_STEPS)})"
