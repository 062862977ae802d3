"""A part of a file, cut out by its packets: nothing is coded again."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from vfield.video_io.files import open_to_read, open_to_write
from vfield.video_io.source import find_video

# Containers that keep every packet's time as it is, however late the first.
_MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_CARRIED = ("video", "audio", "subtitle")


def cut_packets(path: Path, target: Path, first: Fraction, last: Fraction) -> bool:
    """Copy the packets from the key frame before one instant until another, of all tracks, with their times.

    Instants are seconds as the file's timestamps have them; its suffix tells which container is written. Gives whether
    that was possible. Containers that change times are not cut, nor what holds more than packets of picture, sound and
    text (chapters, fonts, timecodes): the whole file is what keeps those.
    """
    muxer = _MUXERS.get(path.suffix.lower())
    try:
        with open_to_read(path) as source:
            if muxer is None or source.chapters() or any(stream.type not in _CARRIED for stream in source.streams):
                return False
            # Times are not moved to begin at zero.
            with open_to_write(target, muxer, {"avoid_negative_ts": "disabled"}) as written:
                _copy(source, written, path, first, last)
    except (av.FFmpegError, ValueError):
        return False
    return True


def _copy(source: InputContainer, written: OutputContainer, path: Path, first: Fraction, last: Fraction) -> None:
    video = find_video(source, path)
    streams: dict[int, Stream] = {}
    for stream in source.streams:
        streams[stream.index] = written.add_stream_from_template(stream, opaque=True)
        streams[stream.index].metadata.update(stream.metadata)
    written.metadata.update(source.metadata)
    assert video.time_base is not None
    source.seek(int(first / video.time_base), stream=video)
    entered = False
    for packet in source.demux():
        entered = entered or (packet.stream is video and packet.is_keyframe)
        if not packet.size or not entered:
            continue
        # When it is to be decoded, which is never after it is shown; Matroska may know only the latter.
        ticks = packet.pts if packet.dts is None else packet.dts
        if (ticks or 0) * packet.time_base >= last:
            if packet.stream is video:
                return
            continue
        packet.stream = streams[packet.stream.index]
        written.mux(packet)
