"""Reading and writing video. Nothing outside this package imports `av`.

clip = read_clip("clip.mp4", size=(360, 640))
with VideoWriter("out.mp4", height=360, width=640, frame_rate=clip.frame_rate, color=clip.color) as writer:
    for frame in clip.frames:
        writer.write(frame)
"""

from typing import TYPE_CHECKING

from vfield.core.startup import names_from

if TYPE_CHECKING:
    from vfield.video_io.audio import AudioPlan
    from vfield.video_io.carry import CarryPlan
    from vfield.video_io.clips import clips_in
    from vfield.video_io.clock import told_jumps
    from vfield.video_io.details import FileDetails, inspect_file
    from vfield.video_io.encode import CONTAINERS, cannot_hold, hardly_played
    from vfield.video_io.filters import ENLARGE, LANCZOS_REACH, encode_gif, enlarge_lanczos, filter_frames, resize
    from vfield.video_io.frames import FileFrames, FilePart, Plane, digest_of
    from vfield.video_io.graph import ACCURATE
    from vfield.video_io.interlace import Deinterlacing
    from vfield.video_io.joining import frames_in
    from vfield.video_io.lossless import keep_lossless, kept_in_file, open_lossless
    from vfield.video_io.pictures import check_gif_times, loops_of
    from vfield.video_io.rates import probe
    from vfield.video_io.read import FileScan, ShownFrame, read_clip, read_frames, scan_clip
    from vfield.video_io.source import VideoInfo, as_seconds, has_audio
    from vfield.video_io.write import VideoWriter, common_time_base

__getattr__ = names_from(
    __name__,
    {
        "AudioPlan": "vfield.video_io.audio",
        "CarryPlan": "vfield.video_io.carry",
        "FileDetails": "vfield.video_io.details",
        "inspect_file": "vfield.video_io.details",
        "CONTAINERS": "vfield.video_io.encode",
        "cannot_hold": "vfield.video_io.encode",
        "clips_in": "vfield.video_io.clips",
        "hardly_played": "vfield.video_io.encode",
        "encode_gif": "vfield.video_io.filters",
        "filter_frames": "vfield.video_io.filters",
        "ENLARGE": "vfield.video_io.filters",
        "LANCZOS_REACH": "vfield.video_io.filters",
        "enlarge_lanczos": "vfield.video_io.filters",
        "resize": "vfield.video_io.filters",
        "FileFrames": "vfield.video_io.frames",
        "FilePart": "vfield.video_io.frames",
        "Plane": "vfield.video_io.frames",
        "digest_of": "vfield.video_io.frames",
        "keep_lossless": "vfield.video_io.lossless",
        "kept_in_file": "vfield.video_io.lossless",
        "open_lossless": "vfield.video_io.lossless",
        "ACCURATE": "vfield.video_io.graph",
        "Deinterlacing": "vfield.video_io.interlace",
        "frames_in": "vfield.video_io.joining",
        "FileScan": "vfield.video_io.read",
        "ShownFrame": "vfield.video_io.read",
        "read_clip": "vfield.video_io.read",
        "read_frames": "vfield.video_io.read",
        "scan_clip": "vfield.video_io.read",
        "VideoInfo": "vfield.video_io.source",
        "as_seconds": "vfield.video_io.source",
        "has_audio": "vfield.video_io.source",
        "probe": "vfield.video_io.rates",
        "told_jumps": "vfield.video_io.clock",
        "check_gif_times": "vfield.video_io.pictures",
        "loops_of": "vfield.video_io.pictures",
        "VideoWriter": "vfield.video_io.write",
        "common_time_base": "vfield.video_io.write",
    },
)

__all__ = [
    "ACCURATE",
    "CONTAINERS",
    "ENLARGE",
    "LANCZOS_REACH",
    "AudioPlan",
    "CarryPlan",
    "Deinterlacing",
    "FileDetails",
    "FileFrames",
    "FilePart",
    "FileScan",
    "Plane",
    "ShownFrame",
    "VideoInfo",
    "VideoWriter",
    "as_seconds",
    "cannot_hold",
    "check_gif_times",
    "clips_in",
    "common_time_base",
    "digest_of",
    "encode_gif",
    "enlarge_lanczos",
    "filter_frames",
    "frames_in",
    "hardly_played",
    "has_audio",
    "inspect_file",
    "keep_lossless",
    "kept_in_file",
    "loops_of",
    "open_lossless",
    "probe",
    "read_clip",
    "read_frames",
    "resize",
    "scan_clip",
    "told_jumps",
]
