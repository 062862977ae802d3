"""Reading and writing video. Nothing outside this package imports `av`.

clip = read_clip("clip.mp4", size=(360, 640))
with VideoWriter("out.mp4", height=360, width=640, frame_rate=clip.frame_rate, color=clip.color) as writer:
    for frame in clip.frames:
        writer.write(frame)
"""

from vfield.video_io.audio import AudioPlan
from vfield.video_io.carry import CarryPlan
from vfield.video_io.clips import clips_in
from vfield.video_io.details import FileDetails, inspect_file
from vfield.video_io.encode import CONTAINERS, cannot_hold, hardly_played
from vfield.video_io.filters import encode_gif, filter_frames
from vfield.video_io.graph import ACCURATE
from vfield.video_io.interlace import Deinterlacing
from vfield.video_io.joining import frames_in
from vfield.video_io.read import ShownFrame, read_clip, read_frames, scan_clip
from vfield.video_io.source import VideoInfo, has_audio, probe
from vfield.video_io.write import VideoWriter, common_time_base

__all__ = [
    "ACCURATE",
    "CONTAINERS",
    "AudioPlan",
    "CarryPlan",
    "Deinterlacing",
    "FileDetails",
    "ShownFrame",
    "VideoInfo",
    "VideoWriter",
    "cannot_hold",
    "clips_in",
    "common_time_base",
    "encode_gif",
    "filter_frames",
    "frames_in",
    "hardly_played",
    "has_audio",
    "inspect_file",
    "probe",
    "read_clip",
    "read_frames",
    "scan_clip",
]
