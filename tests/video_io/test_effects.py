r"""Karaoke, moves and fades within ASS lines, in slow and fast motion."""

from __future__ import annotations

from fractions import Fraction

import pytest

from vfield.video_io.subtitles import at_tempo


def told(text: str, stretch: Fraction | int, effect: str = "") -> str:
    """The text, and the effect before it, of a line that is shown longer."""
    line = at_tempo(f"0,0,Default,,0,0,0,{effect},{text}".encode(), Fraction(stretch)).decode()
    return line.removeprefix("0,0,Default,,0,0,0,")


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        (r"{\k10}one {\K5}two {\kf7}three {\ko8\b1}four", r"{\k20}one {\K10}two {\kf14}three {\ko16\b1}four"),
        (r"{\kt50\k10}la", r"{\kt100\k20}la"),
        (r"{\move(10,10,50,50,0,150)}x", r"{\move(10,10,50,50,0,300)}x"),
        (r"{\move(10,10.5,50,50)}x", r"{\move(10,10.5,50,50)}x"),  # all along the line
        (r"{\fad(20,30)\t(0,80,\fs40)}three", r"{\fad(40,60)\t(0,160,\fs40)}three"),
        (r"{\fade(255,0,255,0,100,200,300)}x", r"{\fade(255,0,255,0,200,400,600)}x"),
        (r"{\fade(20,30)}x", r"{\fade(40,60)}x"),
        (
            r"{\t(\fs40)\t(2,\fs40)\t( 10, 20 ,1.5,\clip(0,0,9,9))}",
            r"{\t(\fs40)\t(2,\fs40)\t(20,40,1.5,\clip(0,0,9,9))}",
        ),
        # What only looks like them: other tags, and words that are shown.
        (
            r"{\pos(1,2)\fscx120\frz30\tshad}\k10 {\an8}fad(20,30)",
            r"{\pos(1,2)\fscx120\frz30\tshad}\k10 {\an8}fad(20,30)",
        ),
        (r"one, two, {\k10}three", r"one, two, {\k20}three"),
    ],
)
def test_effects_take_as_much_longer_as_their_line(text: str, twice: str) -> None:
    assert told(text, 2) == f",{twice}"
    assert told(text, 1) == f",{text}"


def test_syllables_stay_in_step_when_hundredths_are_rounded() -> None:
    song = told("".join(r"{\k3}la" for _ in range(10)), Fraction(1, 2)).removeprefix(",")
    lengths = [int(part) for part in song.replace(r"{\k", "").replace("}la", " ").split()]
    assert sum(lengths) == 15
    assert set(lengths) == {1, 2}


def test_rolling_lines_roll_at_the_tempo() -> None:
    assert told("News", 2, "Banner;8;0;50") == "Banner;16;0;50,News"
    assert told("Cast", 3, "Scroll up;40;200;8") == "Scroll up;40;200;24,Cast"
    assert told("Cast", Fraction(1, 100), "scroll down;40;200;8;9") == "scroll down;40;200;1;9,Cast"


def test_what_is_no_line_is_left_as_it_is() -> None:
    for odd in (b"", b"0,0,Default", b"\xff\xfe,,,,,,,,{\\k10}\xe9"):
        assert at_tempo(odd, Fraction(1)) == odd
    assert at_tempo(b"1,0,D,,0,0,0,,{\\k10}\xe9", Fraction(2)) == b"1,0,D,,0,0,0,,{\\k20}\xe9"
    assert at_tempo(b"0,0,Default", Fraction(2)) == b"0,0,Default"
