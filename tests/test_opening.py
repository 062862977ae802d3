"""A clip that is looked through once and read when asked is the clip that reading it whole gives."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from scenes import translating, with_cut

from vfield.clip import ColorInfo
from vfield.errors import UserError
from vfield.opening import open_clip
from vfield.shots import find_shots
from vfield.video_io import VideoWriter, read_clip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames of 32x24 in two shots."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = torch.cat([translating((24, 32), 14, (0.7, -0.4)), with_cut((24, 32), 1, 10)[1:]])
    with VideoWriter(path, height=24, width=32, frame_rate=Fraction(25), color=ColorInfo()) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"start_seconds": 0.08},  # a frame's own instant, which no binary number is
        {"start_seconds": 0.28, "end_seconds": 0.72, "size": (12, 16)},
        {"start_seconds": Fraction(1, 3), "end_seconds": Fraction(2, 3)},
    ],
)
def test_an_opened_clip_is_what_reading_it_gives(film: Path, part: dict[str, Any]) -> None:
    whole, opened = read_clip(film, **part), open_clip(film, **part)
    assert opened.clip.facts == whole.facts
    assert opened.scan.shots == find_shots(whole.pixels)
    assert len(opened.scan.shots) == 2
    backward = [opened.clip.frames[number] for number in reversed(range(len(whole)))]
    assert torch.equal(torch.stack(backward[::-1]), whole.pixels)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_impossible_times_are_refused(seconds: float, film: Path) -> None:
    with pytest.raises(UserError, match="start_seconds must be zero or more seconds"):
        open_clip(film, start_seconds=seconds)
