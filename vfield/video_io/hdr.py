"""Static HDR metadata: read from a decoded frame, handed to the encoders that can write it."""

from __future__ import annotations

import struct

from av import VideoFrame
from av.sidedata.sidedata import Type

from vfield.core.clip import ColorInfo, ContentLight, MasteringDisplay
from vfield.video_io.tags import side_data

# FFmpeg's AVMasteringDisplayMetadata: ten rationals (x and y of red, green, blue and white, least and most luminance),
# and whether chromaticities and luminances are known.
_MASTERING = struct.Struct("=22i")
_LIGHT = struct.Struct("=2I")
# HEVC and H.264 count chromaticity in steps of 0.00002 and luminance in steps of 0.0001 cd/m2.
_CHROMATICITY_STEPS = 50_000
_LUMINANCE_STEPS = 10_000
# Encoders that can write this metadata, which PyAV has no way to put into a container beside the stream:
# (option, the key of the screen, the key of the brightness, whether it counts in those steps).
WRITERS = {
    "libx265": ("x265-params", "master-display", "max-cll", True),
    "libx264": ("x264-params", "mastering-display", "cll", True),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", False),
}


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
    if encoder not in WRITERS:
        return options
    name, screen_key, light_key, in_steps = WRITERS[encoder]
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
