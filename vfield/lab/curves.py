"""Curves as pictures and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from vfield.lab.plots import new_figure, save_figure
from vfield.lab.race import Curve
from vfield.measure.evaluation import aligned


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Write the curves of one clip as a PNG: a row a group, PSNR against steps and against CPU seconds."""
    groups = list(dict.fromkeys(curve.group for curve in curves))
    figure = new_figure(9, 0.6 + 2.9 * len(groups))
    axes = figure.subplots(len(groups), 2, squeeze=False, sharey="row")
    for row, group in zip(axes, groups, strict=True):
        for curve in curves:
            if curve.group == group:
                # Without the first mark, where nothing is learnt: it would squeeze all the others.
                row[0].plot(curve.steps[1:], curve.psnr[1:], marker=".", label=curve.name)
                row[1].plot(curve.seconds[1:], curve.psnr[1:], marker=".", label=curve.name)
        row[0].set(xlabel="steps", ylabel=f"{group}: PSNR, dB")
        row[1].set(xlabel="CPU seconds of learning")
        row[0].legend(fontsize="small")
        for plot in row:
            plot.grid(alpha=0.3)
    figure.suptitle(curves[0].clip)
    save_figure(figure, path)


def table(curves: Sequence[Curve]) -> str:
    """A line each: what it is, how large, and what it reached."""
    lines = [["", "width", "decoder", "codes", "encoder", "a quarter, dB", "end, dB", "between, dB", "CPU s"]]
    for curve in curves:
        quarter = min(range(len(curve.steps)), key=lambda i: abs(curve.steps[i] - curve.steps[-1] / 4))
        between = curve.held_out_psnr[-1]
        numbers = (curve.width, curve.decoder_parameters, curve.code_parameters, curve.encoder_parameters)
        lines.append(
            [
                f"{curve.clip} {curve.group} {curve.name}",
                *map(str, numbers),
                f"{curve.psnr[quarter]:.2f}",
                f"{curve.psnr[-1]:.2f}",
                "-" if math.isnan(between) else f"{between:.2f}",
                f"{curve.seconds[-1]:.1f}",
            ]
        )
    return aligned(lines)
