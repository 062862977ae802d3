"""The page in a real browser, in a process of its own: `page_in_browser.py`.

In a process in which much else has run, Playwright's driver was seen to take all of a core and to answer nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from page_in_browser import BROWSERS


def test_the_page_in_a_browser() -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is on the path")
    tests = Path(__file__).parents[1] / "page_in_browser.py"
    command = [sys.executable, "-m", "pytest", "-q", "-rs", str(tests)]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stdout
    assert "skipped" not in ended.stdout
