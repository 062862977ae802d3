"""All commands: what is said of them, their options, and what does them.

A command is a function that adds its options to a parser and one that does its work, side by side in a module. What
the first says of itself is what people read who ask for help. The work imports what it needs when it is called, after
its words were parsed: torch and the like take seconds, and whoever asks for help, or misspells a word, waits for none
of that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar

from jsonargparse import ArgumentParser, Namespace

from vfield.cli import benchmark, info, judge, lab, render, run, train
from vfield.cli.completion import SCRIPTS, Option, Words
from vfield.cli.options import new_parser, option, parse
from vfield.cli.printing import say
from vfield.core.errors import UserError


@dataclass(frozen=True)
class Command:
    """A command, or a part of one."""

    name: str  # as it is typed after "vfield"
    arguments: Callable[[ArgumentParser], None]  # adds its options
    work: Callable[[Namespace], int]  # does it, from its options to its exit code
    described: str = ""  # what its own --help says; "" for all words of `arguments`
    json_file: bool = False  # whether its `--json` may name a file

    @property
    def about(self) -> str:
        """What `vfield --help` says of it; that says nothing of parts."""
        return str(self.arguments.__doc__).partition("\n")[0]

    def parser(self) -> ArgumentParser:
        """What parses its words."""
        described = self.described or " ".join(str(self.arguments.__doc__).split())
        parser = new_parser(self.name, described, self.json_file)
        self.arguments(parser)
        return parser

    def __call__(self, words: list[str]) -> int:
        """Do it; its work is also given the words, and their parser."""
        parser = self.parser()
        parsed = parse(parser, words)
        parsed.words, parsed.parser = words, parser
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


def completion_arguments(parser: ArgumentParser) -> None:
    """Print a script that completes vfield's commands and options in a shell.

    For bash: vfield completion bash > ~/.local/share/bash-completion/completions/vfield; for fish: vfield completion
    fish > ~/.config/fish/completions/vfield.fish; for zsh into a file _vfield in a folder of its fpath. The script
    knows this version's options: print it anew after an update.
    """
    option(parser, "shell", f"{', '.join(SCRIPTS)}, for example bash; required", str)


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


Kind = TypeVar("Kind", Command, Command | Group)


def _by_name(*commands: Kind) -> dict[str, Kind]:
    return {command.name.rpartition(" ")[2]: command for command in commands}


COMMANDS: dict[str, Command | Group] = _by_name(
    Command("run", run.run_arguments, run.run),
    Command("info", info.info_arguments, info.info),
    Command("train", train.train_arguments, train.train),
    Command("adapt", train.adapt_arguments, train.adapt),
    Command("render", render.render_arguments, render.render),
    Command("flow", render.flow_arguments, render.flow),
    Command("snapshot", render.snapshot_arguments, render.snapshot),
    Command("view", render.view_arguments, render.view),
    Command("evaluate", judge.evaluate_arguments, judge.evaluate, json_file=True),
    Command("compare", judge.compare_arguments, judge.compare),
    Group(
        *("benchmark", "Run the open suite beside what people use today.", "what to judge"),
        parts=_by_name(
            *(
                Command(
                    *(f"benchmark {name}", partial(benchmark.frames_arguments, name), partial(benchmark.frames, name)),
                    described=f"{kind.about}, from the root of the repository.",
                )
                for name, kind in benchmark.KINDS.items()
            ),
            Command("benchmark denoising", benchmark.denoising_arguments, benchmark.denoising),
            Command("benchmark inpainting", benchmark.inpainting_arguments, benchmark.inpainting),
        ),
    ),
    Group(
        *("lab", "Run experiments that show the theory of neural fields at work.", "an experiment"),
        parts=_by_name(
            Command("lab spectral", lab.spectral_arguments, lab.spectral),
            Command("lab ntk", lab.ntk_arguments, lab.ntk),
            Command("lab conditioning", lab.conditioning_arguments, lab.conditioning),
            Command("lab latents", lab.latents_arguments, lab.latents),
            Command("lab adapt", lab.adapt_arguments, lab.adapt),
        ),
    ),
    Command("completion", completion_arguments, completion),
)

# Names of the parts of those that have any.
GROUPS = {name: list(command.parts) for name, command in COMMANDS.items() if isinstance(command, Group)}


def parsers() -> dict[str, ArgumentParser]:
    """The parser of every command and of every part of one, by the words that name it."""
    each = (command.parts.values() if isinstance(command, Group) else [command] for command in COMMANDS.values())
    return {command.name: command.parser() for command in chain.from_iterable(each)}
