"""Run the open suite beside what people use today."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jsonargparse import ArgumentParser

from vfield.benchmark.interpolation import Case, interpolation
from vfield.benchmark.results import PICTURES_NAME, RESULTS_NAME, TABLE_NAME, Conditions, write_results
from vfield.benchmark.suite import SUITE, read_suite
from vfield.benchmark.tables import case_table, mean_tables
from vfield.cli import benchmark_denoising
from vfield.cli.options import check_folder, command_parser, parse
from vfield.config import load_config
from vfield.devices import DeviceName
from vfield.errors import UserError
from vfield.evaluation import BETWEEN_PEERS, aligned
from vfield.panels import save_png
from vfield.training import Config, check_device

_DATA = Path("data")
_PRESETS = Path("configs")
_PEERS = ["blend", "minterpolate", "DIS", "RIFE"]


def run(words: list[str]) -> int:
    """Hand the words on to the benchmark that the first of them names."""
    if words and words[0] in ("-h", "--help"):
        print(f"usage: benchmark {{{','.join(_BENCHMARKS)}}} ...\n\nAdd --help after a name for its options.")
        return 0
    if not words or words[0] not in _BENCHMARKS:
        raise UserError(f"name what to judge: benchmark {' or '.join(_BENCHMARKS)}")
    return _BENCHMARKS[words[0]](words[1:])


def _interpolation_parser() -> ArgumentParser:
    parser = command_parser("benchmark interpolation", "Judge frames in between, from the root of the repository.")
    parser.add_argument(
        "--clips", nargs="+", type=str, default=list(SUITE), metavar="CLIP", help="names in the suite, or files"
    )
    parser.add_argument(
        "--clip-folder", type=str, default="../shared/clips", metavar="DIR", help="suite clips that are not in data/"
    )
    parser.add_argument(
        "--factors", nargs="+", type=int, default=[2, 4], metavar="K", help="see every K-th frame, judge on the others"
    )
    parser.add_argument(
        "--preset", nargs="+", type=str, default=["balanced"], metavar="NAME", help="presets in configs/, or files"
    )
    parser.add_argument(
        "--peers", nargs="*", type=str, default=_PEERS, metavar="PEER", help=f"of {', '.join(BETWEEN_PEERS)}"
    )
    parser.add_argument("--device", type=DeviceName, default="cpu", help="where to fit: auto, cpu, cuda or mps")
    parser.add_argument(
        "--out", type=str, default="runs/benchmark-interpolation", metavar="DIR", help="folder for the results"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in the folder")
    return parser


def _interpolation(words: list[str]) -> int:
    parsed = parse(_interpolation_parser(), words)
    folder = Path(parsed.out)
    presets = {word: _preset(word, parsed.device) for word in parsed.preset}
    peers = [_peer(word) for word in parsed.peers]
    if min(parsed.factors) < 2:
        raise UserError(f"--factors must be at least 2 (every second frame seen), got {min(parsed.factors)}")
    check_folder(folder, parsed.overwrite, mark=RESULTS_NAME, kept="benchmark")
    clips = read_suite(parsed.clips, [_DATA, Path(parsed.clip_folder)])
    most = max(parsed.factors)
    for name, clip in clips.items():
        if len(clip) <= most:
            raise UserError(f"--factors {most} needs at least {most + 1} frames, {name} has {len(clip)}")
    command = shlex.join(["python", "scripts/benchmark.py", "interpolation", *words])
    conditions = Conditions.here(command, parsed.device)
    cases: list[Case] = []
    folder.mkdir(parents=True, exist_ok=True)
    # Written before the first case, so that the folder is known for what it is however early a run ends.
    write_results(folder, cases, conditions)
    shutil.rmtree(folder / PICTURES_NAME, ignore_errors=True)
    (folder / PICTURES_NAME).mkdir()
    for case, picture in interpolation(clips, list(dict.fromkeys(parsed.factors)), presets, peers):
        cases.append(case)
        save_png(picture, folder / PICTURES_NAME / case.picture)
        write_results(folder, cases, conditions)
        print(f"\n{case}\n{aligned(case_table(case))}", flush=True)
    for title, cells in mean_tables(cases).items():
        print(f"\n{title}\n{aligned(cells)}")
    print(f"\n{folder / TABLE_NAME}, {folder / RESULTS_NAME} and a picture of each in {folder / PICTURES_NAME}")
    return 0


def _preset(word: str, device: DeviceName) -> Config:
    config = load_config(word if word.endswith((".yaml", ".yml")) else _PRESETS / f"{word}.yaml")
    config = replace(config, training=replace(config.training, device=device))
    check_device(config.training)
    return config


def _peer(word: str) -> str:
    names = {name.lower(): name for name in BETWEEN_PEERS}
    if word.lower() not in names:
        raise UserError(f"--peers knows {', '.join(BETWEEN_PEERS)}, got {word!r}")
    return names[word.lower()]


_BENCHMARKS: dict[str, Callable[[list[str]], int]] = {
    "interpolation": _interpolation,
    "denoising": benchmark_denoising.run,
}
