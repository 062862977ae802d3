"""The benchmark of denoising: `benchmark denoising`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vfield.cli import benchmark_forms as forms
from vfield.cli.options import check_folder, parse
from vfield.cli.says import say
from vfield.core.errors import UserError
from vfield.core.folders import replaced
from vfield.measure.benchmark.denoising import DenoisingRow, denoising, denoising_table
from vfield.measure.benchmark.results import RESULTS_NAME, TABLE_NAME, Conditions
from vfield.measure.benchmark.suite import read_suite
from vfield.measure.evaluation import aligned


def run(words: list[str]) -> int:
    """Judge, print each figure as it comes and leave all in a folder."""
    parsed = parse(forms.denoising(), words)
    if min(parsed.levels) < 0:
        raise UserError(f"--levels must not be negative, got {min(parsed.levels):g}")
    if parsed.frames < 3:
        raise UserError(f"--frames must be at least 3, got {parsed.frames}")
    folder = Path(parsed.out)
    check_folder(folder, parsed.overwrite, mark=RESULTS_NAME, kept="benchmark")
    clips = read_suite(parsed.clips, [Path("data"), Path(parsed.clip_folder)], parsed.frames)
    command = shlex.join(["python", "scripts/benchmark.py", "denoising", *words])
    conditions = Conditions.here("denoising", command, "cpu")
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[DenoisingRow] = []
    for row in denoising(clips, parsed.levels):
        rows.append(row)
        print("  ".join(denoising_table([row])[1]), flush=True)
        texts = {
            RESULTS_NAME: json.dumps(_document(rows, conditions), indent=1),
            TABLE_NAME: aligned(denoising_table(rows)) + "\n",
        }
        for name, text in texts.items():
            with replaced(folder / name) as partial:
                partial.write_text(text, encoding="utf-8")
    say(
        f"\n{aligned(denoising_table(rows))}\n\n{folder / TABLE_NAME} and {folder / RESULTS_NAME}",
        {"folder": folder, **_document(rows, conditions)},
    )
    return 0


def _document(rows: list[DenoisingRow], conditions: Conditions) -> dict[str, Any]:
    return {**asdict(conditions), "rows": [asdict(row) for row in rows]}
