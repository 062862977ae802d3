"""Help, completion and refusals load nothing that takes long; `info` loads nothing that is for fitting."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import get_args

import pytest

from vfield.cli import COMMANDS, GROUPS
from vfield.measure.choices import BETWEEN, SCALE, Benchmark
from vfield.measure.peers import BETWEEN_PEERS, SCALE_PEERS

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "torchvision", "av", "cv2", "accelerate", "tensorboard", "torchmetrics", "matplotlib", "fastapi"}
FITTING = HEAVY - {"av"}
ASK = """import json, sys
from vfield.cli import main
codes = []
for words in json.loads(sys.argv[2]):
    try:
        codes.append(main(words))
    except SystemExit as ended:
        codes.append(ended.code)
print()
print(codes)
print("loaded:", *sorted(set(sys.argv[1].split(",")) & set(sys.modules)))
"""


def told(commands: Sequence[Sequence[str]], heavy: Collection[str] = HEAVY) -> tuple[list[int], str, str]:
    """How commands end in a process, which of these modules it has then loaded, and what was said of errors."""
    words = [sys.executable, "-c", ASK, ",".join(heavy), json.dumps(commands)]
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *_, codes, loaded = done.stdout.splitlines()
    return json.loads(codes), loaded, done.stderr


@pytest.mark.slow
def test_help_comes_at_once() -> None:
    names = [[], *([name] for name in COMMANDS), *([name, part] for name, parts in GROUPS.items() for part in parts)]
    assert told([[*words, "--help"] for words in names]) == ([0] * len(names), "loaded:", "")


@pytest.mark.slow
def test_completion_comes_at_once() -> None:
    assert told([["completion", "bash"]]) == ([0], "loaded:", "")


@pytest.mark.slow
def test_refusals_come_at_once() -> None:
    into = ["x.mp4", "-o", "y.mp4"]
    refused = [
        ["nonsense"],
        ["benchmark", "nonsense"],
        ["train", "--bogus", "1"],
        ["run", "--scale", "2x", *into],
        ["run", "--size", "large", *into],
        ["run", "--crop", "1,2", *into],
        ["run", "--fps", "quick", *into],
        ["render", "run", "--slowmo", "slow", "-o", "y.mp4"],
        ["train", "--config", "none.yaml", "--video", "x.mp4"],
        ["train", "--training.steps", "many", "--video", "x.mp4"],
        ["train", "--holdout", "1", "--video", "x.mp4"],
        ["render", "run", "-o", "-"],
    ]
    codes, loaded, errors = told(refused)
    assert (codes, loaded) == ([2] * len(refused), "loaded:")
    assert [line[:7] for line in errors.splitlines()] == ["error: "] * len(refused)


@pytest.mark.slow
def test_a_file_is_looked_at_without_what_is_for_fitting() -> None:
    assert told([["info", "data/bigbuckbunny.mp4"]], FITTING) == ([0], "loaded:", "")


@pytest.mark.slow
def test_it_is_a_module_to_run() -> None:
    done = subprocess.run([sys.executable, "-m", "vfield", "nonsense"], cwd=ROOT, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown command 'nonsense'" in done.stderr


def test_names_that_options_know_are_those_that_there_are() -> None:
    assert list(BETWEEN) == list(BETWEEN_PEERS)
    assert list(SCALE) == list(SCALE_PEERS)
    assert GROUPS["benchmark"] == list(get_args(Benchmark))
