"""`vfield benchmark`: the open suite beside what people use today."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jsonargparse import ArgumentParser, Namespace

from vfield.cli.options import DEVICE, option, result_folder, suite_options
from vfield.cli.printing import say
from vfield.core.devices import DeviceName
from vfield.core.errors import UserError
from vfield.learn.config_files import load_config
from vfield.measure.benchmark.suite import read_suite
from vfield.measure.choices import BETWEEN, HOLES, REDUCTIONS, SCALE, Benchmark, Reduction

if TYPE_CHECKING:
    from torch import Tensor

    from vfield.learn import Config
    from vfield.measure.benchmark.results import Conditions

Name = TypeVar("Name", bound=str)

_DATA = Path("data")
_PRESETS = Path("configs")


@dataclass(frozen=True)
class Kind:
    """What tells one benchmark of frames from another."""

    about: str  # what it judges, for its help
    frames: int  # how many of each clip, at most
    factors: list[float] | list[int]  # the default
    factor_help: str  # what a factor means
    peers: list[str]  # the default
    known_peers: Collection[str]  # all that there are
    reductions: list[Reduction] | None = None  # the default; None where nothing is reduced
    hides_frames: bool = True  # whether a factor says which frames are seen


KINDS: dict[Benchmark, Kind] = {
    "interpolation": Kind(
        about="Judge frames in between",
        frames=49,
        factors=[2, 4],
        factor_help="see every K-th frame, judge on the others",
        peers=["blend", "minterpolate", "DIS", "RIFE"],
        known_peers=BETWEEN,
    ),
    "upscaling": Kind(
        about="Judge larger frames",
        frames=33,
        factors=[1.5, 2.0, 3.0, 4.0],
        factor_help="see frames a K-th as high and wide, judge at their own size; any number above 1",
        peers=["bicubic", "Lanczos", "Real-ESRGAN"],
        known_peers=SCALE,
        reductions=["area", "bicubic"],
        hides_frames=False,
    ),
    "space-time": Kind(
        about="Judge larger frames together with frames in between",
        frames=33,
        factors=[2],
        factor_help="see every K-th frame at a K-th of its height and width, judge on the others at their own size",
        peers=["minterpolate", "RIFE"],
        known_peers=BETWEEN,
        reductions=["area"],
    ),
}


def frames_arguments(name: Benchmark, parser: ArgumentParser) -> None:
    """The options of a benchmark of frames in between, of larger ones, or of both."""
    kind = KINDS[name]
    suite_options(parser)
    number, about = int if kind.hides_frames else float, f"{kind.factor_help}, for example 2"
    option(parser, "--factors", about, number, nargs="+", default=kind.factors, metavar="K")
    if kind.reductions is not None:
        about = f"how frames are made smaller, of {', '.join(REDUCTIONS)}, for example area"
        option(parser, "--reductions", about, str, nargs="+", default=kind.reductions, metavar="HOW")
    about = "presets in configs/, or files, for example fast"
    option(parser, "--preset", about, str, nargs="+", default=["balanced"], metavar="NAME")
    about = f"what else is judged, of {', '.join(kind.known_peers)}, for example {kind.peers[0]}"
    option(parser, "--peers", about, str, nargs="*", default=kind.peers, metavar="PEER")
    option(parser, "--device", DEVICE, DeviceName, default="cpu", metavar="NAME")
    result_folder(parser, f"runs/benchmark-{name}")


def frames(name: Benchmark, parsed: Namespace) -> int:
    """Judge frames in between, larger ones, or both."""
    from vfield.core.folders import check_result_folder
    from vfield.measure.benchmark import results
    from vfield.measure.benchmark.cases import judged_cases
    from vfield.measure.benchmark.results import RESULTS_NAME, Conditions
    from vfield.measure.evaluation import aligned

    kind, folder = KINDS[name], Path(parsed.out)
    presets = {word: _preset(word, parsed.device) for word in parsed.preset}
    peers = [_one_of(kind.known_peers, "peers", word) for word in parsed.peers]
    factors = list(dict.fromkeys(parsed.factors))
    if kind.hides_frames and min(factors) < 2:
        raise UserError(f"--factors must be at least 2 (every second frame seen), got {min(factors)}")
    for factor in factors:
        if not 1 < factor < math.inf:
            raise UserError(f"--factors must be more than 1, got {factor:g}")
    reductions: list[Reduction] = []
    if kind.reductions is not None:
        reductions = list(dict.fromkeys(_one_of(REDUCTIONS, "reductions", word) for word in parsed.reductions))
    check_result_folder(folder, parsed.overwrite, RESULTS_NAME, "benchmark")
    clips = read_suite(parsed.clips, [_DATA, Path(parsed.clip_folder)], kind.frames)
    most = max(factors)
    for clip_name, clip in clips.items():
        if kind.hides_frames and len(clip) <= most:
            raise UserError(f"--factors {most} needs at least {most + 1} frames, {clip_name} has {len(clip)}")
        if kind.reductions is not None and round(min(clip.height, clip.width) / most) < 1:
            raise UserError(f"--factors {most:g} leaves nothing of {clip_name}, {clip.width}x{clip.height}")
    made = judged_cases(name, clips, factors, reductions, presets, peers)
    conditions = Conditions.here(name, _command(name, parsed), parsed.device)
    cases = _keep(
        folder,
        (([case], picture, case.picture) for case, picture in made),
        partial(results.document, conditions=conditions),
        partial(results.page, conditions=conditions),
        lambda some: f"\n{some[0]}\n{aligned(results.table(some))}",
    )
    parts = [f"\n{title}\n{aligned(cells)}" for title, cells in results.mean_tables(cases).items()]
    pictures = folder / results.PICTURES_NAME
    files = f"{folder / results.TABLE_NAME}, {folder / RESULTS_NAME} and a picture of each in {pictures}"
    say("\n".join([*parts, "", files]), {"folder": folder, **results.document(cases, conditions)})
    return 0


def _keep(
    folder: Path,
    made: Iterable[tuple[list[Any], Tensor | None, str]],
    document: Callable[[Sequence[Any]], dict[str, Any]],
    page: Callable[[Sequence[Any]], str],
    told: Callable[[Sequence[Any]], str],
) -> list[Any]:
    """Write and print what is made, with a picture of that name where there is one, as soon as it is there; all of it.

    `document` gives the figures of what was made so far, `page` its tables, and `told` what to print of some.
    """
    from vfield.core.drawing import save_png
    from vfield.core.folders import write_text
    from vfield.measure.benchmark.results import PICTURES_NAME, RESULTS_NAME, TABLE_NAME

    all_made: list[Any] = []
    pictures = folder / PICTURES_NAME

    def write() -> None:
        for name, text in ((RESULTS_NAME, json.dumps(document(all_made), indent=1)), (TABLE_NAME, page(all_made))):
            write_text(folder / name, text)

    folder.mkdir(parents=True, exist_ok=True)
    # Written before the first case, so that the folder is known for what it is however early a run ends.
    write()
    shutil.rmtree(pictures, ignore_errors=True)
    for some, picture, name in made:
        all_made += some
        if picture is not None:
            pictures.mkdir(exist_ok=True)
            save_png(picture, pictures / name)
        write()
        print(told(some), flush=True)
    return all_made


def _command(name: str, parsed: Namespace) -> str:
    """The command that repeats a benchmark, which is kept with its figures."""
    return shlex.join(["python", "scripts/benchmark.py", name, *parsed.words])


def _preset(word: str, device: DeviceName) -> Config:
    from vfield.learn import check_device

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


def denoising_arguments(parser: ArgumentParser) -> None:
    """Judge denoising, from the root of the repository."""
    suite_options(parser, frames=9)
    about = "grey levels of 255 of noise to add, for example 25"
    option(parser, "--levels", about, float, nargs="+", default=[0, 10, 25, 50], metavar="S")
    result_folder(parser, "runs/benchmark-denoising")


def denoising(parsed: Namespace) -> int:
    """Judge, print each figure as it comes and leave all in a folder."""
    from vfield.core.folders import check_result_folder
    from vfield.measure.benchmark import denoising as judging
    from vfield.measure.benchmark.results import RESULTS_NAME, TABLE_NAME, Conditions

    if parsed.frames < 3:
        raise UserError(f"--frames must be at least 3, got {parsed.frames}")
    folder = Path(parsed.out)
    check_result_folder(folder, parsed.overwrite, RESULTS_NAME, "benchmark")
    clips = read_suite(parsed.clips, [_DATA, Path(parsed.clip_folder)], parsed.frames)
    conditions = Conditions.here("denoising", _command("denoising", parsed), "cpu")
    made = (([row], None, "") for row in judging.denoising(clips, parsed.levels))
    files = f"{folder / TABLE_NAME} and {folder / RESULTS_NAME}"
    _keep_rows(folder, made, judging.denoising_table, conditions, files)
    return 0


def inpainting_arguments(parser: ArgumentParser) -> None:
    """Judge filled holes, from the root of the repository."""
    suite_options(parser, frames=25)
    about = f"kinds of holes, of {', '.join(HOLES)}, for example {next(iter(HOLES))}"
    option(parser, "--holes", about, str, nargs="+", default=list(HOLES), metavar="KIND")
    option(parser, "--preset", "a preset in configs/, for example fast", str, default="balanced", metavar="NAME")
    option(parser, "--device", DEVICE, DeviceName, default="cpu", metavar="NAME")
    result_folder(parser, "runs/benchmark-inpainting")


def inpainting(parsed: Namespace) -> int:
    """Judge, print the figures as they come and leave all in a folder."""
    from vfield.core.folders import check_result_folder
    from vfield.measure.benchmark import inpainting as judging
    from vfield.measure.benchmark.results import PICTURES_NAME, RESULTS_NAME, TABLE_NAME, Conditions

    kinds = [kind for kind in HOLES if kind in parsed.holes]
    unknown = [word for word in parsed.holes if word not in HOLES]
    if unknown:
        raise UserError(f"--holes knows {', '.join(HOLES)}, got {unknown[0]!r}")
    if parsed.frames < 7:
        raise UserError(f"--frames must be at least 7, got {parsed.frames}")
    config = _preset(parsed.preset, parsed.device)
    folder = Path(parsed.out)
    check_result_folder(folder, parsed.overwrite, RESULTS_NAME, "benchmark")
    clips = read_suite(parsed.clips, [_DATA, Path(parsed.clip_folder)], parsed.frames)
    for name, clip in clips.items():
        if len(clip) < 7:
            raise UserError(f"{name} has {len(clip)} frames; the benchmark needs at least 7")
    conditions = Conditions.here("inpainting", _command("inpainting", parsed), parsed.device)
    files = f"{folder / TABLE_NAME}, {folder / RESULTS_NAME} and {PICTURES_NAME}"
    judged = judging.inpainting(clips, kinds, config)
    made = ((rows, picture, f"{rows[0].clip}-{rows[0].holes}.png") for rows, picture in judged)
    _keep_rows(folder, made, judging.inpainting_table, conditions, files)
    return 0


def _keep_rows(
    folder: Path,
    made: Iterable[tuple[list[Any], Tensor | None, str]],
    table: Callable[[Sequence[Any]], list[list[str]]],
    conditions: Conditions,
    files: str,
) -> None:
    """As `_keep`, of rows of one table; say what came of it."""
    from vfield.measure.evaluation import aligned

    def document(rows: Sequence[Any]) -> dict[str, Any]:
        return {**asdict(conditions), "rows": [asdict(row) for row in rows]}

    def told(some: Sequence[Any]) -> str:
        return "\n".join("  ".join(line) for line in table(some)[1:])

    rows = _keep(folder, made, document, lambda rows: aligned(table(rows)) + "\n", told)
    say(f"\n{aligned(table(rows))}\n\n{files}", {"folder": folder, **document(rows)})
