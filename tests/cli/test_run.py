"""`vfield run`: fitted and exported in one go, fits that are used again, and several clips one after the other."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from vfield.cli import main
from vfield.cli.run import suffix_for
from vfield.core.clip import Clip
from vfield.field.checkpoint import FIELD_NAME
from vfield.learn import RESUME_NAME
from vfield.learn.objective import JointObjective
from vfield.learn.sources import RUN_NAME, names_apart
from vfield.output.summary import SUMMARY_NAME
from vfield.video_io import VideoWriter, read_clip

Refused = Callable[[Sequence[str]], str]

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = ["--config", str(CONFIGS / "tiny.yaml"), "--device", "cpu"]
PLAIN = ["--config", str(CONFIGS / "fast.yaml"), "--device", "cpu"]  # Takes no steps.

pytestmark = [pytest.mark.usefixtures("one_thread", "own_folder"), pytest.mark.slow]


def film(path: Path, *, shift: int = 2, count: int = 4, height: int = 32, width: int = 48) -> Path:
    """A texture that moves to the left."""
    x, y = torch.arange(width + shift * count).float(), torch.arange(height).float()[:, None]
    wide = torch.stack([0.5 + 0.4 * torch.sin(x / k) * torch.cos(y / (k + 1)) for k in (3.0, 4.0, 5.0)])
    clip = Clip(torch.zeros(1, 3, height, width), (Fraction(0),), Fraction(1, 25), Fraction(25))
    with VideoWriter(
        path, height=height, width=width, frame_rate=Fraction(25), color=clip.color, overwrite=True
    ) as writer:
        for i in range(count):
            writer.write(wide[..., i * shift : i * shift + width])
    return path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def field_of(run: str) -> bytes:
    """The field file of a run."""
    return Path(run, FIELD_NAME).read_bytes()


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Runs a command that must be refused: exit code 2, and nothing written. The function gives the last line."""

    def check(words: Sequence[str]) -> str:
        before = contents(tmp_path)
        capfd.readouterr()
        assert main(["run", *words]) == 2
        line = capfd.readouterr().err.splitlines()[-1]
        assert line.startswith("error: ")
        assert contents(tmp_path) == before
        return line

    return check


# ------------------------------------------------------------------------------------------------ one clip


def test_a_clip_becomes_slow_and_large_in_one_go(capfd: pytest.CaptureFixture[str]) -> None:
    film(Path("clip.mp4"))
    assert main(["run", "clip.mp4", *TINY, "--slowmo", "3", "--scale", "2", "-o", "out.mkv"]) == 0
    told = capfd.readouterr().out
    assert "done after 12 steps" in told
    assert "out.mkv: 12 frames of 96x64 at 25 fps, 0.48 s" in told
    out = read_clip("out.mkv")
    assert (len(out), out.height, out.width) == (12, 64, 96)
    summary = json.loads(Path("runs/clip", SUMMARY_NAME).read_text())
    (entry,) = summary["exports"]
    assert (entry["frames"], entry["width"], entry["options"]) == (12, 96, {"scale": "2", "slowmo": "3"})


def test_what_run_writes_is_what_train_and_render_write() -> None:
    film(Path("clip.mp4"), count=6)
    part, lossless = ["--start", "0.04", "--end", "0.2"], ["--codec", "ffv1"]  # see docs/notes.md, "Long clips"
    words = [*TINY, *part, "--fit-size", "24x16", "--fps", "50", *lossless]
    assert main(["run", "clip.mp4", *words, "-o", "one.mkv"]) == 0
    assert main(["train", *TINY, "--video", "clip.mp4", *part, "--size", "24x16", "--out", "two"]) == 0
    assert main(["render", "two", "--fps", "50", *lossless, "-o", "two.mkv"]) == 0
    one, two = read_clip("one.mkv"), read_clip("two.mkv")
    assert (len(one), one.height) == (8, 16)
    assert torch.equal(one.pixels, two.pixels)


