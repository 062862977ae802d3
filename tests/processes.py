"""Other processes for tests to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}


def in_two_processes(script: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a script, with its words, by Accelerate in two processes of the package under test; it must end well."""
    # `accelerate launch --cpu --num_processes 2` starts a single process and says nothing; with --multi_gpu it hands
    # over to torchrun, whatever the device.
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes=2"]
    options = ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    environment = {**ONE_THREAD, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([*launch, *options, *script], env=environment, text=True, capture_output=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended


def wait_until(ready: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Until something is so that a process, which must go on meanwhile, is to bring about."""
    until = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "not ready after a minute"
        time.sleep(0.01)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process as the system would, in the middle of its work."""
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def in_child(work: Callable[[], object], sign: Path) -> int:
    """Start a process that does something, touches a file, and waits to be killed; its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            sign.touch()
            time.sleep(60)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    until = time.monotonic() + 20
    while not sign.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    sign.unlink()
    return child


def kill_child(child: int) -> None:
    """Kill a child of `in_child`."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
