"""The names that `import vfield` gives."""

from __future__ import annotations

import importlib

import pytest

import vfield


@pytest.mark.parametrize("name", vfield.__all__)
def test_every_name_is_what_it_says_whatever_was_imported_before(name: str) -> None:
    # The import system would put the module vfield.render where the function is.
    for module in ("render", "export"):
        importlib.import_module(f"vfield.{module}")
    assert callable(getattr(vfield, name))
    assert getattr(vfield, name).__name__ == name


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="'vfield' has no attribute 'rendre'"):
        _ = vfield.rendre
