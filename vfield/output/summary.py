"""What a run is told by: `summary.json` for programs, `summary.html` for people, and its pictures in `summary`."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision.transforms.functional import to_pil_image

from vfield.core.clip import ClipFacts, to_uint8
from vfield.core.errors import UserError, shortened, told_with
from vfield.core.folders import replaced, write_text
from vfield.core.json_files import listed, mapping, read_json, text
from vfield.core.metrics import Scores
from vfield.learn import Config, FitResult
from vfield.learn.config_files import differences
from vfield.learn.run import EVENTS_NAME
from vfield.learn.saves import SUMMARY_NAMES
from vfield.output.config import ExportConfig
from vfield.output.export import ExportReport
from vfield.output.pictures import Shown
from vfield.output.summary_page import Curve, page

SUMMARY_NAME, PAGE_NAME, PICTURES_NAME = SUMMARY_NAMES
_FORMAT = 1
_ANEW = "remove it, and the run will be gone on with"
# What of TensorBoard's events is drawn, by what it is called on the page.
_CURVES = {"PSNR of batches, dB": "psnr/batch", "Loss": "loss/total"}


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

    `part` tells which part of which file the clip is, by the names of the options; `held_out` has the scores on frames
    that were held out; `peak_megabytes` is the most memory used above what the process held before.
    """
    expected = result.expectation
    # JSON has no nan, which a picture too small for SSIM has.
    scores = (
        None
        if held_out is None
        else {name: value if math.isfinite(value) else None for name, value in asdict(held_out).items()}
    )
    try:
        own_version = version("vfield")
    except PackageNotFoundError:
        own_version = "not installed"
    return {
        "format": _FORMAT,
        "status": "interrupted" if result.interrupted else "done",
        "clip": {
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
        },
        "config": differences(config),
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "expected": None if expected is None else {"psnr": expected.psnr, **asdict(expected)},
        "held_out": scores,
        "peak_megabytes": round(peak_megabytes, 1),
        "versions": {"vfield": own_version, "torch": torch.__version__, "python": platform.python_version()},
        "exports": [],
    }


def write_summary(folder: Path, summary: Mapping[str, Any], rows: Sequence[Sequence[Shown]]) -> None:
    """Write what is told about a run that has ended into its folder, or that of one of its clips.

    The summary is by `summed_up`, the rows by `vfield.output.pictures.pictures`. A UserError when it cannot be written.
    """
    with replaced(folder / PICTURES_NAME) as partial:
        partial.mkdir()
        for shown in (shown for row in rows for shown in row):
            # Full chroma: coloured edges are what a crop is looked at for.
            to_pil_image(to_uint8(shown.picture)).save(partial / f"{shown.name}.jpg", quality=92, subsampling=0)
    captions = [[(f"{PICTURES_NAME}/{shown.name}.jpg", shown.caption) for shown in row] for row in rows]
    _write(folder, {**summary, "pictures": captions})


def add_export(folder: Path, report: ExportReport, config: ExportConfig) -> None:
    """Renew the summary of a run by what was exported from it; a run without a summary has nothing to renew.

    A UserError when it cannot be read or written.
    """
    summary = read_summary(folder)
    if summary is None:
        return
    entry = {
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
    summary["exports"] = [other for other in summary["exports"] if other["path"] != entry["path"]] + [entry]
    _write(folder, summary)


def exported_before(folder: Path, path: Path, config: ExportConfig) -> bool:
    """Whether this file lies there as the run in this folder wrote it, with these options."""
    summary = read_summary(folder)
    if summary is None or not path.exists():
        return False
    wanted = {"path": str(path.absolute()), "bytes": _size(path), "options": _options(config)}
    return any(wanted.items() <= entry.items() for entry in summary["exports"])


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _options(config: ExportConfig) -> dict[str, str]:
    default = ExportConfig()
    given = {field.name: getattr(config, field.name) for field in fields(config) if field.name != "overwrite"}
    return {name: _option(value) for name, value in given.items() if value != getattr(default, name)}


def _option(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_option, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_done(summary: Mapping[str, Any] | None) -> bool:
    """Whether a run went to its end."""
    return summary is not None and summary["status"] == "done"


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a run; None where there is none, as in a run that has not ended.

    A UserError when it is damaged.
    """
    path = folder / SUMMARY_NAME
    if not path.exists():
        return None
    with told_with(after=f"; {_ANEW}"):
        summary = mapping(read_json(path, "summary"), "it")
    if summary.get("format") != _FORMAT:
        raise UserError(f"{path} is not a summary of this version; {_ANEW}")
    try:
        # What is asked for by name must be there.
        text(summary.get("status"), "status")
        for name in ("clip", "config", "versions"):
            mapping(summary.get(name), name)
        for entry in listed(summary.get("exports"), "exports"):
            text(mapping(entry, "an export").get("path"), "the path of an export")
    except UserError as error:
        raise _damaged(folder, error) from error
    return summary


def _damaged(folder: Path, error: Exception) -> UserError:
    """What to say of a summary in which something is missing or of the wrong kind."""
    why = f"it has no {error}" if isinstance(error, KeyError) else shortened(error, 200)
    return UserError(f"{folder / SUMMARY_NAME} is damaged ({why}); {_ANEW}")


def _write(folder: Path, summary: Mapping[str, Any]) -> None:
    """The page first: where there are figures, there is a page."""
    try:
        exports = [
            {**entry, "href": Path(os.path.relpath(entry["path"], folder.absolute())).as_posix()}
            for entry in summary["exports"]
        ]
        html = page({**summary, "exports": exports}, _read_curves(folder / EVENTS_NAME))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        # What was read from a file may hold anything in the places that only the page looks at.
        raise _damaged(folder, error) from error
    write_text(folder / PAGE_NAME, html)
    write_text(folder / SUMMARY_NAME, json.dumps(summary, indent=1))


def _read_curves(events: Path) -> dict[str, Curve]:
    """What TensorBoard's events tell of the fit, the part before a resume included."""
    if not events.is_dir():
        return {}
    found = EventAccumulator(str(events), size_guidance={"scalars": 0, "images": 1, "histograms": 1, "tensors": 1})
    found.Reload()
    there = [(name, tag) for name, tag in _CURVES.items() if tag in found.Tags()["scalars"]]
    return {name: [(event.step, event.value) for event in found.Scalars(tag)] for name, tag in there}
