"""Print a script that completes vfield's commands and options in a shell."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from vfield.cli import forms
from vfield.cli.commands import COMMANDS, GROUPS, Command, Group
from vfield.cli.options import parse, parser_of
from vfield.cli.says import say
from vfield.core.errors import UserError


class Option(NamedTuple):
    """An option: its spellings, and the beginning of its help."""

    names: Sequence[str]
    about: str


class Words(NamedTuple):
    """What may follow the words that name a command or a part of one.

    Attributes:
        parts: further names, before any option.
        options: of the command.
    """

    parts: Sequence[str]
    options: Sequence[Option]

    @property
    def all(self) -> list[str]:
        """All of them."""
        return [*self.parts, *(name for option in self.options for name in option.names)]


def run(words: list[str]) -> int:
    """Print the script of a shell."""
    shell = parse(forms.completion(), words).shell
    if shell not in SCRIPTS:
        raise UserError(f"completion knows {', '.join(SCRIPTS)}, got {shell!r}")
    script = SCRIPTS[shell](_known(COMMANDS, GROUPS), list(GROUPS))
    say(script, {"shell": shell, "script": script})
    return 0


def _known(commands: Mapping[str, Command | Group], groups: Mapping[str, Sequence[str]]) -> dict[str, Words]:
    """What may follow each command and each part of one, by the words that name it; "" names none."""
    top = [Option(["-h", "--help"], "Show help"), Option(["--version"], "Show the version")]
    known = {"": Words(list(commands), top)}
    for name, command in commands.items():
        if name in groups:
            known[name] = Words(groups[name], [])
        for part in groups.get(name, [""]):
            parser = parser_of(command, [part] if part else [])
            options = [
                Option(action.option_strings, " ".join(str(action.help).split()[:8]))
                for action in parser._actions
                if action.option_strings and action.help != argparse.SUPPRESS
            ]
            known[f"{name} {part}".strip()] = Words(list(SCRIPTS) if name == "completion" else [], options)
    return known


def _cases(known: Mapping[str, Words], setting: Callable[[str], str]) -> str:
    return "\n".join(f"    {shlex.quote(key)}) {setting(' '.join(words.all))} ;;" for key, words in known.items())


def _bash(known: Mapping[str, Words], groups: Sequence[str]) -> str:
    return f"""# Completion of vfield for bash.
_vfield() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} key= known=
  if ((COMP_CWORD > 1)); then key=${{COMP_WORDS[1]}}; fi
  case $key in {"|".join(groups)}) if ((COMP_CWORD > 2)); then key="$key ${{COMP_WORDS[2]}}"; fi ;; esac
  case $key in
{_cases(known, lambda words: f'known="{words}"')}
  esac
  COMPREPLY=()
  # Where only options are known, a word not yet begun is a file.
  if [[ -n $current || $known != -* ]]; then mapfile -t COMPREPLY < <(compgen -W "$known" -- "$current"); fi
}}
complete -o default -F _vfield vfield"""


def _zsh(known: Mapping[str, Words], groups: Sequence[str]) -> str:
    return f"""#compdef vfield
# Completion of vfield for zsh.
_vfield() {{
  local key=
  local -a known
  if ((CURRENT > 2)); then key=$words[2]; fi
  case $key in ({"|".join(groups)}) if ((CURRENT > 3)); then key="$key $words[3]"; fi ;; esac
  case $key in
{_cases(known, lambda words: f"known=({words})")}
  esac
  # Where only options are known, a word not yet begun is a file.
  if [[ -n $PREFIX || $known[1] != -* ]]; then compadd -- $known && return; fi
  _files
}}
if [[ $funcstack[1] == _vfield ]]; then _vfield "$@"; else compdef _vfield vfield; fi"""


def _fish(known: Mapping[str, Words], groups: Sequence[str]) -> str:
    lines = ["# Completion of vfield for fish."]
    for key, words in known.items():
        when = "__fish_use_subcommand"
        if key:
            when = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in key.split())
        if key in groups:
            when += f"; and not __fish_seen_subcommand_from {' '.join(words.parts)}"
        start = f"complete -c vfield -n '{when}'"
        if words.parts:
            lines.append(f"{start} -f -a '{' '.join(words.parts)}'")
        for option in words.options:
            spelt = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            lines.append(f"{start} {spelt} -d {shlex.quote(option.about)}")
    return "\n".join(lines)


SCRIPTS: dict[str, Callable[[Mapping[str, Words], Sequence[str]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
