"""What each experiment may be told, as in `vfield.cli.forms`. Nothing here loads torch."""

from __future__ import annotations

from jsonargparse import ArgumentParser

from vfield.cli.options import (
    SEED,
    STEPS,
    command_parser,
    fit_options,
    image_option,
    middle_option,
    result_folder,
    source_options,
    suite_options,
)
from vfield.lab.settings import NtkConfig, SpectralConfig


def adapt() -> ArgumentParser:
    """What `vfield lab adapt` may be told."""
    parser = command_parser("lab adapt", "Fit a new clip from nothing, by its codes alone, and tuned: PSNR by seconds.")
    parser.add_argument(
        "run",
        type=str,
        help="run folder to adapt from, of several clips for a picture of codes, for example runs/many; required",
    )
    source_options(parser, "video")
    parser.add_argument("--look-every", type=int, default=20, metavar="N", help="steps between looks, for example 10")
    fit_options(parser)
    return parser


def ntk() -> ArgumentParser:
    """What `vfield lab ntk` may be told."""
    parser = command_parser(
        "lab ntk",
        "The tangent kernel of a wide field f(u, v) with each map of (u, v), on a line and on a grid over the picture, "
        "and the training that it foretells. Writes kernels.png, eigenvalues.png, training.png and figures.json.",
    )
    image_option(parser, "a picture, or a video for its first frame, whose middle row is learnt")
    for name, number, about in (
        ("line-points", int, "points on the line"),
        ("side", int, "points along each side of the grid"),
        ("width", int, "units in each hidden layer"),
        ("depth", int, "hidden layers"),
        ("sigma", float, "bandwidth, cycles across the picture"),
        ("steps", int, "steps of gradient descent on the line"),
        ("seed", int, "seed of everything random"),
    ):
        default = getattr(NtkConfig(), name.replace("-", "_"))
        told = f"{about}, for example {2 * default or 1:g}"
        parser.add_argument(f"--{name}", type=number, default=default, metavar="N", help=told)
    result_folder(parser, "runs/lab-ntk")
    return parser


def spectral() -> ArgumentParser:
    """What `vfield lab spectral` may be told."""
    parser = command_parser(
        "lab spectral",
        "Fit the same MLP to half of a picture's pixels with each map of (u, v), and judge it on the others. Writes "
        "training.gif, curves.png, spectrum.png, sigma.png and figures.json.",
    )
    image_option(parser, "a picture, or a video for its first frame")
    default = SpectralConfig()
    told = "side of the square that the picture is reduced to, pixels, for example 64"
    parser.add_argument("--pixels", type=int, default=default.size, metavar="N", help=told)
    parser.add_argument("--steps", type=int, default=default.steps, metavar="N", help=f"{STEPS}, of each fit")
    told = "bandwidths to try, cycles across the picture, for example 4 16"
    parser.add_argument("--sigmas", type=float, nargs="+", default=list(default.sigmas), metavar="CYCLES", help=told)
    parser.add_argument("--seed", type=int, default=default.seed, metavar="N", help=SEED)
    result_folder(parser, "runs/lab-spectral")
    return parser


def conditioning() -> ArgumentParser:
    """What `vfield lab conditioning` may be told."""
    parser = _parser("conditioning", "Compare ways to steer a decoder at equal parameter count.", 9)
    parser.add_argument("--every", type=int, default=4, metavar="K", help="take every K-th frame, for example 2")
    told = "how many parameters each decoder has, for example 6000"
    parser.add_argument("--parameters", type=int, default=12000, metavar="N", help=told)
    parser.add_argument("--rank", type=int, default=8, metavar="N", help="of the hypernetwork's weights, for example 4")
    return parser


def latents() -> ArgumentParser:
    """What `vfield lab latents` may be told."""
    parser = _parser("latents", "Compare kinds of latents, and where codes come from.", 17)
    told = "units in each hidden layer, for example 24"
    parser.add_argument("--width", type=int, default=48, metavar="N", help=told)
    return parser


def _parser(name: str, about: str, frames: int) -> ArgumentParser:
    parser = command_parser(f"lab {name}", about)
    suite_options(parser, frames)
    middle_option(parser, "80x64")
    parser.add_argument("--steps", type=int, default=400, metavar="N", help=STEPS)
    told = "learning rate at the start, for example 0.005"
    parser.add_argument("--learning-rate", type=float, default=1e-2, help=told)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=SEED)
    result_folder(parser, f"runs/lab-{name}")
    return parser
