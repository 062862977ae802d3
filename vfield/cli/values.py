"""What people type: sizes, rates, crops and numbers. What is none of its kind is a UserError."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

from jsonargparse import Namespace

from vfield.core.clip import LARGEST_SIDE, parse_size
from vfield.core.errors import UserError, brief, told_with
from vfield.core.ranges import Range, check_range
from vfield.core.timing import SpeedCurve
from vfield.core.yaml_files import read_text

# Rates of television and film that people write with two or three decimals: these, times 1000/1001.
_NTSC_RATES = (24, 30, 48, 60, 96, 120, 240)
_LARGEST_TEXT = 1 << 20  # bytes: tens of thousands of pairs


def parse_rate(text: str) -> Fraction:
    """An exact rate from "30000/1001", "23.976" or "60".

    The rounded names of the NTSC rates stand for the rates themselves: 23.976 (or 23.98) is 24000/1001.
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
    """(x, y, width, height) in source pixels from "X,Y,WIDTH,HEIGHT"."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(re.fullmatch(r"\d{1,9}(\.\d{1,9})?|\.\d{1,9}", part) for part in parts):
        raise UserError(f"crop must be X,Y,WIDTH,HEIGHT in source pixels, like 100,50,640,360, got {brief(text)}")
    x, y, width, height = (Fraction(part) for part in parts)
    return x, y, width, height


def exact_number(name: str, text: str) -> Fraction:
    """The number that an option's text means, exactly."""
    # Checked before it is built: "1e999999999" is a number, of a billion digits.
    if not re.fullmatch(r"\d{1,6}(\.\d{1,9}|/0{0,5}[1-9]\d{0,5})?", text):
        raise UserError(f"--{name} must be a number like 4, 2.5 or 5/2, got {brief(text)}")
    return Fraction(text)


def parse_output_rate(text: str) -> Fraction | Literal["source"]:
    """A rate as for `parse_rate`, or the word "source"."""
    return "source" if text.strip() == "source" else parse_rate(text)


def parse_speed_curve(text: str) -> SpeedCurve:
    """A curve from "0:0, 1:1, 4:2" (seconds of the output : seconds of the clip), or from a file of such pairs.

    In a file, pairs may also stand on lines of their own, and what follows a # is left out.
    """
    if not text.strip():
        raise UserError(f"a speed curve must be pairs like 0:0,1:1,4:2, or a file of such, got {brief(text)}")
    source, pairs = "speed curve", text
    if ":" not in text or os.path.isfile(text):  # which takes pairs that are too long for a name for none
        source = f"speed curve {text:.200}"
        with told_with(after="; give a file, or pairs like 0:0,1:1,4:2"):
            pairs = re.sub(r"#.*", "", read_text(text, "speed curve", _LARGEST_TEXT))
    number = r"\s*(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})\s*"
    found = []
    for pair in filter(str.strip, re.split(r"[,\n]", pairs)):
        match = re.fullmatch(f"{number}:{number}", pair)
        if match is None:
            raise UserError(f"{source}: a pair must be OUTPUT:CLIP in seconds, like 1.5:2, got {brief(pair.strip())}")
        found.append((Fraction(match[1]), Fraction(match[2])))
    return SpeedCurve(tuple(found))


# The numbers of all commands, by the name of their option, which means the same in each. What a command refuses beyond
# that depends on its clip or its encoder.
NUMBERS = {
    "start": Range(0, 10**9),
    "end": Range(0, 10**9),
    "steps": Range(0, 10**9),
    "minutes": Range(0, 10**6, open=True),
    "seed": Range(0, (1 << 31) - 1),
    "scale": Range(0, LARGEST_SIDE, open=True),
    "crf": Range(0, 63),
    "pack_crf": Range(0, 63),
    "holdout": Range(2, 10**6),
    "frames": Range(1, 10**9),
    "port": Range(0, 65535),
    "levels": Range(0, 127.5),
    "look_every": Range(1, 10**9),
    "every": Range(1, 10**6),
    "parameters": Range(1, 10**9),
    "rank": Range(1, 1024),
    "learning_rate": Range(0, 10),
    "width": Range(1, 1 << 20),
    "depth": Range(1, 64),
    "line_points": Range(1, 65536),
    "side": Range(1, 4096),
    "pixels": Range(1, LARGEST_SIDE),
    "sigma": Range(0, 1e5),
    "sigmas": Range(0, 1e5, most=64),
    "factors": Range(0, 1000, open=True),
}

# How options are read whose values are text. Speed curves may lie in files, which are read once.
_READ: dict[str, Callable[[str], object]] = {
    "size": parse_size,
    "fit_size": parse_size,
    "middle": parse_size,
    "fps": parse_output_rate,
    "crop": parse_crop,
    "slowmo": lambda text: exact_number("slowmo", text),
}
# Options that name files or folders.
_FILES = ("run", "input", "output", "out", "clips", "video", "clip", "first", "second", "mask", "image")


def check_words(parsed: Namespace) -> None:
    """Refuse words that no command could make sense of, before any is begun: loading what does the work takes seconds.

    That is values that are none of their kind, and numbers out of their range.
    """
    values = vars(parsed)
    for name, allowed in NUMBERS.items():
        check_range(f"--{name.replace('_', '-')}", values.get(name), allowed)
    for name, read in _READ.items():
        if isinstance(values.get(name), str):
            read(values[name])
    for name in _FILES:
        value = values.get(name)
        if "-" in (value if isinstance(value, list) else [value]):
            raise UserError('pipes ("-") are neither read nor written; name a file (one that is called so is ./-)')
