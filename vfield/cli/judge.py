"""`vfield evaluate` judges a fit on what was held out, beside peers; `vfield compare` two videos against each other."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from jsonargparse import ArgumentParser, Namespace

from vfield.cli.options import (
    config_of,
    files_read,
    fit_options,
    flag,
    frames_option,
    option,
    source_options,
)
from vfield.cli.printing import say
from vfield.cli.values import exact_number
from vfield.core.clip import parse_size
from vfield.core.devices import is_main_process
from vfield.core.errors import UserError
from vfield.measure.choices import DIFFERENCE_GAIN, Layout

if TYPE_CHECKING:
    from vfield.measure.comparison import Comparison


def evaluate_arguments(parser: ArgumentParser) -> None:
    """Judge a fit on what was held out, beside peers."""
    source_options(parser, "clip")
    about = "judge enlarging by this factor instead of in-between frames, for example 2; default off"
    option(parser, "--scale", about, float | None)
    frames_option(parser, None)
    fit_options(parser)


def evaluate(parsed: Namespace) -> int:
    """Judge, and print the table or write the figures."""
    from vfield.core.folders import check_not_read, write_text
    from vfield.learn import check_device
    from vfield.learn.config_files import CONFIG_NAME, config_text
    from vfield.learn.folders import run_held
    from vfield.learn.held_out import split, whole
    from vfield.measure.evaluation import as_json, check_scale, evaluate, reduced, table
    from vfield.video_io import read_clip

    if parsed.clip is None:
        raise UserError("no clip given; add --clip clip.mp4")
    if (parsed.scale is None) == (parsed.holdout is None):
        raise UserError("give either --holdout K (frames in between) or --scale S (enlarging)")
    if parsed.scale is not None:
        check_scale(parsed.scale)
    config = config_of(parsed)
    check_device(config.training)
    into = None if parsed.json in (None, "-") else Path(parsed.json)
    if into is not None:
        if into.is_dir() or not into.parent.is_dir():
            raise UserError(f"--json {into} cannot be written: name a file in a folder that exists")
        check_not_read(parsed.json, files_read(parsed, [parsed.clip]), option="--json")
    clip = read_clip(
        parsed.clip,
        start_seconds=parsed.start,
        end_seconds=parsed.end,
        size=None if parsed.size is None else parse_size(parsed.size),
        max_frames=parsed.frames,
        deinterlace=parsed.deinterlace,
    )
    folder = Path(parsed.out) if parsed.out else None
    records = {CONFIG_NAME: config_text(config)}
    with nullcontext() if folder is None else run_held(folder, parsed.overwrite):
        parts = reduced(whole(clip), parsed.scale) if parsed.holdout is None else split(clip, parsed.holdout)
        rows = evaluate(parts, config, folder, records)
    if is_main_process():
        asked = {"holdout": parsed.holdout, "scale": parsed.scale}
        document = {"clip": parsed.clip, "frames": len(clip), **asked, "rows": as_json(rows)}
        say(f"{parsed.clip}: {clip!r}\n{table(rows)}", document)
        if into is not None:
            write_text(into, json.dumps(document, indent=1))
    return 0


def compare_arguments(parser: ArgumentParser) -> None:
    """Judge two videos against each other, frame by frame, and show where they differ.

    The figures are PSNR and SSIM of each frame; the two must be of one size, and frames are paired by their times.
    """
    option(parser, "first", "a video or picture, for example slow.mp4; required", str)
    option(parser, "second", "another, for example truth.mp4; required", str)
    about = "a video that shows both, or a .png of one instant, for example side.mp4; default none"
    option(parser, "-o --output", about, metavar="FILE")
    about = f"of {', '.join(get_args(Layout))} ({DIFFERENCE_GAIN:g} times as large), for example wipe"
    option(parser, "--layout", about, str, default="side-by-side", metavar="NAME")
    about = "the instant of a .png, seconds from the first frame, for example 1.5; default none"
    option(parser, "--at", about, metavar="SECONDS")
    flag(parser, "--overwrite", "replace an earlier output")


def compare(parsed: Namespace) -> int:
    """Read the options, compare, and say how close the two are."""
    from vfield.core.folders import check_not_read
    from vfield.measure import comparison

    layouts: dict[str, Layout] = {name: name for name in get_args(Layout)}
    if parsed.layout not in layouts:
        raise UserError(f"--layout knows {', '.join(layouts)}, got {parsed.layout!r}")
    if parsed.output is not None:
        check_not_read(parsed.output, {"the first video": parsed.first, "the second video": parsed.second})
    compared = comparison.compare(
        Path(parsed.first),
        Path(parsed.second),
        output=None if parsed.output is None else Path(parsed.output),
        layout=layouts[parsed.layout],
        at=None if parsed.at is None else exact_number("at", parsed.at),
        overwrite=parsed.overwrite,
    )
    lines = _told(compared, parsed.first, parsed.second)
    lines += [] if parsed.output is None else [f"{parsed.output}: {parsed.layout}"]
    report = {
        "first": parsed.first,
        "second": parsed.second,
        "output": parsed.output,
        "identical": compared.identical == len(compared.frames) and not any(compared.left_out),
        "identical_frames": compared.identical,
        "left_out": compared.left_out,
        "psnr": compared.psnr,
        "ssim": compared.ssim,
        "worst": compared.worst,
        "frames": compared.frames,
    }
    say("\n".join(lines), report)
    return 0


def _told(compared: Comparison, first: str, second: str) -> list[str]:
    count, worst = len(compared.frames), compared.worst
    if compared.identical == count:
        lines = [f"identical in all {count} frames compared: PSNR infinite, SSIM 1"]
    else:
        same = f"; {compared.identical} identical frames are not in the PSNR" if compared.identical else ""
        ssim = "" if math.isnan(worst.ssim) else f", SSIM {worst.ssim:.4f}"
        lines = [
            f"PSNR {compared.psnr:.2f} dB, SSIM {compared.ssim:.4f} over {count} frames{same}",
            f"worst: the frame at {float(worst.seconds):.3f} s, PSNR {worst.psnr:.2f} dB{ssim}",
        ]
    if any(compared.left_out):
        left, right = compared.left_out
        lines.append(f"only instants that both show: left out {left} frames of {first} and {right} of {second}")
    return lines
