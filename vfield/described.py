"""Dataclasses from what describes them in files: nested mappings of plain values, checked key by key."""

from __future__ import annotations

import math
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from vfield.errors import UserError


def config_from_json(kind: type, values: dict[str, Any]) -> Any:
    """A frozen config dataclass from its `asdict` form; unknown keys and wrong values are UserErrors that name them."""
    _check_values(kind, values, "")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        parsed: Namespace = parser.parse_object(values)
        return kind(**vars(parser.instantiate(parsed)))
    except UserError:
        raise
    except Exception as error:
        raise UserError(" ".join(str(error).split())) from error


def _check_values(kind: type, values: Any, where: str) -> None:
    """What jsonargparse lets pass or words for programmers: groups that are no mappings, nulls, and no numbers."""
    if not isinstance(values, dict):
        raise UserError(f"{where or 'the config'} must be a mapping of keys, got {values!r}")
    hints = get_type_hints(kind)
    for key, value in values.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in hints:
            raise UserError(f"unknown key {name}; there are {', '.join(hints)}")
        if is_dataclass(hints[key]):
            _check_values(hints[key], value, name)
        elif value is None and type(None) not in get_args(hints[key]):
            raise UserError(f"{name} must have a value, got null")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} must be a finite number, got {value}")
