"""Scripts that complete vfield's commands and options in a shell."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Option(NamedTuple):
    """An option: its spellings, and the beginning of its help."""

    names: Sequence[str]
    about: str


class Words(NamedTuple):
    """What may follow the words that name a command or a part of one."""

    parts: Sequence[str]  # further names, before any option
    options: Sequence[Option]  # of the command

    @property
    def all(self) -> list[str]:
        """All of them."""
        return [*self.parts, *(name for option in self.options for name in option.names)]


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