def test_a_fit_is_used_again(capfd: pytest.CaptureFixture[str]) -> None:
    film(Path("clip.mp4"))
    assert main(["run", "clip.mp4", *PLAIN, "-o", "a.mkv"]) == 0
    before = field_of("runs/clip")
    capfd.readouterr()
    # How often it is saved has no say in what is fitted.
    assert main(["run", "clip.mp4", *PLAIN, "--training.save_seconds", "5", "--reverse", "-o", "b.mkv"]) == 0
    told = capfd.readouterr().out
    assert "used again" in told
    assert "done after" not in told
    assert field_of("runs/clip") == before
    assert [Path(entry["path"]).name for entry in exports("clip")] == ["a.mkv", "b.mkv"]
    assert main(["run", "clip.mp4", *PLAIN, "--overwrite", "-o", "a.mkv"]) == 0
    assert [Path(entry["path"]).name for entry in exports("clip")] == ["b.mkv", "a.mkv"]


def exports(run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path("runs", run, SUMMARY_NAME).read_text())["exports"]
    return found


def test_a_fit_made_by_train_is_used_again(capfd: pytest.CaptureFixture[str]) -> None:
    film(Path("clip.mp4"))
    assert main(["train", *PLAIN, "--video", "clip.mp4"]) == 0
    assert main(["run", "clip.mp4", *PLAIN, "-o", "a.mkv"]) == 0
    assert "used again" in capfd.readouterr().out


def test_another_clip_or_config_is_told_and_not_used(refused: Refused, capfd: pytest.CaptureFixture[str]) -> None:
    film(Path("clip.mp4"))
    assert main(["run", "clip.mp4", *PLAIN, "-o", "a.mkv"]) == 0
    assert "training.steps 0, not 2" in refused(["clip.mp4", *PLAIN, "--steps", "2", "-o", "b.mkv"])
    assert "end None, not 0.1" in refused(["clip.mp4", *PLAIN, "--end", "0.1", "-o", "b.mkv"])
    film(Path("other.mp4"))
    assert "clip.mp4" in refused(["other.mp4", *PLAIN, "--run", "runs/clip", "-o", "b.mkv"])
    film(Path("other.mp4"), shift=1)
    shutil.move("other.mp4", "clip.mp4")
    assert "the file has changed" in refused(["clip.mp4", *PLAIN, "-o", "b.mkv"])
    assert main(["run", "clip.mp4", *PLAIN, "--overwrite", "-o", "b.mkv"]) == 0
    assert "done after 0 steps" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-o", "there.mp4"], "there.mp4 exists"),
        (["-o", "out.mp4", "--codec", "nonsense"], "nonsense"),
        (["-o", "out.mp4", "--codec", "prores"], "cannot hold"),
        (["-o", "out.mp4", "--size", "0x0"], "0x0"),
        (["-o", "out.mp4", "--size", "24x16", "--scale", "2"], "contradict"),
        (["-o", "out.mp4", "--fit-size", "99x99"], "larger than the clip"),
        (["-o", "out.mp4", "--crop", "40,0,20,20"], "outside"),
        (["-o", "out.mp4", "--audio", "stretch"], "sound"),
        (["-o", "out.mp4", "--speed-curve", "0:0,1:9"], "shows 9 s"),
        (["-o", "out.mp4", "--speed-curve", "0:0,999999999:0.01"], "would be 24999999975 frames"),
        (["-o", "out.mp4", "--speed-curve", "/dev/zero"], "is not a file but a device"),
        (["-o", "out.mp4", "--fps", "0.000000001"], "fps must be from 1/1000 to 1000"),
        (["-o", "out.mp4", "--slowmo", "0.000000001"], "slowmo must be from 1/1000 to 1000"),
        (["-o", "out.mp4", "--start", "1e400"], "--start must be from 0"),
        (["-o", "out.mp4", "--start", "1e400", "--dry-run"], "--start must be from 0"),
        (["-o", "out.mp4", "--end", "-1"], "--end must be from 0"),
        (["-o", "no/such/out.mp4"], "no/such"),
        (["-o", "out.png"], "one picture"),
        (["-o", "out.mp4", "--run", "mine"], "mine"),
        (["-o", "out.mp4", "--out", "mine"], "--out"),
        (["-o", "mask.mp4", "--overwrite", "--mask", "mask.mp4"], "would replace what --mask names"),
        (["-o", "curve.mp4", "--overwrite", "--speed-curve", "curve.mp4"], "would replace what --speed-curve names"),
        (["-o", "masks", "--overwrite", "--mask", "masks/000000.png"], "would replace what --mask names"),
        (["-o", "runs/clip"], "is the run folder"),
        (["-o", "runs"], "is the run folder"),
        (["-o", "runs/clip/summary"], "part of it"),
        (["-o", f"{'n' * 252}.mp4"], "name too long"),
        (["-o", "clip.mp4", "--overwrite"], "would replace the clip"),
        ([], "output"),
    ],
)
def test_what_is_wrong_with_the_export_is_found_before_the_fit(words: list[str], told: str, refused: Refused) -> None:
    film(Path("clip.mp4"), count=2)
    Path("there.mp4").write_text("keep me")
    Path("mine").mkdir()
    Path("mine", "diary.txt").write_text("keep me")
    Path("masks").mkdir()
    Path("masks", "000000.png").write_text("keep me")
    Path("mask.mp4").write_text("keep me")
    Path("curve.mp4").write_text("0:0,1:1")
    assert told in refused(["clip.mp4", *PLAIN, *words])


