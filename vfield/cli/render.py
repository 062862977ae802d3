"""Export a video or a picture from a fitted field."""

from __future__ import annotations

import logging

from jsonargparse import ArgumentParser, Namespace

from vfield.cli.options import (
    command_parser,
    exact_number,
    output_option,
    parse,
    render_device,
    run_of,
    run_options,
    span_options,
)
from vfield.cli.places import check_not_read, files_read
from vfield.cli.says import plain, say
from vfield.cli.values import parse_crop, parse_output_rate, parse_size, parse_speed_curve
from vfield.crew import crew_of_launch
from vfield.export import ExportReport, export
from vfield.export_config import ExportConfig
from vfield.windows import open_run
from vfield.zoom import read_path


def run(words: list[str]) -> int:
    """Read the options, export, and say what was written."""
    parser = command_parser("render", "Export a video or a picture from a fitted field.")
    run_options(parser)
    export_options(parser, "video, .gif, one .png, or a folder for PNGs, for example slow.mp4")
    span_options(parser)
    render_device(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier output")
    parsed = parse(parser, words)
    check_not_read(parsed.output, files_read(parsed))
    config = export_config(parsed, parsed.start, parsed.end)
    with crew_of_launch() as crew:
        saved = open_run(run_of(parsed), parsed.device)
        if not crew.is_main:
            logging.getLogger("vfield").setLevel(logging.ERROR)  # what there is to say, the main process says
        report = export(saved, parsed.output, config, crew=crew, device=parsed.device)
    if crew.is_main:
        say(told(report), plain(report))
    return 0


def export_options(parser: ArgumentParser, output: str) -> None:
    """What to make of a field, and where it goes, which is told."""
    output_option(parser, output)
    parser.add_argument("--scale", type=float | None, help="enlarge by this factor, for example 2; default 1")
    parser.add_argument(
        "--size", type=str | None, metavar="WxH", help="output size, pixels, for example 1920x1080; default the clip's"
    )
    parser.add_argument(
        "--fps",
        type=str | None,
        help="frames per second, same duration, for example 60, 30000/1001 or source; default the clip's nominal rate",
    )
    parser.add_argument(
        "--slowmo", type=str, default="1", help="how many times longer it lasts, a number or fraction, for example 4"
    )
    parser.add_argument("--reverse", action="store_true", help="play it backwards")
    parser.add_argument(
        "--speed-curve",
        type=str | None,
        metavar="PAIRS",
        help="seconds of the output:seconds of the clip, or a file of such pairs, for example 0:0,1:1,4:2; default an "
        "even speed",
    )
    parser.add_argument(
        "--crop",
        type=str | None,
        metavar="x,y,w,h",
        help="part of the picture, source pixels, for example 100,50,640,360; default all of it",
    )
    parser.add_argument(
        "--path",
        type=str | None,
        metavar="FILE",
        help="YAML of crops over time, for pan and zoom, for example zoom.yaml; default none",
    )
    _coding_options(parser)
    parser.add_argument(
        "--audio", type=str, default="auto", help="auto, copy, stretch, varispeed or drop, for example stretch"
    )


def _coding_options(parser: ArgumentParser) -> None:
    """How a video is coded."""
    parser.add_argument(
        "--codec",
        type=str | None,
        help="h264, hevc, av1, vp9, prores, ffv1 or an FFmpeg encoder such as hevc_nvenc (replaced in software where "
        "it does not work), for example av1; default by file name, depth and alpha",
    )
    parser.add_argument(
        "--crf",
        type=int | None,
        help="constant quality on the encoder's own scale, 0 best, for example 20; default 16 for H.264 and H.265 "
        "(looks lossless), 30 for VP9 and AV1",
    )
    parser.add_argument(
        "--pix-fmt",
        type=str | None,
        help="FFmpeg pixel format, for example yuv444p; default 4:2:0 of 8 bits, of 10 for sources beyond 8, "
        "with alpha where the source and the file have it",
    )


def export_config(parsed: Namespace, start: float | None = None, end: float | None = None) -> ExportConfig:
    """What the words of `export_options` and `--overwrite` ask for.

    Args:
        parsed: the words.
        start: seconds after the first frame of what was fitted at which to begin.
        end: likewise, at which to stop.
    """
    return ExportConfig(
        scale=parsed.scale,
        size=None if parsed.size is None else parse_size(parsed.size),
        fps=None if parsed.fps is None else parse_output_rate(parsed.fps),
        slowmo=exact_number("slowmo", parsed.slowmo),
        reverse=parsed.reverse,
        speed_curve=None if parsed.speed_curve is None else parse_speed_curve(parsed.speed_curve),
        start=start,
        end=end,
        crop=None if parsed.crop is None else parse_crop(parsed.crop),
        path=None if parsed.path is None else read_path(parsed.path),
        codec=parsed.codec,
        crf=parsed.crf,
        pixel_format=parsed.pix_fmt,
        audio=parsed.audio,
        overwrite=parsed.overwrite,
    )


def told(report: ExportReport) -> str:
    """What was written, in a line."""
    if report.path.suffix.lower() == ".png":
        return f"{report.path}: {report.width}x{report.height}, made in {report.seconds_taken:.0f} s"
    return (
        f"{report.path}: {report.frames} frames of {report.width}x{report.height} at {float(report.frame_rate):g} fps, "
        f"{float(report.duration_seconds):.2f} s, made in {report.seconds_taken:.0f} s; sound: {report.audio}"
    )
