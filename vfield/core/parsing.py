"""Parsers of options and configs, which read values as `yaml_files` does, and what their errors mean, in a line.

Configs are dataclasses, described in files by nested mappings of plain values, which are checked key by key.
"""

from __future__ import annotations

import math
import re
import types
from dataclasses import is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, Namespace, set_loader

from vfield.core.errors import UserError, brief, shortened
from vfield.core.yaml_files import parse_yaml

_MOST = 2000  # characters of either end of an error that are looked at
_MODE = "plain_yaml"  # what jsonargparse is to call our way of reading values


def plain_parser(**options: Any) -> ArgumentParser:
    """A parser that raises what is wrong instead of printing and ending."""
    return ArgumentParser(exit_on_error=False, parser_mode=_MODE, **options)


def _load(text: str) -> Any:
    value = parse_yaml(text)
    # "{a, b}" and "a:" are mappings in YAML, to nothing, and words to people.
    return text if isinstance(value, dict) and value and all(item is None for item in value.values()) else value


# What cannot be read stays a word, which the option's type then judges.
set_loader(_MODE, _load, exceptions=(UserError,))


def config_from_json(kind: type, values: dict[str, Any]) -> Any:
    """A frozen config dataclass from its `asdict` form; unknown keys and wrong values are UserErrors that name them."""
    _check_values(kind, values, "")
    parser = plain_parser()
    parser.add_class_arguments(kind)
    try:
        parsed: Namespace = parser.parse_object(values)
        return kind(**vars(parser.instantiate(parsed)))
    except UserError:
        raise
    except Exception as error:
        raise UserError(explained(parser, error)) from error


def explained(parser: ArgumentParser, error: Exception, prefix: str = "") -> str:
    """What a parser's error means, in a line: which value should have been what; `prefix` is that of options' names."""
    # A value is repeated for each kind that was tried; of many or long ones, the first words and the last tell enough.
    told = str(error)
    told = " ".join((told if len(told) <= 2 * _MOST else f"{told[:_MOST]} {told[-_MOST:]}").split())
    found = re.match(r'Parser key "(?P<key>[^"]+)"(?: element (?P<element>\d+))?: ', told)
    # The value comes last; what comes before may quote it for each kind that was tried.
    got = re.search(r"(?:Given value|Got value): (?P<value>(?:(?! Given value: ).)*)$", told)
    action = None if found is None else next((each for each in parser._actions if each.dest == found["key"]), None)
    if found is None or action is None:
        return shortened(error)
    name = max(action.option_strings, key=len, default=action.dest)
    name = name if prefix else name.removeprefix("--")
    group = re.search(r"Unable to load config (['\"])(?P<value>.*?)\1", told)
    if group is not None:
        return f"{name} is a group of values, like {name}.x, or a file of them; {brief(group['value'])} does not exist"
    wanted = _kind_of(getattr(action, "_typehint", None) or action.type, many=found["element"] is None)
    if got is None or not wanted:
        return f"{name}: {shortened(error)}"
    return f"{name} must be {wanted}, got {brief(got['value'])}"


def _kind_of(hint: Any, many: bool) -> str:
    """What is to be given for a type, in words; "" for types without."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if hint in words:
        return words[hint]
    parts = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, parts))}" if len(parts) > 1 else str(parts[0])
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [_kind_of(part, many) for part in parts]
        return " or ".join(kinds) if all(kinds) else ""
    if get_origin(hint) in (tuple, list):
        inner = [part for part in parts if part is not Ellipsis]
        if not many:
            return _kind_of(inner[0], many)
        if set(inner) <= {int, float}:
            count = "two" if len(inner) == 2 else "some"
            return f"{count} {'whole numbers' if inner[0] is int else 'numbers'} in brackets, like [8,32]"
    return ""


def _check_values(kind: type, values: Any, where: str) -> None:
    """What jsonargparse lets pass or words for programmers: groups that are no mappings, nulls, and no numbers."""
    if not isinstance(values, dict):
        raise UserError(f"{where or 'the config'} must be a mapping of keys, got {brief(values)}")
    hints = get_type_hints(kind)
    for key, value in values.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in hints:
            raise UserError(f"unknown key {name:.80}; there are {', '.join(hints)}")
        if is_dataclass(hints[key]):
            _check_values(hints[key], value, name)
        elif value is None and type(None) not in get_args(hints[key]):
            raise UserError(f"{name} must have a value, got null")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} must be a finite number, got {value}")
