"""Clips that tests read: the demo clip of the repository, and the shared ones where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run beside each other, one on each core; before torch is loaded, which reads this.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

_ROOT = Path(__file__).parents[1]
_SHARED = _ROOT.parent / "shared" / "clips"


@pytest.fixture(scope="session")
def demo_clip() -> Path:
    """132 frames of 1280x720 at 25 frames a second, untagged colours, with an AAC track."""
    return _ROOT / "data" / "bigbuckbunny.mp4"


@pytest.fixture(scope="session")
def shared_clip() -> Callable[[str], Path]:
    """A function from a file name to its path; it skips the test where the file is missing."""

    def find(name: str) -> Path:
        for folder in (_SHARED, _SHARED / "formats"):
            if (folder / name).is_file():
                return folder / name
        pytest.skip(f"{name} is not in {_SHARED}")

    return find


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, such as the default run folder, lie in the test's own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small work on one thread: threads wait for each other longer than they compute, and sums have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
