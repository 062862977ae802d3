"""From a fresh checkout to a run: makes `.venv`, installs the project into it, then shows the demo or checks the code.

    python3 scripts/bootstrap.py demo     # install vfield, then run scripts/demo.py
    python3 scripts/bootstrap.py check    # install vfield with its dev tools, then lint, types and tests

Needs nothing but Python's standard library. What follows the word `demo` is handed on to scripts/demo.py. An install
that is still current (a stamp in `.venv` says so) is not repeated. The exit code is 0 when all went well, 2 when the
machine or the command line is not right, 130 after Ctrl-C, and otherwise that of the command which failed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# This file must parse and run its first lines on Python 3.8, or the message about an old Python could not be shown:
# no match statements, and no newer syntax where it is evaluated.
MINIMUM_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parents[1]
EXTRAS: dict[str, str] = {"demo": "", "check": "dev"}


class SetupError(Exception):
    """Something that the person must mend before anything can run; its message is one line."""


def python_problem(version: tuple[int, ...]) -> str | None:
    """What is wrong with a Python of this version, or None."""
    if tuple(version[:2]) >= MINIMUM_PYTHON:
        return None
    needed, found = (".".join(str(part) for part in numbers[:3]) for numbers in (MINIMUM_PYTHON, version))
    return f"vfield needs Python {needed} or newer, but this is Python {found}; start it with a newer one"


def venv_python(venv: Path, os_name: str = os.name) -> Path:
    """The interpreter of a virtual environment, by the layout of the given `os.name`."""
    return venv / "Scripts" / "python.exe" if os_name == "nt" else venv / "bin" / "python"


def stamp_text(pyproject: bytes, extras: str) -> str:
    """What the stamp file holds after an install: changes whenever the project file or the extras do."""
    return f"{hashlib.sha256(pyproject).hexdigest()} {extras}"


def is_current(stamp: Path, text: str) -> bool:
    """Whether the stamp says that this install, or the same one with extras, was done."""
    return stamp.is_file() and stamp.read_text(encoding="utf-8").startswith(text)


def commands(task: str, python: Path, arguments: Sequence[str] = ()) -> list[list[str]]:
    """What to run inside the environment for a task, in order."""
    run = str(python)
    if task == "demo":
        return [[run, str(Path("scripts") / "demo.py"), *arguments]]
    return [
        [run, "-m", "ruff", "check", "."],
        [run, "-m", "ruff", "format", "--check", "."],
        [run, "-m", "mypy"],
        [run, "-m", "pytest", "-n", "logical", "--dist", "worksteal"],
    ]


def call(command: Sequence[str]) -> int:
    """Prints a command, runs it in the repository, and returns its exit code: 130 after Ctrl-C."""
    print("$ " + " ".join(shlex.quote(word) for word in command), flush=True)
    # Ctrl-C reaches the command as well, which is given the time to end in order.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        code = subprocess.run(list(command), cwd=str(ROOT)).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code  # as shells have it of programs that ended by a signal


def install(venv: Path, extras: str) -> int:
    """Makes the environment if it is missing and installs the project into it, unless that was done before.

    Returns:
        0, or the exit code of the step that failed. A failure leaves no stamp, so the next run tries again.

    Raises:
        SetupError: when this Python cannot make a virtual environment, or the one there has no pip.
    """
    python = venv_python(venv)
    if not python.exists():
        missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
        if missing:
            raise SetupError(f"this Python has no module {missing[0]}; install it (on Debian and Ubuntu: python3-venv)")
        code = call([sys.executable, "-m", "venv", str(venv)])
        if code != 0:
            return code
    stamp = venv / "vfield-install.stamp"
    text = stamp_text((ROOT / "pyproject.toml").read_bytes(), extras)
    if is_current(stamp, text):
        return 0
    if subprocess.run([str(python), "-m", "pip", "--version"], stdout=subprocess.DEVNULL).returncode != 0:
        raise SetupError(f"{venv} has no pip; delete that folder and start again")
    if stamp.exists():
        stamp.unlink()  # from here until pip is done, the environment is in neither state
    code = call([str(python), "-m", "pip", "install", "-e", f".[{extras}]" if extras else "."])
    if code == 0:
        stamp.write_text(text, encoding="utf-8")
    return code


def main(arguments: Sequence[str]) -> int:
    """Runs one task and returns the exit code."""
    try:
        problem = python_problem(tuple(sys.version_info[:3]))
        if problem:
            raise SetupError(problem)
        if not arguments or arguments[0] not in EXTRAS or (arguments[0] == "check" and len(arguments) > 1):
            raise SetupError("usage: python3 scripts/bootstrap.py demo [arguments of scripts/demo.py] | check")
        task = arguments[0]
        venv = ROOT / ".venv"
        code = install(venv, EXTRAS[task])
        if code != 0:
            print(f"error: setting up {venv} failed with exit code {code}", file=sys.stderr)
            return code
        for command in commands(task, venv_python(venv), arguments[1:]):
            code = call(command)
            if code != 0:
                name = next(word for word in command[1:] if word != "-m")
                how = "was interrupted" if code == 130 else f"failed with exit code {code}"
                print(f"error: {name} {how}", file=sys.stderr)
                return code
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
