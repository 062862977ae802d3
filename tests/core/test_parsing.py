"""What is said of values of the wrong kind, wherever they are given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from vfield.cli import main
from vfield.core.errors import UserError
from vfield.learn.config_files import config_from_values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--scale", "2x", "x.mp4", "-o", "y.mp4"], "--scale must be a number, got '2x'"),
        (["run", "--crf", "good", "x.mp4", "-o", "y.mp4"], "--crf must be a whole number, got 'good'"),
        (["train", "--steps", "1.5"], "--steps must be a whole number, got '1.5'"),
        (["train", "--start", "nan"], "--start must be a number, got 'nan'"),
        (["train", "--steps", "9" * 5000], "--steps must be a whole number, got '99999999"),
        (["train", "--training.device", "tpu"], "--training.device must be one of auto, cpu, cuda, mps, got 'tpu'"),
        (["train", "--field.local.colours", "maybe"], "--field.local.colours must be true or false, got 'maybe'"),
        (["train", "--field.local.levels", "x"], "must be some whole numbers in brackets, like [8,32], got 'x'"),
        (["train", "--field.fourier.space_bandwidth", "[1,2,3]"], "must be a number or two numbers in brackets"),
        (["train", "--denoising.strength", "low"], "--denoising.strength must be a number or auto, got 'low'"),
        (
            ["train", "--field", "3"],
            "--field is a group of values, like --field.x, or a file of them; '3' does not exist",
        ),
        (["benchmark", "interpolation", "--factors", "2", "x"], "--factors must be a whole number, got 'x'"),
        (["render", "run", "-o", "-"], 'pipes ("-")'),
        (["train", "-i", "a.mp4", "-"], 'pipes ("-")'),
        (["info", "-"], 'pipes ("-")'),
    ],
    ids=lambda given: " ".join(given)[:40] if isinstance(given, list) else "",
)
def test_words_of_the_wrong_kind_are_told_in_a_line(
    words: Sequence[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert told in error
    assert "Parser key" not in error
    assert len(error) < 200


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"training": {"steps": "many"}}, "training.steps must be a whole number, got 'many'"),
        ({"training": {"learning_rate": "quick"}}, "training.learning_rate must be a number, got 'quick'"),
        ({"field": {"codes": "mine"}}, "field.codes must be one of autodecoder, autoencoder, got 'mine'"),
    ],
)
def test_values_in_files_are_told_likewise(values: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        config_from_values(values)
