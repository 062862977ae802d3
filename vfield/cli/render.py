"""Export a video or a picture from a fitted field."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from jsonargparse import Namespace

from vfield.cli import forms
from vfield.cli.options import is_main_process, parse, run_of
from vfield.cli.places import check_not_read, files_read
from vfield.cli.says import plain, say
from vfield.cli.values import exact_number, parse_crop, parse_output_rate, parse_size, parse_speed_curve
from vfield.field.checkpoint import SavedField, load_field
from vfield.output.config import ExportConfig
from vfield.output.export import ExportReport, PreparedExport, help_export, prepare_export, write_export
from vfield.output.zoom import read_path


def run(words: list[str]) -> int:
    """Read the options, export, and say what was written."""
    parsed = parse(forms.render(), words)
    check_not_read(parsed.output, files_read(parsed))
    config = export_config(parsed, parsed.start, parsed.end)
    saved = load_field(run_of(parsed), parsed.device, parsed.source)
    report = written(saved, prepare_export(saved.facts, parsed.output, _for_this_process(config)), parsed.device)
    if report is not None:
        say(told(report), plain(report))
    return 0


def written(saved: SavedField, prepared: PreparedExport, device: torch.device | str) -> ExportReport | None:
    """Write an export; of several processes of a launch the main one does, and the others help and give None."""
    if is_main_process():
        return write_export(saved, prepared, device=device)
    help_export(saved, prepared, device=device)
    return None


def _for_this_process(config: ExportConfig) -> ExportConfig:
    """What is asked for; processes that only help write no result that could be in the way, and say nothing."""
    if is_main_process():
        return config
    logging.getLogger("vfield").setLevel(logging.ERROR)
    return replace(config, overwrite=True)


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
