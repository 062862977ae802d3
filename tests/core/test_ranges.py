"""Every number of every config has a range, which is checked in one way."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from fractions import Fraction
from typing import Any, get_args, get_type_hints

import pytest

import vfield
from vfield.core.errors import UserError
from vfield.core.parsing import config_from_json
from vfield.core.ranges import Range, check_range, ranges_of
from vfield.learn import Config
from vfield.output.config import ExportConfig
from vfield.output.zoom import CropAt

# Beside those whose name says so: what else a user gives numbers to.
ALSO = [CropAt]


def config_classes() -> list[type]:
    """All classes of settings in the package, by their names."""
    found: dict[str, type] = {kind.__qualname__: kind for kind in ALSO}
    for module in pkgutil.walk_packages(vfield.__path__, "vfield."):
        if module.name.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            named = isinstance(kind, type) and is_dataclass(kind) and kind.__name__.endswith("Config")
            if named and kind.__module__.startswith("vfield."):
                found[kind.__qualname__] = kind
    return list(found.values())


CLASSES = config_classes()


def kinds_in(hint: Any) -> set[type]:
    """The plain types that a hint is made of."""
    inner = get_args(hint)
    return {hint} if not inner else set().union(*map(kinds_in, inner))


def numeric(kind: type) -> Iterator[str]:
    """Names of the values of a config that are or hold numbers."""
    for name, hint in get_type_hints(kind).items():
        if kinds_in(hint) & {int, float, Fraction}:
            yield name


def shaped(kind: type, name: str, number: float | Fraction) -> Any:
    """A value of the shape that this one has, with that number in it."""
    hint = get_type_hints(kind)[name]
    if kinds_in(hint) & {tuple} or "tuple" in str(hint):
        count = len([item for item in get_args(hint) if item is not Ellipsis]) or 1
        options = [get_args(option) for option in (hint, *get_args(hint)) if "tuple" in str(option)[:10]]
        count = max((len([item for item in option if item is not Ellipsis]) for option in options), default=count)
        return (number,) * count
    return number


CASES = [(kind, name) for kind in CLASSES for name in numeric(kind)]


def with_value(kind: type, name: str, value: Any) -> Any:
    """A config with this value, and what it needs beside it."""
    given: dict[str, Any] = {name: value}
    for field in fields(kind):
        if field.name not in given and required(field):
            given[field.name] = 1.0 if field.name == "at" else (0.0, 0.0, 1.0, 1.0)
    if (kind.__name__, name) == ("FlowConfig", "patch_stride"):
        given["patch_size"] = 64
    if (kind.__name__, name) == ("FlowConfig", "patch_size"):
        given["patch_stride"] = 1
    if (kind.__name__, name) == ("ExportConfig", "start"):
        given["end"] = None
    if kind.__name__ == "NtkConfig" and name in ("line_points", "side", "width", "depth", "count"):
        small = {"line_points": 4, "side": 4, "width": 1, "depth": 1, "count": 1}
        given = small | given
    return kind(**given)


def required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def test_the_classes_are_found() -> None:
    assert {Config, ExportConfig} <= set(CLASSES)
    assert len(CLASSES) >= 14
    assert len(CASES) >= 50


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda of: getattr(of, "__name__", of))
def test_every_number_has_a_range_and_both_its_ends_are_heeded(kind: type, name: str) -> None:
    allowed = ranges_of(kind)[name]
    assert -math.inf < allowed.low < allowed.high < math.inf
    least = math.nextafter(allowed.low, math.inf) if allowed.open else allowed.low
    whole = float not in kinds_in(get_type_hints(kind)[name]) and int in kinds_in(get_type_hints(kind)[name])
    below = allowed.low - 1 if whole else (allowed.low if allowed.open else math.nextafter(allowed.low, -math.inf))
    above = allowed.high + 1 if whole else math.nextafter(allowed.high, math.inf)
    for good in (least, allowed.high):
        told_of = ""
        try:
            with_value(kind, name, shaped(kind, name, good))
        except UserError as error:  # by a rule of another kind: what goes together, what can be shown
            told_of = str(error)
        assert str(allowed) not in told_of
    for bad in (below, above, -math.inf, math.inf, math.nan, 10**400):
        with pytest.raises(UserError) as told:
            with_value(kind, name, shaped(kind, name, bad))
        line = str(told.value)
        assert len(line) < 300
        if name != "size":  # which is told as a size
            assert name in line
            assert str(allowed) in line


def test_the_message_has_name_value_and_range() -> None:
    with pytest.raises(UserError, match=r"^field\.motion\.cell must be from 1 to 1024, got 1000000000$"):
        config_from_json(Config, {"field": {"motion": {"cell": 10**9}}})
    with pytest.raises(UserError, match=r"got 0 in \[8, 0\]"):
        config_from_json(Config, {"field": {"local": {"levels": [8, 0]}}})
    with pytest.raises(UserError, match="at most 16 numbers, got 500"):
        config_from_json(Config, {"field": {"local": {"levels": [8] * 500}}})


def test_words_and_nothing_are_not_judged() -> None:
    for value in ("auto", None, True, (), "source"):
        check_range("x", value, Range(0.5, 2))
    with pytest.raises(UserError, match="x must be more than 0 and at most 2, got 0"):
        check_range("x", 0, Range(0, 2, open=True))
