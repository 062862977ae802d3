"""What people type: sizes, rates and crops, as numbers that mean what was typed."""

from fractions import Fraction

import pytest

from vfield.cli.values import parse_crop, parse_rate, parse_size
from vfield.errors import UserError

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
