"""`vfield info`: what a video, a picture, or a fitted run holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from vfield.cli.options import flag, run_of, run_options
from vfield.cli.printing import say
from vfield.core.printable import printable

if TYPE_CHECKING:
    from vfield.video_io import FileDetails


def info_arguments(parser: ArgumentParser) -> None:
    """Say what a video, a picture or a fitted run holds, and what vfield makes of it."""
    run_options(parser, "a video, picture, run folder or field file", "clip.mp4")
    flag(parser, "--cuts", "find scene cuts, too: decodes the whole clip")


def info(parsed: Namespace) -> int:
    """Look at the file or the run, and say what it is."""
    path = Path(run_of(parsed))
    if path.is_dir() or path.suffix == ".safetensors":
        report = _report_of_runs(path, parsed.source)
        say("\n\n".join(_lines(_told_of_run(one)) for one in report.get("runs", [report])), report)
        return 0
    from vfield.video_io import inspect_file

    details = inspect_file(path)
    cuts = _cuts(path) if parsed.cuts else None
    say(_lines(_told_of_file(path, details, cuts)), _of_file(path, details, cuts))
    return 0


def _lines(told: Mapping[str, str]) -> str:
    """Names and values under each other, without those that say nothing."""
    return "\n".join(f"{name + ':':16}{printable(value)}" for name, value in told.items() if value)


def _cuts(path: Path) -> list[Fraction]:
    """Seconds from the first frame at which another scene begins."""
    from vfield.prepare.shots import shots_of
    from vfield.video_io import FilePart, scan_clip

    scan = scan_clip(FilePart(path), shots_of)
    pts = scan.facts.pts_seconds
    return [pts[shot.start] - pts[0] for shot in scan.seen[1:]]


def _of_file(path: Path, details: FileDetails, cuts: list[Fraction] | None) -> dict[str, Any]:
    info, times = details.info, details.timestamps
    of_info = ("codec", "duration_seconds", "frame_rate", "width", "height", "pixel_aspect", "rotation", "pixel_format")
    of_all = ("container", "file_bytes", "bit_depth", "chroma", "interlaced", "audio", "subtitles", "chapters", "tags")
    return {
        "kind": "file",
        "path": path,
        **{name: getattr(info, name) for name in of_info},
        **{name: getattr(details, name) for name in of_all},
        "frames": times.frames,
        "declared_frames": info.frame_count,
        "uneven_times": times.uneven,
        "shortest_step_seconds": times.shortest,
        "longest_step_seconds": times.longest,
        "clock_jumps": [jump._asdict() for jump in details.jumps],
        "alpha": details.has_alpha,
        "colour": {"tagged": details.tagged, "understood": details.color, "hdr": details.color.is_hdr},
        "cuts_seconds": cuts,
    }


def _told_of_file(path: Path, details: FileDetails, cuts: list[Fraction] | None) -> dict[str, str]:
    from vfield.video_io import told_jumps

    info, times, color = details.info, details.timestamps, details.color
    picture = times.frames <= 1 and info.duration_seconds is None
    declared = info.frame_count not in (None, times.frames)
    counted = f"{times.frames} counted" + (f", the file says {info.frame_count}" if declared else "")
    rate = f"{float(info.frame_rate):g} a second" + ("" if info.frame_rate.denominator == 1 else f", {info.frame_rate}")
    if times.uneven and times.shortest is not None and times.longest is not None:
        rate += f"; uneven, {1000 * float(times.shortest):.1f} to {1000 * float(times.longest):.1f} ms apart"
    size = f"{info.width}x{info.height}"
    turned = f", stored turned by {360 - info.rotation} degrees" if info.rotation else ""
    pixels = "" if info.pixel_aspect == 1 else f", pixels {info.pixel_aspect} as wide as high"
    traits = [info.pixel_format, f"{details.bit_depth} bits", details.chroma]
    traits += ["with alpha"] * details.has_alpha + ["interlaced"] * details.interlaced
    told = {
        "file": f"{path}, {details.container}, {details.file_bytes / 1e6:.2f} MB",
        "duration": "" if info.duration_seconds is None or picture else f"{float(info.duration_seconds):.3f} s",
        "frames": "one picture" if picture else f"{counted}; {rate}",
        "clock": f"jumps {told_jumps(details.jumps)}; joined there, as players do" if details.jumps else "",
        "picture": f"{size}{pixels}{turned}, {info.codec}",
        "pixels": ", ".join(traits),
        "colour": _told_of_colour(details),
        "HDR": _told_of_hdr(details),
        "sound": "; ".join(
            ", ".join(filter(None, [track.codec, f"{track.sample_rate} Hz {track.channels}", track.language]))
            for track in details.audio
        ),
        "subtitles": "; ".join(", ".join(filter(None, [t.codec, t.language, t.title])) for t in details.subtitles),
        "chapters": "; ".join(f"{float(mark.start_seconds):.2f} s {mark.title}" for mark in details.chapters),
        "tags": "; ".join(f"{name} {value}" for name, value in details.tags.items()),
        "scene cuts": "" if cuts is None else ", ".join(f"{float(cut):.2f} s" for cut in cuts) or "none",
        "vfield": f"{times.frames} frames of {size}",
    }
    if details.interlaced:
        told["vfield"] += "; --deinterlace field makes it progressive first"
    if color.bit_depth > 8:
        told["vfield"] += f"; {color.bit_depth} bits are kept"
    return told


def _told_of_colour(details: FileDetails) -> str:
    """Each fact as it is tagged, or as it is understood where the file leaves it open."""
    told = []
    for name, value in details.tagged.items():
        understood = str(getattr(details.color, name))
        told.append(f"{name} {understood}" + (" (not tagged)" if value is None else ""))
        if value not in (None, understood):
            told[-1] += f" (tagged {value})"
    return ", ".join(told)


def _told_of_hdr(details: FileDetails) -> str:
    color = details.color
    told = [{"smpte2084": "PQ", "arib-std-b67": "HLG"}[color.transfer]] if color.is_hdr else []
    if color.mastering_display is not None:
        screen = color.mastering_display
        told.append(f"graded on a screen of {screen.min_luminance:g} to {screen.max_luminance:g} cd/m2")
    if color.content_light is not None:
        light = color.content_light
        told.append(f"at most {light.most} cd/m2, {light.most_average} as the mean of a frame")
    return ", ".join(told)


def _report_of_runs(path: Path, source: str | None) -> dict[str, Any]:
    """What a field file or run folder holds; of a run of several clips, what each of them does."""
    from vfield.field.checkpoint import FIELD_NAME, clip_folders

    several = clip_folders(path) if path.is_dir() and not (path / FIELD_NAME).is_file() else []
    if several:
        return {"kind": "runs", "runs": [_report_of_run(folder, source) for folder in several]}
    return {"kind": "run", **_report_of_run(path, source)}


def _report_of_run(path: Path, source: str | None) -> dict[str, Any]:
    from vfield.field.checkpoint import FIELD_NAME, load_field
    from vfield.learn.config_files import CONFIG_NAME, differences, load_config
    from vfield.learn.sources import RUN_NAME, recorded_source

    folder = path if path.is_dir() else path.parent
    file = path / FIELD_NAME if path.is_dir() else path
    saved = load_field(file, source=source)
    facts = saved.facts
    top = next((place for place in (folder, folder.parent) if (place / CONFIG_NAME).is_file()), None)
    return {
        "path": path,
        "file_bytes": file.stat().st_size,
        "parameters": sum(parameter.numel() for parameter in saved.field.parameters()),
        "source": facts.source,
        "made_from": asdict(recorded_source(top)) if top is not None and (top / RUN_NAME).is_file() else None,
        "frames": len(facts.pts_seconds),
        "width": facts.width,
        "height": facts.height,
        "frame_rate": facts.frame_rate,
        "start_seconds": facts.pts_seconds[0],
        "end_seconds": facts.end_seconds,
        "pixel_aspect": facts.pixel_aspect,
        "colour": facts.color,
        "alpha": facts.has_alpha,
        "shots": len(saved.field.timeline.shots),
        "expected_psnr": None if saved.expectation is None else saved.expectation.psnr,
        "warning": None if saved.expectation is None else saved.expectation.warning,
        "config_differences": None if top is None else differences(load_config(top / CONFIG_NAME)),
    }


def _told_of_run(report: dict[str, Any]) -> dict[str, str]:
    """What a report says, in names and values."""
    changed = report["config_differences"]
    lasting = float(report["end_seconds"] - report["start_seconds"])
    shots = f"{report['shots']} {'shot' if report['shots'] == 1 else 'shots'}"
    alpha = ", with alpha" if report["alpha"] else ""
    return {
        "run": f"{report['path']}, {report['file_bytes'] / 1e6:.2f} MB, {report['parameters']} parameters",
        "clip": report["source"] or "made in memory",
        "frames": f"{report['frames']} of {report['width']}x{report['height']}, {float(report['frame_rate']):g} "
        f"a second, {lasting:.3f} s, {shots}{alpha}",
        "expected": "" if report["expected_psnr"] is None else f"PSNR {report['expected_psnr']:.1f} dB in between",
        "warning": report["warning"] or "",
        "config": ""
        if changed is None
        else ", ".join(f"{name} {value}" for name, value in changed.items()) or "the defaults",
    }
