"""What each benchmark may be told, as in `vfield.cli.forms`. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from jsonargparse import ArgumentParser

from vfield.cli.options import DEVICE, command_parser, result_folder, suite_options
from vfield.core.devices import DeviceName
from vfield.measure.choices import BETWEEN, HOLES, REDUCTIONS, SCALE, Benchmark, Reduction


@dataclass(frozen=True)
class Kind:
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


KINDS: dict[Benchmark, Kind] = {
    "interpolation": Kind(
        about="Judge frames in between, from the root of the repository.",
        frames=49,
        factors=[2, 4],
        factor_help="see every K-th frame, judge on the others",
        peers=["blend", "minterpolate", "DIS", "RIFE"],
        known_peers=BETWEEN,
        reductions=None,
        hides_frames=True,
    ),
    "upscaling": Kind(
        about="Judge larger frames, from the root of the repository.",
        frames=33,
        factors=[1.5, 2.0, 3.0, 4.0],
        factor_help="see frames a K-th as high and wide, judge at their own size; any number above 1",
        peers=["bicubic", "Lanczos", "Real-ESRGAN"],
        known_peers=SCALE,
        reductions=["area", "bicubic"],
        hides_frames=False,
    ),
    "space-time": Kind(
        about="Judge larger frames together with frames in between, from the root of the repository.",
        frames=33,
        factors=[2],
        factor_help="see every K-th frame at a K-th of its height and width, judge on the others at their own size",
        peers=["minterpolate", "RIFE"],
        known_peers=BETWEEN,
        reductions=["area"],
        hides_frames=True,
    ),
}


def interpolation() -> ArgumentParser:
    """What the benchmark of frames in between may be told."""
    return judged("interpolation")


def upscaling() -> ArgumentParser:
    """What the benchmark of larger frames may be told."""
    return judged("upscaling")


def space_time() -> ArgumentParser:
    """What the benchmark of both together may be told."""
    return judged("space-time")


def judged(name: Benchmark) -> ArgumentParser:
    """What the benchmark of frames in between or of larger ones may be told."""
    kind = KINDS[name]
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


def denoising() -> ArgumentParser:
    """What the benchmark of denoising may be told."""
    parser = command_parser("benchmark denoising", "Judge denoising, from the root of the repository.")
    suite_options(parser, frames=9)
    told = "grey levels of 255 of noise to add, for example 25"
    parser.add_argument("--levels", nargs="+", type=float, default=[0, 10, 25, 50], metavar="S", help=told)
    result_folder(parser, "runs/benchmark-denoising")
    return parser


def inpainting() -> ArgumentParser:
    """What the benchmark of filled holes may be told."""
    parser = command_parser("benchmark inpainting", "Judge filled holes, from the root of the repository.")
    suite_options(parser, frames=25)
    told = f"kinds of holes, of {', '.join(HOLES)}, for example {next(iter(HOLES))}"
    parser.add_argument("--holes", nargs="+", type=str, default=list(HOLES), metavar="KIND", help=told)
    told = "a preset in configs/, for example fast"
    parser.add_argument("--preset", type=str, default="balanced", metavar="NAME", help=told)
    parser.add_argument("--device", type=DeviceName, default="cpu", metavar="NAME", help=DEVICE)
    result_folder(parser, "runs/benchmark-inpainting")
    return parser
