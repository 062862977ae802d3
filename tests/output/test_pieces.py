"""Exports of many frames: what is coded is kept, the same command goes on from there, and processes share the work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import pytest
import torch
from films import every, read_packets, write_film
from processes import ONE_THREAD, ROOT, in_two_processes, kill, wait_until

from vfield.cli import train_main
from vfield.core.errors import UserError
from vfield.field.checkpoint import EXPORTS_NAME, SavedField, load_field
from vfield.output.config import ExportConfig
from vfield.output.export import export
from vfield.video_io import read_clip

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
EXPORTING = import_module("vfield.output.export")  # the package has a function of that name
SLOW = ExportConfig(slowmo=Fraction(2), codec="ffv1", pixel_format="yuv444p")
SLOW_WORDS = ["--slowmo", "2", "--codec", "ffv1", "--pix-fmt", "yuv444p"]
# scripts/render.py in pieces of 10 frames, after the lines that a test puts in between.
RENDER = f"""
import os, runpy, time
from importlib import import_module
from pathlib import Path
exporting = import_module("vfield.output.export")
exporting._LEAST_IN_PIECES, import_module("vfield.output.pieces")._PIECE_FRAMES = 20, 10
%s
runpy.run_path({str(ROOT / "scripts" / "render.py")!r}, run_name="__main__")
"""
# Each frame takes so long that the process is still at work when it is killed.
SLOWLY = """
quickly = exporting.render
exporting.render = lambda *words, **names: (time.sleep(0.05) or frame for frame in quickly(*words, **names))
"""
# No process goes on before the other has a piece, too; which they make is told in a file.
TOGETHER = """
fill = exporting._Writing.fill
def told(writing, writer, numbers):
    rank = os.environ["RANK"]
    with open("made.txt", "a") as made:
        made.write(f"{rank} {numbers.start} {numbers.stop}\\n")
    until = time.monotonic() + 60
    while len({line[0] for line in Path("made.txt").read_text().splitlines()}) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    fill(writing, writer, numbers)
