"""Every number that a command takes: what is absurd is refused in one line, before anything is read."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from vfield.cli import main
from vfield.cli.commands import parsers
from vfield.cli.values import NUMBERS

PARSERS = parsers()
pytestmark = pytest.mark.usefixtures("own_folder")
# Numbers in words, which have readers of their own.
IN_WORDS = {"size", "fit_size", "fps", "slowmo", "crop", "middle", "denoise", "at", "speed_curve"}


def numbers(parser: ArgumentParser) -> list[argparse.Action]:
    """The options of a parser that are numbers, but for the config's."""
    found = []
    for action in parser._actions:
        hint = str(getattr(action, "_typehint", None) or action.type)
        if "." not in action.dest and action.option_strings and ("int" in hint or "float" in hint):
            found.append(action)
    return found


def test_every_number_of_every_command_has_a_range() -> None:
    named = {action.dest for parser in PARSERS.values() for action in numbers(parser)}
    assert named <= set(NUMBERS)
    assert set(NUMBERS) <= named
    assert {action.dest for parser in PARSERS.values() for action in parser._actions} >= IN_WORDS


CASES = [
    (command, action.option_strings[-1], action.dest)
    for command, parser in PARSERS.items()
    for action in parser._actions
    if action.option_strings and (action in numbers(parser) or action.dest in IN_WORDS)
]
# What each command needs beside it; the input is not there, so that whatever reads it first says so.
BESIDE = {
    "run": ["no/such.mp4", "-o", "out.mp4"],
    "train": ["-i", "no/such.mp4"],
    "adapt": ["no/such", "-i", "no/such.mp4"],
    "evaluate": ["-i", "no/such.mp4"],
    "render": ["no/such", "-o", "out.mp4"],
    "flow": ["no/such", "-o", "out"],
    "view": ["no/such"],
}


ABSURD = ["nan", "1e400", "-1", "9" * 400, "1e30", "1e999999999", "-inf", "0x" + "f" * 5000]


@pytest.mark.parametrize("name", NUMBERS)
def test_ranges_are_ranges(name: str) -> None:
    for value in (float("nan"), -1, 10**400, 1e30, float("inf"), float("-inf")):
        assert not NUMBERS[name].holds(value)


# One kind of absurdity each, in turn: a parser takes a tenth of a second.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "option", "dest", "value"),
    [(*case, ABSURD[number % len(ABSURD)]) for number, case in enumerate(CASES)],
    ids=[f"{case[0]} {case[1]}" for case in CASES],
)
def test_absurd_numbers_are_refused_at_once(
    command: str, option: str, dest: str, value: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    beside = BESIDE.get(command, [])
    if command == "evaluate" and dest not in ("holdout", "scale"):
        beside = [*beside, "--holdout", "2"]
    began = time.process_time()
    assert main([*command.split(), *beside, f"{option}={value}"]) == 2
    assert time.process_time() - began < 3
    told = capfd.readouterr()
    line = told.err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert len(line) < 700
    assert "no/such" not in line, f"it was taken: {line}"
    assert list(tmp_path.iterdir()) == []
