"""What files claim to hold, against what they can hold, before FFmpeg believes it.

Tables of MP4 and QuickTime files say "so many samples of one size" in a few bytes, and FFmpeg makes an entry of some 70
bytes for each sample when it opens the file. And what files of other kinds lack of the size that they say they have.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vfield.core.errors import UserError

# Boxes that hold others on the way to the tables (ISO/IEC 14496-12).
_HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
_FIRST = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof", b"uuid"}
_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
# How many words of these tables are of interest here.
_TABLES = {b"hdlr": 3, b"stts": 4, b"stsz": 3}
_SOUND = int.from_bytes(b"soun")
# Fewer entries than this are no burden, whatever the file's size.
_HARMLESS = 1_000_000
_MOST_BOXES = 1_000_000


def check_claims(path: str | Path) -> None:
    """Refuses a file that claims more samples than it has bytes.

    Raises:
        UserError: then.
    """
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        if file.read(8)[4:] not in _FIRST:
            return
        claimed = _claimed(file, size)
    if claimed > max(size, _HARMLESS):
        raise UserError(f"{path} claims to hold {claimed} samples in {size} bytes; the file is damaged")


def is_animated_webp(path: str | Path) -> bool:
    """Whether a file is a WebP of several pictures, of which FFmpeg reads none (WebP container, extended format)."""
    with open(path, "rb") as file:
        head = file.read(21)
    return len(head) == 21 and head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)


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


def _claimed(file: BinaryIO, size: int) -> int:
    """The number of samples for which FFmpeg would make entries."""
    total = 0
    tracks: list[dict[bytes, tuple[int, ...]]] = [{}]
    for kind in _boxes(file, size):
        if kind == b"trak":
            tracks.append({})
        elif kind in _TABLES:
            tracks[-1].setdefault(kind, _numbers(file, _TABLES[kind]))  # QuickTime has a second handler, of data
        elif kind == b"trun":
            total += _numbers(file, 2)[1]
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


def _numbers(file: BinaryIO, count: int) -> tuple[int, ...]:
    """Words of 32 bits; 0 for those that the file no longer has."""
    return struct.unpack(f">{count}I", file.read(4 * count).ljust(4 * count, b"\0"))
