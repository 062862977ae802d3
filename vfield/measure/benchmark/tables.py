"""Figures of a benchmark as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from vfield.measure.benchmark.cases import Case
from vfield.measure.evaluation import Row

Cells = list[list[str]]
"""A table: its lines from the head on, all of the same number of cells."""


class Figures(NamedTuple):
    """A line of a table: one method on one clip, or its mean over clips.

    Attributes:
        name: the method.
        psnr: dB on the judged frames; None where there are no figures.
        ssim: likewise.
        at: dB for each instant between two observed frames.
        psnr_all: dB on all frames, judged or at instants that were given; None where only the judged ones count.
        stability: dB, see `vfield.measure.stability`; None where it was not measured.
        fit_seconds: time to prepare.
        render_seconds: time to make every frame.
        peak_megabytes: most memory used above what the process held before.
        note: why there are no figures.
    """

    name: str
    psnr: float | None
    ssim: float | None
    at: list[float]
    psnr_all: float | None
    stability: float | None
    fit_seconds: float
    render_seconds: float
    peak_megabytes: float
    note: str


def figures(row: Row, holdout: int, *, all_frames: bool = False) -> Figures:
    """What a table says about a row.

    Args:
        row: the method's result.
        holdout: every so-manieth frame was given.
        all_frames: also say how good all frames are, those at given instants included.
    """
    observed, held_out = row.observed, row.held_out
    psnr_all = None
    if all_frames and observed is not None and held_out is not None:
        total = observed.frames + held_out.frames
        psnr_all = (observed.psnr * observed.frames + held_out.psnr * held_out.frames) / total
    return Figures(
        row.name,
        None if held_out is None else held_out.psnr,
        None if held_out is None else held_out.ssim,
        # Held-out frames lie gap by gap, so that each instant comes back after holdout - 1 of them.
        [] if held_out is None else [fmean(row.psnr_each[i :: holdout - 1]) for i in range(holdout - 1)],
        psnr_all,
        row.stability,
        row.fit_seconds,
        row.render_seconds,
        row.peak_megabytes,
        row.note,
    )


def case_figures(case: Case) -> list[Figures]:
    """What tables say about each row of a case."""
    return [figures(row, case.holdout, all_frames=case.benchmark == "space-time") for row in case.rows]


def mean_figures(cases: Sequence[Case]) -> list[Figures]:
    """Each method's mean over clips at one setting; none for a method that a clip has no figures of."""
    means = []
    for over in zip(*(case_figures(case) for case in cases), strict=True):
        whole = all(each.psnr is not None for each in over)
        means.append(
            Figures(
                over[0].name,
                _mean([each.psnr for each in over]),
                _mean([each.ssim for each in over]),
                [fmean(at) for at in zip(*(each.at for each in over), strict=True)] if whole else [],
                _mean([each.psnr_all for each in over]),
                _mean([each.stability for each in over]),
                fmean(each.fit_seconds for each in over),
                fmean(each.render_seconds for each in over),
                max(each.peak_megabytes for each in over),
                next((each.note for each in over if each.note), ""),
            )
        )
    return means


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, where every clip has a value."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def table(shown: Sequence[Figures], holdout: int) -> Cells:
    """Figures with their head. Columns that only some benchmarks have are left out where no method has a figure."""
    # With one instant between two observed frames its column would repeat the first.
    instants = holdout - 1 if holdout > 2 else 0
    with_all = any(line.psnr_all is not None for line in shown)
    steady = any(line.stability is not None for line in shown)
    noted = any(line.note for line in shown)
    head = ["", "PSNR dB", "SSIM", *(f"t={step / holdout:.3g}" for step in range(1, instants + 1))]
    head += ["all dB"] * with_all + ["stability dB"] * steady + ["fit s", "render s", "peak MB"] + [""] * noted
    body = []
    for line in shown:
        at = line.at[:instants] if line.psnr is not None else [None] * instants
        cells = [_cell(line.psnr), _cell(line.ssim, 4), *map(_cell, at)]
        cells += [_cell(line.psnr_all)] * with_all + [_cell(line.stability)] * steady
        costs = (line.fit_seconds, 1), (line.render_seconds, 1), (line.peak_megabytes, 0)
        cells += [_cell(None if line.psnr is None else value, digits) for value, digits in costs]
        body.append([line.name, *cells, *[line.note] * noted])
    return [head, *body]


def _cell(value: float | None, digits: int = 2) -> str:
    """A figure as text; a dash where there is none, because the method or the metric could not work there."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def case_table(case: Case) -> Cells:
    """Every method on one clip at one setting."""
    return table(case_figures(case), case.holdout)


def mean_tables(cases: Sequence[Case]) -> dict[str, Cells]:
    """By its title, a table for each setting of every method's mean over clips, where there are several clips."""
    made = {}
    for setting, alike in by_setting(cases).items():
        if len(alike) > 1:
            made[f"mean over {len(alike)} clips, {setting}"] = table(mean_figures(alike), alike[0].holdout)
    return made


def overview(cases: Sequence[Case], figure: Literal["psnr", "stability"] = "psnr") -> Cells:
    """One figure of every method on every clip, of cases at one setting, and the mean over clips."""
    title = {"psnr": "PSNR dB", "stability": "stability dB"}[figure]
    head = [f"{title}, {cases[0].setting}", *(case.clip for case in cases), "mean"]
    body = []
    for over in zip(*(case_figures(case) for case in cases), mean_figures(cases), strict=True):
        body.append([over[0].name, *(_cell(getattr(each, figure)) for each in over)])
    return [head, *body]


def by_setting(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """The cases at each setting, the smallest factor first."""
    made: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.factor):
        made.setdefault(case.setting, []).append(case)
    return made
