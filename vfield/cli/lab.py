"""Run experiments that show the theory of neural fields at work.

Each has a module here and a line in `EXPERIMENTS`.
"""

from __future__ import annotations

from collections.abc import Callable

from vfield.cli import lab_adapt, lab_ntk, lab_races, lab_spectral
from vfield.errors import UserError

EXPERIMENTS: dict[str, Callable[[list[str]], int]] = {
    "spectral": lab_spectral.run,
    "ntk": lab_ntk.run,
    "conditioning": lab_races.conditioning,
    "latents": lab_races.latents,
    "adapt": lab_adapt.run,
}


def run(words: list[str]) -> int:
    """Hand the words on to the experiment that the first of them names."""
    if words and words[0] in ("-h", "--help"):
        print(f"usage: vfield lab {{{','.join(EXPERIMENTS)}}} ...\n\nAdd --help after a name for its options.")
        return 0
    if not words or words[0] not in EXPERIMENTS:
        raise UserError(f"name an experiment: vfield lab {' or '.join(EXPERIMENTS)}")
    return EXPERIMENTS[words[0]](words[1:])
