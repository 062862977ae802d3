"""What a run keeps about itself as JSON, read with suspicion: disks fail, and files are edited by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

_LONGEST = 40  # characters of a wrong value that a message shows


def parse_json(text: str) -> Any:
    """The value that JSON describes.

    Raises:
        ValueError: when it describes none; says in a line why.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it holds none; says in a line why.
    """
    value = parse_json(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError("it is not a mapping of keys")
    return value


def taken(record: dict[str, Any], key: str, *kinds: type) -> Any:
    """A value of a record, of one of these types; numbers are finite, and text can be a file's name.

    Raises:
        ValueError: when it is missing or of another kind.
    """
    if key not in record:
        raise ValueError(f"it has no {key}")
    value = record[key]
    # JSON's truth is a kind of number to Python.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"its {key} is {_shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"its {key} is {value}")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError(f"its {key} is a number of {value.bit_length()} bits")
    if isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        raise ValueError(f"its {key} is {_shown(value)}")
    return value


def _is_unicode(text: str) -> bool:
    """Whether text can be written down; file names that are not UTF-8 are kept with halves of pairs for their bytes."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    return ascii(value[:_LONGEST]) if isinstance(value, str) else f"{value!r:.{_LONGEST}}"
