"""The benchmark of small files: `benchmark compact`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path

from vfield.benchmark.compact import CODECS, PUBLISHED, CompactRow, compact, compact_table, cropped
from vfield.benchmark.results import RESULTS_NAME, TABLE_NAME, Conditions
from vfield.cli.options import check_folder, command_parser, parse
from vfield.cli.values import parse_size
from vfield.config import load_config
from vfield.errors import UserError
from vfield.evaluation import aligned
from vfield.folders import replaced
from vfield.lab.plots import check_plots
from vfield.lab.rate_plot import draw_rates
from vfield.video_io import read_clip

PLOT_NAME = "rate.png"
_HNERV_SIZE, _HNERV_FRAMES = (640, 1280), 132


def run(words: list[str]) -> int:
    """Judge, print each figure as it comes and leave all in a folder."""
    parser = command_parser("benchmark compact", "Judge small files, from the root of the repository.")
    parser.add_argument("--clip", type=str, default="data/bigbuckbunny.mp4", metavar="FILE", help="the clip")
    parser.add_argument("--crop", type=str, default="1280x640", metavar="WxH", help="the middle of its frames, pixels")
    parser.add_argument("--frames", type=int, default=_HNERV_FRAMES, metavar="N", help="use only the first N")
    parser.add_argument("--config", type=str, default="configs/compact.yaml", metavar="FILE", help="of the fit")
    parser.add_argument(
        "--steps", nargs="+", type=float, default=[12.0, 20.0, 36.0], metavar="S", help="of the quantiser, grey levels"
    )
    parser.add_argument("--peers", nargs="*", type=str, default=list(CODECS), metavar="NAME", help="x264, x265 or none")
    parser.add_argument("--crfs", nargs="+", type=int, default=[22, 28, 34], metavar="C", help="qualities of the peers")
    parser.add_argument("--out", type=str, default="runs/benchmark-compact", metavar="DIR", help="folder for results")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in the folder")
    parsed = parse(parser, words)
    folder = Path(parsed.out)
    config = load_config(parsed.config)
    if not config.compression.enabled:
        raise UserError(f"--config {parsed.config} does not compress: set compression.enabled")
    unknown = [name for name in parsed.peers if name not in CODECS]
    if unknown:
        raise UserError(f"--peers knows {', '.join(CODECS)}, got {unknown[0]!r}")
    size = parse_size(parsed.crop)
    check_plots()
    check_folder(folder, parsed.overwrite, mark=RESULTS_NAME, kept="benchmark")
    clip = cropped(read_clip(parsed.clip, max_frames=parsed.frames), *size)
    conditions = Conditions.here("compact", shlex.join(["python", "scripts/benchmark.py", "compact", *words]), "cpu")
    published = (clip.height, clip.width) == _HNERV_SIZE and len(clip) == _HNERV_FRAMES
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[CompactRow] = []
    for row in compact(clip, config, parsed.steps, {name: CODECS[name] for name in parsed.peers}, parsed.crfs):
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
    print(
        f"\n{aligned(compact_table(rows))}\n\n{folder / TABLE_NAME}, {folder / RESULTS_NAME} and {folder / PLOT_NAME}"
    )
    return 0
