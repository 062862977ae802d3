"""What each command may be told: its parser. Nothing here loads torch, so that help and refusals come at once."""

from __future__ import annotations

from typing import get_args

from jsonargparse import ArgumentParser

from vfield.cli.options import (
    CLIP,
    clip_of_run_option,
    command_parser,
    config_options,
    fit_options,
    frames_option,
    mask_option,
    output_option,
    part_options,
    render_device,
    run_options,
    source_options,
    span_options,
)
from vfield.measure.choices import DIFFERENCE_GAIN, Layout

SHELLS = ("bash", "zsh", "fish")


def train() -> ArgumentParser:
    """What `vfield train` may be told."""
    parser = command_parser("train", "Fit a neural field to a video clip.")
    source_options(parser, "video", several=True)
    mask_option(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the last save in --out")
    parser.add_argument("--dry-run", action="store_true", help="say what the fit will be, and end, writing nothing")
    fit_options(parser)
    return parser


def adapt() -> ArgumentParser:
    """What `vfield adapt` may be told."""
    parser = command_parser(
        "adapt",
        "Fit a new clip by its codes alone, with the decoder and whatever else a run's clips share held. The run's own "
        "config is the default, its steps divided by the number of its clips.",
    )
    parser.add_argument(
        "run",
        type=str,
        help="run folder of one clip or several, or field file, to take the rest from, for example runs/many; required",
    )
    source_options(parser, "video")
    mask_option(parser)
    parser.add_argument("--tune", action="store_true", help="let what is shared learn, too, at a tenth of the rate")
    fit_options(parser)
    return parser


def run() -> ArgumentParser:
    """What `vfield run` may be told."""
    parser = command_parser(
        "run",
        "Fit a clip and export from it in one go. The fit is kept and used again: another export of the same clip "
        "takes only the rendering. Of several clips, or a folder of them, each is fitted and exported on its own.",
    )
    about = f"{CLIP}, or clip.mp4#t=2,5.5 for a part (seconds); several, or a folder"
    parser.add_argument("clips", type=str, nargs="*", metavar="CLIP", help=f"{about}; required, here or after -i")
    parser.add_argument("-i", "--input", type=str, nargs="+", metavar="FILE", help=f"{about}; default the first words")
    export_options(
        parser,
        "video, .gif, one .png, or a folder for PNGs, for example slow.mp4; of several clips, a folder for the videos",
    )
    part_options(parser, size="fit-size")
    mask_option(parser)
    about = "run folder, of several clips the folder of theirs, for example runs/x; default runs/NAME of the clip"
    parser.add_argument("--run", type=str | None, metavar="DIR", help=about)
    replaces = "replace an earlier output, and a run that was fitted to something else or in another way"
    parser.add_argument("--overwrite", action="store_true", help=replaces)
    told = "say what the fit and the export will be, and end, writing nothing"
    parser.add_argument("--dry-run", action="store_true", help=told)
    config_options(parser)
    return parser


def render() -> ArgumentParser:
    """What `vfield render` may be told."""
    parser = command_parser("render", "Export a video or a picture from a fitted field.")
    run_options(parser)
    clip_of_run_option(parser)
    export_options(parser, "video, .gif, one .png, or a folder for PNGs, for example slow.mp4")
    span_options(parser)
    render_device(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier output")
    return parser


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


def flow() -> ArgumentParser:
    """What `vfield flow` may be told."""
    parser = command_parser(
        "flow",
        "Write the motion of a fitted field: how far each pixel moves from one instant to the next, in pixels of the "
        "size asked for, x right and y down. File 000007 starts at frame 7 of a video rendered with the same rates.",
    )
    run_options(parser)
    clip_of_run_option(parser)
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


def info() -> ArgumentParser:
    """What `vfield info` may be told."""
    parser = command_parser("info", "Say what a video, a picture or a fitted run holds, and what vfield makes of it.")
    run_options(parser, "a video, picture, run folder or field file", "clip.mp4")
    clip_of_run_option(parser)
    parser.add_argument("--cuts", action="store_true", help="find scene cuts, too: decodes the whole clip")
    return parser


def snapshot() -> ArgumentParser:
    """What `vfield snapshot` may be told."""
    parser = command_parser("snapshot", "Picture what a fitted field adds.")
    run_options(parser)
    clip_of_run_option(parser)
    output_option(parser, "a .png file, for example snapshot.png")
    render_device(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier picture")
    return parser


def view() -> ArgumentParser:
    """What `vfield view` may be told."""
    parser = command_parser(
        "view", "Open a local page to look at a fitted field: any instant, any part, beside the source."
    )
    run_options(parser)
    clip_of_run_option(parser)
    parser.add_argument(
        "--port", type=int, default=0, help="port on 127.0.0.1, for example 8000; default 0, any that is free"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address; default opens a browser")
    render_device(parser)
    return parser


def evaluate() -> ArgumentParser:
    """What `vfield evaluate` may be told."""
    parser = command_parser("evaluate", "Judge a fit on what it never saw.", json_file=True)
    source_options(parser, "clip")
    parser.add_argument(
        "--scale",
        type=float | None,
        help="judge enlarging by this factor instead of in-between frames, for example 2; default off",
    )
    frames_option(parser, None)
    fit_options(parser)
    return parser


def compare() -> ArgumentParser:
    """What `vfield compare` may be told."""
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
    return parser


def completion() -> ArgumentParser:
    """What `vfield completion` may be told."""
    parser = command_parser(
        "completion",
        "Print a script that completes vfield's commands and options. For bash: vfield completion bash > "
        "~/.local/share/bash-completion/completions/vfield; for fish: vfield completion fish > "
        "~/.config/fish/completions/vfield.fish; for zsh into a file _vfield in a folder of its fpath. The script "
        "knows this version's options: print it anew after an update.",
    )
    parser.add_argument("shell", type=str, help=f"{', '.join(SHELLS)}, for example bash; required")
    return parser
