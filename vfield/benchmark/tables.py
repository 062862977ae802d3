"""Figures of a benchmark as tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from vfield.benchmark.interpolation import Case
from vfield.evaluation import Row

Cells = list[list[str]]
"""A table: its lines from the head on, all of the same number of cells."""


class Figures(NamedTuple):
    """A line of a table: one method on one clip, or its mean over clips.

    Attributes:
        name: the method.
        psnr: dB on held-out frames; None where there are no figures.
        ssim: likewise.
        at: dB for each instant between two observed frames.
        fit_seconds: time to prepare.
        render_seconds: time to make every frame.
        peak_megabytes: most memory used above what the process held before.
        note: why there are no figures.
    """

    name: str
    psnr: float | None
    ssim: float | None
    at: list[float]
    fit_seconds: float
    render_seconds: float
    peak_megabytes: float
    note: str

    def cells(self, instants: int) -> list[str]:
        """As text, but for the note."""
        if self.psnr is None:
            return [self.name, *["-"] * (5 + (instants if instants > 1 else 0))]
        at = [f"{value:.2f}" for value in self.at] if instants > 1 else []
        costs = [f"{self.fit_seconds:.1f}", f"{self.render_seconds:.1f}", f"{self.peak_megabytes:.0f}"]
        return [self.name, f"{self.psnr:.2f}", f"{self.ssim:.4f}", *at, *costs]


def figures(row: Row, factor: int) -> Figures:
    """What a table says about a row."""
    held_out = row.held_out
    return Figures(
        row.name,
        None if held_out is None else held_out.psnr,
        None if held_out is None else held_out.ssim,
        # Held-out frames lie gap by gap, so that each instant comes back after factor - 1 of them.
        [] if held_out is None else [fmean(row.psnr_each[i :: factor - 1]) for i in range(factor - 1)],
        row.fit_seconds,
        row.render_seconds,
        row.peak_megabytes,
        row.note,
    )


def mean_figures(cases: Sequence[Case]) -> list[Figures]:
    """Each method's mean over clips at one factor; none for a method that a clip has no figures of."""
    means = []
    for over in zip(*([figures(row, case.factor) for row in case.rows] for case in cases), strict=True):
        psnrs = [each.psnr for each in over if each.psnr is not None]
        ssims = [each.ssim for each in over if each.ssim is not None]
        whole = len(psnrs) == len(over)
        means.append(
            Figures(
                over[0].name,
                fmean(psnrs) if whole else None,
                fmean(ssims) if whole else None,
                [fmean(at) for at in zip(*(each.at for each in over), strict=True)] if whole else [],
                fmean(each.fit_seconds for each in over),
                fmean(each.render_seconds for each in over),
                max(each.peak_megabytes for each in over),
                next((each.note for each in over if each.note), ""),
            )
        )
    return means


def table(shown: Sequence[Figures], factor: int) -> Cells:
    """Figures with their head. PSNR at each instant has columns of its own where there are several."""
    at = [f"t={step / factor:.3g}" for step in range(1, factor)] if factor > 2 else []
    head = ["", "PSNR dB", "SSIM", *at, "fit s", "render s", "peak MB"]
    noted = any(line.note for line in shown)
    body = [line.cells(factor - 1) + ([line.note] if noted else []) for line in shown]
    return [head + ([""] if noted else []), *body]


def case_table(case: Case) -> Cells:
    """Every method on one clip at one factor."""
    return table([figures(row, case.factor) for row in case.rows], case.factor)


def mean_tables(cases: Sequence[Case]) -> dict[str, Cells]:
    """By its title, a table for each factor of every method's mean over clips, where there are several clips."""
    made = {}
    for factor, alike in by_factor(cases).items():
        if len(alike) > 1:
            made[f"mean over {len(alike)} clips, {factor}x"] = table(mean_figures(alike), factor)
    return made


def overview(cases: Sequence[Case]) -> Cells:
    """PSNR of every method on every clip, of cases at one factor, and the mean over clips."""
    head = [f"PSNR dB, {cases[0].factor}x", *(case.clip for case in cases), "mean"]
    by_clip = [[figures(row, case.factor) for row in case.rows] for case in cases]
    body = []
    for over in zip(*by_clip, mean_figures(cases), strict=True):
        body.append([over[0].name, *("-" if each.psnr is None else f"{each.psnr:.2f}" for each in over)])
    return [head, *body]


def by_factor(cases: Sequence[Case]) -> dict[int, list[Case]]:
    """The cases at each factor, the smallest first."""
    return {factor: [case for case in cases if case.factor == factor] for factor in sorted({c.factor for c in cases})}
