"""Figures of a benchmark as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from vfield.measure.benchmark.cases import Case
from vfield.measure.evaluation import Row

Cells = list[list[str]]
"""A table: its lines from the head on, all of the same number of cells."""

Figures = dict[str, float | None]
"""A line of a table, by the heads of its columns: one method on one clip, or its mean over clips.

None stands for a figure that the method does not have, or that the benchmark does not ask for.
"""

PSNR = "PSNR dB"
STABILITY = "stability dB"
_MEMORY = "peak MB"
_DIGITS = {"SSIM": 4, "fit s": 1, "render s": 1, _MEMORY: 0}  # 2 of all others


def psnr_at(row: Row, holdout: int) -> list[float]:
    """dB at each instant between two observed frames; none where there are no figures."""
    # Held-out frames lie gap by gap, so that each instant comes back after holdout - 1 of them.
    return [fmean(row.psnr_each[i :: holdout - 1]) for i in range(holdout - 1)] if row.held_out is not None else []


def figures(case: Case, row: Row) -> Figures:
    """What a table says about a method."""
    observed, held_out, holdout = row.observed, row.held_out, case.holdout
    if held_out is None:
        return {PSNR: None}
    # With one instant between two observed frames its column would repeat the first.
    instants = psnr_at(row, holdout) if holdout > 2 else []
    psnr_all = None
    if case.benchmark == "space-time" and observed is not None:
        total = observed.frames + held_out.frames
        psnr_all = (observed.psnr * observed.frames + held_out.psnr * held_out.frames) / total
    return {
        PSNR: held_out.psnr,
        "SSIM": held_out.ssim,
        **{f"t={step / holdout:.3g}": psnr for step, psnr in enumerate(instants, 1)},
        "all dB": psnr_all,
        STABILITY: row.stability,
        "fit s": row.fit_seconds,
        "render s": row.render_seconds,
        _MEMORY: row.peak_megabytes,
    }


def _by_method(cases: Sequence[Case]) -> Iterator[tuple[str, list[Figures], str]]:
    """Name, figures in each case and first note of every method."""
    for rows in zip(*(case.rows for case in cases), strict=True):
        lines = [figures(case, row) for case, row in zip(cases, rows, strict=True)]
        yield rows[0].name, lines, next((row.note for row in rows if row.note), "")


def _mean(lines: Sequence[Figures]) -> Figures:
    """Means over clips, of memory the most; none of what a clip has no figure of."""
    mean: Figures = {}
    for head in lines[0]:
        known = [value for line in lines if (value := line.get(head)) is not None]
        average = max if head == _MEMORY else fmean
        mean[head] = average(known) if len(known) == len(lines) else None
    return mean


def table(cases: Sequence[Case]) -> Cells:
    """Every method on one clip at one setting, or its mean over several clips.

    Columns in which no method has a figure are left out, and so are notes where there are none.
    """
    methods = [(name, _mean(lines), note) for name, lines, note in _by_method(cases)]
    heads = [head for head in methods[0][1] if any(line.get(head) is not None for _, line, _ in methods)]
    noted = any(note for _, _, note in methods)
    body = [[name, *(_cell(line, head) for head in heads), *[note] * noted] for name, line, note in methods]
    return [["", *heads, *[""] * noted], *body]


def mean_tables(cases: Sequence[Case]) -> dict[str, Cells]:
    """By its title, a table for each setting of every method's mean over clips, where there are several clips."""
    settings = by_setting(cases).items()
    return {f"mean over {len(alike)} clips, {setting}": table(alike) for setting, alike in settings if len(alike) > 1}


def overview(cases: Sequence[Case], head: str = PSNR) -> Cells:
    """One figure of every method on every clip, of cases at one setting, and the mean over clips."""
    body = [[name, *(_cell(line, head) for line in [*lines, _mean(lines)])] for name, lines, _ in _by_method(cases)]
    return [[f"{head}, {cases[0].setting}", *(case.clip for case in cases), "mean"], *body]


def _cell(line: Figures, head: str) -> str:
    """A figure as text; a dash where there is none, because the method or the metric could not work there."""
    value = line.get(head)
    return "-" if value is None or math.isnan(value) else f"{value:.{_DIGITS.get(head, 2)}f}"


def by_setting(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """The cases at each setting, the smallest factor first."""
    made: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.factor):
        made.setdefault(case.setting, []).append(case)
    return made
