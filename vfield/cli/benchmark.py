"""Run the open suite beside what people use today."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from vfield.cli import benchmark_forms as forms
from vfield.cli.options import check_folder, parse
from vfield.cli.says import say
from vfield.core.clip import Clip
from vfield.core.devices import DeviceName
from vfield.core.drawing import save_png
from vfield.core.errors import UserError
from vfield.learn import Config, check_device
from vfield.learn.config_files import load_config
from vfield.measure.benchmark.cases import Case, judged_cases
from vfield.measure.benchmark.results import (
    PICTURES_NAME,
    RESULTS_NAME,
    TABLE_NAME,
    Conditions,
    mean_tables,
    results_document,
    table,
    write_results,
)
from vfield.measure.benchmark.suite import read_suite
from vfield.measure.choices import REDUCTIONS, Benchmark, Reduction
from vfield.measure.evaluation import aligned

Name = TypeVar("Name", bound=str)

_DATA = Path("data")
_PRESETS = Path("configs")


def interpolation(words: list[str]) -> int:
    """Judge frames in between."""
    return _judge("interpolation", words)


def upscaling(words: list[str]) -> int:
    """Judge larger frames."""
    return _judge("upscaling", words)


def space_time(words: list[str]) -> int:
    """Judge larger frames together with frames in between."""
    return _judge("space-time", words)


def _judge(name: Benchmark, words: list[str]) -> int:
    kind = forms.KINDS[name]
    parsed = parse(forms.judged(name), words)
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
    made = judged_cases(name, clips, factors, reductions, presets, peers)
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
        print(f"\n{case}\n{aligned(table([case]))}", flush=True)
    parts = [f"\n{title}\n{aligned(cells)}" for title, cells in mean_tables(cases).items()]
    files = f"{folder / TABLE_NAME}, {folder / RESULTS_NAME} and a picture of each in {folder / PICTURES_NAME}"
    say("\n".join([*parts, "", files]), {"folder": folder, **results_document(cases, conditions)})


def _check_factors(kind: forms.Kind, factors: Sequence[float]) -> None:
    if kind.hides_frames and min(factors) < 2:
        raise UserError(f"--factors must be at least 2 (every second frame seen), got {min(factors)}")
    for factor in factors:
        if not 1 < factor < math.inf:
            raise UserError(f"--factors must be more than 1, got {factor:g}")


def _check_clip(kind: forms.Kind, most: float, name: str, clip: Clip) -> None:
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
