"""`vfield lab`: experiments that show the theory of neural fields at work."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from vfield.cli.options import (
    SEED,
    STEPS,
    config_of,
    fit_options,
    option,
    parse,
    result_folder,
    source_options,
    suite_options,
)
from vfield.cli.printing import say
from vfield.core.clip import parse_size
from vfield.core.errors import UserError
from vfield.lab.settings import NtkConfig, SpectralConfig
from vfield.measure.benchmark.suite import read_suite

if TYPE_CHECKING:
    from vfield.lab.race import Curve, Entry

RESULTS_NAME = "races.json"
_NTK_SIZE = 128  # pixels: side of the picture that the kernels are of


def _image_option(parser: ArgumentParser, about: str) -> None:
    about, default = f"{about}, for example photo.png", "data/bigbuckbunny.mp4"
    option(parser, "-i --input --image", about, str, dest="image", default=default, metavar="FILE")


def spectral_arguments(parser: ArgumentParser) -> None:
    """Fit the same MLP to half of a picture's pixels with each map of (u, v), and judge it on the others.

    Writes training.gif, curves.png, spectrum.png, sigma.png and figures.json.
    """
    _image_option(parser, "a picture, or a video for its first frame")
    default = SpectralConfig()
    about = "side of the square that the picture is reduced to, pixels, for example 64"
    option(parser, "--pixels", about, int, default=default.size, metavar="N")
    option(parser, "--steps", f"{STEPS}, of each fit", int, default=default.steps, metavar="N")
    about = "bandwidths to try, cycles across the picture, for example 4 16"
    option(parser, "--sigmas", about, float, nargs="+", default=list(default.sigmas), metavar="CYCLES")
    option(parser, "--seed", SEED, int, default=default.seed, metavar="N")
    result_folder(parser, "runs/lab-spectral")


def spectral(parsed: Namespace) -> int:
    """Fit a picture with every map of its places, and write what was seen."""
    from vfield.core.folders import check_result_folder
    from vfield.lab.plots import FIGURES_NAME, check_plots
    from vfield.lab.spectral import Trace, run_spectral, square_picture, write_spectral
    from vfield.video_io import read_clip

    def tell(name: str, trace: Trace) -> None:
        print(f"  fitted {name}: held-out PSNR {trace.held_out_psnr[-1]:.2f} dB", flush=True)

    folder, sigmas = Path(parsed.out), tuple(dict.fromkeys(parsed.sigmas))
    config = SpectralConfig(size=parsed.pixels, steps=parsed.steps, sigmas=sigmas, seed=parsed.seed)
    check_plots()
    check_result_folder(folder, parsed.overwrite, FIGURES_NAME, "finished experiment")
    picture = square_picture(read_clip(parsed.image, max_frames=1), config.size)
    result = run_spectral(picture, config, tell)
    write_spectral(result, config, Path(parsed.image).name, folder)
    lines = []
    for name, trace in result.traces.items():
        sigma = f" (sigma {result.sweeps[name].best:g})" if name in result.sweeps else ""
        lines.append(
            f"{name}{sigma}: held-out PSNR {trace.held_out_psnr[-1]:.2f} dB, seen {trace.seen_psnr[-1]:.2f} dB"
        )
    lines.append(f"{folder}: training.gif, curves.png, spectrum.png, sigma.png, {FIGURES_NAME}")
    say("\n".join(lines), {"folder": folder, **json.loads((folder / FIGURES_NAME).read_text())})
    return 0


def ntk_arguments(parser: ArgumentParser) -> None:
    """The tangent kernel of a wide field f(u, v) with each map of (u, v), on a line and on a grid over the picture, and
    the training that it foretells. Writes kernels.png, eigenvalues.png, training.png and figures.json.
    """
    _image_option(parser, "a picture, or a video for its first frame, whose middle row is learnt")
    for name, kind, about in (
        ("line-points", int, "points on the line"),
        ("side", int, "points along each side of the grid"),
        ("width", int, "units in each hidden layer"),
        ("depth", int, "hidden layers"),
        ("sigma", float, "bandwidth, cycles across the picture"),
        ("steps", int, "steps of gradient descent on the line"),
        ("seed", int, "seed of everything random"),
    ):
        default = getattr(NtkConfig(), name.replace("-", "_"))
        option(parser, f"--{name}", f"{about}, for example {2 * default or 1:g}", kind, default=default, metavar="N")
    result_folder(parser, "runs/lab-ntk")


def ntk(parsed: Namespace) -> int:
    """Compute the tangent kernels with every map of a picture's places, and write what they are."""
    from vfield.core.folders import check_result_folder
    from vfield.lab.ntk_run import run_ntk, write_ntk
    from vfield.lab.plots import FIGURES_NAME, check_plots
    from vfield.lab.spectral import square_picture
    from vfield.video_io import read_clip

    folder = Path(parsed.out)
    given = {field.name: getattr(parsed, field.name) for field in fields(NtkConfig) if field.name in parsed}
    config = NtkConfig(**given)
    check_plots()
    check_result_folder(folder, parsed.overwrite, FIGURES_NAME, "finished experiment")
    picture = square_picture(read_clip(parsed.image, max_frames=1), _NTK_SIZE)
    result = run_ntk(picture, config)
    write_ntk(result, config, Path(parsed.image).name, folder)
    lines = []
    for kind in result.line:
        line, grid, training = result.line[kind], result.grid[kind], result.training[kind]
        lines.append(
            f"{kind}: not stationary {100 * line.unexplained:.1f} % (line), {100 * grid.unexplained:.1f} % (picture); "
            f"eigenvalues above 1/100: {line.count_above} of {len(line.decay)}, "
            f"{grid.count_above} of {len(grid.decay)}; "
            f"from infinite width {100 * line.apart:.1f} %; training as foretold to {100 * training.apart:.1f} %"
        )
    lines.append(f"{folder}: kernels.png, eigenvalues.png, training.png, {FIGURES_NAME}")
    say("\n".join(lines), {"folder": folder, **json.loads((folder / FIGURES_NAME).read_text())})
    return 0


