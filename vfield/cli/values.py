"""What people type: sizes, rates and crops."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Literal

from vfield.errors import UserError, brief
from vfield.export_config import check_size
from vfield.timing import SpeedCurve

# Rates of television and film that people write with two or three decimals: these, times 1000/1001.
_NTSC_RATES = (24, 30, 48, 60, 96, 120, 240)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from "WIDTHxHEIGHT".

    Raises:
        UserError: when the text is not that.
    """
    found = re.fullmatch(r"\s*(\d{1,9})\s*[xX]\s*(\d{1,9})\s*", text)
    if found is None:
        raise UserError(f"size must be WIDTHxHEIGHT, like 1280x720, got {brief(text)}")
    height, width = int(found[2]), int(found[1])
    check_size(height, width)
    return height, width


def parse_rate(text: str) -> Fraction:
    """An exact rate from "30000/1001", "23.976" or "60".

    The rounded names of the NTSC rates stand for the rates themselves: 23.976 (or 23.98) is 24000/1001.

    Raises:
        UserError: when the text is not a positive number.
    """
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9}|\d{1,9}/\d{1,9})\s*", text)
    if found is None or ("/" in text and int(found[1].split("/")[1]) == 0) or Fraction(found[1]) == 0:
        raise UserError(f"a rate must be a positive number or fraction, like 60 or 30000/1001, got {brief(text)}")
    rate = Fraction(found[1])
    for whole in _NTSC_RATES:
        exact = Fraction(whole * 1000, 1001)
        if "." in text and abs(rate - exact) < Fraction(5, 1000):
            return exact
    return rate


def parse_crop(text: str) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """(x, y, width, height) in source pixels from "X,Y,WIDTH,HEIGHT".

    Raises:
        UserError: when the text is not four numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(re.fullmatch(r"\d{1,9}(\.\d{1,9})?|\.\d{1,9}", part) for part in parts):
        raise UserError(f"crop must be X,Y,WIDTH,HEIGHT in source pixels, like 100,50,640,360, got {brief(text)}")
    x, y, width, height = (Fraction(part) for part in parts)
    return x, y, width, height


def parse_output_rate(text: str) -> Fraction | Literal["source"]:
    """A rate as for `parse_rate`, or the word "source".

    Raises:
        UserError: when the text is neither.
    """
    return "source" if text.strip() == "source" else parse_rate(text)


def parse_speed_curve(text: str) -> SpeedCurve:
    """A curve from "0:0, 1:1, 4:2" (seconds of the output : seconds of the clip), or from a file of such pairs.

    In a file, pairs may also stand on lines of their own, and what follows a # is left out.

    Raises:
        UserError: when there is no such file, or the pairs are none.
    """
    source, pairs = "speed curve", text
    if ":" not in text or Path(text).is_file():
        source = f"speed curve {text}"
        try:
            pairs = re.sub(r"#.*", "", Path(text).read_text())
        except FileNotFoundError as error:
            raise UserError(f"{source} does not exist; give a file, or pairs like 0:0,1:1,4:2") from error
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{source} cannot be read as text: {' '.join(str(error).split())}") from error
    number = r"\s*(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})\s*"
    found = []
    for pair in filter(str.strip, re.split(r"[,\n]", pairs)):
        match = re.fullmatch(f"{number}:{number}", pair)
        if match is None:
            raise UserError(f"{source}: a pair must be OUTPUT:CLIP in seconds, like 1.5:2, got {brief(pair.strip())}")
        found.append((Fraction(match[1]), Fraction(match[2])))
    return SpeedCurve(tuple(found))