exporting._Writing.fill = told
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a film with sound. Tests copy it."""
    folder = tmp_path_factory.mktemp("made")
    write_film(folder / "film.mp4", every(30, 25))
    options = ["--config", str(ROOT / "configs" / "fast.yaml"), "--device", "cpu", "--steps", "0"]
    assert train_main([*options, "--video", str(folder / "film.mp4"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SavedField:
    monkeypatch.setattr(EXPORTING, "_LEAST_IN_PIECES", 20)
    monkeypatch.setattr("vfield.output.pieces._PIECE_FRAMES", 10)
    shutil.copytree(made, tmp_path / "run")  # with its times, which say that it is the same
    return load_field(tmp_path / "run")


def exports(run: SavedField) -> Path:
    """Where pieces lie."""
    assert run.folder is not None
    return run.folder / EXPORTS_NAME


def stopped(run: SavedField, path: Path, config: ExportConfig, after: int) -> None:
    def stop(written: int, count: int) -> None:
        if written == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(run, path, config, progress=False, after_frame=stop)


def gone_on(run: SavedField, path: Path, config: ExportConfig) -> list[int]:
    """The frames that an export still has to make."""
    written: list[int] = []
    export(run, path, config, progress=False, after_frame=lambda number, count: written.append(number))
    return written


def rendering(run: SavedField, between: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    """A process that renders a run, with lines put in before it begins."""
    assert run.folder is not None
    return subprocess.Popen(
        [sys.executable, "-c", RENDER % between, str(run.folder), *SLOW_WORDS, *words],
        env={**ONE_THREAD, "PYTHONPATH": str(ROOT), **environment},
        cwd=run.folder.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_an_export_goes_on_after_its_last_whole_piece(run: SavedField, tmp_path: Path) -> None:
    assert gone_on(run, tmp_path / "whole.mkv", SLOW) == list(range(1, 61))
    assert not exports(run).exists()
    stopped(run, tmp_path / "slow.mkv", SLOW, after=47)
    assert not (tmp_path / "slow.mkv").exists()
    assert gone_on(run, tmp_path / "slow.mkv", SLOW) == list(range(41, 61))
    assert not exports(run).exists()
    one, other = read_clip(tmp_path / "slow.mkv"), read_clip(tmp_path / "whole.mkv")
    assert torch.equal(one.pixels, other.pixels)
    assert (one.pts_seconds, one.end_seconds) == (other.pts_seconds, other.end_seconds)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "whole.mkv", "slow.mkv"}


def test_pieces_joined_are_what_is_made_in_one_go(
    run: SavedField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(run, tmp_path / "joined.mkv", SLOW, progress=False)
    monkeypatch.setattr(EXPORTING, "_LEAST_IN_PIECES", 61)
    stopped(run, tmp_path / "one_go.mkv", SLOW, after=47)
    assert not exports(run).exists()
    assert gone_on(run, tmp_path / "one_go.mkv", SLOW) == list(range(1, 61))
    one, other = read_clip(tmp_path / "joined.mkv"), read_clip(tmp_path / "one_go.mkv")
    assert torch.equal(one.pixels, other.pixels)
    assert (one.pts_seconds, one.end_seconds) == (other.pts_seconds, other.end_seconds)


def test_the_sound_of_a_joined_video_is_copied_bit_for_bit(run: SavedField, tmp_path: Path) -> None:
    stopped(run, tmp_path / "out.mp4", ExportConfig(), after=25)
    assert gone_on(run, tmp_path / "out.mp4", ExportConfig()) == list(range(21, 31))
    assert read_packets(tmp_path / "out.mp4") == read_packets(Path(run.facts.source))
    assert read_clip(tmp_path / "out.mp4").pts_seconds == run.facts.pts_seconds


def test_another_request_or_another_fit_begins_anew(run: SavedField, tmp_path: Path) -> None:
    stopped(run, tmp_path / "slow.mkv", SLOW, after=47)
    smaller = ExportConfig(slowmo=Fraction(2), codec="ffv1", pixel_format="yuv444p", scale=0.5)
    assert gone_on(run, tmp_path / "small.mkv", smaller)[0] == 1
    field = tmp_path / "run" / "field.safetensors"
    field.write_bytes(field.read_bytes())
    assert gone_on(run, tmp_path / "slow.mkv", SLOW)[0] == 1


def test_a_damaged_piece_is_made_again(run: SavedField, tmp_path: Path) -> None:
    stopped(run, tmp_path / "slow.mkv", SLOW, after=47)
    (piece,) = exports(run).glob("*/00002.mkv")
    piece.write_bytes(piece.read_bytes()[:200])
    assert gone_on(run, tmp_path / "slow.mkv", SLOW) == [*range(21, 31), *range(41, 61)]


def test_what_cannot_be_put_in_place_is_kept(run: SavedField, tmp_path: Path) -> None:
    def occupy(written: int, count: int) -> None:
        if written == count:
            (tmp_path / "slow.mkv").write_text("somebody else's")

    with pytest.raises(UserError, match="exists; add --overwrite"):
        export(run, tmp_path / "slow.mkv", SLOW, progress=False, after_frame=occupy)
    assert gone_on(run, tmp_path / "other.mkv", SLOW) == []
    assert len(read_clip(tmp_path / "other.mkv")) == 60


def test_a_render_that_is_killed_loses_one_piece(run: SavedField, tmp_path: Path) -> None:
    process = rendering(run, SLOWLY, "-o", "slow.mkv")
    wait_until(lambda: list(exports(run).glob("*/00002.mkv")), process)
    kill(process)
    assert gone_on(run, tmp_path / "slow.mkv", SLOW)[0] in (31, 41)
    assert len(read_clip(tmp_path / "slow.mkv")) == 60
    assert not exports(run).exists()


# ------------------------------------------------------------------------------------------------ several processes


def test_two_processes_share_the_pieces_and_make_what_one_makes(
    run: SavedField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "render_in_pieces.py").write_text(RENDER % TOGETHER)
    words = [str(tmp_path / "render_in_pieces.py"), str(tmp_path / "run"), *SLOW_WORDS]
    ended = in_two_processes([*words, "-o", str(tmp_path / "together.mkv")])
    assert ended.stdout.count("60 frames of 32x18") == 1
    pieces = [tuple(map(int, line.split())) for line in (tmp_path / "made.txt").read_text().splitlines()]
    assert {rank for rank, *_ in pieces} == {0, 1}
    assert sorted(edges for _, *edges in pieces) == [[begin, begin + 10] for begin in range(0, 60, 10)]
    assert not exports(run).exists()
    export(run, tmp_path / "alone.mkv", SLOW, progress=False)
    together, alone = read_clip(tmp_path / "together.mkv"), read_clip(tmp_path / "alone.mkv")
    assert torch.equal(together.pixels, alone.pixels)
    assert (together.pts_seconds, together.end_seconds) == (alone.pts_seconds, alone.end_seconds)


def test_the_piece_of_a_helper_that_dies_is_taken_over(run: SavedField, tmp_path: Path) -> None:
    helper = rendering(run, SLOWLY.replace("0.05", "60"), "-o", "slow.mkv", RANK="1", WORLD_SIZE="2")
    written: list[int] = []

    def watch(number: int, count: int) -> None:
        written.append(number)
        if number == 5:
            wait_until(lambda: list(exports(run).glob("*/00001.lock")), helper)
        if number == count:
            kill(helper)

    export(run, tmp_path / "slow.mkv", SLOW, progress=False, after_frame=watch)
    assert written == [*range(1, 11), *range(21, 61), *range(11, 21)]
    assert len(read_clip(tmp_path / "slow.mkv")) == 60
    assert not exports(run).exists()


def test_a_helper_says_nothing_and_ends_when_nothing_is_left(run: SavedField, tmp_path: Path) -> None:
    stopped(run, tmp_path / "slow.mkv", SLOW, after=47)
    helper = rendering(run, "", "-o", "slow.mkv", RANK="1", WORLD_SIZE="2")
    assert helper.communicate(timeout=60) == ("", "")
    assert helper.returncode == 0
    assert not (tmp_path / "slow.mkv").exists()
    assert gone_on(run, tmp_path / "slow.mkv", SLOW) == []
