"""What goes with the picture of an export: its sound, and what else its source holds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, NamedTuple

from vfield.core.clip import ClipFacts
from vfield.core.errors import UserError
from vfield.core.timing import TimeMap
from vfield.video_io import AudioPlan, CarryPlan, has_audio

AudioMode = Literal["auto", "copy", "stretch", "varispeed", "drop"]

_LOG = logging.getLogger("vfield")
_WORDS = {"stretch": "stretched", "varispeed": "at the picture's speed"}


class Soundtrack(NamedTuple):
    """What becomes of the sound and the rest of the source."""

    audio: AudioPlan | None  # the writer's plan for the sound; None for none
    word: str  # what becomes of it, for the report
    carry: CarryPlan | None = None  # the writer's plan for subtitles, chapters and metadata; None for none


def choose_soundtrack(mode: AudioMode, facts: ClipFacts, path: str | Path, timing: TimeMap) -> Soundtrack:
    """Decide what goes with the picture of a result, whose map tells which instant of the source is shown when.

    A UserError when sound was asked for by name, and there is none or the result cannot hold it.
    """
    asked = mode not in ("auto", "drop")
    # GIF, PNG or a folder of PNG files, by the rules of `VideoWriter`.
    if str(path).endswith("/") or Path(path).suffix.lower() in ("", ".gif", ".png"):
        if asked:
            raise UserError(f"{path} cannot hold sound, so audio {mode} is impossible; write .mp4 or .mkv")
        return Soundtrack(None, "dropped" if mode == "drop" else "none")
    try:
        found = bool(facts.source) and has_audio(facts.source)
    except UserError as error:
        if asked:
            raise UserError(f"audio {mode} needs the source's sound, but {error}") from error
        _LOG.warning("sound, subtitles, chapters and metadata are left out: %s", error)
        return Soundtrack(None, "dropped" if mode == "drop" else "left out")
    carry = CarryPlan(facts.source, timing) if facts.source else None
    if mode == "drop":
        return Soundtrack(None, "dropped", carry)
    if not found:
        if asked:
            source = facts.source or "a clip made in memory"
            raise UserError(f"audio {mode} is impossible: {source} has no sound; leave it out")
        return Soundtrack(None, "none", carry)
    if timing.constant_speed == 1:
        return Soundtrack(AudioPlan(facts.source, timing, "copy", exact=mode == "copy"), "copied", carry)
    if mode not in ("stretch", "varispeed"):
        _LOG.warning("the sound is left out of %s; add --audio stretch to keep it", _called(timing))
        return Soundtrack(None, "left out", carry)
    return Soundtrack(AudioPlan(facts.source, timing, mode), _WORDS[mode], carry)


def _called(timing: TimeMap) -> str:
    speed = timing.constant_speed
    if speed is None or speed == 0:
        return "a speed curve"
    if speed < 0:
        return "reverse playback"
    return "slow motion" if speed < 1 else "fast motion"
