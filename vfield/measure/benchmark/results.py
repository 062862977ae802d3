"""What a benchmark leaves: every figure as JSON, the tables as Markdown, and what they depend on."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from vfield.core.devices import usable_device
from vfield.core.folders import replaced
from vfield.measure.benchmark.cases import Case
from vfield.measure.benchmark.tables import STABILITY, Cells, by_setting, mean_tables, overview, psnr_at, table
from vfield.measure.choices import Benchmark
from vfield.measure.evaluation import as_json

RESULTS_NAME = "results.json"
TABLE_NAME = "table.md"
PICTURES_NAME = "pictures"

_STABILITY = (
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
        f"for at their own size. PSNR and SSIM are means over all frames, in RGB. {_STABILITY}"
    ),
    "space-time": (
        "At a factor of k every k-th frame is seen, at a k-th of its size, and all are asked for at their own. PSNR "
        "and SSIM are means over the frames never seen, in RGB; t is where between two seen frames; all dB is the "
        f"PSNR over all frames. {_STABILITY}"
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


def results_document(cases: Sequence[Case], conditions: Conditions) -> dict[str, Any]:
    """Every figure, as it is written."""
    return {**asdict(conditions), "cases": [_case_json(case) for case in cases]}


def write_results(folder: Path, cases: Sequence[Case], conditions: Conditions) -> None:
    """Write every figure as JSON, and the tables as Markdown.

    Raises:
        UserError: when they cannot be written.
    """
    texts = {
        RESULTS_NAME: json.dumps(results_document(cases, conditions), indent=1),
        TABLE_NAME: _markdown(cases, conditions),
    }
    for name, text in texts.items():
        with replaced(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def _case_json(case: Case) -> dict[str, Any]:
    rows = [
        {**described, "psnr_at": psnr_at(row, case.holdout)}
        for row, described in zip(case.rows, as_json(case.rows), strict=True)
    ]
    return {**asdict(case), "rows": rows, "picture": f"{PICTURES_NAME}/{case.picture}"}


def _markdown(cases: Sequence[Case], conditions: Conditions) -> str:
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


def _cpu_name() -> str:
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
