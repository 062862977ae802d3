"""Export a video or a picture from a fitted field."""

from __future__ import annotations

import logging

from vfield.cli.options import command_parser, exact_number, parse
from vfield.cli.values import parse_crop, parse_output_rate, parse_size, parse_speed_curve
from vfield.crew import crew_of_launch
from vfield.export import ExportConfig, export
from vfield.windows import open_run
from vfield.zoom import read_path


def run(words: list[str]) -> int:
    """Read the options, export, and say what was written."""
    parser = command_parser("render", "Export a video or a picture from a fitted field.")
    parser.add_argument("run", type=str, help="run folder or field file")
    parser.add_argument("-o", "--output", type=str, required=True, help="video, .gif, one .png, or a folder for PNGs")
    parser.add_argument("--scale", type=float | None, help="enlarge by this factor, for example 2")
    parser.add_argument("--size", type=str | None, metavar="WxH", help="output size, for example 1920x1080")
    parser.add_argument("--fps", type=str | None, help="frames per second, same duration: 60, 30000/1001 or source")
    parser.add_argument("--slowmo", type=str, default="1", help="how many times longer it lasts, for example 4")
    parser.add_argument("--reverse", action="store_true", help="play it backwards")
    parser.add_argument(
        "--speed-curve",
        type=str | None,
        metavar="PAIRS",
        help="seconds of the output:seconds of the clip, like 0:0,1:1,4:2, or a file of such pairs",
    )
    parser.add_argument("--start", type=float | None, metavar="SECONDS", help="export from here on")
    parser.add_argument("--end", type=float | None, metavar="SECONDS", help="export up to here")
    parser.add_argument("--crop", type=str | None, metavar="x,y,w,h", help="part of the picture, in source pixels")
    parser.add_argument("--path", type=str | None, metavar="FILE", help="YAML of crops over time, for pan and zoom")
    parser.add_argument("--codec", type=str | None, help="h264, hevc, av1, vp9, prores, ffv1 or an FFmpeg encoder")
    parser.add_argument("--crf", type=int | None, help="constant quality: 0 best, about 16 looks lossless")
    parser.add_argument("--pix-fmt", type=str | None, help="FFmpeg pixel format, for example yuv444p")
    parser.add_argument("--audio", type=str, default="auto", help="auto, copy, stretch, varispeed or drop")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier output")
    parsed = parse(parser, words)
    config = ExportConfig(
        scale=parsed.scale,
        size=None if parsed.size is None else parse_size(parsed.size),
        fps=None if parsed.fps is None else parse_output_rate(parsed.fps),
        slowmo=exact_number("slowmo", parsed.slowmo),
        reverse=parsed.reverse,
        speed_curve=None if parsed.speed_curve is None else parse_speed_curve(parsed.speed_curve),
        start=parsed.start,
        end=parsed.end,
        crop=None if parsed.crop is None else parse_crop(parsed.crop),
        path=None if parsed.path is None else read_path(parsed.path),
        codec=parsed.codec,
        crf=parsed.crf,
        pixel_format=parsed.pix_fmt,
        audio=parsed.audio,
        overwrite=parsed.overwrite,
    )
    with crew_of_launch() as crew:
        saved = open_run(parsed.run, parsed.device)
        if not crew.is_main:
            logging.getLogger("vfield").setLevel(logging.ERROR)  # what there is to say, the main process says
        report = export(saved, parsed.output, config, crew=crew, device=parsed.device)
    if not crew.is_main:
        return 0
    if report.path.suffix.lower() == ".png":
        print(f"{report.path}: {report.width}x{report.height}, made in {report.seconds_taken:.0f} s")
        return 0
    print(
        f"{report.path}: {report.frames} frames of {report.width}x{report.height} at {float(report.frame_rate):g} fps, "
        f"{float(report.duration_seconds):.2f} s, made in {report.seconds_taken:.0f} s; sound: {report.audio}"
    )
    return 0
