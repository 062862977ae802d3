"""What fitted runs hold, for `vfield info`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from vfield.cli.sources import RUN_NAME, recorded_source
from vfield.field.checkpoint import FIELD_NAME, clip_folders, load_field
from vfield.learn.config_files import CONFIG_NAME, differences, load_config


def report_of(path: Path, source: str | None = None) -> dict[str, Any]:
    """What a field file or run folder holds; of a run of several clips, what each of them does."""
    several = clip_folders(path) if path.is_dir() and not (path / FIELD_NAME).is_file() else []
    if several:
        return {"kind": "runs", "runs": [_report(folder, source) for folder in several]}
    return {"kind": "run", **_report(path, source)}


def _report(path: Path, source: str | None) -> dict[str, Any]:
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


def told(report: dict[str, Any]) -> dict[str, str]:
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
