"""`vfield completion`: what the shells themselves make of the scripts."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from vfield.cli import COMMANDS, GROUPS, main
from vfield.cli.completion import SCRIPTS


@pytest.fixture
def script(tmp_path: Path, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Path:
    """The script of a shell, in a file, beside a video."""
    assert main(["completion", request.param]) == 0
    path = tmp_path / "script"
    path.write_text(capfd.readouterr().out)
    (tmp_path / "clip.mp4").touch()
    return path


def in_shell(words: list[str], folder: Path) -> list[str]:
    if shutil.which(words[0]) is None:
        pytest.skip(f"there is no {words[0]} here")
    ended = subprocess.run(words, capture_output=True, text=True, timeout=20, cwd=folder, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return ended.stdout.split()


TYPED = [
    ("ren", ["render"]),
    ("render --sl", ["--slowmo"]),
    ("lab spec", ["spectral"]),
    ("lab spectral --sig", ["--sigmas"]),
    ("train --training.see", ["--training.seed"]),
    ("completion b", ["bash"]),
    ("info --ou", []),
    ("render run -", None),
]


@pytest.mark.slow
@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize(("typed", "completed"), TYPED)
def test_bash_completes(script: Path, typed: str, completed: list[str] | None) -> None:
    words = ["vfield", *typed.split(" ")]
    asked = f"""source {script}; complete -p vfield >/dev/null || exit 1
COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _vfield; printf '%s\\n' "${{COMPREPLY[@]}}" """
    found = in_shell(["bash", "-c", asked], script.parent)
    if completed is None:
        assert {"-o", "--output", "--slowmo", "--json"} <= set(found)
    else:
        assert found == completed


@pytest.mark.slow
@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_leaves_files_to_itself(script: Path) -> None:
    """A word that is no option yet gives no reply, upon which `-o default` completes files."""
    asked = f"""source {script}; complete -p vfield; COMP_WORDS=(vfield info ''); COMP_CWORD=2; _vfield
printf '%s\\n' "${{#COMPREPLY[@]}}" """
    assert in_shell(["bash", "-c", asked], script.parent) == [
        *("complete", "-o", "default", "-F", "_vfield", "vfield"),
        "0",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("script", ["fish"], indirect=True)
@pytest.mark.parametrize(("typed", "completed"), TYPED[:-1])
def test_fish_completes(script: Path, typed: str, completed: list[str]) -> None:
    asked = f"source {script}; complete -C {shlex.quote(f'vfield {typed}')} | string split -f1 \\t"
    assert in_shell(["fish", "--no-config", "-c", asked], script.parent) == completed


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_reads_it(script: Path) -> None:
    in_shell(["zsh", "-n", str(script)], script.parent)


@pytest.mark.slow
@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_know_every_command(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["shell"] == shell
    for name in [*COMMANDS, *(part for parts in GROUPS.values() for part in parts)]:
        assert name in told["script"]


def test_another_shell_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "cmd"]) == 2
    assert "bash, zsh, fish" in capfd.readouterr().err
