"""Errors that are the caller's to mend, and how values are shown in them."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from reprlib import Repr
from typing import Any

_LONGEST = 80  # characters of a value that a message shows
# What libraries say that ask for memory in other words than MemoryError.
_NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|insufficient memory|cannot allocate memory|bad_alloc"
    r"|failed to allocate|storage size calculation overflowed|numel: integer multiplication overflow"
    r"|invalid buffer size|array is too big|maximum (supported|allowed) (size|dimension)",
    re.IGNORECASE,
)


class UserError(ValueError):
    """Input that vfield cannot work with: says what was wrong, with the value, and what to do.

    The command line prints the message as one line and exits with code 2; a library caller sees a ValueError.
    """


@contextmanager
def told_with(before: str = "", after: str = "") -> Iterator[None]:
    """A UserError within this has more words around its own: of what it is, or what to do."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{before}{error}{after}") from error


class _Brief(Repr):
    """A repr whose cost is bounded, whatever is in the value: of few levels, few items and short words."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 2, _LONGEST, _LONGEST, 40

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write out numbers of thousands of digits."""
        if abs(x) >= 10**self.maxlong:
            return f"a number of about {int(x.bit_length() * 0.30103) + 1} digits"
        return repr(x)

    def repr_Fraction(self, x: Fraction, level: int) -> str:  # noqa: N802, the name is made of the type's
        """As people write it."""
        if abs(x) >= 10**9:
            return f"about {self.repr_int(int(x), level)}"
        return str(x) if x.denominator < 10**6 else f"{float(x):g}"


def brief(value: Any) -> str:
    """A value as a message shows it: its repr, shortened, however long, deep or full of references it is."""
    text = " ".join(_Brief().repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def shortened(error: BaseException, most: int = 400) -> str:
    """What an error says, in one line of bounded length: libraries show whole values, however long."""
    text = " ".join(str(error)[: 10 * most].split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any library says that there is not enough memory for what was asked."""
    # By name, so that asking needs none of those libraries: torch's own is a RuntimeError, OpenCV's an Exception.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or "OutOfMemoryError" in kinds:
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # OpenCV's errors are called just that.
    return bool(kinds & {"RuntimeError", "error", "SafetensorError"}) and bool(_NO_MEMORY.search(str(error)))


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """A UserError that says `what` was being done, in place of any library's own error about memory."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(out_of_memory_message(what, error)) from error


def out_of_memory_message(what: str, error: BaseException) -> str:
    """What to say, in one line, of an error by `is_out_of_memory`."""
    asked = re.search(r"tried to allocate ([\d.]+ ?\w*)|allocate (\d+) bytes", f"{error}", re.IGNORECASE)
    amount = "" if asked is None else f" (it asked for {_readable(asked[1] or f'{asked[2]} bytes')})"
    advice = "take less at once: a smaller size, a shorter part, or smaller parts in the config"
    return f"{what} needs more memory than there is{amount}; {advice}"


def _readable(amount: str) -> str:
    number, _, unit = amount.partition(" ")
    return f"{int(number) / 1e9:.1f} GB" if unit == "bytes" and int(number) >= 10**8 else amount