def test_a_stopped_fit_is_gone_on_with(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="vfield")
    film(Path("clip.mp4"))
    words = ["run", "clip.mp4", *TINY, "-o", "out.mkv"]
    with ctrl_c_at_step(3):
        assert main(words) == 130
    told = capfd.readouterr().out
    assert "stopped after 3 steps" in told
    assert "the same command goes on" in told
    assert not Path("out.mkv").exists()
    assert json.loads(Path("runs/clip", SUMMARY_NAME).read_text())["status"] == "interrupted"
    assert "stopped before its end" in Path("runs/clip/summary.html").read_text()
    assert main(words) == 0
    assert "going on from step 3" in caplog.messages
    assert "done after 12 steps" in capfd.readouterr().out
    assert Path("out.mkv").exists()


class ctrl_c_at_step:  # noqa: N801 - a context manager
    """Sends this process a SIGINT while it does a step."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __enter__(self) -> None:
        def count(module: nn.Module, *_: object) -> None:
            if isinstance(module, JointObjective):
                self.left -= 1
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGINT)

        self.hook = register_module_forward_hook(count)

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


def test_a_run_without_anything_to_go_on_with_is_fitted_anew(capfd: pytest.CaptureFixture[str]) -> None:
    """Killed before its first save."""
    film(Path("clip.mp4"))
    assert main(["run", "clip.mp4", *PLAIN, "-o", "a.mkv"]) == 0
    for name in (FIELD_NAME, RESUME_NAME, SUMMARY_NAME):
        Path("runs/clip", name).unlink()
    capfd.readouterr()
    assert main(["run", "clip.mp4", *PLAIN, "-o", "b.mkv"]) == 0
    assert "done after 0 steps" in capfd.readouterr().out


def test_a_masked_clip_is_filled_and_a_changed_mask_is_another_run(refused: Refused) -> None:
    film(Path("clip.mkv"))
    mask = torch.zeros(3, 32, 48)
    mask[:, 10:16, 20:30] = 1
    facts = read_clip("clip.mkv")
    for name, picture in (("mask.png", mask), ("other.png", mask.flip(-1))):
        with VideoWriter(name, height=32, width=48, frame_rate=Fraction(25), color=facts.color) as writer:
            writer.write(picture)
    words = ["clip.mkv", *PLAIN, "--mask", "mask.png"]
    assert main(["run", *words, "-o", "a.mkv"]) == 0
    assert json.loads(Path("runs/clip", RUN_NAME).read_text())["mask"] == "mask.png"
    shutil.move("other.png", "mask.png")
    assert "has changed" in refused([*words, "-o", "b.mkv"])


# ------------------------------------------------------------------------------------------------ several clips


@pytest.fixture
def clips() -> Path:
    """A folder of two clips of one name and a file that is none."""
    folder = Path("clips")
    folder.mkdir()
    film(folder / "a.mp4", count=3)
    film(folder / "a.mov", shift=1, count=2)
    (folder / "b.mp4").write_text("not a video\n" * 20)
    return folder


def test_a_folder_is_run_clip_by_clip(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(clips), *PLAIN, "--slowmo", "2", "-o", "deep/out"]
    assert main(words) == 2
    shown = capfd.readouterr()
    # The bad clip is told in one line, and again in the table; the others are there.
    assert [line for line in shown.err.splitlines() if line.startswith("error: ")] == [
        line for line in shown.err.splitlines() if line.startswith("error: clips/b.mp4: ")
    ]
    assert sorted(path.name for path in Path("deep/out").iterdir()) == ["a-mov.mp4", "a-mp4.mp4"]
    assert [len(read_clip(f"deep/out/a-{kind}.mp4")) for kind in ("mov", "mp4")] == [4, 6]
    table = shown.out.splitlines()[-3:]
    assert [line.split()[:2] for line in table] == [
        ["clips/a.mov", "done"],
        ["clips/a.mp4", "done"],
        ["clips/b.mp4", "failed"],
    ]
    # What is there is not made again: only the bad clip is tried, and once it is good it is done.
    times = {path: path.stat().st_mtime_ns for path in Path("deep/out").iterdir()}
    film(clips / "b.mp4", count=2)
    assert main(words) == 0
    assert [line.split()[1] for line in capfd.readouterr().out.splitlines()[-3:]] == ["skipped", "skipped", "done"]
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_results_of_other_options_or_cut_short_are_not_taken_for_done(
    clips: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (clips / "b.mp4").unlink()
    assert main(["run", str(clips), *PLAIN, "-o", "out"]) == 0
    before = contents(Path("out"))
    assert main(["run", str(clips), *PLAIN, "--reverse", "-o", "out"]) == 2
    assert capfd.readouterr().err.count("is not what is asked for; add --overwrite") == 2
    assert contents(Path("out")) == before
    assert main(["run", str(clips), *PLAIN, "--reverse", "--overwrite", "-o", "out"]) == 0
    Path("out/a-mp4.mp4").write_bytes(Path("out/a-mp4.mp4").read_bytes()[:-9])
    assert main(["run", str(clips), *PLAIN, "--reverse", "-o", "out"]) == 2


def test_ctrl_c_ends_the_whole_batch(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with ctrl_c_at_step(2):
        assert main(["run", str(clips), *TINY, "-o", "out"]) == 130
    table = capfd.readouterr().out.splitlines()[-3:]
    assert [line.split()[1:3] for line in table] == [["stopped", "out/a-mov.mp4"], ["not", "begun"], ["not", "begun"]]
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["train", *TINY, "--out", "runs/a"], "go on:  vfield train --resume --out runs/a\n"),
        (
            ["adapt", "runs/first", "--tune", "--steps", "9", "--device", "cpu"],
            "go on:  the same command with --overwrite",
        ),
    ],
)
def test_every_fit_ends_alike_after_ctrl_c(command: list[str], told: str, capfd: pytest.CaptureFixture[str]) -> None:
    film(Path("clip.mp4"), count=3)
    assert main(["train", *TINY, "--steps", "1", "--video", "clip.mp4", "--out", "runs/first"]) == 0
    with ctrl_c_at_step(2):
        assert main([*command, "--video", "clip.mp4"]) == 130
    assert told in capfd.readouterr().out


def test_judging_a_stopped_fit_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    film(Path("clip.mp4"), count=3)
    with ctrl_c_at_step(2):
        assert main(["evaluate", *TINY, "--clip", "clip.mp4", "--holdout", "2"]) == 130
    told = capfd.readouterr()
    assert (told.out, told.err.splitlines()[-1]) == ("", "interrupted")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "clip.mp4", "-o", "out.mp4", "--scale", "1000"], "cannot be made"),
        (["run", "clip.mp4", "-o", "out.mp4", "--scale", "900", "--fit-size", "24x16"], "cannot be made"),
        (["run", "clip.mp4", "-o", "out.mp4", "--crop", "40,0,20,20"], "outside"),
        (["run", "clip.mp4", "-o", "out.mp4", "--fit-size", "99x99"], "larger than the clip"),
        (["train", "--video", "clip.mp4", "--holdout", "1"], "--holdout must be from 2"),
        (["evaluate", "--clip", "clip.mp4", "--holdout", "1"], "--holdout must be from 2"),
        (["evaluate", "--clip", "clip.mp4", "--scale", "1"], "--scale must be more than 1"),
    ],
)
def test_what_cannot_be_is_refused_before_the_clip_is_read(
    words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    film(Path("clip.mp4"), count=2)

    def read(*_: object, **__: object) -> None:
        raise AssertionError("the clip was read")

    for reader in ("vfield.learn.sources.open_clip", "vfield.video_io.read_clip"):
        monkeypatch.setattr(reader, read)
    assert main(words) == 2
    assert told in capfd.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["clips", "-o", "out.mp4"], "one file"),
        (["clips", "-o", "clips"], "folder of the clips"),
        (["clips", "-o", "out", "--mask", "clips/b.mp4"], "--mask is for one clip"),
        (["clips/a.mp4", "clips/a.mov", "-o", "clips/b.mp4"], "one file"),
        (["clips", "-o", "out", "--crf", "low"], "low"),
        (["empty", "-o", "out"], "without clips"),
    ],
)
def test_batches_that_make_no_sense(clips: Path, words: list[str], told: str, refused: Refused) -> None:
    Path("empty").mkdir()
    assert told in refused([*words, *PLAIN])


def test_names_of_results_do_not_collide_and_do_not_depend_on_the_order() -> None:
    videos = ["x/a.mp4", "x/A.mov", "y/b.mp4", "z/b.mp4", "c.d.mp4", "clip.mp4#t=1,2", "clip.mp4#t=2,3"]
    names = names_apart(videos)
    assert names == ["a-mp4", "A-mov", "b-mp4", "b-mp4-2", "c.d", "clip-mp4", "clip-mp4-2"]
    assert names_apart(videos[1::-1]) == names[1::-1]


def test_the_kind_of_a_result_is_one_that_can_hold_it() -> None:
    kinds = {None: ".mp4", "hevc": ".mp4", "prores": ".mov", "ffv1": ".mp4", "nonsense": ".mp4"}
    assert {codec: suffix_for("a.mkv", codec) for codec in kinds} == kinds
    assert [suffix_for(name, None) for name in ("a.jpg", "a.PNG", "a.gif", "a")] == [".png", ".png", ".mp4", ".mp4"]


def test_a_run_that_is_packed_needs_its_clip_no_more(capfd: pytest.CaptureFixture[str]) -> None:
    clip = film(Path("a.mp4"))
    assert main(["run", str(clip), "-o", "slow.mp4", "--slowmo", "2", "--pack", *PLAIN]) == 0
    assert "packed: " in capfd.readouterr().out
    clip.unlink()
    assert main(["render", "runs/a", "-o", "again.mp4", "--slowmo", "2"]) == 0
    assert Path("again.mp4").read_bytes() == Path("slow.mp4").read_bytes()
