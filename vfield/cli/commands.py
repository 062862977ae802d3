"""All commands: what is said of them, their options, and what does them.

A command is a function that makes its parser and one that does its work, side by side in a module. The work imports
what it needs when it is called, after its words were parsed: torch and the like take seconds, and whoever asks for
help, or misspells a word, waits for none of that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from jsonargparse import ArgumentParser, Namespace

from vfield.cli import benchmark, info, judge, lab, render, run, train
from vfield.cli.completion import SCRIPTS, Option, Words
from vfield.cli.options import new_parser, option, parse
from vfield.cli.printing import say
from vfield.core.errors import UserError


@dataclass(frozen=True)
class Command:
    """A command, or a part of one."""

    parser: Callable[[], ArgumentParser]  # makes its parser
    work: Callable[[Namespace], int]  # does it, from its options (and its `words`) to its exit code
    about: str = ""  # what `vfield --help` says of it; that says nothing of parts

    def __call__(self, words: list[str]) -> int:
        """Do it."""
        parsed = parse(self.parser(), words)
        parsed.words = words
        return self.work(parsed)


@dataclass(frozen=True)
class Group:
    """A command whose first word names a part with options of its own."""

    name: str  # of the command
    about: str  # as of a command
    asked: str  # what the first word names
    parts: Mapping[str, Command]  # by their names

    def __call__(self, words: list[str]) -> int:
        """Hand the words on to the part that the first of them names."""
        if words and words[0] in ("-h", "--help"):
            names = ",".join(self.parts)
            print(f"usage: vfield {self.name} {{{names}}} ...\n\nAdd --help after a name for its options.")
            return 0
        if not words or words[0] not in self.parts:
            raise UserError(f"name {self.asked}: vfield {self.name} {' or '.join(self.parts)}")
        return self.parts[words[0]](words[1:])


def completion_parser() -> ArgumentParser:
    """The options of `vfield completion`."""
    parser = new_parser(
        "completion",
        "Print a script that completes vfield's commands and options. For bash: vfield completion bash > "
        "~/.local/share/bash-completion/completions/vfield; for fish: vfield completion fish > "
        "~/.config/fish/completions/vfield.fish; for zsh into a file _vfield in a folder of its fpath. The script "
        "knows this version's options: print it anew after an update.",
    )
    option(parser, "shell", f"{', '.join(SCRIPTS)}, for example bash; required", str)
    return parser


def completion(parsed: Namespace) -> int:
    """Print the script of a shell."""
    shell = parsed.shell
    if shell not in SCRIPTS:
        raise UserError(f"completion knows {', '.join(SCRIPTS)}, got {shell!r}")
    top = [Option(["-h", "--help"], "Show help"), Option(["--version"], "Show the version")]
    known = {"": Words(list(COMMANDS), top)}
    for name, parser in parsers().items():
        group = name.partition(" ")[0]
        if group in GROUPS:
            known.setdefault(group, Words(GROUPS[group], []))
        options = [
            Option(action.option_strings, " ".join(str(action.help).split()[:8]))
            for action in parser._actions
            if action.option_strings and action.help != argparse.SUPPRESS
        ]
        known[name] = Words(list(SCRIPTS) if name == "completion" else [], options)
    script = SCRIPTS[shell](known, list(GROUPS))
    say(script, {"shell": shell, "script": script})
    return 0


COMMANDS: dict[str, Command | Group] = {
    "run": Command(
        *(run.run_parser, run.run),
        about="Fit a clip and export from it in one go; several clips, or a folder of them, one after the other.",
    ),
    "info": Command(info.info_parser, info.info, "Say what a video, a picture, or a fitted run holds."),
    "train": Command(train.train_parser, train.train, "Fit a field to a clip, or one field to several."),
    "adapt": Command(
        *(train.adapt_parser, train.adapt),
        about="Fit a new clip with what other clips have taught: only its codes are learnt.",
    ),
    "render": Command(render.render_parser, render.render, "Export a video or a picture from a fitted field."),
    "flow": Command(
        *(render.flow_parser, render.flow),
        about="Write the motion of a fitted field: optical flow from each instant to the next.",
    ),
    "snapshot": Command(render.snapshot_parser, render.snapshot, "Write one picture of what a fitted field adds."),
    "view": Command(render.view_parser, render.view, "Open a local page to look at a fitted field."),
    "evaluate": Command(judge.evaluate_parser, judge.evaluate, "Judge a fit on what was held out, beside peers."),
    "compare": Command(
        *(judge.compare_parser, judge.compare),
        about="Judge two videos against each other, frame by frame, and show where they differ.",
    ),
    "benchmark": Group(
        name="benchmark",
        about="Run the open suite beside what people use today.",
        asked="what to judge",
        parts={
            **{
                kind: Command(partial(benchmark.frames_parser, kind), partial(benchmark.frames, kind))
                for kind in benchmark.KINDS
            },
            "denoising": Command(benchmark.denoising_parser, benchmark.denoising),
            "inpainting": Command(benchmark.inpainting_parser, benchmark.inpainting),
        },
    ),
    "lab": Group(
        name="lab",
        about="Run experiments that show the theory of neural fields at work.",
        asked="an experiment",
        parts={
            "spectral": Command(lab.spectral_parser, lab.spectral),
            "ntk": Command(lab.ntk_parser, lab.ntk),
            "conditioning": Command(lab.conditioning_parser, lab.conditioning),
            "latents": Command(lab.latents_parser, lab.latents),
            "adapt": Command(lab.adapt_parser, lab.adapt),
        },
    ),
    "completion": Command(
        *(completion_parser, completion),
        about="Print a script that completes vfield's commands and options in a shell.",
    ),
}

# Names of the parts of those that have any.
GROUPS = {name: list(command.parts) for name, command in COMMANDS.items() if isinstance(command, Group)}


def parsers() -> dict[str, ArgumentParser]:
    """The parser of every command and of every part of one, by the words that name it."""
    found = {}
    for name, command in COMMANDS.items():
        if isinstance(command, Command):
            found[name] = command.parser()
        else:
            found |= {f"{name} {part}": of.parser() for part, of in command.parts.items()}
    return found
