"""The benchmark of small files: `benchmark compact`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vfield.benchmark.compact import PUBLISHED, CompactRow, compact, compact_table, cropped
from vfield.benchmark.results import RESULTS_NAME, TABLE_NAME, Conditions
from vfield.cli import benchmark_forms as forms
from vfield.cli.options import (
    check_folder,
    parse,
)
from vfield.cli.says import say
from vfield.cli.values import parse_size
from vfield.config import load_config
from vfield.errors import UserError
from vfield.evaluation import aligned
from vfield.folders import replaced
from vfield.known import CODECS
from vfield.lab.plots import check_plots
from vfield.lab.rate_plot import draw_rates
from vfield.video_io import read_clip

PLOT_NAME = "rate.png"
_HNERV_SIZE = (640, 1280)


def run(words: list[str]) -> int:
    """Judge, print each figure as it comes and leave all in a folder."""
    parsed = parse(forms.compact(), words)
    folder = Path(parsed.out)
    config = load_config(parsed.config)
    if not config.compression.enabled:
        raise UserError(f"--config {parsed.config} does not compress: set compression.enabled")
    unknown = [name for name in parsed.peers if name not in CODECS]
    if unknown:
        raise UserError(f"--peers knows {', '.join(CODECS)}, got {unknown[0]!r}")
    size = parse_size(parsed.middle)
    check_plots()
    check_folder(folder, parsed.overwrite, mark=RESULTS_NAME, kept="benchmark")
    clip = cropped(read_clip(parsed.clip, max_frames=parsed.frames), *size)
    conditions = Conditions.here("compact", shlex.join(["python", "scripts/benchmark.py", "compact", *words]), "cpu")
    published = (clip.height, clip.width) == _HNERV_SIZE and len(clip) == forms.HNERV_FRAMES
    folder.mkdir(parents=True, exist_ok=True)
    peers = {name: CODECS[name] for name in parsed.peers}
    rows: list[CompactRow] = []
    described: dict[str, Any] = {}
    for row in compact(clip, config, parsed.quantiser_steps, peers, parsed.crfs):
        rows.append(row)
        print("  ".join(compact_table([row])[1]), flush=True)
        described = {**asdict(conditions), "clip": repr(clip), "rows": [asdict(row) for row in rows]}
        if published:
            described["published"] = [{**asdict(each), "bits_per_pixel": each.bits_per_pixel} for each in PUBLISHED]
        texts = {
            RESULTS_NAME: json.dumps(described, indent=1),
            TABLE_NAME: aligned(compact_table(rows)) + "\n",
        }
        for name, text in texts.items():
            with replaced(folder / name) as partial:
                partial.write_text(text, encoding="utf-8")
        draw_rates(rows, folder / PLOT_NAME, published)
    say(
        f"\n{aligned(compact_table(rows))}\n\n{folder / TABLE_NAME}, {folder / RESULTS_NAME} and {folder / PLOT_NAME}",
        {"folder": folder, **described},
    )
    return 0
