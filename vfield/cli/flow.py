"""Write the motion of a fitted field: optical flow from each instant to the next."""

from __future__ import annotations

from jsonargparse import ArgumentParser

from vfield.checkpoint import load_field
from vfield.cli.options import command_parser, exact_number, output_option, parse, render_device, run_of, run_options
from vfield.cli.says import plain, say
from vfield.cli.values import parse_rate, parse_size
from vfield.motion_files import MotionFilesConfig, write_motion


def run(words: list[str]) -> int:
    """Read the options, write the motion, and say what was written."""
    parsed = parse(_parser(), words)
    config = MotionFilesConfig(
        size=None if parsed.size is None else parse_size(parsed.size),
        fps=None if parsed.fps is None else parse_rate(parsed.fps),
        slowmo=exact_number("slowmo", parsed.slowmo),
        at=tuple(exact_number("at", text) for text in parsed.at or ()),
        direction=parsed.direction,
        formats=tuple(parsed.format),
        overwrite=parsed.overwrite,
    )
    report = write_motion(load_field(run_of(parsed), parsed.device), parsed.output, config)
    say(
        f"{report.path}: {report.steps} steps of {report.width}x{report.height}, "
        f"{100 * report.unknown_share:.1f} % unknown, colours full at {report.full_colour_pixels:.2f} px, "
        f"made in {report.seconds_taken:.0f} s",
        plain(report),
    )
    return 0


def _parser() -> ArgumentParser:
    parser = command_parser(
        "flow",
        "Write the motion of a fitted field: how far each pixel moves from one instant to the next, in pixels of the "
        "size asked for, x right and y down. File 000007 starts at frame 7 of a video rendered with the same rates.",
    )
    run_options(parser)
    output_option(parser, "a folder, for one file a step of each format, for example motion", metavar="DIR")
    parser.add_argument(
        "--fps",
        type=str | None,
        help="so many instants a second, as in render, for example 60 or 30000/1001; default the source's own instants",
    )
    parser.add_argument(
        "--slowmo", type=str, default="1", help="so many times as many instants, as in render, for example 4"
    )
    parser.add_argument(
        "--at",
        type=str,
        nargs="+",
        metavar="SECONDS",
        help="these instants instead, two or more, seconds from the first frame, for example 0.5 1; default none",
    )
    parser.add_argument(
        "--size", type=str | None, metavar="WxH", help="picture size, pixels, for example 640x360; default the source's"
    )
    parser.add_argument(
        "--direction",
        type=str,
        default="forward",
        help="forward (to the next instant) or backward, for example backward",
    )
    parser.add_argument(
        "--format",
        type=str,
        nargs="+",
        default=["flo", "png"],
        metavar="FORMAT",
        help="flo (Middlebury, 1e10 where unknown), npz (flow, valid, t_seconds, to_seconds, units), "
        "png (colours, black where unknown), for example flo npz; default flo png",
    )
    render_device(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier folder of such files")
    return parser
