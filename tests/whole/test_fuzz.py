"""A short share of scripts/fuzz.py: damaged files of every kind are read or refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="memory and time are measured as Linux tells them")
def test_damaged_files_are_read_or_refused() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Every kind of file twice; --seed 0 in full is for people.
    command = [sys.executable, str(ROOT / "scripts" / "fuzz.py"), "--inputs", "10", "--seed", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 inputs, 0 kinds of findings" in done.stdout
