"""JSON from files that may be damaged or made to do harm: read within bounds, and each value checked for its kind."""

from __future__ import annotations

import json
import math
import re
from dataclasses import MISSING, fields
from fractions import Fraction
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vfield.core.errors import UserError, brief, told_with
from vfield.core.ranges import Range, check_range, ranges_of
from vfield.core.yaml_files import read_text

_Kind = TypeVar("_Kind")

_MOST_BYTES = 32 << 20  # of one text: a clip of a million frames takes about that
_FRACTION = re.compile(r"-?\d{1,40}(/0*[1-9]\d{0,39})?")


def parse_json(text: str) -> Any:
    """The value that a text describes; a UserError where it describes none, is too long or too deep."""
    if len(text) > _MOST_BYTES:
        raise UserError(f"it is longer than {_MOST_BYTES >> 20} MB")
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError("its values are nested too deep") from None
    except ValueError as error:
        raise UserError(f"it is not JSON: {error}") from error


def read_json(path: Path, what: str) -> Any:
    """The value that a file describes; a UserError, which says `what` it is ("record"), where it cannot be read."""
    described = read_text(path, what, _MOST_BYTES, "JSON")
    with told_with(f"{what} {path} is damaged: "):
        return parse_json(described)


def mapping(value: Any, what: str) -> dict[str, Any]:
    """The value, which must be a mapping; a UserError where it is not."""
    if not isinstance(value, dict):
        raise UserError(f"{what} must be a mapping, got {brief(value)}")
    return value


def exact(value: Any, name: str, low: float = -1e12, high: float = 1e12) -> Fraction:
    """An exact number from its text, "30000/1001"; a UserError where it is not that, or out of range."""
    # Looked at before it is built: "1e999999999" is a number, too, of a billion digits.
    if not isinstance(value, str) or not _FRACTION.fullmatch(value):
        raise UserError(f"{name} must be the text of a fraction like 30000/1001, got {brief(value)}")
    number = Fraction(value)
    check_range(name, number, Range(low, high))
    return number


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`; a UserError where it is not."""
    if not _is_of(value, int):
        raise UserError(f"{name} must be a whole number, got {brief(value)}")
    check_range(name, value, Range(low, high))
    return int(value)


def listed(value: Any, name: str) -> list[Any]:
    """The value, which must be a list; a UserError where it is not."""
    if not isinstance(value, list):
        raise UserError(f"{name} must be a list, got {brief(value)}")
    return value


def text(value: Any, name: str) -> str:
    """The value, which must be text that can be a file's name; a UserError where it is not."""
    if not _is_of(value, str):
        raise UserError(f"{name} must be text, got {brief(value)}")
    return str(value)


def is_number(value: Any) -> bool:
    """Whether a value out of JSON is a finite number that a float can hold."""
    return _is_of(value, float) and abs(value) < 1e30


def record(kind: type[_Kind], described: Any, what: str) -> _Kind:
    """A dataclass of plain values from its `asdict` form, nothing guessed or converted.

    A UserError when a value is missing, unknown, of another kind or out of its range.
    """
    values = mapping(described, what)
    made: Any = kind
    known = {field.name: field for field in fields(made)}
    hints = get_type_hints(kind)
    if unknown := sorted(map(str, set(values) - set(known))):
        raise UserError(f"{what} has a value {brief(unknown[0])} that is not known")
    for name, field in known.items():
        if name not in values:
            if field.default is MISSING:
                raise UserError(f"{what} has no {name}")
            continue
        hint = hints[name]
        if not _is_of(values[name], hint):
            plain = isinstance(hint, type) and not get_args(hint)
            kind_in_words = hint.__name__ if plain else str(hint).replace("typing.", "")
            raise UserError(f"{name} of {what} must be {kind_in_words}, got {brief(values[name])}")
    for name, allowed in ranges_of(made).items():
        check_range(f"{name} of {what}", values.get(name), allowed)
    return kind(**values)


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value out of JSON is of a plain kind: a scalar, a list of such, one of some words, or a union."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_is_of(value, option) for option in inner)
    if origin is Literal:
        return value in inner if isinstance(value, str) else False
    if origin is list:
        return isinstance(value, list) and all(_is_of(item, inner[0]) for item in value)
    if isinstance(value, bool) and hint in (int, float):
        return False
    if hint is float:
        return isinstance(value, int) or (isinstance(value, float) and not math.isnan(value))
    if hint is str and isinstance(value, str):
        # Whether a file can be called so; of names that are not UTF-8, bytes are kept as halves of pairs.
        try:
            return b"\0" not in value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return False
    return isinstance(value, hint)
