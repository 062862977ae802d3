"""What a field file says of its clip and its keyframes, in JSON; checked when it is read."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

from vfield.clip import ClipFacts, ColorInfo, ContentLight, MasteringDisplay
from vfield.errors import UserError, brief
from vfield.json_files import exact, is_number, listed, mapping, record, whole

_LONGEST_SIDE = 1 << 20  # pixels
_MOST_PIXELS = 1 << 30


def facts_to_json(facts: ClipFacts) -> dict[str, Any]:
    """A clip's facts as JSON; times stay exact. Without alpha nothing is said of it, as before there was any."""
    said = {name: value for name, value in asdict(facts).items() if name != "has_alpha" or value}
    return {
        **said,
        "pts_seconds": [str(pts) for pts in facts.pts_seconds],
        "end_seconds": str(facts.end_seconds),
        "frame_rate": str(facts.frame_rate),
        "pixel_aspect": str(facts.pixel_aspect),
        "missing": list(facts.missing),
    }


def facts_from_json(described: Any) -> ClipFacts:
    """What `facts_to_json` was made of.

    Raises:
        UserError: when it was made of something else: values that are missing, impossible or out of range.
    """
    values = mapping(described, "clip")
    try:
        facts = ClipFacts(
            height=whole(values["height"], "height", 1, _LONGEST_SIDE),
            width=whole(values["width"], "width", 1, _LONGEST_SIDE),
            pts_seconds=tuple(exact(pts, "a timestamp") for pts in listed(values["pts_seconds"], "pts_seconds")),
            end_seconds=exact(values["end_seconds"], "end_seconds"),
            frame_rate=exact(values["frame_rate"], "frame_rate", 1e-9, 1e9),
            color=_color(values["color"]),
            pixel_aspect=exact(values["pixel_aspect"], "pixel_aspect", 1e-9, 1e9),
            source=values["source"],
            missing=tuple(listed(values.get("missing", []), "missing")),
            has_alpha=values.get("has_alpha", False),
        )
    except KeyError as error:
        raise UserError(f"it lacks the clip's {error.args[0]}") from error
    if facts.height * facts.width > _MOST_PIXELS:
        raise UserError(f"its pictures would be of {facts.width}x{facts.height}, which no field is fitted to")
    if not facts.pts_seconds:
        raise UserError("its clip has no frames")
    for earlier, later in pairwise((*facts.pts_seconds, facts.end_seconds)):
        if later <= earlier:
            raise UserError(f"its clip's times must increase, got {brief(later)} after {brief(earlier)}")
    for frame in facts.missing:
        whole(frame, "a missing frame", 0, len(facts.pts_seconds))
    if not isinstance(facts.source, str) or not isinstance(facts.has_alpha, bool):
        raise UserError("its clip's source must be text and has_alpha a bool")
    return facts


def _color(described: Any) -> ColorInfo:
    """How the clip coded colour."""
    values = dict(mapping(described, "color"))
    screen, light = values.pop("mastering_display", None), values.pop("content_light", None)
    return replace(
        record(ColorInfo, values, "color"),
        mastering_display=None if screen is None else _screen(screen),
        content_light=None if light is None else record(ContentLight, light, "content_light"),
    )


def _screen(described: Any) -> MasteringDisplay:
    """The screen that HDR video was graded on."""
    values = mapping(described, "mastering_display")
    points = {name: listed(values.get(name), name) for name in ("red", "green", "blue", "white")}
    levels: list[Any] = [values.get(name) for name in ("min_luminance", "max_luminance")]
    numbers = [*levels, *(number for point in points.values() for number in point)]
    if any(len(point) != 2 for point in points.values()) or not all(map(is_number, numbers)) or len(values) != 6:
        raise UserError(f"mastering_display must be four points and two levels, got {brief(values)}")
    red, green, blue, white = ((x, y) for x, y in points.values())
    return MasteringDisplay(red, green, blue, white, *levels)


def instants_from_json(described: Any) -> list[float]:
    """The keyframes' t, seconds.

    Raises:
        UserError: when they are not numbers that increase.
    """
    t = listed(described, "t")
    if not t or not all(map(is_number, t)):
        raise UserError(f"t must be a list of finite numbers, got {brief(t)}")
    for earlier, later in pairwise(t):
        if later <= earlier:
            raise UserError(f"its keyframes' times must increase, got {brief(later)} after {brief(earlier)}")
    return t


def shots_from_json(described: Any, keyframes: int) -> list[range]:
    """The runs of keyframes between cuts.

    Raises:
        UserError: when they are not all keyframes, in order.
    """
    shots = []
    expected = 0
    for shot in listed(described, "shots"):
        first, last = shot if isinstance(shot, list) and len(shot) == 2 else (None, None)
        begin = whole(first, "the first keyframe of a shot", expected, expected)
        end = whole(last, "the end of a shot", begin + 1, keyframes)
        shots.append(range(begin, end))
        expected = end
    if expected != keyframes:
        raise UserError(f"its shots hold {expected} keyframes of {keyframes}")
    return shots
