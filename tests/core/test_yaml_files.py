"""The one reader of YAML: plain values, and one short line about anything else, soon."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from vfield.cli import main
from vfield.core.errors import UserError
from vfield.core.yaml_files import parse_yaml, read_yaml
from vfield.learn.config_files import load_config
from vfield.output.zoom import read_path

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefghi", "bcdefghij", strict=True)
)
HOSTILE = {
    "a day that there is none of": ("a: !!timestamp 2023-02-31", "timestamp"),
    "no integer": ('a: !!int "abc"', "'abc' is not a number"),
    "an empty integer": ('a: !!int ""', "is not a number"),
    "no float": ('a: !!float "abc"', "'abc' is not a number"),
    "no bool": ('a: !!bool "abc"', "'abc' is not a bool"),
    "no timestamp": ('a: !!timestamp "abc"', "timestamp"),
    "a list for a number": ("a: !!int [1]", "number"),
    "a binary": ("a: !!binary abc", "binary"),
    "an object": ("a: !!python/object/apply:os.getcwd []", "python"),
    "5000 digits": (f"a: {'1' * 5000}", "too long for a number"),
    "5000 digits in base 16": (f"a: 0x{'f' * 5000}", "too long for a number"),
    "3000 lists deep": (f"a: {'[' * 3000}{']' * 3000}", "deep"),
    "3000 mappings deep": ("{a: " * 3000 + "1" + "}" * 3000, "deep"),
    "a bomb": (BOMB, "aliases"),
    "itself": ("a: &a [*a]", "aliases"),
    "a mapping as a key": ("{[1]: 2}", "unhashable"),
    "half a character": ("a: \\ud800", None),
    "a long line": ("x" * (1 << 20), "longer than|larger than"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "told"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_not_plain_is_one_short_line(text: str, told: str | None, tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    path.write_text(text)
    began = time.process_time()
    for read in (load_config, read_path):
        with pytest.raises(UserError, match=told) as error:
            read(path)
        assert len(str(error.value)) < 400 + len(str(path))
        assert "\n" not in str(error.value)
    assert time.process_time() - began < 2
    # Values of options are read by the same reader.
    if told is not None and len(text) < 100_000:
        words = ["train", "-i", "none.mp4", "--field.local.levels", text.removeprefix("a: ")]
        assert main(words) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2023-02-01", "2023-02-01"),
        ("1e-3", 1e-3),
        ("1.5e3", 1500.0),
        ("[1, 2.5, null, true, text]", [1, 2.5, None, True, "text"]),
        ("{a: {b: [.inf]}}", {"a": {"b": [float("inf")]}}),
        ("<<: 1", {"<<": 1}),
        ("", None),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    assert parse_yaml(text) == value


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--config", "--field", "--path"])
def test_only_files_are_read(option: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told = {pipe: "a pipe", Path("/dev/zero"): "a device", tmp_path: "a folder", tmp_path / "none": "does not exist"}
    for path, what in told.items():
        assert main(["run", "none.mp4", "-o", "out.mp4", option, str(path)]) == 2
        line = capfd.readouterr().err
        assert what in line
        assert str(path) in line
        assert len(line.splitlines()) == 1


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: é".encode("latin-1"))
    with pytest.raises(UserError, match="not YAML: it is not UTF-8"):
        read_yaml(path, "config")
