"""Long clips from file to file: fitted as windows, killed and gone on with, shared by processes, and joined again."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from processes import ONE_THREAD, ROOT, in_two_processes, kill, wait_until
from scenes import clip_of, translating, with_cut

from vfield.checkpoint import load_field
from vfield.cli import main, render_main, train_main
from vfield.clip import Clip, to_uint8
from vfield.config import load_config
from vfield.crew import Crew
from vfield.errors import UserError
from vfield.export import export
from vfield.export_config import ExportConfig
from vfield.shots import find_shots, shots_of
from vfield.training import RESUME_NAME, FitResult, WindowSource, fit_windows
from vfield.training.saves import SUMMARY_NAMES
from vfield.video_io import VideoWriter, read_clip, scan_clip
from vfield.windows import FITTED_NAME, WindowedRun, plan_windows, read_plan

FAST = load_config(ROOT / "configs" / "fast.yaml")
# Next to nothing is learnt: what is tested is which frames are learnt from, and what is kept.
OPTIONS = ["--config", str(ROOT / "configs" / "fast.yaml"), "--device", "cpu", "--field.detail.enabled", "false"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """46 frames of 32x24 in two shots."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = to_uint8(torch.cat([translating((24, 32), 30, (0.7, -0.4)), with_cut((24, 32), 1, 17)[1:][:16]]))
    with VideoWriter(path, height=24, width=32, frame_rate=Fraction(25), color=clip_of(frames).color) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def run(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three windows. Tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "long"
    assert train_main([*OPTIONS, "--video", str(film), "--window", "0.8", "--out", str(folder)]) == 0
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def nothing_more(number: int, clip: Clip, result: FitResult, megabytes: float) -> None:
    """A window is concluded by its field alone."""


def refusal(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    capfd.readouterr()
    assert main(words) == 2
    # A progress bar goes back to the beginning of its line.
    (line,) = re.findall(r"(?:^|\r)(error: .*)$", capfd.readouterr().err, re.MULTILINE)
    return str(line)


# ------------------------------------------------------------------------------------------------ looking through


@pytest.mark.parametrize("part", [{}, {"start_seconds": 0.3, "end_seconds": 1.5, "size": (12, 16)}])
def test_looking_through_a_file_tells_what_reading_it_tells(film: Path, part: dict[str, float]) -> None:
    clip = read_clip(film, **part)  # type: ignore[arg-type]
    scan = scan_clip(film, shots_of, **part)  # type: ignore[arg-type]
    assert (scan.facts, scan.origin, scan.seen) == (clip.facts, Fraction(0), find_shots(clip.frames))
    assert len(scan.seen) == 2


def test_shots_in_pieces_of_any_size_are_those_of_the_whole(film: Path) -> None:
    frames = read_clip(film).frames
    fade = torch.stack([torch.lerp(frames[-1].float(), frames[0].float(), k / 8) for k in range(9)]).to(torch.uint8)
    frames = torch.cat([frames, fade, frames[:5]])
    for size in (1, 2, 7, 31):
        assert shots_of(frames.split(size)) == find_shots(frames)


# ------------------------------------------------------------------------------------------------ fitting


def test_a_window_that_fails_leaves_the_others_and_is_fitted_when_resumed(film: Path, tmp_path: Path) -> None:
    clip = read_clip(film)
    plan = plan_windows(clip.facts, find_shots(clip.frames), 20)
    config = replace(FAST, training=replace(FAST.training, device="cpu"))
    alive: list[int] = []

    def read(number: int) -> Clip:
        alive.append(number)
        if number == 1 and not (tmp_path / "mended").exists():
            raise UserError("no frame can be decoded")
        return clip.select(plan.windows[number])

    def fit() -> int:
        source = WindowSource(read, lambda number: {"number.txt": str(number)}, nothing_more)
        return fit_windows(plan, source, config, out=tmp_path, crew=Crew(), progress=False).fitted

    with pytest.raises(UserError, match=r"001: no frame can be decoded \(1 windows failed\); .* --resume"):
        fit()
    others = state(tmp_path / "000") | state(tmp_path / "002")
    assert len(others) >= 8
    (tmp_path / "mended").touch()
    assert fit() == 3
    assert state(tmp_path / "000") | state(tmp_path / "002") == others
    assert alive == [0, 1, 2, 1]
    assert fit() == 3
    assert len(alive) == 4


def test_a_file_that_reads_differently_from_its_middle_is_refused(film: Path, tmp_path: Path) -> None:
    clip = read_clip(film)
    plan = plan_windows(clip.facts, find_shots(clip.frames), 20)
    source = WindowSource(lambda number: clip.select(plan.windows[number][:-1]), lambda _: {}, nothing_more)
    with pytest.raises(UserError, match=r"gives other frames .* --window off"):
        fit_windows(plan, source, FAST, out=tmp_path, crew=Crew(), progress=False)


def test_a_run_that_is_killed_loses_one_window(film: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train_main([*OPTIONS, "--video", str(film), "--window", "0.8", "--out", str(out)]) == 0
    for number in ("001", "002"):
        (out / number / FITTED_NAME).unlink()
        (out / number / RESUME_NAME).unlink()
    before = state(out / "000")
    # The first window is there, and the next would take for ever.
    resume = [sys.executable, str(ROOT / "scripts" / "train.py"), "--resume", "--out", str(out), "--steps", "100000"]
    process = subprocess.Popen(resume, env={**ONE_THREAD, "PYTHONPATH": str(ROOT)}, text=True, stderr=subprocess.PIPE)
    wait_until((out / "001" / RESUME_NAME).is_file, process)
    kill(process)
    capfd.readouterr()
    assert train_main(["--resume", "--out", str(out), "--steps", "1"]) == 0
    assert "3 of 3 windows" in capfd.readouterr().out
    assert state(out / "000") == before
    plan = read_plan(out)
    fields = [load_field(plan.folder(out, number)) for number in range(3)]
    assert [len(saved.facts.pts_seconds) for saved in fields] == list(map(len, plan.windows))


def test_info_tells_of_every_window(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(run), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert [one["frames"] for one in told["runs"]] == [len(window) for window in read_plan(run).windows]


def test_a_window_is_an_ordinary_run(run: Path, film: Path, tmp_path: Path) -> None:
    """Its own record reads its own frames, exactly."""
    plan = read_plan(run)
    assert train_main(["--resume", "--out", str(run / "001")]) == 0
    saved = load_field(run / "001")
    window = plan.windows[1]
    assert saved.facts.pts_seconds == plan.facts.pts_seconds[window.start : window.stop]
    assert render_main([str(run / "001"), "-o", str(tmp_path / "a.mkv"), "--codec", "ffv1"]) == 0
    shown = read_clip(tmp_path / "a.mkv").frames.int()
    assert int((shown - read_clip(film).frames[window.start : window.stop].int()).abs().max()) <= 3


def test_an_earlier_run_is_replaced_as_a_whole(film: Path, tmp_path: Path) -> None:
    words = [*OPTIONS, "--video", str(film), "--end", "1.2", "--out", str(tmp_path / "run")]
    assert train_main([*words, "--window", "0.8"]) == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.yaml", "run.json", "windows.json", "000", "001", *SUMMARY_NAMES}
    assert train_main([*words, "--overwrite"]) == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.yaml", "run.json", "field.safetensors", RESUME_NAME, "tensorboard", *SUMMARY_NAMES}


def test_a_long_clip_is_fitted_and_exported_in_one_go(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", str(film), *OPTIONS, "--window", "0.8", "-o", "slow.mp4"]
    # What is wrong with the export is found before anything is fitted, or written.
    assert "codec" in refusal([*words, "--codec", "none"], capfd)
    assert not list(tmp_path.iterdir())
    assert main([*words, "--slowmo", "2"]) == 0
    told = capfd.readouterr().out
    assert "3 of 3 windows in runs/film" in told
    assert "slow.mp4: 92 frames of 32x24" in told
    summary = json.loads(Path("runs/film/summary.json").read_text())
    assert [window["folder"] for window in summary["windows"]] == ["000", "001", "002"]
    assert summary["windows"][0]["end_seconds"] == summary["windows"][1]["start_seconds"]
    assert [export["frames"] for export in summary["exports"]] == [92]
    page = Path("runs/film/summary.html").read_text()
    for link in re.findall(r'href="(\d+/[^"]+)"', page):
        assert Path("runs/film", link).is_file()
    assert page.count("summary.html") == 3
    before = state(tmp_path / "runs" / "film" / "001")
    assert main([*words, "--reverse", "--overwrite"]) == 0
    assert "is used again" in capfd.readouterr().out
    assert state(tmp_path / "runs" / "film" / "001") == before
    assert len(read_clip("slow.mp4")) == 46


def test_a_dry_run_says_what_it_takes_and_writes_nothing(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train_main([*OPTIONS, "--video", str(film), "--window", "0.8", "--dry-run"]) == 0
    told = capfd.readouterr().out
    assert "46 frames of 32x24, 1.84 s" in told
    assert "as 3 windows of at most 20 frames" in told
    assert "000: 0.00 to 0" in told
    assert "to a cut" in told
    assert re.search(r"time: +about \d+ s", told)
    assert re.search(r"memory: about \d\.\d GB", told)
    assert re.search(r"disk: +about \d\.\d+ GB in runs/film", told)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_tells_the_disk_that_windows_of_a_long_clip_take(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What every window keeps besides its frames is not taken to grow with them."""
    monkeypatch.chdir(tmp_path)
    long = tmp_path / "long.mkv"
    clip = read_clip(film)
    with VideoWriter(long, height=24, width=32, frame_rate=clip.frame_rate, color=clip.color) as writer:
        for _ in range(10):
            for frame in clip.frames:
                writer.write(frame)
    words = [*OPTIONS, "--video", str(long), "--window", "9"]
    assert train_main([*words, "--dry-run", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert len(told["windows"]) == 3
    assert train_main(words) == 0
    taken = sum(path.stat().st_size for path in Path("runs/long").rglob("*") if path.is_file())
    assert told["disk_bytes"] == pytest.approx(taken, rel=0.5)


def test_a_dry_run_of_fit_and_export_says_how_large_the_video_will_be(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", str(film), *OPTIONS, "--slowmo", "2", "--scale", "4", "-o", "slow.mkv", "--codec", "ffv1"]
    assert main([*words, "--dry-run", "--json"]) == 0
    forecast = json.loads(capfd.readouterr().out)["export"]
    assert not list(tmp_path.iterdir())
    assert (forecast["frames"], forecast["width"], forecast["height"]) == (92, 128, 96)
    assert main(words) == 0
    assert forecast["disk_bytes"] == pytest.approx(Path("slow.mkv").stat().st_size, rel=0.5)
    assert "slow.mkv exists" in refusal([*words, "--dry-run"], capfd)
    assert "one clip, got 2" in refusal(["run", str(film), str(film.parent), *OPTIONS, "-o", "x/", "--dry-run"], capfd)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--window", "soon"], "--window must be a number"),
        (["--window", "0.2"], "--window 0.2 is too short"),
        (["--window", "1", "--holdout", "2"], "--window 1 and --holdout cannot go together"),
        (["--dry-run", "--resume", "--out", "RUN"], "--dry-run and --resume contradict"),
        (["--window", "1", "--resume", "--out", "RUN"], "--window 1 and --resume contradict"),
    ],
)
def test_what_cannot_be(
    film: Path, run: Path, words: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [str(run) if word == "RUN" else word for word in words]
    out = [] if "--out" in words else ["--video", str(film), "--out", str(tmp_path / "new")]
    assert said in refusal(["train", *OPTIONS, *out, *words], capfd)
    assert not list(tmp_path.iterdir())


def test_commands_for_one_field_name_a_window(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["flow", str(run), "-o", str(tmp_path / "f")], ["snapshot", str(run), "-o", str(tmp_path / "s.png")]):
        assert f"like {run / '000'}" in refusal(words, capfd)


# ------------------------------------------------------------------------------------------------ several processes


def by_hand(words: list[str]) -> list[str]:
    """Run two processes with what a launcher would tell them, and nothing around them; what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**ONE_THREAD, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(words, env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    return [process.communicate(timeout=120)[0] for process in processes]


def test_two_processes_fit_and_render_every_window_and_frame_once(run: Path, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train = [str(ROOT / "scripts" / "train.py"), *OPTIONS, "--video", str(film), "--window", "0.8", "--out", str(out)]
    ended = in_two_processes(train)
    assert ended.stdout.count("3 of 3 windows") == 1
    for number in range(3):
        one, other = (load_field(folder / f"{number:03}").field.state_dict() for folder in (run, out))
        assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    video = tmp_path / "slow.mkv"
    words = ["--slowmo", "2.5", "--codec", "ffv1", "--pix-fmt", "yuv444p", "-o", str(video)]
    render = [sys.executable, str(ROOT / "scripts" / "render.py"), str(out), *words]
    told, silence = by_hand(render)
    assert "115 frames of 32x24" in told
    assert silence == ""
    alone = tmp_path / "alone.mkv"
    config = ExportConfig(slowmo=Fraction(5, 2), codec="ffv1", pixel_format="yuv444p")
    export(WindowedRun(out), alone, config, progress=False)
    made, expected = read_clip(video), read_clip(alone)
    assert made.pts_seconds == expected.pts_seconds
    assert len(set(made.pts_seconds)) == 115
    assert torch.equal(made.frames, expected.frames)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "slow.mkv", "alone.mkv"}


CREW = """
import os, sys
import vfield.crew
from vfield.crew import crew_of_launch
from vfield.errors import UserError
vfield.crew._DEAD_SECONDS = 2.5
try:
    with crew_of_launch() as crew:
        assert "RANK" not in os.environ
        assert crew.hear_all("name", crew.rank * 10) == [0, 10]
        if crew.rank == 1 and sys.argv[1] == "dies":
            os._exit(3)
        if crew.rank == 1:
            raise UserError("a window failed")
        crew.hear(1, "work")
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(("end", "said"), [("leaves", "has ended early"), ("dies", "has died without a word")])
def test_a_process_that_ends_is_not_waited_for(tmp_path: Path, end: str, said: str) -> None:
    (tmp_path / "crew.py").write_text(CREW)
    told, other = by_hand([sys.executable, str(tmp_path / "crew.py"), end])
    assert told.startswith(f"process 1 of 2 {said}")
    assert other == ("" if end == "dies" else "a window failed\n")
