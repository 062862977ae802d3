"""What a benchmark leaves: every figure as JSON, the tables as Markdown, and what they depend on."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import torch

from vfield.core.devices import usable_device
from vfield.measure.benchmark.cases import Case
from vfield.measure.choices import Benchmark
from vfield.measure.evaluation import Row, as_json

RESULTS_NAME = "results.json"
TABLE_NAME = "table.md"
PICTURES_NAME = "pictures"

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

_STABILITY_EXPLAINED = (
    "Stability: how the error changes from frame to frame along the true motion, as a PSNR; "
    "flicker and shimmer lower it."
)
_EXPLAINED: dict[Benchmark, str] = {
    "interpolation": (
        "At a factor of k every k-th frame is seen and the others are judged; t is where between two seen frames. "
        "PSNR and SSIM are means over the held-out frames, in RGB."
    ),
    "upscaling": (
        "At a factor of k the frames are reduced by k, by area averaging or by bicubic with antialiasing, and asked "
        f"for at their own size. PSNR and SSIM are means over all frames, in RGB. {_STABILITY_EXPLAINED}"
    ),
    "space-time": (
        "At a factor of k every k-th frame is seen, at a k-th of its size, and all are asked for at their own. PSNR "
        "and SSIM are means over the frames never seen, in RGB; t is where between two seen frames; all dB is the "
        f"PSNR over all frames. {_STABILITY_EXPLAINED}"
    ),
}


@dataclass(frozen=True)
class Conditions:
    """What figures depend on besides the clips and the code."""

    benchmark: Benchmark
    date: str  # when they were taken, ISO 8601
    command: str
    cpu: str  # name of the processor
    cores: int  # how many it has
    threads: int  # how many of them PyTorch uses
    device: str  # where the field was fitted: "cpu", or the name of the accelerator
    torch: str  # version
    python: str  # version

    @staticmethod
    def here(benchmark: Benchmark, command: str, device: str) -> Conditions:
        """Those of this machine, now."""
        kind = usable_device(device).type
        return Conditions(
            benchmark=benchmark,
            date=datetime.now().astimezone().isoformat(timespec="seconds"),
            command=command,
            cpu=_cpu_name(),
            cores=psutil.cpu_count() or 1,
            threads=torch.get_num_threads(),
            device=torch.cuda.get_device_name() if kind == "cuda" else kind,
            torch=torch.__version__,
            python=platform.python_version(),
        )


def _cpu_name() -> str:
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


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


def document(cases: Sequence[Case], conditions: Conditions) -> dict[str, Any]:
    """Every figure, as it is written."""
    return {**asdict(conditions), "cases": [_case_json(case) for case in cases]}


def _case_json(case: Case) -> dict[str, Any]:
    rows = [
        {**described, "psnr_at": psnr_at(row, case.holdout)}
        for row, described in zip(case.rows, as_json(case.rows), strict=True)
    ]
    return {**asdict(case), "rows": rows, "picture": f"{PICTURES_NAME}/{case.picture}"}


def page(cases: Sequence[Case], conditions: Conditions) -> str:
    """The tables with what they depend on, as the body of a page."""
    where = f"{conditions.cpu}, {conditions.cores} cores, {conditions.threads} threads"
    if conditions.device != "cpu":
        where += f", fits on {conditions.device}"
    parts = [
        f"Taken on {conditions.date[:10]} ({where}; PyTorch {conditions.torch}) by",
        f"    {conditions.command}",
        _EXPLAINED[conditions.benchmark],
    ]
    for alike in by_setting(cases).values():
        if len(alike) > 1:
            parts.append(_markdown_table(overview(alike)))
            if conditions.benchmark != "interpolation":
                parts.append(_markdown_table(overview(alike, STABILITY)))
    shown = {str(case): table([case]) for case in cases} | mean_tables(cases)
    for title, cells in shown.items():
        parts += [f"### {title}", _markdown_table(cells)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(cells: Cells) -> str:
    head, *body = ("| " + " | ".join(line) + " |" for line in cells)
    return "\n".join([head, "|---" * len(cells[0]) + "|", *body])
