"""Kill fits, saves and exports at random instants, and see that the same command then goes on and nothing is lost.

    python scripts/kills.py --kills 100 --seed 0

Each round starts a command, sends it SIGKILL, SIGTERM, SIGHUP or SIGINT after a random share of the time that it takes,
and then gives the same command again, which must end well: with the whole result, and no temporary file beside it. What
was there before the kill must be there after it, old or new. Commands run in forks of one process, which has imported
everything: starting Python anew would take longer than the work.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from vfield.cli import main as vfield
from vfield.core.clip import Clip
from vfield.core.folders import is_own_name
from vfield.field.checkpoint import load_field
from vfield.output.summary import is_done, read_summary
from vfield.video_io import VideoWriter, read_clip

TINY = ["--config", str(Path(__file__).parents[1] / "configs" / "tiny.yaml"), "--device", "cpu", "--steps", "4"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
FRAMES = 4
_LOG = Path("log.txt")


class Work(NamedTuple):
    """Something to be killed at.

    Attributes:
        words: the command.
        else_words: what to give instead when a run is there already.
        check: raises unless the whole result is there.
        keep: raises unless the result is whole or was never there.
        clear: prepares a round.
    """

    words: list[str]
    else_words: list[str] | None
    check: Callable[[], None]
    keep: Callable[[], None]
    clear: Callable[[], None]


def forked(work: Callable[[], int | None]) -> int:
    """Start a process that does something; its id. Nothing may have started a thread before."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        log = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = work() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int:
    """How a process ended: its exit code, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def done(work: Callable[[], int | None]) -> int:
    """Do something in a process of its own; its exit code."""
    return ended(forked(work))


def film() -> None:
    """A texture that moves to the left."""
    x, y = torch.arange(64).float(), torch.arange(32).float()[:, None]
    wide = torch.stack([0.5 + 0.4 * torch.sin(x / k) * torch.cos(y / (k + 1)) for k in (3.0, 4.0, 5.0)])
    clip = Clip(torch.zeros(1, 3, 32, 48), (Fraction(0),), Fraction(1, 25), Fraction(25))
    with VideoWriter("clip.mkv", height=32, width=48, frame_rate=Fraction(25), color=clip.color) as writer:
        for i in range(FRAMES):
            writer.write(wide[..., 2 * i : 2 * i + 48])


def is_fitted(folder: str) -> None:
    """Raises unless a run is whole and was fitted to its end."""
    load_field(folder)
    if not is_done(read_summary(Path(folder))):
        raise AssertionError(f"{folder} is not fitted to the end")


def is_whole_if_there(folder: str) -> None:
    """Raises if a run has a field that cannot be read."""
    if Path(folder, "field.safetensors").exists():
        load_field(folder)


def holds(path: str, *counts: int) -> None:
    """Raises unless a video, or a folder of pictures, holds so many frames, or one of these numbers of them."""
    found = len(list(Path(path).glob("*.png"))) if Path(path).is_dir() else len(read_clip(path))
    if found not in counts:
        raise AssertionError(f"{path} holds {found} frames, not {counts}")


def holds_or_moved_aside(path: str, *counts: int) -> None:
    """The same, but a folder may be aside for a moment: the next command puts it back."""
    if Path(path).exists():
        holds(path, *counts)
        return
    aside = [folder for folder in Path().glob(f".{path}.partial-*/old") if len(list(folder.iterdir())) in counts]
    if not aside:
        raise AssertionError(f"{path} is lost")


def works() -> dict[str, Work]:
    """All kinds of work, in the present folder."""

    def anew(name: str) -> Callable[[], None]:
        return lambda: shutil.rmtree(name, ignore_errors=True)

    def export(path: str, *options: str) -> Work:
        def before() -> None:
            if not Path(path).exists() and done(lambda: vfield(["render", "whole", "-o", path])):
                raise AssertionError(_LOG.read_text())

        words = ["render", "whole", "--slowmo", "4", *options, "--overwrite", "-o", path]
        count = 4 * FRAMES
        return Work(words, None, lambda: holds(path, count), lambda: holds_or_moved_aside(path, FRAMES, count), before)

    train = ["train", "--video", "clip.mkv", *TINY, "--out", "fit"]
    often = ["train", "--video", "clip.mkv", *TINY, "--training.save_seconds", "0.001", "--out", "often"]
    both = ["run", "clip.mkv", *TINY, "--run", "both", "-o", "both.mkv"]

    def both_done() -> None:
        is_fitted("both")
        holds("both.mkv", FRAMES)

    def both_anew() -> None:
        anew("both")()
        Path("both.mkv").unlink(missing_ok=True)

    def fit(words: list[str], folder: str) -> Work:
        # A run that has something to go on with says so; it is gone on with as it was begun.
        resume = ["train", "--resume", "--out", folder]
        return Work(words, resume, lambda: is_fitted(folder), lambda: is_whole_if_there(folder), anew(folder))

    return {
        "fit": fit(train, "fit"),
        "video": export("out.mp4"),
        "folder": export("pictures"),
        "save": fit(often, "often"),
        "GIF": export("out.gif"),
        "fit and export": Work(
            both, ["run", *both[1:], "--overwrite"], both_done, lambda: is_whole_if_there("both"), both_anew
        ),
    }


def goes_on(work: Work) -> None:
    """Give the same command again; it must end well, and leave nothing beside the result."""
    code = done(lambda: vfield(work.words))
    if code == 2 and work.else_words is not None and "add --" in _LOG.read_text():
        code = done(lambda: vfield(work.else_words or []))
    if code:
        raise AssertionError(f"the same command ended with {code}: {_LOG.read_text()}")
    if done(work.check):
        raise AssertionError(_LOG.read_text())
    left = [str(path) for path in Path().rglob("*") if is_own_name(path.name)]
    if left:
        raise AssertionError(f"left behind: {left}")


def killed(work: Work, by: signal.Signals, after_seconds: float) -> int:
    """Start the command and kill it; how it ended."""
    child = forked(lambda: vfield(work.words))
    time.sleep(after_seconds)
    os.kill(child, by)
    code = ended(child)
    allowed = {0, -by, 128 + by}
    if code not in allowed:
        raise AssertionError(f"{by.name} ended it with {code}: {_LOG.read_text()}")
    if done(work.keep):
        raise AssertionError(f"after {by.name}: {_LOG.read_text()}")
    return code


def main() -> int:
    """Kill so often; 0 when all went on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="how often, for example 6; default 100")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of kinds and instants; default 0")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(parsed.seed)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        os.chdir(folder)
        if done(film) or done(lambda: vfield(["train", "--video", "clip.mkv", *TINY, "--out", "whole"])):
            raise SystemExit(_LOG.read_text())
        kinds, lasting = works(), dict[str, float]()
        for number in range(parsed.kills):
            name = list(kinds)[number % len(kinds)]
            by = SIGNALS[(number + number // len(kinds)) % len(SIGNALS)]
            work, share = kinds[name], draw.random()
            try:
                work.clear()
                if name not in lasting:
                    began = time.monotonic()
                    goes_on(work)
                    lasting[name] = time.monotonic() - began
                    work.clear()
                code = killed(work, by, share * lasting[name])
                goes_on(work)
                print(
                    f"{number + 1:4} {name}: {by.name} at {100 * share:.0f} % ended it with {code}; gone on", flush=True
                )
            except AssertionError as error:
                failed += 1
                print(f"{number + 1:4} {name}: {by.name} at {100 * share:.0f} %: FAILED: {error}", flush=True)
        os.chdir("/")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in used)
    print(f"{parsed.kills} kills, {failed} failed, {seconds:.0f} s of processor time")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