def conditioning_arguments(parser: ArgumentParser) -> None:
    """Compare ways to steer a decoder at equal parameter count."""
    _race_arguments(parser, "conditioning", 9)
    option(parser, "--every", "take every K-th frame, for example 2", int, default=4, metavar="K")
    about = "how many parameters each decoder has, for example 6000"
    option(parser, "--parameters", about, int, default=12000, metavar="N")
    option(parser, "--rank", "of the hypernetwork's weights, for example 4", int, default=8, metavar="N")


def conditioning(parsed: Namespace) -> int:
    """Compare concatenation, FiLM, conditional batch norm and a hypernetwork."""
    from vfield.lab.entries import conditioning_entries

    racing = conditioning_entries(parsed.parameters, parsed.rank, parsed.learning_rate, parsed.seed)
    return _race(parsed, racing, parsed.every, holdout=1, command=["conditioning", *parsed.words])


def latents_arguments(parser: ArgumentParser) -> None:
    """Compare kinds of latents, and where codes come from."""
    _race_arguments(parser, "latents", 17)
    option(parser, "--width", "units in each hidden layer, for example 24", int, default=48, metavar="N")


def latents(parsed: Namespace) -> int:
    """Compare no, global, local and both kinds of latents, and learnt codes with predicted ones."""
    from vfield.lab.entries import latent_entries

    racing = latent_entries(parsed.width, parsed.learning_rate, parsed.seed)
    return _race(parsed, racing, every=1, holdout=2, command=["latents", *parsed.words])


def _race_arguments(parser: ArgumentParser, name: str, frames: int) -> None:
    suite_options(parser, frames)
    about = "only the middle of the pictures, pixels, for example 64x64"
    option(parser, "--middle", about, str, default="80x64", metavar="WxH")
    option(parser, "--steps", STEPS, int, default=400, metavar="N")
    option(parser, "--learning-rate", "learning rate at the start, for example 0.005", float, default=1e-2)
    option(parser, "--seed", SEED, int, default=0, metavar="N")
    result_folder(parser, f"runs/lab-{name}")


def _race(parsed: Namespace, entries: Sequence[Entry], every: int, holdout: int, command: list[str]) -> int:
    """Let all race on all clips; write and print what came of it."""
    from vfield.core.folders import check_result_folder, write_text
    from vfield.lab.plots import check_plots
    from vfield.lab.race import course, draw, race, table

    if parsed.steps < 1:
        raise UserError(f"--steps must be at least 1, got {parsed.steps}")
    crop = parse_size(parsed.middle)
    folder = Path(parsed.out)
    check_result_folder(folder, parsed.overwrite, RESULTS_NAME, "comparison")
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
            document["curves"] = [curve.as_json() for curve in curves]
            write_text(folder / RESULTS_NAME, json.dumps(document, indent=1))
        draw([curve for curve in curves if curve.clip == on.name], folder / f"{on.name}.png")
    text = f"\n{table(curves)}\n\n{folder / RESULTS_NAME} and a picture for each clip beside it"
    say(text, {"folder": folder, **document})
    return 0


def adapt_arguments(parser: ArgumentParser) -> None:
    """Fit a new clip from nothing, by its codes alone, and tuned: PSNR by seconds."""
    about = "run folder to adapt from, of several clips for a picture of codes, for example runs/many; required"
    option(parser, "run", about, str)
    source_options(parser, "video")
    option(parser, "--look-every", "steps between looks, for example 10", int, default=20, metavar="N")
    fit_options(parser)


def adapt(parsed: Namespace) -> int:
    """Compare fitting a new clip from nothing and by its codes alone."""
    from vfield.core.folders import check_folder
    from vfield.field.checkpoint import load_field
    from vfield.lab.adapt import FILES, check, compare, report, table
    from vfield.learn import check_device
    from vfield.learn.folders import fields_and_values
    from vfield.learn.sources import source_of

    if parsed.video is None or parsed.out is None:
        raise UserError("name the new clip and where results go: --video new.mp4 --out DIR")
    runs, values = fields_and_values(Path(parsed.run))
    parsed.parser.set_defaults(values)
    config = config_of(parse(parsed.parser, parsed.words))
    check_device(config.training)
    folder = Path(parsed.out)
    check_folder(folder, re.compile("|".join(map(re.escape, FILES))), "adapt", parsed.overwrite)
    seen = source_of(vars(parsed)).read()
    check(seen.observed, config)
    members = [load_field(path).field for path in runs]
    courses = compare(members[0], seen.observed, seen.held_out, config, parsed.look_every)
    folder.parent.mkdir(parents=True, exist_ok=True)
    report(folder, courses, members)
    say(f"{table(courses)}\nfigures and pictures: {folder}", {"folder": folder, "courses": courses})
    return 0
