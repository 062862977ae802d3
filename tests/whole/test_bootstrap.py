"""The set-up script: what it decides, without building an environment."""

from __future__ import annotations

import ast
import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bootstrap.py"


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parses_on_an_old_python_and_needs_only_the_standard_library() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 10, 13)])
def test_old_python_is_named(bootstrap: ModuleType, version: tuple[int, ...]) -> None:
    problem = bootstrap.python_problem(version)
    assert ".".join(map(str, version)) in problem
    assert "3.11" in problem
    assert "\n" not in problem


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 1), (4, 0, 0)])
def test_new_python_is_fine(bootstrap: ModuleType, version: tuple[int, ...]) -> None:
    assert bootstrap.python_problem(version) is None


def test_interpreter_path_follows_the_system(bootstrap: ModuleType) -> None:
    venv = Path("somewhere") / ".venv"
    assert bootstrap.venv_python(venv, "posix") == venv / "bin" / "python"
    assert bootstrap.venv_python(venv, "nt") == venv / "Scripts" / "python.exe"


def test_stamp_is_current_only_for_the_same_project_file_and_extras(bootstrap: ModuleType, tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    text = bootstrap.stamp_text(b"[project]", "dev")
    assert not bootstrap.is_current(stamp, text)
    stamp.write_text(text, encoding="utf-8")
    assert bootstrap.is_current(stamp, text)
    assert not bootstrap.is_current(stamp, bootstrap.stamp_text(b"[project] ", "dev"))
    stamp.write_text(bootstrap.stamp_text(b"[project]", ""), encoding="utf-8")
    assert not bootstrap.is_current(stamp, text)


def test_install_with_dev_tools_serves_the_demo_too(bootstrap: ModuleType, tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    stamp.write_text(bootstrap.stamp_text(b"[project]", "dev"), encoding="utf-8")
    assert bootstrap.is_current(stamp, bootstrap.stamp_text(b"[project]", ""))


def test_check_runs_lint_format_types_and_tests_in_this_order(bootstrap: ModuleType) -> None:
    commands = bootstrap.commands("check", Path("python"))
    assert [command[1:] for command in commands] == [
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "mypy"],
        ["-m", "pytest", "-n", "logical", "--dist", "worksteal"],
    ]


def test_demo_hands_its_arguments_on(bootstrap: ModuleType) -> None:
    [command] = bootstrap.commands("demo", Path("python"), ["--steps", "3"])
    assert command == ["python", str(Path("scripts") / "demo.py"), "--steps", "3"]


@pytest.fixture
def fresh(bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with an environment folder and a project file, in place of the real one."""
    (tmp_path / "pyproject.toml").write_text("[project]", encoding="utf-8")
    python = bootstrap.venv_python(tmp_path / ".venv")
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    return tmp_path


def test_install_is_done_once(bootstrap: ModuleType, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command[1:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert bootstrap.main(["check"]) == 0
    first = len(ran)
    assert ["-m", "pip", "install", "-e", ".[dev]"] in ran
    assert bootstrap.main(["check"]) == 0
    assert ran[first:] == [command[1:] for command in bootstrap.commands("check", Path())]


def test_failing_pip_is_a_failure_and_leaves_no_stamp(
    bootstrap: ModuleType, fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = fresh / ".venv" / "vfield-install.stamp"
    stamp.write_text("an older one", encoding="utf-8")

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1 if "install" in command else 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert bootstrap.main(["demo"]) == 1
    assert not stamp.exists()
    assert "failed with exit code 1" in capsys.readouterr().err


def test_first_failing_command_stops_the_check(
    bootstrap: ModuleType, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command[2])
        return subprocess.CompletedProcess(command, 3 if "mypy" in command else 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert bootstrap.main(["check"]) == 3
    assert ran[-1] == "mypy"


@pytest.mark.parametrize(("ended", "code", "told"), [(7, 7, "demo.py failed"), (-signal.SIGINT, 130, "interrupted")])
def test_a_demo_that_fails_or_is_stopped_is_told_in_a_line(
    ended: int,
    code: int,
    told: str,
    bootstrap: ModuleType,
    fresh: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, ended if "demo.py" in command[1] else 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert bootstrap.main(["demo"]) == code
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_ctrl_c_leaves_a_command_the_time_to_end(bootstrap: ModuleType) -> None:
    """It reaches all processes of a terminal: here the one that waits, a moment before the one that it waits for."""
    slow = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(0.5); exit(3)"
    assert bootstrap.call([sys.executable, "-c", slow]) == 3


def test_environment_without_pip_is_the_callers_to_mend(
    bootstrap: ModuleType, fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    assert bootstrap.main(["demo"]) == 2
    error = capsys.readouterr().err
    assert "has no pip" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["test"], ["check", "--fast"]])
def test_unknown_task_is_a_usage_error(
    bootstrap: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bootstrap.main(arguments) == 2
    assert "usage" in capsys.readouterr().err
