"""What messages show of values, and out of memory in one line, whichever library says it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from vfield.cli.printing import guarded
from vfield.core.errors import UserError, brief, enough_memory, is_out_of_memory

ENDLESS = 1 << 45  # numbers


def numpys() -> None:
    np.ones(ENDLESS)


def torchs() -> None:
    torch.ones(ENDLESS)


def torchs_overflow() -> None:
    torch.ones(1 << 40, 1 << 40)


def opencvs() -> None:
    cv2.resize(np.zeros((2, 2), np.float64), (2_000_000_000, 2_000_000))


def devices() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 37.25 GiB. GPU 0 has ...")


@pytest.mark.parametrize("takes", [numpys, torchs, torchs_overflow, opencvs, devices])
def test_out_of_memory_is_one_line(takes: object, capfd: pytest.CaptureFixture[str]) -> None:
    assert callable(takes)

    def command(words: list[str]) -> int:
        takes()
        return 0

    assert guarded(command, []) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("error: this needs more memory than there is")
    with pytest.raises(UserError, match="the fit needs more memory"), enough_memory("the fit"):
        takes()


def test_other_errors_stay_what_they_are() -> None:
    for error in (RuntimeError("shapes differ"), ValueError("out of memory of mine"), OSError(28, "No space left")):
        assert not is_out_of_memory(error)
        with pytest.raises(type(error)), enough_memory("the fit"):
            raise error


def test_values_are_shown_briefly() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    wide = ["x" * 1000] * 1000
    loop: list[object] = []
    loop.append(loop)
    for value in (deep, wide, loop, 10**5000, -(10**5000), "x" * 10**6, dict.fromkeys(range(99), deep), [10**5000]):
        assert len(brief(value)) <= 80
    assert brief(10**400) == "a number of about 401 digits"
    assert brief([1, "a\nb"]) == "[1, 'a\\nb']"
