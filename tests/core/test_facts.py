"""What a field file says of times and numbers of frames: exact, short, and refused where it makes no sense."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from typing import Any

import pytest

from vfield.core.errors import UserError
from vfield.core.facts import numbers_from_json, numbers_to_json, times_from_json, times_to_json

STEADY = (Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(120))


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.slow
@pytest.mark.parametrize("rate", STEADY)
def test_hours_of_even_times_are_a_few_bytes(rate: Fraction) -> None:
    times = tuple(Fraction(10) + number / rate for number in range(200_000))
    said = times_to_json(times)
    assert len(json.dumps(said)) < 100
    assert times_from_json(through_json(said)) == times


@pytest.mark.parametrize("tick", [Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 7)])
def test_uneven_times_come_back(tick: Fraction) -> None:
    draw = random.Random(0)
    ticks = [draw.randrange(-1000, 1000)]
    while len(ticks) < 500:
        ticks.append(ticks[-1] + draw.choice([1, 1, 1, 2, 40, 3600_000]))
    times = tuple(number * tick for number in ticks)
    assert times_from_json(through_json(times_to_json(times))) == times


def test_a_time_alone_and_times_of_many_clocks_come_back() -> None:
    for times in ((Fraction(-7, 3),), (Fraction(1, 3), Fraction(1, 2), Fraction(5, 7), Fraction(1))):
        assert times_from_json(through_json(times_to_json(times))) == times


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"first": 0, "steps": []},
        {"ticks_a_second": 0, "first": 0, "steps": []},
        {"ticks_a_second": 25, "first": 0.5, "steps": []},
        {"ticks_a_second": 25, "first": 0, "steps": [[0, 3]]},
        {"ticks_a_second": 25, "first": 0, "steps": [[-1, 3]]},
        {"ticks_a_second": 25, "first": 0, "steps": [[1, 0]]},
        {"ticks_a_second": 25, "first": 0, "steps": [[1]]},
        {"ticks_a_second": 25, "first": 0, "steps": 3},
        {"ticks_a_second": 25, "first": 0, "steps": [[1, 10**12]]},
        {"ticks_a_second": 25, "first": 0, "steps": [[1, 6 * 10**6]] * 2},
    ],
)
def test_what_are_no_times_is_refused(wrong: Any) -> None:
    with pytest.raises(UserError) as caught:
        times_from_json(wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "numbers",
    [[0], [7], list(range(100_000)), list(range(3, 5000, 2)), [0, 1, 2, 5, 6, 9], [99_998, 99_999], [2, 3, 5, 7, 11]],
)
def test_numbers_come_back(numbers: list[int]) -> None:
    said = numbers_to_json(numbers)
    assert numbers_from_json(through_json(said), 100_000) == numbers
    assert len(json.dumps(said)) < 100


@pytest.mark.parametrize(
    "wrong", [[], {}, 4, [[0, 1], [1]], [[0, 0]], [[-1, 1]], [[10, 1]], [[0, 1], [1, 10]], [[0.5, 1]], [[9, 1], [1, 1]]]
)
def test_what_are_no_numbers_of_ten_frames_is_refused(wrong: Any) -> None:
    with pytest.raises(UserError) as caught:
        numbers_from_json(wrong, 10)
    assert "\n" not in str(caught.value)
