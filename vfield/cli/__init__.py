"""The command line: parse, call one function, say the result (`vfield.cli.printing`).

Every command ends with 0, or prints one line that says what was wrong and ends with 2 (bad input), 130 (Ctrl-C),
143 (SIGTERM) or 129 (SIGHUP).
All of them are in `vfield.cli.commands`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from vfield.cli.commands import COMMANDS, GROUPS
from vfield.cli.printing import guarded, say
from vfield.core.errors import UserError

__all__ = [
    "COMMANDS",
    "GROUPS",
    "benchmark_main",
    "evaluate_main",
    "main",
    "render_main",
    "snapshot_main",
    "train_main",
]

# Commands that have a script or a caller of their own; they take words, or the process's own.
train_main = partial(guarded, COMMANDS["train"])
render_main = partial(guarded, COMMANDS["render"])
snapshot_main = partial(guarded, COMMANDS["snapshot"])
evaluate_main = partial(guarded, COMMANDS["evaluate"], json_file=True)
benchmark_main = partial(guarded, COMMANDS["benchmark"])


def main(argv: Sequence[str] | None = None) -> int:
    """The `vfield` command."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(_dispatched, words, json_file=words[:1] == ["evaluate"])


def _dispatched(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print(f"usage: vfield {{{','.join(COMMANDS)}}} ...\n")
        print(*(f"  {name:{width}}  {command.about}" for name, command in COMMANDS.items()), sep="\n")
        print("\nAdd --help after a command for its options; vfield --version.")
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        say(f"vfield {version('vfield')}", {"version": version("vfield")})
        return 0
    if words[0] not in COMMANDS:
        raise UserError(f"unknown command {words[0]!r}; choose one of {', '.join(COMMANDS)}")
    return COMMANDS[words[0]](words[1:])
