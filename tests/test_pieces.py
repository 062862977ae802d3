"""Exports of long clips that are stopped: what is coded is kept, and the same command goes on from there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from films import every, read_packets, write_film
from processes import ONE_THREAD, ROOT, kill, wait_until
from vfield.windows import EXPORTS_NAME, WindowedRun

from vfield.cli import train_main
from vfield.errors import UserError
from vfield.export import export
from vfield.export_config import ExportConfig
from vfield.video_io import read_clip

pytestmark = pytest.mark.usefixtures("one_thread")
SLOW = ExportConfig(slowmo=Fraction(2), codec="ffv1", pixel_format="yuv444p")
# Each frame takes so long that the process is still at work when it is killed.
SLOWLY = """
import sys, time
import vfield.footage, vfield.pieces
from vfield.cli import render_main
vfield.pieces._PIECE_FRAMES = 10
quickly = vfield.footage.render
vfield.footage.render = lambda *words, **names: (time.sleep(0.05) or frame for frame in quickly(*words, **names))
sys.exit(render_main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two windows of a film with sound. Tests copy it."""
    folder = tmp_path_factory.mktemp("made")
    write_film(folder / "film.mp4", every(30, 25))
    options = ["--config", str(ROOT / "configs" / "fast.yaml"), "--device", "cpu", "--steps", "0"]
    words = [*options, "--video", str(folder / "film.mp4"), "--window", "0.8", "--out", str(folder / "run")]
    assert train_main(words) == 0
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WindowedRun:
    monkeypatch.setattr("vfield.pieces._PIECE_FRAMES", 10)
    shutil.copytree(made, tmp_path / "run")  # with its times, which say that it is the same
    return WindowedRun(tmp_path / "run")


def stopped(run: WindowedRun, path: Path, config: ExportConfig, after: int) -> None:
    def stop(written: int, count: int) -> None:
        if written == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(run, path, config, progress=False, after_frame=stop)


def gone_on(run: WindowedRun, path: Path, config: ExportConfig) -> list[int]:
    """The frames that an export still has to make."""
    written: list[int] = []
    export(run, path, config, progress=False, after_frame=lambda number, count: written.append(number))
    return written


def test_an_export_goes_on_after_its_last_whole_piece(run: WindowedRun, tmp_path: Path) -> None:
    assert gone_on(run, tmp_path / "whole.mkv", SLOW) == list(range(1, 61))
    assert not (run.folder / EXPORTS_NAME).exists()
    stopped(run, tmp_path / "slow.mkv", SLOW, after=47)
    assert not (tmp_path / "slow.mkv").exists()
    assert gone_on(run, tmp_path / "slow.mkv", SLOW) == list(range(41, 61))
    assert not (run.folder / EXPORTS_NAME).exists()
    one, other = read_clip(tmp_path / "slow.mkv"), read_clip(tmp_path / "whole.mkv")
    assert torch.equal(one.pixels, other.pixels)
    assert (one.pts_seconds, one.end_seconds) == (other.pts_seconds, other.end_seconds)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "whole.mkv", "slow.mkv"}


def test_the_sound_of_a_joined_video_is_copied_bit_for_bit(run: WindowedRun, tmp_path: Path) -> None:
    stopped(run, tmp_path / "out.mp4", ExportConfig(), after=25)
    assert gone_on(run, tmp_path / "out.mp4", ExportConfig()) == list(range(21, 31))
    assert read_packets(tmp_path / "out.mp4") == read_packets(Path(run.facts.source))
    assert read_clip(tmp_path / "out.mp4").pts_seconds == run.facts.pts_seconds


def test_another_request_or_another_fit_begins_anew(run: WindowedRun, tmp_path: Path) -> None:
    stopped(run, tmp_path / "slow.mkv", SLOW, after=47)
    smaller = ExportConfig(slowmo=Fraction(2), codec="ffv1", pixel_format="yuv444p", scale=0.5)
    assert gone_on(run, tmp_path / "small.mkv", smaller)[0] == 1
    field = run.folder / "001" / "field.safetensors"
    field.write_bytes(field.read_bytes())
    assert gone_on(run, tmp_path / "slow.mkv", SLOW)[0] == 1


def test_a_damaged_piece_is_made_again(run: WindowedRun, tmp_path: Path) -> None:
    stopped(run, tmp_path / "slow.mkv", SLOW, after=47)
    (piece,) = run.folder.glob(f"{EXPORTS_NAME}/*/00002.mkv")
    piece.write_bytes(piece.read_bytes()[:200])
    assert gone_on(run, tmp_path / "slow.mkv", SLOW) == list(range(21, 61))


def test_what_cannot_be_put_in_place_is_kept(run: WindowedRun, tmp_path: Path) -> None:
    def occupy(written: int, count: int) -> None:
        if written == count:
            (tmp_path / "slow.mkv").write_text("somebody else's")

    with pytest.raises(UserError, match="exists; add --overwrite"):
        export(run, tmp_path / "slow.mkv", SLOW, progress=False, after_frame=occupy)
    assert gone_on(run, tmp_path / "other.mkv", SLOW) == []
    assert len(read_clip(tmp_path / "other.mkv")) == 60


def test_a_render_that_is_killed_loses_one_piece(run: WindowedRun, tmp_path: Path) -> None:
    words = [str(run.folder), "--slowmo", "2", "--codec", "ffv1", "--pix-fmt", "yuv444p", "-o", "slow.mkv"]
    environment = {**ONE_THREAD, "PYTHONPATH": str(ROOT)}
    render = [sys.executable, "-c", SLOWLY, *words]
    process = subprocess.Popen(render, env=environment, cwd=tmp_path, text=True, stderr=subprocess.PIPE)
    wait_until(lambda: list(run.folder.glob(f"{EXPORTS_NAME}/*/00002.mkv")), process)
    kill(process)
    assert gone_on(run, tmp_path / "slow.mkv", SLOW)[0] in (31, 41)
    assert len(read_clip(tmp_path / "slow.mkv")) == 60
    assert not (run.folder / EXPORTS_NAME).exists()
