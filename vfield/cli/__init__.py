"""The command line: parse, call one function, say the result (`vfield.cli.says`).

Every command ends with 0, or prints one line that says what was wrong and ends with 2 (bad input), 130 (Ctrl-C),
143 (SIGTERM) or 129 (SIGHUP).
Each has a module here, with a function `run` from its words to its exit code, and a line in `COMMANDS`. The first line
of the module is what `vfield --help` says of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from vfield.cli import adapt, benchmark, compare, completion, evaluate, flow, info, lab, render, snapshot, train, view
from vfield.cli import run as run_command
from vfield.cli.options import guarded
from vfield.cli.says import say
from vfield.errors import UserError

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run_command.run,
    "info": info.run,
    "train": train.run,
    "adapt": adapt.run,
    "render": render.run,
    "flow": flow.run,
    "snapshot": snapshot.run,
    "view": view.run,
    "evaluate": evaluate.run,
    "compare": compare.run,
    "benchmark": benchmark.run,
    "lab": lab.run,
    "completion": completion.run,
}


# Commands whose first word names a part with options of its own.
GROUPS: dict[str, list[str]] = {"benchmark": benchmark.NAMES, "lab": list(lab.EXPERIMENTS)}


def main(argv: Sequence[str] | None = None) -> int:
    """The `vfield` command."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(_dispatched, words, json_file=words[:1] == ["evaluate"])


def _dispatched(words: list[str]) -> int:
    """Hand the words on to the command that the first of them names."""
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0 if words else 2
    if words[0] == "--version":
        say(f"vfield {version('vfield')}", {"version": version("vfield")})
        return 0
    if words[0] not in COMMANDS:
        raise UserError(f"unknown command {words[0]!r}; choose one of {', '.join(COMMANDS)}")
    if words[0] == "completion":
        return completion.run(words[1:], COMMANDS, GROUPS)
    return COMMANDS[words[0]](words[1:])


def _usage() -> str:
    width = max(map(len, COMMANDS))
    about = {name: str(sys.modules[run.__module__].__doc__).splitlines()[0] for name, run in COMMANDS.items()}
    lines = [f"  {name:{width}}  {line}" for name, line in about.items()]
    head = f"usage: vfield {{{','.join(COMMANDS)}}} ..."
    return "\n".join([head, "", *lines, "", "Add --help after a command for its options; vfield --version."])


def train_main(argv: Sequence[str] | None = None) -> int:
    """Fit a field to a clip: `scripts/train.py` and `vfield train`."""
    return guarded(train.run, argv)


def render_main(argv: Sequence[str] | None = None) -> int:
    """Export a video from a fitted field: `scripts/render.py` and `vfield render`."""
    return guarded(render.run, argv)


def snapshot_main(argv: Sequence[str] | None = None) -> int:
    """Write one picture of what a fitted field adds: `vfield snapshot`."""
    return guarded(snapshot.run, argv)


def evaluate_main(argv: Sequence[str] | None = None) -> int:
    """Judge on what was held out, beside peers: `scripts/evaluate.py` and `vfield evaluate`."""
    return guarded(evaluate.run, argv, json_file=True)


def benchmark_main(argv: Sequence[str] | None = None) -> int:
    """Run the open suite beside peers: `scripts/benchmark.py` and `vfield benchmark`."""
    return guarded(benchmark.run, argv)
