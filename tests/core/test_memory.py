"""The meter sees what a piece of work takes, and only that."""

import time

import pytest
import torch

from vfield.core.memory import meter

pytestmark = pytest.mark.slow


def test_a_large_tensor_is_seen_and_what_was_there_before_is_not() -> None:
    before = torch.ones(20_000_000)
    with meter() as taken:
        time.sleep(0.1)
        assert taken() < 40
        during = torch.ones(20_000_000)
        time.sleep(0.1)
        assert 60 < taken() < 160
    assert len(before) == len(during)
