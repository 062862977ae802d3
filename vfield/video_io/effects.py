"""Effects within a line of ASS subtitles: karaoke, moves, changes and fades, whose times count from its start."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

# A packet is a line of the script without its times: ReadOrder, Layer, Style, Name, three margins, Effect, Text.
_EFFECT, _TEXT = 7, 8
_BLOCK = re.compile(r"\{[^{}]*\}")
_NUMBER = r"\s*[-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*"
# \k, \K, \kf and \ko last so many hundredths of a second, \kt begins so many after the line.
_KARAOKE = re.compile(rf"(\\(?:k[fot]?|K))({_NUMBER})")
# \move(x1,y1,x2,y2,t1,t2) and \t(t1,t2,...): the two times among the arguments, in milliseconds.
_MOVE = re.compile(rf"(\\move\s*\((?:[^,()]*,){{4}})({_NUMBER}(?:,{_NUMBER})?)(\))")
_CHANGE = re.compile(rf"(\\t\s*\()({_NUMBER},{_NUMBER})(,)")
# \fad(t1,t2) and \fade(a1,a2,a3,t1,t2,t3,t4); players take each name for both.
_FADE_IN_OUT = re.compile(rf"(\\fade?\s*\()({_NUMBER},{_NUMBER})(\))")
_FADE = re.compile(rf"(\\fade?\s*\((?:[^,()]*,){{3}})((?:{_NUMBER},){{3}}{_NUMBER})(\))")
# Banner;delay;... and Scroll up;y1;y2;delay;...: milliseconds a pixel.
_ROLLING = re.compile(rf"^(\s*(?:Banner;|Scroll (?:up|down);[^;]*;[^;]*;))({_NUMBER})(?=;|$)", re.IGNORECASE)


def at_tempo(line: bytes, stretch: Fraction) -> bytes:
    """A line whose effects take `stretch` times as long.

    Args:
        line: the packet of an ASS line.
        stretch: how many times longer the line is shown than in its source.
    """
    fields = line.decode("utf-8", "surrogateescape").split(",", _TEXT)
    if stretch == 1 or len(fields) <= _TEXT:
        return line
    fields[_EFFECT] = _ROLLING.sub(
        lambda found: found[1] + str(max(1, round(_number(found[2]) * stretch))) if _number(found[2]) else found[0],
        fields[_EFFECT],
    )
    karaoke = _Karaoke(stretch)
    fields[_TEXT] = _BLOCK.sub(lambda block: _block(block[0], stretch, karaoke), fields[_TEXT])
    return ",".join(fields).encode("utf-8", "surrogateescape")


def _block(block: str, stretch: Fraction, karaoke: Callable[[re.Match[str]], str]) -> str:
    def scaled(found: re.Match[str]) -> str:
        return found[1] + ",".join(str(round(_number(one) * stretch)) for one in found[2].split(",")) + found[3]

    for kind in (_MOVE, _CHANGE, _FADE_IN_OUT, _FADE):
        block = kind.sub(scaled, block)
    return _KARAOKE.sub(karaoke, block)


class _Karaoke:
    """Syllables, each of which begins where the one before ends: their ends are rounded, so that nothing adds up."""

    def __init__(self, stretch: Fraction) -> None:
        self._stretch = stretch
        self._end = Fraction(0)

    def __call__(self, found: re.Match[str]) -> str:
        begin = self._end
        if found[1] == r"\kt":
            self._end = _number(found[2])
            return found[1] + str(round(self._end * self._stretch))
        self._end += _number(found[2])
        return found[1] + str(round(self._end * self._stretch) - round(begin * self._stretch))


def _number(text: str) -> Fraction:
    return Fraction(text.strip())
