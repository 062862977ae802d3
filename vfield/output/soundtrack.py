"""What goes with the picture of an export: its sound, and what else its source holds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, NamedTuple

from vfield.core.clip import ClipFacts
from vfield.core.errors import UserError
from vfield.core.timing import TimeMap
from vfield.video_io import CONTAINERS, AudioPlan, CarryPlan, cannot_hold, hardly_played, has_audio, probe

AudioMode = Literal["auto", "copy", "stretch", "varispeed", "drop"]

_LOG = logging.getLogger("vfield")
_WORDS = {"stretch": "stretched", "varispeed": "at the picture's speed"}


class Soundtrack(NamedTuple):
    """What becomes of the sound and the rest of the source.

    Attributes:
        audio: the writer's plan for the sound; None for none.
        word: what becomes of it, for the report.
        carry: the writer's plan for subtitles, chapters and metadata; None for none.
    """

    audio: AudioPlan | None
    word: str
    carry: CarryPlan | None = None


def choose_soundtrack(mode: AudioMode, facts: ClipFacts, path: str | Path, timing: TimeMap) -> Soundtrack:
    """Decide what goes with the picture.

    Args:
        mode: what was asked for.
        facts: the clip's.
        path: where the result goes.
        timing: which instant of the source is shown when.

    Raises:
        UserError: when sound was asked for by name, and there is none or the result cannot hold it.
    """
    asked = mode not in ("auto", "drop")
    if _is_pictures(path):
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
        plan, word = _at_its_own_speed(mode, facts, path, timing)
        return Soundtrack(plan, word, carry)
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


def _at_its_own_speed(mode: AudioMode, facts: ClipFacts, path: str | Path, timing: TimeMap) -> tuple[AudioPlan, str]:
    """Sound that lasts as long as before: copied, except where the container cannot hold it as it is."""
    suffix = Path(path).suffix.lower()
    if suffix not in CONTAINERS:  # the writer refuses others, in its own words
        return AudioPlan(facts.source, timing, "copy"), "copied"
    # What cannot even be decoded the writer leaves out, and says so.
    codecs = [codec for codec in probe(facts.source).audio_codecs if codec != "unknown"]
    foreign = cannot_hold(suffix, codecs)
    if foreign and mode == "copy":
        raise UserError(f"{suffix} files cannot hold {', '.join(foreign)} sound as it is; write .mkv, or audio auto")
    new = "Opus" if suffix == ".webm" else "AAC"
    if foreign:
        _LOG.warning("%s files cannot hold %s sound; it is coded again as %s", suffix, ", ".join(foreign), new)
        return AudioPlan(facts.source, timing, "stretch"), "coded again"
    unplayed = hardly_played(suffix, codecs)
    if unplayed and mode != "copy":
        _LOG.warning(
            "most players do not play %s sound in %s files; it is coded again as %s: .mkv, .mov or audio copy keep it",
            *(", ".join(unplayed), suffix, new),
        )
        return AudioPlan(facts.source, timing, "stretch"), "coded again"
    return AudioPlan(facts.source, timing, "copy"), "copied"


def _is_pictures(path: str | Path) -> bool:
    """Whether the name asks for a GIF, a PNG file or a folder of them, by the rules of `VideoWriter`."""
    return str(path).endswith("/") or Path(path).suffix.lower() in ("", ".gif", ".png")
