"""PSNR against bits per pixel, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vfield.benchmark.compact import PUBLISHED, CompactRow
from vfield.lab.plots import new_figure, save_figure


def draw_rates(rows: Sequence[CompactRow], path: Path, with_published: bool) -> None:
    """Write the curve of each method, and the points of papers, as a PNG.

    Args:
        rows: figures of one clip.
        path: where to.
        with_published: whether the clip is the one that the papers' figures are of.
    """
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for name, curve in _by_name(rows).items():
        axes.plot([row.bits_per_pixel for row in curve], [row.psnr for row in curve], marker="o", label=name)
    if with_published:
        for name, marker in (("NeRV", "v"), ("E-NeRV", "s"), ("HNeRV", "*")):
            points = [each for each in PUBLISHED if each.name == name]
            axes.scatter(
                [each.bits_per_pixel for each in points],
                [each.psnr for each in points],
                marker=marker,
                color="black",
                s=60,
                label=f"{name}, 8 bits a parameter",
            )
    # The same axis in bytes of a file.
    bytes_a_bit = rows[0].file_bytes / rows[0].bits_per_pixel / 1e6
    upper = axes.secondary_xaxis(
        "top", functions=(lambda x: np.multiply(x, bytes_a_bit), lambda x: np.divide(x, bytes_a_bit))
    )
    upper.set_xlabel("file, MB")
    axes.set(xlabel="bits per pixel", ylabel="PSNR, dB")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save_figure(figure, path)


def _by_name(rows: Sequence[CompactRow]) -> Mapping[str, list[CompactRow]]:
    curves: dict[str, list[CompactRow]] = {}
    for row in sorted(rows, key=lambda each: each.bits_per_pixel):
        curves.setdefault(row.name, []).append(row)
    return curves
