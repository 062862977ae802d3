"""Ctrl-C, SIGTERM and SIGHUP: every command ends in order, with the exit code of the signal, and leaves nothing."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from processes import ONE_THREAD, ROOT, in_child, kill_child
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from vfield.cli import main
from vfield.cli.printing import guarded
from vfield.core.clip import Clip
from vfield.core.folders import held
from vfield.core.interrupts import interrupts
from vfield.field.video_field import VideoField
from vfield.learn.objective import JointObjective
from vfield.video_io import VideoWriter, read_clip

CONFIGS = ROOT / "configs"
PLAIN = ["--config", str(CONFIGS / "fast.yaml"), "--device", "cpu"]  # Takes no steps.
TINY = ["--config", str(CONFIGS / "tiny.yaml"), "--device", "cpu", "--steps", "3"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def film() -> None:
    clip = Clip(torch.zeros(1, 3, 32, 48), (Fraction(0),), Fraction(1, 25), Fraction(25))
    with VideoWriter("clip.mkv", height=32, width=48, frame_rate=Fraction(25), color=clip.color) as writer:
        for frame in torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0)):
            writer.write(frame)


class sent_while:  # noqa: N801 - a context manager
    """Sends this process a signal as soon as a module of a kind is asked."""

    def __init__(self, kind: type[nn.Module], number: int) -> None:
        self._kind, self._number, self._sent = kind, number, False

    def __enter__(self) -> None:
        def send(module: nn.Module, *_: object) -> None:
            if isinstance(module, self._kind) and not self._sent:
                self._sent = True
                os.kill(os.getpid(), self._number)

        self._hook = register_module_forward_hook(send)

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


@pytest.mark.slow
def test_a_fit_and_an_export_end_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    film()
    number = signal.SIGTERM
    with sent_while(JointObjective, number):
        assert main(["run", "clip.mkv", *TINY, "-o", "out.mkv"]) == 128 + number
    assert "stopped after 1 steps" in capfd.readouterr().out
    assert main(["run", "clip.mkv", *TINY, "-o", "out.mkv"]) == 0
    before = Path("out.mkv").read_bytes()
    with sent_while(VideoField, number):
        assert main(["render", "runs/clip", "--overwrite", "-o", "out.mkv"]) == 128 + number
    assert capfd.readouterr().err.splitlines()[-1] == "ended by SIGTERM"
    assert Path("out.mkv").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["clip.mkv", "out.mkv", "runs"]
    assert len(read_clip("out.mkv")) == 3


def send(number: int) -> Callable[[list[str]], int]:
    def command(words: list[str]) -> int:
        os.kill(os.getpid(), number)
        return 0

    return command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_exit_code_is_that_of_the_signal(number: int) -> None:
    assert guarded(send(number), []) == 128 + number


def test_handlers_are_put_back_and_those_of_others_stay() -> None:
    got: list[int] = []
    earlier = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        assert guarded(send(signal.SIGTERM), []) == 0
        assert got == [signal.SIGTERM]
        assert guarded(send(signal.SIGHUP), []) == 129
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, earlier)


def test_what_is_ignored_stays_ignored() -> None:
    """As SIGHUP is under nohup."""
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert guarded(send(signal.SIGHUP), []) == 0
        with interrupts() as flag:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not flag.is_set()
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_a_second_signal_stops_what_lets_its_step_end() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts() as flag:  # noqa: PT012 - the second is what is asked about
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.is_set()
        os.kill(os.getpid(), signal.SIGTERM)


HUNG_UP = """
import os, signal, sys, time
from vfield.core.interrupts import interrupts
with interrupts() as flag:
    print("ready", flush=True)
    while not flag.is_set():
        time.sleep(0.01)
    print("nobody hears this", flush=True)
open(sys.argv[1], "w").close()
"""


def test_a_terminal_that_is_gone_is_no_error(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", HUNG_UP, str(tmp_path / "ended")]
    environment = {**ONE_THREAD, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert b"ready" in os.read(ours, 100)
    os.close(ours)  # words to it are errors from here on
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "ended").exists()


@pytest.mark.slow
def test_a_second_process_in_a_run_folder_is_told_so_and_reading_is_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    film()
    assert main(["train", *PLAIN, "--video", "clip.mkv", "--out", "run"]) == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    kept = held(Path("run"))
    child = in_child(kept.__enter__, tmp_path / "sign")
    capfd.readouterr()
    try:
        for words in (
            ["train", *PLAIN, "--video", "clip.mkv", "--overwrite", "--out", "run"],
            ["train", "--resume", "--out", "run"],
            ["adapt", "run", "--video", "clip.mkv", "--overwrite", "--out", "run"],
            ["run", "clip.mkv", *TINY, "--run", "run", "--overwrite", "-o", "out.mkv"],
        ):
            assert main(words) == 2
            (line,) = capfd.readouterr().err.splitlines()
            assert "another process is at work in run" in line
        assert {path: path.read_bytes() for path in before} == before
        assert main(["info", "run"]) == 0
        assert main(["render", "run", "-o", "out.mkv"]) == 0
    finally:
        kill_child(child)
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert not (tmp_path / "run" / ".lock").exists()
