"""The names that `import vfield` gives."""

from __future__ import annotations

import pytest

import vfield


@pytest.mark.parametrize("name", vfield.__all__)
def test_every_name_is_what_it_says(name: str) -> None:
    assert callable(getattr(vfield, name))
    assert getattr(vfield, name).__name__ == name


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="'vfield' has no attribute 'rendre'"):
        _ = vfield.rendre
