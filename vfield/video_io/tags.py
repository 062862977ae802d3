"""Metadata of files and tracks, where it tells of the content; and what frames carry beside their pixels."""

from __future__ import annotations

from collections.abc import Mapping

from av import VideoFrame
from av.sidedata.sidedata import Type
from av.stream import Stream

# Facts of the source's file, its coding and its length, which are another's or untrue in a new file. Upright pictures
# need no rotation; a timecode counts frames that are no longer there, and is counted anew (marks.py).
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id", "handler_name"}
_OF_THE_FILE |= {"duration", "bps", "number_of_frames", "number_of_bytes", "rotate", "timecode"}
# FFmpeg knows QuickTime's own list of languages by only one of their two ISO 639-2 codes.
_QUICKTIME_LANGUAGES = {"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice"}


def content_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """What says something about the content: titles, names, dates, places, languages."""
    kept: dict[str, str] = {}
    for key, value in metadata.items():
        # Matroska's statistics come as BPS-eng, NUMBER_OF_FRAMES-eng and so on.
        plain = key.lower().removesuffix("-eng")
        unset = plain == "creation_time" and value.startswith("1970-01-01T00:00:00")
        repeated = key.endswith("-eng") and key.removesuffix("-eng") in metadata
        if plain not in _OF_THE_FILE and not plain.startswith("_statistics") and not (unset or repeated):
            kept[key] = value
    # FFmpeg reads a QuickTime track's title as its name, and writes it by the name of title.
    if "name" in kept and "title" not in kept:
        kept["title"] = kept.pop("name")
    return kept


def copy_track_tags(source: Stream, target: Stream) -> None:
    """Gives a new track the language, the title and the role (default, forced, comment) of the one it is made from."""
    tags = content_tags(source.metadata)
    if target.container.format.name == "mov" and "language" in tags:
        tags["language"] = _QUICKTIME_LANGUAGES.get(tags["language"], tags["language"])
    target.metadata.update(tags)
    target.disposition = source.disposition


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
