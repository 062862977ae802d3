"""Write the motion of a fitted field: optical flow from each instant to the next."""

from __future__ import annotations

from vfield.cli import forms
from vfield.cli.options import parse, run_of
from vfield.cli.says import plain, say
from vfield.cli.values import exact_number, parse_rate, parse_size
from vfield.field.checkpoint import load_field
from vfield.output.motion_files import MotionFilesConfig, write_motion


def run(words: list[str]) -> int:
    """Read the options, write the motion, and say what was written."""
    parsed = parse(forms.flow(), words)
    config = MotionFilesConfig(
        size=None if parsed.size is None else parse_size(parsed.size),
        fps=None if parsed.fps is None else parse_rate(parsed.fps),
        slowmo=exact_number("slowmo", parsed.slowmo),
        at=tuple(exact_number("at", text) for text in parsed.at or ()),
        direction=parsed.direction,
        formats=tuple(parsed.format),
        overwrite=parsed.overwrite,
    )
    report = write_motion(load_field(run_of(parsed), parsed.device, parsed.source), parsed.output, config)
    say(
        f"{report.path}: {report.steps} steps of {report.width}x{report.height}, "
        f"{100 * report.unknown_share:.1f} % unknown, colours full at {report.full_colour_pixels:.2f} px, "
        f"made in {report.seconds_taken:.0f} s",
        plain(report),
    )
    return 0
