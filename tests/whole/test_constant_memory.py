"""Fitting and exporting a long clip take the memory of a short one, and the run stays small."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from processes import ONE_THREAD
from scenes import translating

from vfield.core.clip import ColorInfo, to_uint8
from vfield.learn.run import EVENTS_NAME
from vfield.video_io import VideoWriter, probe

pytestmark = pytest.mark.slow

PRESET = Path(__file__).parents[2] / "configs" / "fast.yaml"
SIZE = (96, 128)
SHOT = 20  # frames; the same picture moves to and fro
_MEGABYTE = 1 << 20

_SCRIPT = """
import resource, sys
import vfield
film, run, made = sys.argv[1:4]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
vfield.fit(film, vfield.load_config(sys.argv[4]), out=run, progress=False)
fitted = peak()
vfield.export(run, made, fps="source", progress=False)
print(fitted, peak())
"""


def peaks(folder: Path, count: int) -> tuple[float, float]:
    """Megabytes that fitting takes at most, and fitting and exporting, for a clip of so many frames."""
    forward = to_uint8(translating(SIZE, SHOT))
    film = folder / f"{count}.mp4"
    with VideoWriter(film, height=SIZE[0], width=SIZE[1], frame_rate=Fraction(25), color=ColorInfo()) as writer:
        for number in range(count):
            there, back = divmod(number, SHOT)
            writer.write(forward[back if there % 2 == 0 else SHOT - 1 - back])
    words = [film, folder / f"run{count}", folder / f"made{count}.mp4", PRESET]
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *map(str, words)], env=ONE_THREAD, capture_output=True, text=True, timeout=900
    )
    assert ended.returncode == 0, ended.stderr
    assert probe(folder / f"made{count}.mp4").frame_count == count
    fitted, exported = map(float, ended.stdout.split())
    return fitted, exported


def test_ten_times_as_many_frames_take_the_same_memory(tmp_path: Path) -> None:
    """400 frames of 37 kB: 15 MB as bytes, 59 MB in floating point, which neither fit nor export may hold."""
    short, long = peaks(tmp_path, 40), peaks(tmp_path, 400)
    for few, many in zip(short, long, strict=True):
        assert many < 1.1 * few + 10
    held = [path for path in (tmp_path / "run400").rglob("*") if path.is_file() and EVENTS_NAME not in path.parts]
    assert sum(path.stat().st_size for path in held) < _MEGABYTE
