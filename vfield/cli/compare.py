"""Judge two videos against each other, frame by frame, and show where they differ."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

from vfield.cli.options import command_parser, exact_number, parse
from vfield.cli.places import check_not_read
from vfield.cli.says import say
from vfield.comparison import DIFFERENCE_GAIN, Comparison, FrameScore, Layout, compare
from vfield.errors import UserError


def run(words: list[str]) -> int:
    """Read the options, compare, and say how close the two are."""
    parser = command_parser(
        "compare",
        "Judge two videos of one size against each other: PSNR and SSIM of each frame, paired by their times.",
    )
    parser.add_argument("first", type=str, help="a video or picture, for example slow.mp4; required")
    parser.add_argument("second", type=str, help="another, for example truth.mp4; required")
    parser.add_argument(
        *("-o", "--output"),
        type=str | None,
        metavar="FILE",
        help="a video that shows both, or a .png of one instant, for example side.mp4; default none",
    )
    parser.add_argument(
        "--layout",
        type=str,
        default="side-by-side",
        metavar="NAME",
        help=f"of {', '.join(get_args(Layout))} ({DIFFERENCE_GAIN:g} times as large), for example wipe",
    )
    parser.add_argument(
        "--at",
        type=str | None,
        metavar="SECONDS",
        help="the instant of a .png, seconds from the first frame, for example 1.5; default none",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier output")
    parsed = parse(parser, words)
    layouts: dict[str, Layout] = {name: name for name in get_args(Layout)}
    if parsed.layout not in layouts:
        raise UserError(f"--layout knows {', '.join(layouts)}, got {parsed.layout!r}")
    if parsed.output is not None:
        check_not_read(parsed.output, {"the first video": parsed.first, "the second video": parsed.second})
    compared = compare(
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
    count = len(compared.frames)
    if compared.identical == count:
        lines = [f"identical in all {count} frames compared: PSNR infinite, SSIM 1"]
    else:
        same = f"; {compared.identical} identical frames are not in the PSNR" if compared.identical else ""
        lines = [
            f"PSNR {compared.psnr:.2f} dB, SSIM {compared.ssim:.4f} over {count} frames{same}",
            f"worst: {_frame(compared.worst)}",
        ]
    if any(compared.left_out):
        left, right = compared.left_out
        lines.append(f"only instants that both show: left out {left} frames of {first} and {right} of {second}")
    return lines


def _frame(score: FrameScore) -> str:
    closeness = "" if math.isnan(score.ssim) else f", SSIM {score.ssim:.4f}"
    return f"the frame at {float(score.seconds):.3f} s, PSNR {score.psnr:.2f} dB{closeness}"
