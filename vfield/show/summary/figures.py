"""The figures of a run, as JSON."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, fields
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vfield.core.clip import ClipFacts
from vfield.core.errors import UserError, shortened
from vfield.core.json_files import listed, mapping, read_json, text
from vfield.core.metrics import Scores
from vfield.learn import Config, FitResult
from vfield.learn.config_files import differences
from vfield.learn.saves import SUMMARY_NAMES
from vfield.output.config import ExportConfig
from vfield.output.export import ExportReport

SUMMARY_NAME, PAGE_NAME, PICTURES_NAME = SUMMARY_NAMES
_FORMAT = 1
_ANEW = "remove it, and the run will be gone on with"


def summed_up(
    result: FitResult,
    facts: ClipFacts,
    config: Config,
    part: Mapping[str, Any],
    *,
    held_out: Scores | None,
    peak_megabytes: float,
) -> dict[str, Any]:
    """What there is to say about a fit, in values that JSON has.

    Args:
        result: of the fit.
        facts: of the clip that was fitted to.
        config: of the fit.
        part: which part of which file the clip is, by the names of the options.
        held_out: scores on frames that were held out; None where none were.
        peak_megabytes: most memory used above what the process held before.
    """
    expected = result.expectation
    return {
        "format": _FORMAT,
        "status": "interrupted" if result.interrupted else "done",
        "clip": _clip(facts, part),
        "config": differences(config),
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "expected": None if expected is None else {"psnr": expected.psnr, **asdict(expected)},
        "held_out": None if held_out is None else {name: _finite(value) for name, value in asdict(held_out).items()},
        "peak_megabytes": round(peak_megabytes, 1),
        "versions": _versions(),
        "exports": [],
    }


def _clip(facts: ClipFacts, part: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": facts.source,
        "frames": len(facts.pts_seconds),
        "missing_frames": len(facts.missing),
        "width": facts.width,
        "height": facts.height,
        "start_seconds": float(facts.pts_seconds[0]),
        "seconds": float(facts.end_seconds - facts.pts_seconds[0]),
        "frame_rate": str(facts.frame_rate),
        "pixel_aspect": str(facts.pixel_aspect),
        "colour": {name: value for name, value in asdict(facts.color).items() if value is not None},
        "part": {name: value for name, value in part.items() if value is not None},
    }


def _finite(value: float) -> float | None:
    """JSON has no nan, which a picture too small for SSIM has."""
    return value if math.isfinite(value) else None


def _versions() -> dict[str, str]:
    try:
        own = version("vfield")
    except PackageNotFoundError:
        own = "not installed"
    return {"vfield": own, "torch": torch.__version__, "python": platform.python_version()}


def export_entry(report: ExportReport, config: ExportConfig) -> dict[str, Any]:
    """What there is to say about an export."""
    return {
        "path": str(report.path.absolute()),
        "bytes": _size(report.path),
        "frames": report.frames,
        "width": report.width,
        "height": report.height,
        "frame_rate": str(report.frame_rate),
        "seconds": float(report.duration_seconds),
        "seconds_taken": round(report.seconds_taken, 3),
        "audio": report.audio,
        "options": _options(config),
    }


def _options(config: ExportConfig) -> dict[str, str]:
    """What was asked for, where it is not the default."""
    default = ExportConfig()
    given = {field.name: getattr(config, field.name) for field in fields(config) if field.name != "overwrite"}
    return {name: _text(value) for name, value in given.items() if value != getattr(default, name)}


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return (
        f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, str | Fraction) else repr(value)
    )


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def exported_before(folder: Path, path: Path, config: ExportConfig) -> bool:
    """Whether this file lies there as the run in this folder wrote it, with these options."""
    summary = read_summary(folder)
    if summary is None or not path.exists():
        return False
    wanted = {"path": str(path.absolute()), "bytes": _size(path), "options": _options(config)}
    return any(wanted.items() <= entry.items() for entry in summary["exports"])


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a run; None where there is none, as in a run that has not ended.

    Raises:
        UserError: when it is damaged.
    """
    path = folder / SUMMARY_NAME
    if not path.exists():
        return None
    try:
        summary = mapping(read_json(path, "summary"), "it")
    except UserError as error:
        raise UserError(f"{error}; {_ANEW}") from error
    if summary.get("format") != _FORMAT:
        raise UserError(f"{path} is not a summary of this version; {_ANEW}")
    try:
        _check_parts(summary)
    except UserError as error:
        raise damaged_summary(folder, error) from error
    return summary


def _check_parts(summary: Mapping[str, Any]) -> None:
    """Refuse a summary without the parts that are asked for by name."""
    text(summary.get("status"), "status")
    for name in ("clip", "config", "versions"):
        mapping(summary.get(name), name)
    for entry in listed(summary.get("exports"), "exports"):
        text(mapping(entry, "an export").get("path"), "the path of an export")


def damaged_summary(folder: Path, error: Exception) -> UserError:
    """What to say of a summary in which something is missing or of the wrong kind."""
    why = f"it has no {error}" if isinstance(error, KeyError) else shortened(error, 200)
    return UserError(f"{folder / SUMMARY_NAME} is damaged ({why}); {_ANEW}")


def is_done(summary: Mapping[str, Any] | None) -> bool:
    """Whether a run went to its end."""
    return summary is not None and summary["status"] == "done"
