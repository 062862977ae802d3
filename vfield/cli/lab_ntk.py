"""The neural tangent kernel with and without Fourier features: `vfield lab ntk`."""

from __future__ import annotations

import json
from pathlib import Path

from vfield.cli.options import check_folder, command_parser, image_option, parse, result_folder
from vfield.cli.says import say
from vfield.lab.ntk_figures import FIGURES_NAME, write_ntk
from vfield.lab.ntk_run import run_ntk
from vfield.lab.plots import check_plots
from vfield.lab.settings import NtkConfig
from vfield.lab.spectral import square_picture
from vfield.video_io import read_clip

_DEFAULTS = NtkConfig()
_SIZE = 128


def run(words: list[str]) -> int:
    """Read the options, compute the kernels, and write what they are."""
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
        default = getattr(_DEFAULTS, name.replace("-", "_"))
        told = f"{about}, for example {2 * default or 1:g}"
        parser.add_argument(f"--{name}", type=number, default=default, metavar="N", help=told)
    result_folder(parser, "runs/lab-ntk")
    parsed = parse(parser, words)
    folder = Path(parsed.out)
    config = NtkConfig(
        line_points=parsed.line_points,
        side=parsed.side,
        width=parsed.width,
        depth=parsed.depth,
        sigma=parsed.sigma,
        steps=parsed.steps,
        seed=parsed.seed,
    )
    check_plots()
    check_folder(folder, parsed.overwrite, mark=FIGURES_NAME, kept="finished experiment")
    picture = square_picture(read_clip(parsed.image, max_frames=1), _SIZE)
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
