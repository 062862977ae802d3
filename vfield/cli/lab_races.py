"""Races of fields on the same clips: ways to steer a decoder, kinds of latents."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from vfield.cli import lab_forms as forms
from vfield.cli.options import check_folder, parse
from vfield.cli.says import say
from vfield.cli.values import parse_size
from vfield.core.errors import UserError
from vfield.core.folders import replaced
from vfield.lab.entries import conditioning_entries, latent_entries
from vfield.lab.plots import check_plots
from vfield.lab.race import Curve, Entry, course, draw, race, table
from vfield.measure.benchmark.suite import read_suite

RESULTS_NAME = "races.json"


def conditioning(words: list[str]) -> int:
    """Compare concatenation, FiLM, conditional batch norm and a hypernetwork."""
    parsed = parse(forms.conditioning(), words)
    if parsed.rank < 1 or parsed.every < 1:
        raise UserError(f"--rank and --every must be at least 1, got {parsed.rank} and {parsed.every}")
    entries = conditioning_entries(parsed.parameters, parsed.rank, parsed.learning_rate, parsed.seed)
    return _run(parsed, entries, parsed.every, holdout=1, command=["conditioning", *words])


def latents(words: list[str]) -> int:
    """Compare no, global, local and both kinds of latents, and learnt codes with predicted ones."""
    parsed = parse(forms.latents(), words)
    entries = latent_entries(parsed.width, parsed.learning_rate, parsed.seed)
    return _run(parsed, entries, every=1, holdout=2, command=["latents", *words])


def _run(parsed: Namespace, entries: Sequence[Entry], every: int, holdout: int, command: list[str]) -> int:
    """Let all race on all clips; write and print what came of it."""
    if parsed.steps < 1 or parsed.frames < 1:
        raise UserError(f"--steps and --frames must be at least 1, got {parsed.steps} and {parsed.frames}")
    crop = parse_size(parsed.middle)
    folder = Path(parsed.out)
    check_folder(folder, parsed.overwrite, mark=RESULTS_NAME, kept="comparison")
    check_plots()
    clips = read_suite(parsed.clips, [Path("data"), Path(parsed.clip_folder)], every * parsed.frames)
    courses = [course(name, clip.select(range(0, len(clip), every)), crop, holdout) for name, clip in clips.items()]
    curves: list[Curve] = []
    document: dict[str, Any] = {"command": shlex.join(["vfield", "lab", *command])}
    folder.mkdir(parents=True, exist_ok=True)
    for on in courses:
        for entry in entries:
            curves.append(race(entry, on, parsed.steps))
            print(f"{on.name} {entry.group} {entry.name}: {curves[-1].psnr[-1]:.2f} dB", flush=True)
            with replaced(folder / RESULTS_NAME) as partial:
                document["curves"] = [curve.as_json() for curve in curves]
                partial.write_text(json.dumps(document, indent=1))
        draw([curve for curve in curves if curve.clip == on.name], folder / f"{on.name}.png")
    text = f"\n{table(curves)}\n\n{folder / RESULTS_NAME} and a picture for each clip beside it"
    say(text, {"folder": folder, **document})
    return 0
