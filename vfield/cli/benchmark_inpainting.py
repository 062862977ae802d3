"""The benchmark of holes that are filled: `benchmark inpainting`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vfield.cli import benchmark_forms as forms
from vfield.cli.options import check_folder, parse
from vfield.cli.says import say
from vfield.core.drawing import save_png
from vfield.core.errors import UserError
from vfield.core.folders import replaced
from vfield.learn import check_device
from vfield.learn.config_files import load_config
from vfield.measure.benchmark.inpainting import InpaintingRow, inpainting, inpainting_table
from vfield.measure.benchmark.results import PICTURES_NAME, RESULTS_NAME, TABLE_NAME, Conditions
from vfield.measure.benchmark.suite import read_suite
from vfield.measure.choices import HOLES
from vfield.measure.evaluation import aligned


def run(words: list[str]) -> int:
    """Judge, print the figures as they come and leave all in a folder."""
    parsed = parse(forms.inpainting(), words)
    kinds = [kind for kind in HOLES if kind in parsed.holes]
    unknown = [word for word in parsed.holes if word not in HOLES]
    if unknown:
        raise UserError(f"--holes knows {', '.join(HOLES)}, got {unknown[0]!r}")
    if parsed.frames < 7:
        raise UserError(f"--frames must be at least 7, got {parsed.frames}")
    config = load_config(Path("configs") / f"{parsed.preset}.yaml")
    config = replace(config, training=replace(config.training, device=parsed.device))
    check_device(config.training)
    folder = Path(parsed.out)
    check_folder(folder, parsed.overwrite, mark=RESULTS_NAME, kept="benchmark")
    clips = read_suite(parsed.clips, [Path("data"), Path(parsed.clip_folder)], parsed.frames)
    for name, clip in clips.items():
        if len(clip) < 7:
            raise UserError(f"{name} has {len(clip)} frames; the benchmark needs at least 7")
    command = shlex.join(["python", "scripts/benchmark.py", "inpainting", *words])
    conditions = Conditions.here("inpainting", command, parsed.device)
    (folder / PICTURES_NAME).mkdir(parents=True, exist_ok=True)
    rows: list[InpaintingRow] = []
    # Written before the first case, so that the folder is known for what it is however early a run ends.
    _write(folder, rows, conditions)
    for made, picture in inpainting(clips, kinds, config):
        rows += made
        print("\n".join("  ".join(line) for line in inpainting_table(made)[1:]), flush=True)
        save_png(picture, folder / PICTURES_NAME / f"{made[0].clip}-{made[0].holes}.png")
        _write(folder, rows, conditions)
    say(
        f"\n{aligned(inpainting_table(rows))}\n\n{folder / TABLE_NAME}, {folder / RESULTS_NAME} and {PICTURES_NAME}",
        {"folder": folder, **_document(rows, conditions)},
    )
    return 0


def _document(rows: list[InpaintingRow], conditions: Conditions) -> dict[str, Any]:
    return {**asdict(conditions), "rows": [asdict(row) for row in rows]}


def _write(folder: Path, rows: list[InpaintingRow], conditions: Conditions) -> None:
    texts = {
        RESULTS_NAME: json.dumps(_document(rows, conditions), indent=1),
        TABLE_NAME: aligned(inpainting_table(rows)) + "\n",
    }
    for name, text in texts.items():
        with replaced(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
