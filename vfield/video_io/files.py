"""The one door between file names and FFmpeg: a name is a file of this machine, and nothing else.

FFmpeg takes names for addresses ("10:30:05.mp4" is of the protocol "10"), for patterns of many names ("img%03d.png"),
and files for lists of others (playlists, scripts). None of it is what somebody means who names a clip. And it believes
what files claim to hold: tables of MP4 and QuickTime say "so many samples of one size" in a few bytes, and FFmpeg makes
an entry of some 70 bytes for each.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer, OutputContainer

from vfield.core.errors import UserError
from vfield.core.printable import LATIN_1

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

# Boxes of MP4 and QuickTime (ISO/IEC 14496-12): what such a file begins with; what holds others on the way to the
# tables; and how many words of these tables are of interest here.
_FIRST = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof", b"uuid"}
_HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
_TABLES = {b"hdlr": 3, b"stts": 4, b"stsz": 3}
_SOUND = int.from_bytes(b"soun")
_HARMLESS = 1_000_000  # entries, whatever the file's size
_MOST_BOXES = 1_000_000
_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")  # of Matroska and WebM


def open_to_read(path: str | Path) -> InputContainer:
    """The open file; the caller closes it.

    A UserError when there is no such file, or FFmpeg knows nothing to do with it.
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
    _check_content(file)
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
    """A new file, or one in memory, of a format by FFmpeg's name and with its options; the caller closes it.

    Raises:
        av.FFmpegError: when it cannot be made.
    """
    target = _address(file) if isinstance(file, Path) else file
    return av.open(target, "w", format=container, container_options=dict(options or {}))


def _address(file: Path) -> str:
    return f"file:{file.absolute()}"


def _check_content(path: Path) -> None:
    """Refuses an animated WebP, of which FFmpeg reads no picture, and what claims more samples than it has bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(21)
        if len(head) == 21 and head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[20] & 2:
            advice = "which vfield does not read; convert it to a GIF or a video first"
            raise UserError(f"{path} is an animated WebP, {advice}")
        claimed = _claimed_samples(file, size) if head[4:8] in _FIRST else 0
    if claimed > max(size, _HARMLESS):
        raise UserError(f"{path} claims to hold {claimed} samples in {size} bytes; the file is damaged")


def _claimed_samples(file: BinaryIO, size: int) -> int:
    """The number of samples for which FFmpeg would make entries."""
    total = 0
    tracks: list[dict[bytes, tuple[int, ...]]] = [{}]
    for kind in _boxes(file, size):
        if kind == b"trak":
            tracks.append({})
        elif kind in _TABLES:
            tracks[-1].setdefault(kind, _words(file, _TABLES[kind]))  # QuickTime has a second handler, of data
        elif kind == b"trun":
            total += _words(file, 2)[1]
    for track in tracks:
        *_, handler = track.get(b"hdlr", (0,))
        _, runs, _, duration = track.get(b"stts", (0, 0, 0, 0))
        # Sound of which each sample is one instant has an entry for each chunk only.
        if (handler, runs, duration) != (_SOUND, 1, 1):
            total += track.get(b"stsz", (0, 0, 0))[2]
    return total


def _boxes(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The kind of each box in turn, those that it holds after it, the file at its content; until they make no sense."""
    at, ends = 0, [size]
    for _ in range(_MOST_BOXES):
        while at + 8 > ends[-1]:
            at = ends.pop()
            if not ends:
                return
        file.seek(at)
        head = file.read(16)
        length, start = int.from_bytes(head[:4]), at + 8
        if length == 1:
            length, start = int.from_bytes(head[8:]), at + 16
        end = ends[-1] if length == 0 else at + length
        if len(head) < 8 or end < start:
            return
        file.seek(start)
        yield head[4:8]
        if head[4:8] in _HOLDERS:
            # As FFmpeg does: what is cut off or runs over ends with what holds it.
            ends.append(min(end, ends[-1]))
            at = start
        else:
            at = end


def _words(file: BinaryIO, count: int) -> tuple[int, ...]:
    """Words of 32 bits; 0 for those that the file no longer has."""
    return struct.unpack(f">{count}I", file.read(4 * count).ljust(4 * count, b"\0"))


def missing_bytes(path: str | Path) -> int:
    """How much of an AVI, Matroska or WebM file has been cut off, by the size that its outermost part says it has.

    Zero where it does not say, as in recordings that nobody ended, and for other files.
    """
    with open(path, "rb") as file:
        head = file.read(64)
    end = 0
    if head[:4] == b"RIFF":
        end = 8 + int.from_bytes(head[4:8], "little")
    elif head[:4] == _EBML:
        at, length = _ebml_size(head, 4)
        at += length
        if head[at : at + 4] == _SEGMENT:
            at, length = _ebml_size(head, at + 4)
            end = at + length
    return max(0, end - os.stat(path).st_size)


def _ebml_size(data: bytes, at: int) -> tuple[int, int]:
    """Where the content after a size begins, and the size; 0 where it is not known (RFC 8794, 4.4)."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    known = (1 << (7 * width)) - 1
    size = int.from_bytes(data[at : at + width]) & known
    return at + width, 0 if size == known else size
