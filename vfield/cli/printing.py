"""What a command prints and how it ends: lines for people, or with `--json` one object for scripts.

With `--json` the object is all that stdout gets, errors included; whatever else a command prints goes to stderr.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

from vfield.core.errors import UserError, is_out_of_memory, out_of_memory_message
from vfield.core.interrupts import ending_in_order, exit_code, what_ended_it
from vfield.core.printable import PrintableFormatter, printable

# Where the object goes; None where people are told.
_FOR_SCRIPTS: ContextVar[TextIO | None] = ContextVar("for_scripts", default=None)


def guarded(command: Callable[[list[str]], int], argv: Sequence[str] | None = None, json_file: bool = False) -> int:
    """Run a command; turn a UserError into one line and exit code 2, Ctrl-C into 130, SIGTERM 143 and SIGHUP 129.

    Args:
        command: from its words to its exit code.
        argv: the words; None for the process's own.
        json_file: whether the command's `--json` may name a file, which leaves stdout to people.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("vfield").setLevel(logging.INFO)
    # Libraries warn about machines without an accelerator, which is how most people run this.
    warnings.filterwarnings("ignore", category=UserWarning)
    # Accelerate still calls it so, and torch knows it only by a newer name.
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
    words = [_one_spelling(word) for word in (sys.argv[1:] if argv is None else argv)]
    with _json_on_stdout(_is_for_scripts(words, json_file)), ending_in_order():
        try:
            return command(words)
        except UserError as error:
            return _fail(str(error))
        except Exception as error:
            if is_out_of_memory(error):
                return _fail(out_of_memory_message("this", error))
            if isinstance(error, OSError):
                return _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
            raise
        except KeyboardInterrupt:
            _say_error(what_ended_it(), what_ended_it())
            return exit_code()


def _fail(message: str) -> int:
    """Say in one line what was wrong; the exit code for it."""
    line = " ".join(message.split())
    _say_error(f"error: {line}", line)
    return 2


def _is_for_scripts(words: Sequence[str], json_file: bool) -> bool:
    """Whether `--json` asks for an object on stdout. Seen before words are parsed: their errors are told so, too."""
    if "--json" not in words:
        return False
    following = words[words.index("--json") + 1 :]
    return not json_file or not following or following[0].startswith("-")


def _one_spelling(word: str) -> str:
    """Options may be written with dashes or underscores; dotted config keys have underscores."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    name = name.replace("-", "_") if "." in name else name.replace("_", "-")
    return f"--{name}{equals}{value}"


@contextmanager
def _json_on_stdout(wanted: bool) -> Iterator[None]:
    """Within, stdout gets nothing but the object of `say`, if that is wanted."""
    if not wanted:
        yield
        return
    token = _FOR_SCRIPTS.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _FOR_SCRIPTS.reset(token)


def say(text: str, report: Any) -> None:
    """Print what a command has to say; commands print their results nowhere else.

    `report` is for scripts what `text` is for people: a mapping or a dataclass of what `plain` knows.
    """
    out = _FOR_SCRIPTS.get()
    if out is None:
        tell(text)
    else:
        print(json.dumps(plain(report), indent=1, allow_nan=False), file=out, flush=True)


def tell(text: str, file: TextIO | None = None) -> None:
    """Print lines for people (to stdout by default), among them names of files, which no terminal is to obey."""
    print(printable(text, lines=True), file=file or sys.stdout, flush=True)


def tell_packed(files: Sequence[Path]) -> None:
    """Name the files that clips were packed into."""
    for path in files:
        tell(f"packed: {path} ({path.stat().st_size:,} bytes)")


def _say_error(line: str, report: str) -> None:
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
