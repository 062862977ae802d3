"""What decoded frames carry beside their pixels, whatever kinds of it FFmpeg knows."""

from __future__ import annotations

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame


def _unlisted(kind: type[Type], number: int) -> Type:
    """A kind of side data that FFmpeg has and PyAV's list of them has not, such as EXIF."""
    made: Type = object.__new__(kind)
    vars(made).update(_name_=f"UNLISTED_{number}", _value_=number)
    return made


# PyAV looks up every kind that a frame carries before it gives any, and raises for one that it does not know. An enum's
# own way to take a value that is not listed is this method, of which PyAV has none.
setattr(Type, "_missing_", classmethod(_unlisted))  # noqa: B010  # to the type checker, methods are not for setting


def side_data(frame: VideoFrame, kind: Type) -> bytes | None:
    """What a decoded frame carries of this kind, as FFmpeg lays it out; None for nothing."""
    found = frame.side_data.get(kind)  # type: ignore[call-overload]  # PyAV's stubs know only numbers as keys
    return None if found is None else bytes(found)
