"""What people type: sizes, rates, crops and speed curves, as numbers that mean what was typed."""

import os
from fractions import Fraction
from pathlib import Path

import pytest

from vfield.cli.values import parse_crop, parse_output_rate, parse_rate, parse_speed_curve
from vfield.core.clip import parse_size
from vfield.core.errors import UserError

NTSC = Fraction(30000, 1001)


def test_sizes_and_crops_are_parsed() -> None:
    assert parse_size("1280x720") == (720, 1280)
    assert parse_size(" 7 X 5 ") == (5, 7)
    assert parse_crop("10,20.5, 300,.5") == (10, Fraction(41, 2), 300, Fraction(1, 2))


@pytest.mark.parametrize("text", ["", "1280", "1280x", "x720", "axb", "-4x4", "0x4", "1x99999", "1.5x2", "640:360"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match=r"1280x720|1 to 16384"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,-3,4", "1,2,nan,4", "1,2,,4"])
def test_crops_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="X,Y,WIDTH,HEIGHT"):
        parse_crop(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60", Fraction(60)),
        ("30000/1001", NTSC),
        ("29.97", NTSC),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("119.88", Fraction(120000, 1001)),
        ("12.5", Fraction(25, 2)),
        ("30.0", Fraction(30)),
        (" 50/2 ", Fraction(25)),
    ],
)
def test_rates_are_parsed_exactly(text: str, rate: Fraction) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "-25", "1/0", "0/5", "25fps", "nan", "inf", "1e999999999", "30000/1001/2"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="positive number or fraction"):
        parse_rate(text)


def test_the_sources_own_rate() -> None:
    assert parse_output_rate("source") == "source"
    assert parse_output_rate("29.97") == NTSC


def test_speed_curves_are_parsed_exactly(tmp_path: Path) -> None:
    pairs = ((Fraction(0), Fraction(1, 2)), (Fraction(3, 2), Fraction(1)), (Fraction(4), Fraction(1, 10)))
    assert parse_speed_curve("0:.5, 1.5:1,4:0.1").pairs == pairs
    (tmp_path / "ramp.txt").write_text("# out: clip\n0: 0.5\n1.5 : 1  # slow down\n\n4:.1\n")
    assert parse_speed_curve(str(tmp_path / "ramp.txt")).pairs == pairs


def test_speed_curves_in_what_never_ends(tmp_path: Path) -> None:
    """Devices and pipes are not read; nor is a film that was named by mistake."""
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", str(tmp_path / "pipe")):
        with pytest.raises(UserError, match=r"is not a file but a (device|pipe)"):
            parse_speed_curve(path)
    with (tmp_path / "film.mp4").open("wb") as film:
        film.truncate(10**9)
    with pytest.raises(UserError, match="larger than 1024 kB"):
        parse_speed_curve(str(tmp_path / "film.mp4"))
    many = ",".join(f"{n}:{n / 8}" for n in range(2000))
    assert len(parse_speed_curve(many).pairs) == 2000  # longer than any name of a file
    with pytest.raises(UserError, match="cannot be read: File name too long"):
        parse_speed_curve("x" * 5000)
    (tmp_path / "latin.txt").write_bytes(b"# f\xfcr den Anfang\n0:0\n1:1\n")
    with pytest.raises(UserError, match=r"is not text: it is not UTF-8 text .invalid start byte at byte 3"):
        parse_speed_curve(str(tmp_path / "latin.txt"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0:0,1:-1", "'1:-1'"),
        ("0:0,1", "'1'"),
        ("0:0,a:b", "'a:b'"),
        ("0:0,1:2:3", "'1:2:3'"),
        ("0:0,1:1e9", "'1:1e9'"),
        ("0:0", "two pairs"),
        ("", "or a file of such, got ''"),
        ("/", "is not a file but a folder"),
        ("none.txt", "none.txt does not exist"),
    ],
)
def test_speed_curves_that_are_none(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_speed_curve(text)
