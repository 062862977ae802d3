"""The one reader of YAML: plain values in lists and mappings, from files of a bounded size.

Full YAML can ask for more than it is worth: aliases that unfold without end, dates that there are none of, nesting
deeper than a reader's stack. Settings need none of that, so it is refused in words.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from vfield.core.errors import UserError, brief, told_with

_MOST_BYTES = 128 << 10  # a config takes 2 kB, a path of a thousand keyframes 50
_DEEPEST = 20  # lists and mappings within each other
_LONGEST_NUMBER = 100  # characters

_TAG = "tag:yaml.org,2002:"
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")


def _wrong(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _PlainLoader(yaml.SafeLoader):
    """Knows null, truth, numbers, text, lists and mappings; raises YAMLErrors about all else."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next value, unless it lies too deep or is a reference to another."""
        if self.check_event(yaml.AliasEvent):
            raise _wrong("aliases (*name) are not read", self.peek_event().start_mark)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _wrong(f"it is nested more than {_DEEPEST} deep", self.peek_event().start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def number(self, node: yaml.Node) -> Any:
        """A number; text that is marked as one may be none."""
        read = self.construct_yaml_int if node.tag == f"{_TAG}int" else self.construct_yaml_float
        if not isinstance(node, yaml.ScalarNode) or len(node.value) > _LONGEST_NUMBER:
            raise _wrong(f"{brief(node.value)} is too long for a number", node.start_mark)
        try:
            return read(node)
        except (ValueError, IndexError, OverflowError):
            raise _wrong(f"{brief(node.value)} is not a number", node.start_mark) from None

    def truth(self, node: yaml.ScalarNode) -> Any:
        """Yes or no; text that is marked as one may be neither."""
        try:
            return self.construct_yaml_bool(node)
        except KeyError:
            raise _wrong(f"{brief(node.value)} is not a bool", node.start_mark) from None

    def other(self, node: yaml.Node) -> Any:
        """A value of any other kind, or of a kind that somebody made up."""
        raise _wrong(f"values of the kind {brief(node.tag)} are not read", node.start_mark)


_PlainLoader.yaml_constructors = {
    **{f"{_TAG}{kind}": yaml.SafeLoader.yaml_constructors[f"{_TAG}{kind}"] for kind in _PLAIN},
    f"{_TAG}int": _PlainLoader.number,
    f"{_TAG}float": _PlainLoader.number,
    f"{_TAG}bool": _PlainLoader.truth,
    None: _PlainLoader.other,
}
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag.removeprefix(_TAG) in _PLAIN]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# 1e-3 is a number, though YAML 1.1 wants 1.0e-3.
_PlainLoader.add_implicit_resolver(f"{_TAG}float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def parse_yaml(text: str) -> Any:
    """The value that a text describes; a UserError where it describes none, or one that is not plain."""
    if len(text) > _MOST_BYTES:
        raise UserError(f"it is longer than {_MOST_BYTES >> 10} kB")
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except yaml.YAMLError as error:
        raise UserError(_told(error)) from error


def _told(error: yaml.YAMLError) -> str:
    """What is wrong and where, in one line of bounded length."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"{' '.join(str(error).split()):.200}"
    mark = error.problem_mark or error.context_mark
    what = ", ".join(part for part in (error.context, error.problem) if part)
    place = "" if mark is None else f", in line {mark.line + 1}, column {mark.column + 1}"
    return f"{' '.join(what.split()):.200}{place}"


def read_yaml(path: str | Path, what: str) -> Any:
    """The value that a file describes; a UserError, which says `what` it is for ("config"), where it cannot be read."""
    text = read_text(path, what, _MOST_BYTES, "YAML")
    with told_with(f"{what} {path} is not YAML: "):
        return parse_yaml(text)


def read_text(path: str | Path, what: str, most_bytes: int, kind: str = "text") -> str:
    """The text of a file on a disk that holds no more than `most_bytes`; of any other a UserError.

    Messages say `what` the file is for and what `kind` of text it should be.
    """
    named = f"{what} {path!s:.200}"
    try:
        # Devices and pipes never end, or never begin; opened without waiting, and looked at before they are read.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(handle, "rb") as file:
            kept = os.fstat(handle)
            if not stat.S_ISREG(kept.st_mode):
                raise UserError(f"{named} is not a file but {_kind(kept.st_mode)}")
            if kept.st_size > most_bytes:
                raise UserError(f"{named} is larger than {most_bytes >> 10} kB; it is hardly {kind} for vfield")
            return file.read(most_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        told = f"{named} is not {kind}: it is not UTF-8 text ({error.reason} at byte {error.start})"
        raise UserError(told) from error
    except IsADirectoryError:
        raise UserError(f"{named} is not a file but a folder") from None
    except FileNotFoundError:
        raise UserError(f"{named} does not exist") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise UserError(f"{named} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _kind(mode: int) -> str:
    named = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    return next((name for is_kind, name in named.items() if is_kind(mode)), "something else")
