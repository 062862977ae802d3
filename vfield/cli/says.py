"""What a command says at its end: lines for people, or with `--json` one object for scripts.

With `--json` the object is all that stdout gets, errors included; whatever else a command prints goes to stderr.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

from vfield.core.printable import printable

# Where the object goes; None where people are told.
_FOR_SCRIPTS: ContextVar[TextIO | None] = ContextVar("for_scripts", default=None)


@contextmanager
def answering(scripts: bool) -> Iterator[None]:
    """Within, commands tell scripts rather than people, if `scripts` says so."""
    if not scripts:
        yield
        return
    token = _FOR_SCRIPTS.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _FOR_SCRIPTS.reset(token)


def say(text: str, report: Mapping[str, Any]) -> None:
    """Print what a command has to say; commands print their results nowhere else.

    Args:
        text: for people.
        report: the same for scripts, of what `plain` knows.
    """
    out = _FOR_SCRIPTS.get()
    if out is None:
        tell(text)
    else:
        print(json.dumps(plain(report), indent=1, allow_nan=False), file=out, flush=True)


def tell(text: str, file: TextIO | None = None) -> None:
    """Print lines for people, among them names and tags of files, which no terminal is to obey.

    Args:
        text: the lines.
        file: where to; None for stdout.
    """
    print(printable(text, lines=True), file=file or sys.stdout, flush=True)


def say_error(line: str, report: str) -> None:
    """Print what went wrong: the line on stderr, and for scripts an object with the key "error"."""
    tell(line, sys.stderr)
    if _FOR_SCRIPTS.get() is not None:
        say("", {"error": report})


def plain(value: Any) -> Any:
    """A value as JSON has it: paths and exact fractions ("30000/1001") as strings, nan and infinity as null.

    Raises:
        TypeError: for a kind of value that has no such form.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Path | Fraction):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")
