"""The command line: parse, call one function, print the result.

Every command ends with 0, or prints one line that says what was wrong and ends with 2 (bad input) or 130 (Ctrl-C).
Each has a module here, with a function `run` from its words to its exit code, and a line in `COMMANDS`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from vfield.cli import adapt, benchmark, evaluate, flow, lab, render, snapshot, train, view
from vfield.cli import run as run_command
from vfield.cli.options import fail, guarded

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run_command.run,
    "train": train.run,
    "adapt": adapt.run,
    "render": render.run,
    "flow": flow.run,
    "snapshot": snapshot.run,
    "view": view.run,
    "evaluate": evaluate.run,
    "benchmark": benchmark.run,
    "lab": lab.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The `vfield` command."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: vfield {{{','.join(COMMANDS)}}} ...\n\nAdd --help after a command for its options.")
        return 0 if words else 2
    if words[0] not in COMMANDS:
        return fail(f"unknown command {words[0]!r}; choose one of {', '.join(COMMANDS)}")
    return guarded(COMMANDS[words[0]], words[1:])


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
    return guarded(evaluate.run, argv)


def benchmark_main(argv: Sequence[str] | None = None) -> int:
    """Run the open suite beside peers: `scripts/benchmark.py` and `vfield benchmark`."""
    return guarded(benchmark.run, argv)
