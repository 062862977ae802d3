"""Fits, saves and exports that are killed: a short share of what `scripts/kills.py` does when it is asked."""

from __future__ import annotations

import subprocess
import sys

import pytest
from processes import ONE_THREAD, ROOT

pytestmark = pytest.mark.slow


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork, and none of these signals")
def test_the_same_command_goes_on_after_a_kill() -> None:
    words = [sys.executable, str(ROOT / "scripts" / "kills.py"), "--kills", "4", "--seed", "3"]
    ended = subprocess.run(words, env=ONE_THREAD, text=True, capture_output=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 kills, 0 failed" in ended.stdout
