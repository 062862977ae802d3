"""Marks on a picture that players and editors heed: two views in one (stereo 3D), a sphere, the start timecode."""

from __future__ import annotations

import math
import re
import struct
from fractions import Fraction

from av import VideoFrame, VideoStream
from av.container import InputContainer
from av.sidedata.sidedata import Type

from vfield.video_io.tags import side_data

# FFmpeg's AVStereo3DType, and Matroska's words for it with the left view first and with the right one.
_STEREO = {
    1: ("left_right", "right_left"),
    2: ("top_bottom", "bottom_top"),
    4: ("checkerboard_lr", "checkerboard_rl"),
    6: ("row_interleaved_lr", "row_interleaved_rl"),
    7: ("col_interleaved_lr", "col_interleaved_rl"),
}
_WEBM_STEREO = ("left_right", "right_left", "top_bottom", "bottom_top")
# H.264's frame packing, which x264 writes with the left view first.
_H264_PACKING = {
    **{"checkerboard_lr": 0, "col_interleaved_lr": 1, "row_interleaved_lr": 2},
    **{"left_right": 3, "top_bottom": 4},
}
_TIMECODE = re.compile(r"(\d\d):([0-5]\d):([0-5]\d)([:;.])(\d{2,3})")
# Timecodes that leave out numbers to keep up with the clock are for these.
_DROPPING = (Fraction(30000, 1001), Fraction(60000, 1001))


def marks_of(container: InputContainer, stream: VideoStream, frame: VideoFrame) -> tuple[str | None, bool, str | None]:
    """The marks of an open file's picture, of which this is the first frame.

    How two views lie in it, in Matroska's words, "unknown" where Matroska has none; whether it shows a sphere, or a
    part of one, to be looked around in; and the timecode of the first frame, as HH:MM:SS:FF.
    """
    stereo = None
    found = side_data(frame, Type.STEREO3D)
    if found is not None:
        kind, flags = struct.unpack_from("=2i", found)
        stereo = _STEREO[kind][flags & 1] if kind in _STEREO else "unknown" if kind else None
    holders = [stream.metadata, container.metadata, *(other.metadata for other in container.streams)]
    codes = [value for holder in holders for key, value in holder.items() if key.lower() == "timecode"]
    return (stereo, side_data(frame, Type.SPHERICAL) is not None, codes[0] if codes else None)


def set_stereo(picture: VideoStream, stereo: str) -> bool:
    """Marks a new picture that is not yet opened; False where its file or its encoder has no way to."""
    container, codec = picture.container.format.name, picture.codec_context
    if (container == "matroska" and stereo != "unknown") or (container == "webm" and stereo in _WEBM_STEREO):
        picture.metadata["stereo_mode"] = stereo
        return True
    if codec.codec.name == "libx264" and not codec.is_open and stereo in _H264_PACKING:
        parts = [codec.options["x264-params"]] if "x264-params" in codec.options else []
        packing = f"frame-packing={_H264_PACKING[stereo]}"
        codec.options = {**codec.options, "x264-params": ":".join([*parts, packing])}
        return True
    return False


def moved_timecode(timecode: str, rate: Fraction, seconds: Fraction, new_rate: Fraction) -> str | None:
    """A timecode some seconds later, counted in frames of another rate; None when it is not one."""
    found = _TIMECODE.fullmatch(timecode.strip())
    base, new_base = math.floor(rate + Fraction(1, 2)), math.floor(new_rate + Fraction(1, 2))
    if found is None or base < 1 or new_base < 1:
        return None
    hours, minutes, whole, frames = (int(found[part]) for part in (1, 2, 3, 5))
    minutes += 60 * hours
    count = (60 * minutes + whole) * base + frames
    drops = found[4] != ":" and rate in _DROPPING
    if drops:  # In every minute but each tenth the first two (or four) numbers are left out.
        count -= base // 15 * (minutes - minutes // 10)
    count += round(seconds * rate)
    if not drops:
        return _written(count * new_base // base, new_base, drops=False)
    if new_rate in _DROPPING:
        return _written(math.floor(count * new_rate / rate), new_base, drops=True)
    return _written(math.floor(count / rate * new_base), new_base, drops=False)


def _written(count: int, base: int, *, drops: bool) -> str:
    if drops:
        left_out = base // 15
        tens, rest = divmod(count, 600 * base - 9 * left_out)
        count += left_out * 9 * tens + left_out * max(0, (rest - left_out) // (60 * base - left_out))
    seconds, frames = divmod(count, base)
    minutes, seconds = divmod(seconds, 60)
    mark = ";" if drops else ":"
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}:{seconds:02}{mark}{frames:02}"
