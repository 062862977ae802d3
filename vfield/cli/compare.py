"""Judge two videos against each other, frame by frame, and show where they differ."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

from vfield.cli import forms
from vfield.cli.options import parse
from vfield.cli.places import check_not_read
from vfield.cli.says import say
from vfield.cli.values import exact_number
from vfield.core.errors import UserError
from vfield.measure.choices import Layout
from vfield.measure.comparison import Comparison, FrameScore, compare


def run(words: list[str]) -> int:
    """Read the options, compare, and say how close the two are."""
    parsed = parse(forms.compare(), words)
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
