"""Run the open suite beside what people use today."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from jsonargparse import ArgumentParser
from torch import Tensor

from vfield.benchmark.cases import Benchmark, Case
from vfield.benchmark.interpolation import interpolation
from vfield.benchmark.results import (
    PICTURES_NAME,
    RESULTS_NAME,
    TABLE_NAME,
    Conditions,
    results_document,
    write_results,
)
from vfield.benchmark.suite import read_suite
from vfield.benchmark.tables import case_table, mean_tables
from vfield.benchmark.upscaling import space_time, upscaling
from vfield.cli import benchmark_denoising, benchmark_inpainting
from vfield.cli.options import DEVICE, check_folder, command_parser, parse, result_folder, suite_options
from vfield.cli.says import say
from vfield.clip import Clip
from vfield.config import load_config
from vfield.devices import DeviceName
from vfield.errors import UserError
from vfield.evaluation import BETWEEN_PEERS, SCALE_PEERS, aligned
from vfield.panels import save_png
from vfield.peers import REDUCTIONS, Reduction
from vfield.training import Config, check_device

Name = TypeVar("Name", bound=str)

_DATA = Path("data")
_PRESETS = Path("configs")
# Benchmarks whose cases are of another kind.
_OTHERS = {
    "denoising": benchmark_denoising.run,
    "inpainting": benchmark_inpainting.run,
}


@dataclass(frozen=True)
class _Kind:
    """What tells one benchmark's command from another's.

    Attributes:
        about: a line for its help.
        frames: how many of each clip, at most.
        factors: the default.
        factor_help: what a factor means.
        peers: the default.
        known_peers: all that there are.
        reductions: the default; None where nothing is reduced.
        hides_frames: whether a factor says which frames are seen.
    """

    about: str
    frames: int
    factors: list[float] | list[int]
    factor_help: str
    peers: list[str]
    known_peers: Collection[str]
    reductions: list[Reduction] | None
    hides_frames: bool


_KINDS: dict[Benchmark, _Kind] = {
    "interpolation": _Kind(
        about="Judge frames in between, from the root of the repository.",
        frames=49,
        factors=[2, 4],
        factor_help="see every K-th frame, judge on the others",
        peers=["blend", "minterpolate", "DIS", "RIFE"],
        known_peers=BETWEEN_PEERS,
        reductions=None,
        hides_frames=True,
    ),
    "upscaling": _Kind(
        about="Judge larger frames, from the root of the repository.",
        frames=33,
        factors=[1.5, 2.0, 3.0, 4.0],
        factor_help="see frames a K-th as high and wide, judge at their own size; any number above 1",
        peers=["bicubic", "Lanczos", "Real-ESRGAN"],
        known_peers=SCALE_PEERS,
        reductions=["area", "bicubic"],
        hides_frames=False,
    ),
    "space-time": _Kind(
        about="Judge larger frames together with frames in between, from the root of the repository.",
        frames=33,
        factors=[2],
        factor_help="see every K-th frame at a K-th of its height and width, judge on the others at their own size",
        peers=["minterpolate", "RIFE"],
        known_peers=BETWEEN_PEERS,
        reductions=["area"],
        hides_frames=True,
    ),
}

NAMES: list[str] = [*_KINDS, *_OTHERS]


def run(words: list[str]) -> int:
    """Hand the words on to the benchmark that the first of them names."""
    names = NAMES
    if words and words[0] in ("-h", "--help"):
        print(f"usage: vfield benchmark {{{','.join(names)}}} ...\n\nAdd --help after a name for its options.")
        return 0
    if words and words[0] in _OTHERS:
        return _OTHERS[words[0]](words[1:])
    name = next((name for name in _KINDS if words and name == words[0]), None)
    if name is None:
        raise UserError(f"name what to judge: benchmark {' or '.join(names)}")
    return _judge(name, words[1:])


def _parser(name: Benchmark) -> ArgumentParser:
    kind = _KINDS[name]
    parser = command_parser(f"benchmark {name}", kind.about)
    suite_options(parser)
    number = int if kind.hides_frames else float
    parser.add_argument(
        "--factors",
        nargs="+",
        type=number,
        default=kind.factors,
        metavar="K",
        help=f"{kind.factor_help}, for example 2",
    )
    if kind.reductions is not None:
        parser.add_argument(
            "--reductions",
            nargs="+",
            type=str,
            default=kind.reductions,
            metavar="HOW",
            help=f"how frames are made smaller, of {', '.join(REDUCTIONS)}, for example area",
        )
    told = "presets in configs/, or files, for example fast"
    parser.add_argument("--preset", nargs="+", type=str, default=["balanced"], metavar="NAME", help=told)
    told = f"what else is judged, of {', '.join(kind.known_peers)}, for example {kind.peers[0]}"
    parser.add_argument("--peers", nargs="*", type=str, default=kind.peers, metavar="PEER", help=told)
    parser.add_argument("--device", type=DeviceName, default="cpu", metavar="NAME", help=DEVICE)
    result_folder(parser, f"runs/benchmark-{name}")
    return parser


def _judge(name: Benchmark, words: list[str]) -> int:
    kind = _KINDS[name]
    parsed = parse(_parser(name), words)
    folder = Path(parsed.out)
    presets = {word: _preset(word, parsed.device) for word in parsed.preset}
    peers = [_one_of(kind.known_peers, "peers", word) for word in parsed.peers]
    factors = list(dict.fromkeys(parsed.factors))
    _check_factors(kind, factors)
    reductions: list[Reduction] = []
    if kind.reductions is not None:
        reductions = list(dict.fromkeys(_one_of(REDUCTIONS, "reductions", word) for word in parsed.reductions))
    check_folder(folder, parsed.overwrite, mark=RESULTS_NAME, kept="benchmark")
    clips = read_suite(parsed.clips, [_DATA, Path(parsed.clip_folder)], kind.frames)
    for clip_name, clip in clips.items():
        _check_clip(kind, max(factors), clip_name, clip)
    made = {
        "interpolation": lambda: interpolation(clips, factors, presets, peers),
        "upscaling": lambda: upscaling(clips, factors, reductions, presets, peers),
        "space-time": lambda: space_time(clips, factors, reductions, presets, peers),
    }[name]()
    command = shlex.join(["python", "scripts/benchmark.py", name, *words])
    _keep(folder, made, Conditions.here(name, command, parsed.device))
    return 0


def _keep(folder: Path, made: Iterable[tuple[Case, Tensor]], conditions: Conditions) -> None:
    """Write and print every case as soon as it is there."""
    cases: list[Case] = []
    folder.mkdir(parents=True, exist_ok=True)
    # Written before the first case, so that the folder is known for what it is however early a run ends.
    write_results(folder, cases, conditions)
    shutil.rmtree(folder / PICTURES_NAME, ignore_errors=True)
    (folder / PICTURES_NAME).mkdir()
    for case, picture in made:
        cases.append(case)
        save_png(picture, folder / PICTURES_NAME / case.picture)
        write_results(folder, cases, conditions)
        print(f"\n{case}\n{aligned(case_table(case))}", flush=True)
    parts = [f"\n{title}\n{aligned(cells)}" for title, cells in mean_tables(cases).items()]
    files = f"{folder / TABLE_NAME}, {folder / RESULTS_NAME} and a picture of each in {folder / PICTURES_NAME}"
    say("\n".join([*parts, "", files]), {"folder": folder, **results_document(cases, conditions)})


def _check_factors(kind: _Kind, factors: Sequence[float]) -> None:
    if kind.hides_frames and min(factors) < 2:
        raise UserError(f"--factors must be at least 2 (every second frame seen), got {min(factors)}")
    for factor in factors:
        if not 1 < factor < math.inf:
            raise UserError(f"--factors must be more than 1, got {factor:g}")


def _check_clip(kind: _Kind, most: float, name: str, clip: Clip) -> None:
    if kind.hides_frames and len(clip) <= most:
        raise UserError(f"--factors {most} needs at least {most + 1} frames, {name} has {len(clip)}")
    if kind.reductions is not None and round(min(clip.height, clip.width) / most) < 1:
        raise UserError(f"--factors {most:g} leaves nothing of {name}, {clip.width}x{clip.height}")


def _preset(word: str, device: DeviceName) -> Config:
    config = load_config(word if word.endswith((".yaml", ".yml")) else _PRESETS / f"{word}.yaml")
    config = replace(config, training=replace(config.training, device=device))
    check_device(config.training)
    return config


def _one_of(known: Collection[Name], option: str, word: str) -> Name:
    """The name that a word means, in any case of its letters."""
    for name in known:
        if name.lower() == word.lower():
            return name
    raise UserError(f"--{option} knows {', '.join(known)}, got {word!r}")
