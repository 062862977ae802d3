"""Which files of a folder are clips: found by opening them, since names tell little.

A camera's .MTS, a .ts of TypeScript, a photo that FFmpeg reads as a video of one frame: what counts is what is inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from av.container import InputContainer

from vfield.core.errors import UserError
from vfield.video_io.files import open_to_read
from vfield.video_io.source import find_video, first_frame, logger

# Files of these names are meant as clips: one that cannot be read is not left out but tried, and its fault told.
_OF_VIDEO = {".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".ivf", ".m2t", ".m2ts", ".m2v"}
_OF_VIDEO |= {".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut"}
_OF_VIDEO |= {".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m"}
# FFmpeg's names of what opens as video and is one picture, or a drawing of text.
_STILL = ("image2", "ico", "fits", "alias_pix", "brender_pix", "tty")
_STILL_BRANDS = ("avif", "heic", "heim", "heis", "heix", "mif1")
_TEXT_CONTROLS = b"\t\n\f\r\x1b"
_NAMED = 8  # of the files that are left out of a folder


def expanded(videos: Sequence[str]) -> str | list[str]:
    """The clips that were named, folders replaced by the clips in them: the one, or a list of several.

    What else a folder holds is named in the log. A folder that holds no clip, or cannot be read, is a UserError.
    """
    found: list[str] = []
    for video in videos:
        found += _clips_in(video) if Path(video).is_dir() else [video]
    return found[0] if len(found) == 1 else found


def _clips_in(folder: str) -> list[str]:
    try:
        clips, left_out = clips_in(Path(folder))
    except OSError as error:
        raise UserError(f"cannot read folder {folder}: {error.strerror}; name the clips") from error
    others, more = ", ".join(left_out[:_NAMED]), len(left_out) - _NAMED
    others += f" and {more} more" if more > 0 else ""
    if not clips:
        raise UserError(f"{folder} is a folder without clips{others and f', only {others}'}; name a video file")
    if others:
        logger.warning("of folder %s this is no video, and left out: %s", folder, others)
    return [str(clip) for clip in clips]


def clips_in(folder: Path) -> tuple[list[Path], list[str]]:
    """The clips that lie in a folder, not those in folders within it, and names of everything else but hidden files.

    Both are in order of name; those of folders end with a slash.
    """
    clips: list[Path] = []
    left_out: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            left_out.append(f"{path.name}/")
        elif path.is_file() and _is_clip(path):
            clips.append(path)
        else:
            left_out.append(path.name)
    return clips, left_out


def _is_clip(path: Path) -> bool:
    meant = path.suffix.lower() in _OF_VIDEO
    try:
        # Scripts that name other files are text, and are not even opened. TypeScript is text by a name of video.
        if _begins_as_text(path):
            return meant and path.suffix.lower() != ".ts"
        with open_to_read(path) as container:
            if not container.streams:
                return meant  # The beginning of a video may open, and hold nothing.
            if not container.streams.video or _is_still(container):
                return False
            stream = find_video(container, path)
            if not meant:  # Any bytes look like some raw format.
                first_frame(container, stream, path)
    except (UserError, OSError):
        return meant
    return True


def _begins_as_text(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(1024)
    if not head or head.startswith(b"YUV4MPEG2"):  # the one kind of video that may begin with so much text
        return False
    return all(byte >= ord(" ") or byte in _TEXT_CONTROLS for byte in head)


def _is_still(container: InputContainer) -> bool:
    kind, brand = container.format.name, container.metadata.get("major_brand", "").strip()
    return kind in _STILL or kind.endswith("_pipe") or brand in _STILL_BRANDS
