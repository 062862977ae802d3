"""What all commands have in common: names, help texts, `--json`, and the help of vfield itself."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from vfield.cli import COMMANDS, evaluate_main, main
from vfield.cli.commands import parsers
from vfield.cli.printing import plain
from vfield.field.checkpoint import FIELD_NAME
from vfield.field.expectation import Stretch
from vfield.learn import Config

TINY = ["--config", str(Path(__file__).parents[2] / "configs" / "tiny.yaml"), "--device", "cpu"]
FEW = ["--end", "0.12", "--size", "48x28"]  # three frames of the demo clip

pytestmark = pytest.mark.usefixtures("own_folder")


PARSERS = parsers()
# Those of jsonargparse, and the groups and keys of the config, which are described where the keys are.
FOREIGN = {"help", "print_config", *(field.name for field in fields(Config))}


def options(parser: ArgumentParser) -> list[argparse.Action]:
    return [
        action
        for action in parser._actions
        if action.dest not in FOREIGN and "." not in action.dest and action.help != argparse.SUPPRESS
    ]


def names(action: argparse.Action) -> list[str]:
    return list(action.option_strings) or [action.dest]


def test_all_commands_are_walked() -> None:
    assert {"train", "render", "lab ntk", "benchmark denoising"} <= set(PARSERS)
    assert all(len(options(parser)) >= 1 for parser in PARSERS.values())


@pytest.mark.parametrize("command", PARSERS)
def test_every_option_is_explained(command: str) -> None:
    shown = " ".join(PARSERS[command].format_help().split())
    for action in options(PARSERS[command]):
        told, where = str(action.help), f"vfield {command}: {names(action)}"
        assert len(told) > 10, where
        assert " ".join(told.split()[:3]) in shown, where
        if action.nargs == 0:  # a flag
            continue
        assert "for example " in told, where
        # jsonargparse adds a default that is a value by itself; what it means that nothing is given must be said.
        assert action.default is not None or "default" in told or "required" in told, where


@pytest.mark.parametrize("command", ["run", "train", "adapt", "evaluate"])
def test_every_key_of_the_config_is_explained(command: str) -> None:
    keys = [action for action in PARSERS[command]._actions if "." in action.dest]
    assert len(keys) > 50
    assert [action.dest for action in keys if len(str(action.help or "")) < 4] == []


def kind(action: argparse.Action) -> str:
    """What is to be typed: a number, or words."""
    if action.nargs == 0:
        return "flag"
    hint = str(getattr(action, "_typehint", None) or action.type)
    return "number" if "int" in hint or "float" in hint else "words"


def test_an_option_means_the_same_everywhere() -> None:
    meanings: dict[str, dict[tuple[str, Any], str]] = {}
    for command, parser in PARSERS.items():
        for action in options(parser):
            for name in names(action):
                # What a command reads and writes is its own: files, folders or runs.
                metavar = None if name in ("-i", "--input", "-o", "--output", "run") else action.metavar
                meanings.setdefault(name, {})[kind(action), metavar] = command
    del meanings["--json"]  # evaluate's may name a file, too
    assert {name: found for name, found in meanings.items() if len(found) > 1} == {}
    for name, flags in {"--input": "-i", "--output": "-o"}.items():
        assert set(meanings) >= {name, flags}


@pytest.mark.parametrize("command", PARSERS)
def test_every_command_has_json(command: str) -> None:
    assert "--json" in PARSERS[command]._option_string_actions


def test_input_and_output_stand_for_the_old_names() -> None:
    for command in ("train", "adapt", "evaluate"):
        found = PARSERS[command]._option_string_actions
        assert found["-i"] is found["--input"] is found["--clip" if command == "evaluate" else "--video"]
        assert found["-o"] is found["--output"] is found["--out"]
    for command in ("run", "render", "flow", "snapshot", "view"):
        assert "--input" in PARSERS[command]._option_string_actions


def test_help_names_every_command_with_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capfd.readouterr().out
    for name in COMMANDS:
        [line] = [line for line in shown.splitlines() if line.startswith(f"  {name} ")]
        assert len(line.removeprefix(f"  {name}").strip()) > 20
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"vfield {version('vfield')}\n"
    assert main(["--version", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"version": version("vfield")}


def test_what_json_has_no_form_for() -> None:
    assert plain({"a": Fraction(30000, 1001), "b": Path("x") / "y", "c": (1, 2.5, None, True)}) == {
        "a": "30000/1001",
        "b": str(Path("x") / "y"),
        "c": [1, 2.5, None, True],
    }
    assert plain([float("nan"), float("inf"), Fraction(25)]) == [None, None, "25"]
    assert plain(Stretch(0.0, 1.0, 2, 30.0)) == {"start_seconds": 0.0, "end_seconds": 1.0, "gaps": 2, "psnr": 30.0}
    with pytest.raises(TypeError, match="complex"):
        plain({"z": 1j})


@pytest.mark.slow
def test_scripts_can_fit_and_render(demo_clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "-i", str(demo_clip), "-o", "run", *FEW, "--steps", "2", "--json"]
    assert main(["train", *words]) == 0
    fitted = json.loads(capfd.readouterr().out)
    assert (fitted["run"], fitted["steps"], fitted["interrupted"]) == ("run", 2, False)
    assert [(clip["name"], clip["folder"]) for clip in fitted["clips"]] == [(demo_clip.stem, "run")]
    assert Path(fitted["run"], FIELD_NAME).is_file()

    assert main(["render", "-i", "run", "-o", "out.mp4", "--fps", "30000/1001", "--json"]) == 0
    told = capfd.readouterr()
    written = json.loads(told.out)
    assert (written["path"], written["frame_rate"]) == ("out.mp4", "30000/1001")
    assert (written["height"], written["width"], written["frames"]) == (28, 48, 4)

    # Refusals, too: by the parser, by the command, and of a command that there is not.
    misspelt = ["render", "run", "-o", "out.mp4", "--slomo", "2", "--json"]
    for refused in (["train", *words], misspelt, ["rendr", "--json"]):
        assert main(refused) == 2
        told = capfd.readouterr()
        assert told.err.splitlines()[-1] == f"error: {json.loads(told.out)['error']}"


@pytest.mark.slow
def test_scripts_can_run(demo_clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "-i", str(demo_clip), "--end", "0.12", "--fit-size", "48x28", "--steps", "2", "--json"]
    assert main(["run", *words, "-o", "out.mp4", "--scale", "2"]) == 0
    done = json.loads(capfd.readouterr().out)
    assert (done["run"], done["fit"], done["fitted"]["steps"]) == (f"runs/{demo_clip.stem}", "fitted", 2)
    assert (done["exported"]["path"], done["exported"]["width"]) == ("out.mp4", 96)
    # Of several clips, what became of each; what is told in between goes elsewhere.
    assert main(["run", "none.mp4", *words, "-o", "folder"]) == 2
    [first, second] = json.loads(capfd.readouterr().out)["clips"]
    assert (first["clip"], first["how"]) == ("none.mp4", "failed")
    assert "none.mp4" in first["what"]
    assert (second["clip"], second["how"]) == (str(demo_clip), "done")


@pytest.mark.slow
def test_evaluate_takes_a_file_as_well(demo_clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "-i", str(demo_clip), *FEW, "--steps", "1", "--holdout", "2", "--json"]
    assert main(["evaluate", *words]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert evaluate_main([*words, "rows.json"]) == 0
    written = json.loads(Path("rows.json").read_text())
    assert [row["name"] for row in shown["rows"]] == [row["name"] for row in written["rows"]]
    assert "vfield" in capfd.readouterr().out.splitlines()[2]
    assert evaluate_main([*words, "no/such/rows.json"]) == 2
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("words", [[], ["run", "-i", "run"]])
def test_one_run_is_named(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["render", *words, "-o", "out.mp4"]) == 2
    assert "name" in capfd.readouterr().err
