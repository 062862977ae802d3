"""All commands: what is said of them, what they may be told, and where they are done.

Modules are named and not imported, since those that do the work load torch and more, which takes seconds: whoever asks
for help, or misspells a word, waits for none of that. A command has a line here, a parser in `vfield.cli.forms`, and a
module whose function `run` takes it from its words to its exit code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vfield.cli.options import parse
from vfield.core.errors import UserError


@dataclass(frozen=True)
class Command:
    """A command, or a part of one; called with its words it gives the exit code.

    Attributes:
        about: what `vfield --help` says of it.
        form: the function that makes its parser, as "module:function" below `vfield.cli`.
        work: the function that does it, likewise.
    """

    about: str
    form: str
    work: str

    def __call__(self, words: list[str]) -> int:
        """Do it. What is wrong with the words is said before the work is loaded."""
        parse(_found(self.form)(), words)
        code: int = _found(self.work)(words)
        return code


@dataclass(frozen=True)
class Group:
    """A command whose first word names a part with options of its own.

    Attributes:
        about: what `vfield --help` says of it.
        name: of the command.
        asked: what the first word names.
        parts: by their names.
    """

    about: str
    name: str
    asked: str
    parts: Mapping[str, Command]

    def __call__(self, words: list[str]) -> int:
        """Hand the words on to the part that the first of them names."""
        if words and words[0] in ("-h", "--help"):
            names = ",".join(self.parts)
            print(f"usage: vfield {self.name} {{{names}}} ...\n\nAdd --help after a name for its options.")
            return 0
        if not words or words[0] not in self.parts:
            raise UserError(f"name {self.asked}: vfield {self.name} {' or '.join(self.parts)}")
        return self.parts[words[0]](words[1:])


def _found(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"vfield.cli.{module}"), name)
    return found


def _command(name: str, about: str) -> Command:
    return Command(about, f"forms:{name}", f"{name}:run")


_BENCHMARKS = {
    "interpolation": Command("Judge frames in between.", "benchmark_forms:interpolation", "benchmark:interpolation"),
    "upscaling": Command("Judge larger frames.", "benchmark_forms:upscaling", "benchmark:upscaling"),
    "space-time": Command("Judge both together.", "benchmark_forms:space_time", "benchmark:space_time"),
    "denoising": Command("Judge denoising.", "benchmark_forms:denoising", "benchmark_denoising:run"),
    "inpainting": Command("Judge filled holes.", "benchmark_forms:inpainting", "benchmark_inpainting:run"),
}
_EXPERIMENTS = {
    "spectral": Command("Spectral bias.", "lab_forms:spectral", "lab_spectral:run"),
    "ntk": Command("The tangent kernel.", "lab_forms:ntk", "lab_ntk:run"),
    "conditioning": Command("Ways to steer a decoder.", "lab_forms:conditioning", "lab_races:conditioning"),
    "latents": Command("Kinds of latents.", "lab_forms:latents", "lab_races:latents"),
    "adapt": Command("A new clip by its codes alone.", "lab_forms:adapt", "lab_adapt:run"),
}

COMMANDS: dict[str, Command | Group] = {
    "run": _command(
        "run", "Fit a clip and export from it in one go; several clips, or a folder of them, one after the other."
    ),
    "info": _command("info", "Say what a video, a picture, or a fitted run holds."),
    "train": _command("train", "Fit a field to a clip, or one field to several."),
    "adapt": _command("adapt", "Fit a new clip with what other clips have taught: only its codes are learnt."),
    "render": _command("render", "Export a video or a picture from a fitted field."),
    "flow": _command("flow", "Write the motion of a fitted field: optical flow from each instant to the next."),
    "snapshot": _command("snapshot", "Write one picture of what a fitted field adds."),
    "view": _command("view", "Open a local page to look at a fitted field."),
    "evaluate": _command("evaluate", "Judge a fit on what was held out, beside peers."),
    "compare": _command("compare", "Judge two videos against each other, frame by frame, and show where they differ."),
    "benchmark": Group("Run the open suite beside what people use today.", "benchmark", "what to judge", _BENCHMARKS),
    "lab": Group(
        "Run experiments that show the theory of neural fields at work.", "lab", "an experiment", _EXPERIMENTS
    ),
    "completion": _command("completion", "Print a script that completes vfield's commands and options in a shell."),
}

# Names of the parts of those that have any.
GROUPS: dict[str, list[str]] = {
    name: list(command.parts) for name, command in COMMANDS.items() if isinstance(command, Group)
}
