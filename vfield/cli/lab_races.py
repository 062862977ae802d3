"""Races of fields on the same clips: ways to steer a decoder, kinds of latents."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from vfield.benchmark.suite import SUITE, read_suite
from vfield.cli.options import check_folder, command_parser, parse
from vfield.cli.values import parse_size
from vfield.errors import UserError
from vfield.folders import replaced
from vfield.lab import conditioning as steering
from vfield.lab import latents as codes
from vfield.lab.curves import draw, table
from vfield.lab.plots import check_plots
from vfield.lab.race import Curve, Entry, course, race

RESULTS_NAME = "races.json"


def conditioning(words: list[str]) -> int:
    """Compare concatenation, FiLM, conditional batch norm and a hypernetwork."""
    parser = _parser("conditioning", "Compare ways to steer a decoder at equal parameter count.", 9)
    parser.add_argument("--every", type=int, default=4, help="take every so-many-th frame; default 4")
    parser.add_argument("--parameters", type=int, default=12000, help="of each decoder; default 12000")
    parser.add_argument("--rank", type=int, default=8, help="of the hypernetwork's weights; default 8")
    parsed = parse(parser, words)
    if parsed.rank < 1 or parsed.every < 1:
        raise UserError(f"--rank and --every must be at least 1, got {parsed.rank} and {parsed.every}")
    entries = steering.entries(parsed.parameters, parsed.rank, parsed.learning_rate, parsed.seed)
    return _run(parsed, entries, parsed.every, holdout=1, command=["conditioning", *words])


def latents(words: list[str]) -> int:
    """Compare no, global, local and both kinds of latents, and learnt codes with predicted ones."""
    parser = _parser("latents", "Compare kinds of latents, and where codes come from.", 17)
    parser.add_argument("--width", type=int, default=48, help="units in a hidden layer; default 48")
    parsed = parse(parser, words)
    entries = codes.entries(parsed.width, parsed.learning_rate, parsed.seed)
    return _run(parsed, entries, every=1, holdout=2, command=["latents", *words])


def _parser(name: str, about: str, frames: int) -> ArgumentParser:
    parser = command_parser(f"lab {name}", about)
    parser.add_argument(
        "--clips", nargs="+", type=str, default=list(SUITE), metavar="CLIP", help="names in the suite, or files"
    )
    parser.add_argument(
        "--clip-folder", type=str, default="../shared/clips", metavar="DIR", help="suite clips that are not in data/"
    )
    parser.add_argument("--frames", type=int, default=frames, help=f"of each clip, at most; default {frames}")
    parser.add_argument(
        "--crop", type=str, default="80x64", metavar="WxH", help="the middle of the picture, pixels; default 80x64"
    )
    parser.add_argument("--steps", type=int, default=400, help="optimisation steps; default 400")
    parser.add_argument("--learning-rate", type=float, default=1e-2, help="at the start; default 0.01")
    parser.add_argument("--seed", type=int, default=0, help="of everything random; default 0")
    parser.add_argument("--out", type=str, default=f"runs/lab-{name}", metavar="DIR", help="folder for the results")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in the folder")
    return parser


def _run(parsed: Namespace, entries: Sequence[Entry], every: int, holdout: int, command: list[str]) -> int:
    """Let all race on all clips; write and print what came of it."""
    if parsed.steps < 1 or parsed.frames < 1:
        raise UserError(f"--steps and --frames must be at least 1, got {parsed.steps} and {parsed.frames}")
    crop = parse_size(parsed.crop)
    folder = Path(parsed.out)
    check_folder(folder, parsed.overwrite, mark=RESULTS_NAME, kept="comparison")
    check_plots()
    clips = read_suite(parsed.clips, [Path("data"), Path(parsed.clip_folder)], every * parsed.frames)
    courses = [course(name, clip.select(range(0, len(clip), every)), crop, holdout) for name, clip in clips.items()]
    curves: list[Curve] = []
    folder.mkdir(parents=True, exist_ok=True)
    for on in courses:
        for entry in entries:
            curves.append(race(entry, on, parsed.steps))
            print(f"{on.name} {entry.group} {entry.name}: {curves[-1].psnr[-1]:.2f} dB", flush=True)
            with replaced(folder / RESULTS_NAME) as partial:
                document = {"command": shlex.join(["vfield", "lab", *command]), "curves": [c.as_json() for c in curves]}
                partial.write_text(json.dumps(document, indent=1))
        draw([curve for curve in curves if curve.clip == on.name], folder / f"{on.name}.png")
    print(f"\n{table(curves)}\n\n{folder / RESULTS_NAME} and a picture for each clip beside it")
    return 0
