"""Parsers of options and configs, which read values as `vfield.core.yaml_files` does."""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser, set_loader

from vfield.core.errors import UserError
from vfield.core.yaml_files import parse_yaml

_MODE = "plain_yaml"


def plain_parser(**options: Any) -> ArgumentParser:
    """A parser that raises what is wrong instead of printing and ending."""
    return ArgumentParser(exit_on_error=False, parser_mode=_MODE, **options)


def _load(text: str) -> Any:
    value = parse_yaml(text)
    # "{a, b}" and "a:" are mappings in YAML, to nothing, and words to people.
    return text if isinstance(value, dict) and value and all(item is None for item in value.values()) else value


# What cannot be read stays a word, which the option's type then judges.
set_loader(_MODE, _load, exceptions=(UserError,))
