"""The neural tangent kernel with and without Fourier features: `vfield lab ntk`."""

from __future__ import annotations

import json
from pathlib import Path

from vfield.cli import lab_forms as forms
from vfield.cli.options import check_folder, parse
from vfield.cli.says import say
from vfield.lab.ntk_run import run_ntk, write_ntk
from vfield.lab.plots import FIGURES_NAME, check_plots
from vfield.lab.settings import NtkConfig
from vfield.lab.spectral import square_picture
from vfield.video_io import read_clip

_SIZE = 128


def run(words: list[str]) -> int:
    """Read the options, compute the kernels, and write what they are."""
    parsed = parse(forms.ntk(), words)
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
