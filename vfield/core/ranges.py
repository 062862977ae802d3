"""Ranges of numbers in configs: said in the type of each, and checked in one way.

A config says `cell: Annotated[int, Range(1, 1024)] = 4` and calls `check_ranges(self, "motion")` when it is made. The
ranges are wide: they keep out what cannot be meant, or what no machine could do, and leave taste to the user.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from vfield.core.errors import UserError, brief


@dataclass(frozen=True)
class Range:
    """The numbers that a value may take; of several, as in a list, each. Words and None are not judged."""

    low: float | Fraction  # the least
    high: float | Fraction  # the most
    open: bool = False  # whether `low` itself is left out
    most: int = 16  # of several numbers, how many there may be

    def holds(self, value: float | Fraction) -> bool:
        """Whether a number lies in it; nan does not."""
        return (self.low < value if self.open else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        """As a message says it."""
        low, high = (_plain(end) for end in (self.low, self.high))
        return f"more than {low} and at most {high}" if self.open else f"from {low} to {high}"


def check_range(name: str, value: Any, allowed: Range) -> None:
    """Refuse, by a UserError, a number out of range, or a sequence of numbers with one; anything else passes."""
    if isinstance(value, list | tuple) and len(value) > allowed.most:
        raise UserError(f"{name} must be at most {allowed.most} numbers, got {len(value)}")
    for number in _numbers(value):
        if not allowed.holds(number):
            where = "" if number is value else f" in {brief(list(value))}"
            raise UserError(f"{name} must be {allowed}, got {brief(number)}{where}")


def check_ranges(config: Any, prefix: str) -> None:
    """Refuse, by a UserError, a dataclass with a number out of its range; in messages its name is `prefix.name`."""
    kind: Any = type(config)
    for name, allowed in ranges_of(kind).items():
        check_range(f"{prefix}.{name}" if prefix else name, getattr(config, name), allowed)


@cache
def ranges_of(kind: Hashable) -> dict[str, Range]:
    """The ranges that a config class gives its values, by their names."""
    found: dict[str, Range] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is Annotated:
            found.update((name, extra) for extra in get_args(hint)[1:] if isinstance(extra, Range))
    return found


def _numbers(value: Any) -> Iterator[float | Fraction]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float | Fraction):
        yield value


def _plain(number: float | Fraction) -> str:
    """Whole numbers and fractions in full, others as short as they are exact."""
    if isinstance(number, Fraction):
        return str(number)
    return str(int(number)) if math.isfinite(number) and number == int(number) and abs(number) < 1e12 else f"{number:g}"
