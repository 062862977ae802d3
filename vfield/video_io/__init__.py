# ruff: noqa: F401  # what type checkers see here is given on by `__getattr__`
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
    from vfield.video_io.clips import clips_in, expanded
    from vfield.video_io.clock import told_jumps
    from vfield.video_io.coded import through_codec
    from vfield.video_io.cutting import cut_packets
    from vfield.video_io.details import FileDetails, inspect_file, probe
    from vfield.video_io.encode import CONTAINERS, cannot_hold
    from vfield.video_io.filters import ENLARGE, LANCZOS_REACH, encode_gif, enlarge_lanczos, filter_frames, resize
    from vfield.video_io.frames import FileFrames, Plane, digest_of
    from vfield.video_io.graph import ACCURATE, Deinterlacing
    from vfield.video_io.lossless import keep_lossless, kept_in_file, open_lossless
    from vfield.video_io.mux import frames_in
    from vfield.video_io.pictures import check_gif_times, loops_of
    from vfield.video_io.read import FileScan, ShownFrame, read_clip, read_frames, scan_clip
    from vfield.video_io.reading import FilePart
    from vfield.video_io.source import as_seconds, has_audio
    from vfield.video_io.write import VideoWriter, common_time_base

__getattr__ = names_from(__name__, __file__)
