"""The one door between file names and FFmpeg: a name is a file of this machine, and nothing else.

FFmpeg takes names for addresses ("10:30:05.mp4" is of the protocol "10"), for patterns of many names ("img%03d.png"),
and files for lists of others (playlists, scripts). None of it is what somebody means who names a clip.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer

from vfield.core.errors import UserError
from vfield.core.printable import LATIN_1
from vfield.video_io.claims import check_claims, is_animated_webp

_PROTOCOL = "file:"
# What holds pictures or sound in itself. Not here are demuxers that go on to other files or to the net (playlists,
# manifests, scripts, volumes), devices, and those that draw text.
_CONTAINERS = (
    *("mov", "matroska", "avi", "mpeg", "mpegts", "asf", "asf_o", "flv", "kux", "ogg", "mxf", "gxf", "nut", "rm"),
    *("ivr", "dv", "wtv", "ty", "nsv", "nuv", "pva", "pmp", "dhav", "lxf", "r3d", "cine", "ser", "swf", "vivo"),
    *("ivf", "av1", "obu", "h261", "h263", "h264", "hevc", "vvc", "evc", "apv", "mpegvideo", "m4v", "mjpeg"),
    *("mjpeg_2000", "mpjpeg", "mxg", "vc1", "vc1test", "dirac", "dnxhd", "cavsvideo", "avs2", "avs3", "ipu"),
    *("yuv4mpegpipe", "4xm", "anm", "avs", "bethsoftvid", "bfi", "bink", "bmv", "c93", "cdxl", "dfa", "dsicin"),
    *("dxa", "ea", "film_cpk", "filmstrip", "flic", "gdv", "hnm", "idcin", "iff", "ipmovie", "iss", "jv", "lmlm4"),
    *("lvf", "mm", "mods", "moflex", "mtv", "mv", "mvi", "paf", "pdv", "psxstr", "rl2", "roq", "rpl", "sga", "siff"),
    *("smjpeg", "smk", "smush", "svs", "thp", "tiertexseq", "tmv", "txd", "usm", "vividas", "vmd", "wc3movie"),
    *("wsvqa", "xmv", "yop"),
)
_PICTURES = ("image2", "gif", "apng", "jpegxl_anim", "fits", "ico", "alias_pix", "brender_pix")
# Without a picture: they are opened so that it can be said what they hold.
_OTHERS = (
    *("wav", "w64", "mp3", "flac", "aac", "ac3", "eac3", "dts", "aiff", "au", "caf", "amr", "tta", "wv", "ape", "mpc"),
    *("srt", "ass", "webvtt"),
)
_PIPES = sorted(name for name in av.formats_available if name.endswith("_pipe") and name != "svg_pipe")
_READING = {
    "format_whitelist": ",".join((*_CONTAINERS, *_PICTURES, *_PIPES, *_OTHERS)),
    "protocol_whitelist": "file",
    "pattern_type": "none",
}


def open_to_read(path: str | Path) -> InputContainer:
    """The open file; the caller closes it.

    Raises:
        UserError: when there is no such file, or FFmpeg knows nothing to do with it.
    """
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{path} is a folder; give a video file")
    if not file.exists():
        raise UserError(f"{path} does not exist; check the name")
    if not file.is_file():
        raise UserError(f"{path} is not a file but a device, a pipe or a socket; save the video as a file first")
    if not os.access(file, os.R_OK):
        raise UserError(f"cannot open {path}: Permission denied")
    if is_animated_webp(file):
        raise UserError(f"{path} is an animated WebP, which vfield does not read; convert it to a GIF or a video first")
    check_claims(file)
    try:
        return av.open(_address(file), "r", container_options=_READING, metadata_errors=LATIN_1)
    except av.InvalidDataError as error:
        raise UserError(f"{path} is not a video that FFmpeg can read, or it is cut short; try playing it") from error
    except av.ArgumentError as error:
        raise UserError(
            f"{path} is no video and no picture but of a kind that vfield does not read, such as a playlist or a "
            "script that names other files; give the video itself"
        ) from error
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror}") from error
    except av.FFmpegError as error:
        raise UserError(f"{path} is not a video that FFmpeg can read: {error.strerror}") from error


def open_to_write(file: Path | io.BytesIO, container: str, options: Mapping[str, str] | None = None) -> OutputContainer:
    """A new file, or one in memory; the caller closes it.

    Args:
        file: where to write.
        container: FFmpeg's name of its format.
        options: of the format.

    Raises:
        av.FFmpegError: when it cannot be made.
    """
    target = _address(file) if isinstance(file, Path) else file
    return av.open(target, "w", format=container, container_options=dict(options or {}))


def file_name(container: InputContainer) -> str:
    """The name of an open file."""
    return container.name.removeprefix(_PROTOCOL)


def _address(file: Path) -> str:
    return f"{_PROTOCOL}{file.absolute()}"
