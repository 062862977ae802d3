"""What is made of a fitted field: `vfield render`, `flow`, `snapshot` and `view`."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from vfield.cli.options import (
    files_read,
    flag,
    option,
    render_device,
    run_of,
    run_options,
    span_options,
)
from vfield.cli.printing import say
from vfield.cli.values import exact_number, parse_crop, parse_output_rate, parse_rate, parse_speed_curve
from vfield.core.clip import parse_size
from vfield.core.devices import is_main_process, usable_device
from vfield.core.errors import UserError
from vfield.core.interrupts import exit_code

if TYPE_CHECKING:
    from vfield.output.config import ExportConfig


def render_arguments(parser: ArgumentParser) -> None:
    """Export a video or a picture from a fitted field."""
    run_options(parser)
    export_options(parser, "video, .gif, one .png, or a folder for PNGs, for example slow.mp4")
    span_options(parser)
    render_device(parser)
    flag(parser, "--overwrite", "replace an earlier output")


def export_options(parser: ArgumentParser, output: str) -> None:
    """What to make of a field, how it is coded, and where it goes: `output` says what may be named."""
    option(parser, "-o --output", f"{output}; required", str, required=True, metavar="FILE")
    option(parser, "--scale", "enlarge by this factor, for example 2; default 1", float | None)
    option(parser, "--size", "output size, pixels, for example 1920x1080; default the clip's", metavar="WxH")
    about = "frames per second, same duration, for example 60, 30000/1001 or source; default the clip's nominal rate"
    option(parser, "--fps", about)
    option(parser, "--slowmo", "how many times longer it lasts, a number or fraction, for example 4", str, default="1")
    flag(parser, "--reverse", "play it backwards")
    about = (
        "seconds of the output:seconds of the clip, or a file of such pairs, for example 0:0,1:1,4:2; default an even "
        "speed"
    )
    option(parser, "--speed-curve", about, metavar="PAIRS")
    about = "part of the picture, source pixels, for example 100,50,640,360; default all of it"
    option(parser, "--crop", about, metavar="x,y,w,h")
    about = "YAML of crops over time, for pan and zoom, for example zoom.yaml; default none"
    option(parser, "--path", about, metavar="FILE")
    about = (
        "h264, hevc, av1, vp9, prores, ffv1 or an FFmpeg encoder such as hevc_nvenc (replaced in software where it "
        "does not work), for example av1; default by file name, depth and alpha"
    )
    option(parser, "--codec", about)
    about = (
        "constant quality on the encoder's own scale, 0 best, for example 20; default 16 for H.264 and H.265 (looks "
        "lossless), 30 for VP9 and AV1"
    )
    option(parser, "--crf", about, int | None)
    about = (
        "FFmpeg pixel format, for example yuv444p; default 4:2:0 of 8 bits, of 10 for sources beyond 8, with alpha "
        "where the source and the file have it"
    )
    option(parser, "--pix-fmt", about)
    option(parser, "--audio", "auto, copy, stretch, varispeed or drop, for example stretch", str, default="auto")


def export_config(parsed: Namespace, start: float | None = None, end: float | None = None) -> ExportConfig:
    """What `export_options` and `--overwrite` ask for; from `start` to `end`, seconds of what was fitted."""
    from vfield.output.config import ExportConfig
    from vfield.output.zoom import read_path

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


def render(parsed: Namespace) -> int:
    """Read the options, export, and say what was written."""
    from vfield.core.folders import check_not_read
    from vfield.field.checkpoint import load_field
    from vfield.output.export import prepare_export, write_export

    check_not_read(parsed.output, files_read(parsed))
    config = export_config(parsed, parsed.start, parsed.end)
    saved = load_field(run_of(parsed), parsed.device, parsed.source)
    if not is_main_process():
        # Processes that only help write no result that could be in the way, and say nothing.
        logging.getLogger("vfield").setLevel(logging.ERROR)
        config = replace(config, overwrite=True)
    report = write_export(saved, prepare_export(saved.facts, parsed.output, config), parsed.device)
    if report is not None:
        say(str(report), report)
    return 0


def flow_arguments(parser: ArgumentParser) -> None:
    """Write the motion of a fitted field: optical flow from each instant to the next.

    It is how far each pixel moves, in pixels of the size asked for, x right and y down. File 000007 starts at frame 7
    of a video rendered with the same rates.
    """
    run_options(parser)
    about = "a folder, for one file a step of each format, for example motion; required"
    option(parser, "-o --output", about, str, required=True, metavar="DIR")
    about = "so many instants a second, as in render, for example 60 or 30000/1001; default the source's own instants"
    option(parser, "--fps", about)
    option(parser, "--slowmo", "so many times as many instants, as in render, for example 4", str, default="1")
    about = "these instants instead, two or more, seconds from the first frame, for example 0.5 1; default none"
    option(parser, "--at", about, str, nargs="+", metavar="SECONDS")
    option(parser, "--size", "picture size, pixels, for example 640x360; default the source's", metavar="WxH")
    about = "forward (to the next instant) or backward, for example backward"
    option(parser, "--direction", about, str, default="forward")
    about = (
        "flo (Middlebury, 1e10 where unknown), npz (flow, valid, t_seconds, to_seconds, units), png (colours, black "
        "where unknown), for example flo npz; default flo png"
    )
    option(parser, "--format", about, str, nargs="+", default=["flo", "png"], metavar="FORMAT")
    render_device(parser)
    flag(parser, "--overwrite", "replace an earlier folder of such files")


def flow(parsed: Namespace) -> int:
    """Read the options, write the motion, and say what was written."""
    from vfield.field.checkpoint import load_field
    from vfield.output.motion_files import MotionFilesConfig, write_motion

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
    line = (
        f"{report.path}: {report.steps} steps of {report.width}x{report.height}, "
        f"{100 * report.unknown_share:.1f} % unknown, colours full at {report.full_colour_pixels:.2f} px, "
        f"made in {report.seconds_taken:.0f} s"
    )
    say(line, report)
    return 0


def snapshot_arguments(parser: ArgumentParser) -> None:
    """Write one picture of what a fitted field adds."""
    run_options(parser)
    about = "a .png file, for example snapshot.png; required"
    option(parser, "-o --output", about, str, required=True, metavar="FILE")
    render_device(parser)
    flag(parser, "--overwrite", "replace an earlier picture")


def snapshot(parsed: Namespace) -> int:
    """Read the options, write the picture, and name it."""
    from vfield.core.folders import check_not_read
    from vfield.field.checkpoint import load_field
    from vfield.output.pictures import side_by_side

    saved = load_field(run_of(parsed), parsed.device, parsed.source)
    check_not_read(parsed.output, {"the clip that the field was fitted to": saved.facts.source})
    side_by_side(saved, Path(parsed.output), device=parsed.device, overwrite=parsed.overwrite)
    say(parsed.output, {"path": parsed.output})
    return 0


def view_arguments(parser: ArgumentParser) -> None:
    """Open a local page to look at a fitted field.

    It shows any instant and any part, beside the source.
    """
    run_options(parser)
    option(parser, "--port", "port on 127.0.0.1, for example 8000; default 0, any that is free", int, default=0)
    flag(parser, "--no-browser", "only print the address; default opens a browser")
    render_device(parser)


def view(parsed: Namespace) -> int:
    """Read the options, and serve the page until Ctrl-C."""
    from vfield.field.checkpoint import load_field

    try:
        from vfield.show.view.server import make_app, serve
        from vfield.show.view.source import clip_frames
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "vfield":
            raise
        install = "vfield view needs FastAPI and uvicorn: pip install 'vfield[view]'"
        raise UserError(f"{install} ({error.name} is missing)") from error
    path = Path(run_of(parsed))
    folder = path if path.is_dir() else path.parent
    saved = load_field(path, parsed.device, parsed.source)
    device = usable_device(parsed.device)
    app = make_app(saved, folder.absolute().name, lambda: clip_frames(folder, saved.facts), device)

    def say_address(address: str) -> None:
        say(f"{address} (Ctrl-C ends it)", {"address": address})

    if not serve(app, parsed.port, not parsed.no_browser, say_address):
        # A clip that is being read, or the last frames of one that are being coded, cannot be interrupted. Python may
        # crash when such work comes back while it ends; nothing is left to tidy up.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code())
    return exit_code()
