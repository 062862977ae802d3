"""--dry-run: what a fit and an export would make is said before, agrees with what is made, and nothing is written."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest
from processes import ROOT
from scenes import translating

from vfield.cli import main, train_main
from vfield.core.clip import ColorInfo
from vfield.video_io import VideoWriter, read_clip

OPTIONS = ["--config", str(ROOT / "configs" / "fast.yaml"), "--device", "cpu"]
pytestmark = [pytest.mark.usefixtures("one_thread", "own_folder"), pytest.mark.slow]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """11 frames of 32x24."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with VideoWriter(path, height=24, width=32, frame_rate=Fraction(25), color=ColorInfo()) as writer:
        for frame in translating((24, 32), 11, (0.7, -0.4)):
            writer.write(frame)
    return path


def refusal(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    capfd.readouterr()
    assert main(words) == 2
    (line,) = re.findall(r"^error: .*$", capfd.readouterr().err, re.MULTILINE)
    return str(line)


def test_a_dry_run_of_a_fit_says_what_it_is_of(film: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train_main([*OPTIONS, "--video", str(film), "--dry-run"]) == 0
    told = capfd.readouterr().out
    assert "11 frames of 32x24" in told
    assert "nothing is learnt, kept in runs/film" in told
    assert train_main([*OPTIONS, "--video", f"{film}#t=0.2,0.4", "--steps", "7", "--dry-run"]) == 0
    told = capfd.readouterr().out
    assert "5 frames of 32x24" in told
    assert "7 steps" in told
    assert not list(Path().iterdir())


@pytest.mark.slow
def test_a_dry_run_of_fit_and_export_says_what_is_then_made(film: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(film), *OPTIONS, "--slowmo", "2", "--scale", "2", "-o", "slow.mkv"]
    assert main([*words, "--dry-run", "--json"]) == 0
    planned = json.loads(capfd.readouterr().out)
    assert not list(Path().iterdir())
    assert main(words) == 0
    made = read_clip("slow.mkv")
    assert planned["run"] == "runs/film"
    export = planned["export"]
    assert (export["frames"], export["height"], export["width"]) == (len(made), made.height, made.width) == (22, 48, 64)
    assert Fraction(export["lasts"]) == made.duration_seconds
    assert export["seconds"] > 0


@pytest.mark.slow
def test_what_an_export_cannot_be_is_said_by_a_dry_run(film: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(film), *OPTIONS, "--dry-run", "-o"]
    Path("there.mkv").write_text("somebody's")
    assert "there.mkv exists" in refusal([*words, "there.mkv"], capfd)
    assert "codec" in refusal([*words, "out.mp4", "--codec", "none"], capfd)
    assert "one picture" in refusal([*words, "out.png"], capfd)
    assert [path.name for path in Path().iterdir()] == ["there.mkv"]


@pytest.mark.slow
def test_a_dry_run_is_of_one_clip_and_of_none_that_is_gone_on_with(
    film: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "one clip, got 2" in refusal(["run", str(film), "other.mp4", *OPTIONS, "-o", "x/", "--dry-run"], capfd)
    assert train_main([*OPTIONS, "--video", str(film), "--out", "run"]) == 0
    assert "contradict" in refusal(["train", "--resume", "--out", "run", "--dry-run"], capfd)
