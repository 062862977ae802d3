"""What a field file says of its clip and its keyframes, in JSON; checked when it is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Any

from vfield.core.clip import ClipFacts, ColorInfo, ContentLight, MasteringDisplay
from vfield.core.errors import UserError, brief
from vfield.core.json_files import exact, is_number, listed, mapping, record, whole

_LONGEST_SIDE = 1 << 20  # pixels
_MOST_PIXELS = 1 << 30
_MOST_FRAMES = 10**7  # a day at 100 a second
_MOST_TICKS = 10**18


def facts_to_json(facts: ClipFacts) -> dict[str, Any]:
    """A clip's facts as JSON; times stay exact. Without alpha nothing is said of it, as before there was any."""
    said = {name: value for name, value in asdict(facts).items() if name != "has_alpha" or value}
    return {
        **said,
        "pts_seconds": times_to_json(facts.pts_seconds),
        "end_seconds": str(facts.end_seconds),
        "frame_rate": str(facts.frame_rate),
        "pixel_aspect": str(facts.pixel_aspect),
        "missing": list(facts.missing),
    }


def facts_from_json(described: Any) -> ClipFacts:
    """What `facts_to_json` was made of; a UserError where values are missing, impossible or out of range."""
    values = mapping(described, "clip")
    try:
        facts = ClipFacts(
            height=whole(values["height"], "height", 1, _LONGEST_SIDE),
            width=whole(values["width"], "width", 1, _LONGEST_SIDE),
            pts_seconds=times_from_json(values["pts_seconds"]),
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
    values = dict(mapping(described, "color"))
    screen, light = values.pop("mastering_display", None), values.pop("content_light", None)
    return replace(
        record(ColorInfo, values, "color"),
        mastering_display=None if screen is None else _screen(screen),
        content_light=None if light is None else record(ContentLight, light, "content_light"),
    )


def _screen(described: Any) -> MasteringDisplay:
    values = mapping(described, "mastering_display")
    points = {name: listed(values.get(name), name) for name in ("red", "green", "blue", "white")}
    levels: list[Any] = [values.get(name) for name in ("min_luminance", "max_luminance")]
    numbers = [*levels, *(number for point in points.values() for number in point)]
    if any(len(point) != 2 for point in points.values()) or not all(map(is_number, numbers)) or len(values) != 6:
        raise UserError(f"mastering_display must be four points and two levels, got {brief(values)}")
    red, green, blue, white = ((x, y) for x, y in points.values())
    return MasteringDisplay(red, green, blue, white, *levels)


def times_to_json(times: Sequence[Fraction]) -> dict[str, Any]:
    """Exact increasing times as ticks of a common clock: the first one, and runs of equal steps [ticks, how many]."""
    clock = math.lcm(*(time.denominator for time in times))
    ticks = [int(time * clock) for time in times]
    return {"ticks_a_second": clock, "first": ticks[0], "steps": _runs_of_steps(ticks)}


def _runs_of_steps(numbers: Sequence[int]) -> list[list[int]]:
    """The steps between numbers, as runs of equal ones: [step, how many]."""
    steps = (later - earlier for earlier, later in pairwise(numbers))
    return [[step, len(list(run))] for step, run in groupby(steps)]


def _pair(described: Any) -> list[Any]:
    """A list of two values; of anything else two that are refused."""
    return described if isinstance(described, list) and len(described) == 2 else [None, None]


def times_from_json(described: Any) -> tuple[Fraction, ...]:
    """What `times_to_json` was made of; a UserError where they are not increasing times, or absurdly many."""
    values = mapping(described, "times")
    clock = whole(values.get("ticks_a_second"), "ticks_a_second", 1, _MOST_TICKS)
    tick = whole(values.get("first"), "the first tick", -_MOST_TICKS, _MOST_TICKS)
    ticks = [tick]
    for run in listed(values.get("steps"), "steps"):
        step, count = _pair(run)
        step = whole(step, "a step", 1, _MOST_TICKS)
        count = whole(count, "a number of steps", 1, _MOST_FRAMES - len(ticks))
        ticks += range(ticks[-1] + step, ticks[-1] + step * count + 1, step)
    return tuple(Fraction(tick, clock) for tick in ticks)


def numbers_to_json(numbers: Sequence[int]) -> list[list[int]]:
    """Increasing numbers of frames: the first, then runs of equal steps, [step, how many]."""
    return [[numbers[0], 1], *_runs_of_steps(numbers)]


def numbers_from_json(described: Any, frames: int) -> list[int]:
    """What `numbers_to_json` was made of; a UserError where they are not numbers of so many frames."""
    numbers: list[int] = []
    for run in listed(described, "numbers"):
        step, count = _pair(run)
        step = whole(step, "a step", 0, frames)
        count = whole(count, "a number of frames", 1, _MOST_FRAMES - len(numbers))
        last = numbers[-1] if numbers else 0
        if last + step * count >= frames:
            raise UserError(f"it names frame {last + step * count} of {frames}")
        numbers += [last + step * (number + 1) for number in range(count)]
    if not numbers:
        raise UserError("it names no frames")
    return numbers


def shots_from_json(described: Any, keyframes: int) -> list[range]:
    """The runs of keyframes between cuts; a UserError where they are not all keyframes, in order."""
    shots = []
    end = 0
    for shot in listed(described, "shots"):
        first, last = _pair(shot)
        begin = whole(first, "the first keyframe of a shot", end, end)
        end = whole(last, "the end of a shot", begin + 1, keyframes)
        shots.append(range(begin, end))
    if end != keyframes:
        raise UserError(f"its shots hold {end} keyframes of {keyframes}")
    return shots
