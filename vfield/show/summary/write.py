"""Writing a summary: everything under a temporary name first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision.transforms.functional import to_pil_image

from vfield.core.clip import to_uint8
from vfield.core.errors import UserError, brief
from vfield.core.folders import replaced
from vfield.core.json_files import listed, read_json, text
from vfield.learn.run import EVENTS_NAME
from vfield.output.config import ExportConfig
from vfield.output.export import ExportReport
from vfield.show.summary.figures import (
    PAGE_NAME,
    PICTURES_NAME,
    SUMMARY_NAME,
    damaged_summary,
    export_entry,
    read_summary,
)
from vfield.show.summary.page import Curve, link, page
from vfield.show.summary.pictures import Shown

# What of TensorBoard's events is drawn, by what it is called on the page.
_CURVES = {"PSNR of batches, dB": "psnr/batch", "Loss": "loss/total"}
_CAPTIONS_NAME = "captions.json"


def write_summary(folder: Path, summary: Mapping[str, Any], rows: Sequence[Sequence[Shown]]) -> None:
    """Write what is told about a run that has ended.

    Args:
        folder: of the run, or of one of its clips.
        summary: as `summed_up` makes it.
        rows: as `pictures` makes them.

    Raises:
        UserError: when it cannot be written.
    """
    _write_pictures(folder, rows)
    _write(folder, summary)


def add_export(folder: Path, report: ExportReport, config: ExportConfig) -> None:
    """Renew the summary of a run by what was exported from it; a run without a summary has nothing to renew.

    Raises:
        UserError: when it cannot be read or written.
    """
    summary = read_summary(folder)
    if summary is None:
        return
    entry = export_entry(report, config)
    summary["exports"] = [other for other in summary["exports"] if other["path"] != entry["path"]] + [entry]
    _write(folder, summary)


def _write(folder: Path, summary: Mapping[str, Any]) -> None:
    """The page first: where there are figures, there is a page."""
    shown, curves = _captions(folder), _curves(folder / EVENTS_NAME)
    try:
        exports = [{**entry, "href": link(entry["path"], folder)} for entry in summary["exports"]]
        text = page({**summary, "exports": exports}, shown, curves)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        # What was read from a file may hold anything in the places that only the page looks at.
        raise damaged_summary(folder, error) from error
    for name, content in ((PAGE_NAME, text), (SUMMARY_NAME, json.dumps(summary, indent=1))):
        with replaced(folder / name) as partial:
            # Names of files may be no text, which only JSON has words for.
            partial.write_text(content, encoding="utf-8", errors="backslashreplace")


def _captions(folder: Path) -> list[list[tuple[str, str]]]:
    """The pictures of a run, by rows: their files from the folder, and what they show.

    Raises:
        UserError: when what is kept of them is damaged.
    """
    path = folder / PICTURES_NAME / _CAPTIONS_NAME
    try:
        rows = listed(read_json(path, "captions"), "the captions")
        return [[_captioned(picture) for picture in listed(row, "a row of captions")] for row in rows]
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}); fit the clip again") from error


def _captioned(picture: Any) -> tuple[str, str]:
    if len(listed(picture, "a picture")) != 2:
        raise UserError(f"a picture must have a file and a caption, got {brief(picture)}")
    file, caption = (text(value, "a file or caption") for value in picture)
    return f"{PICTURES_NAME}/{file}", caption


def _write_pictures(folder: Path, rows: Sequence[Sequence[Shown]]) -> None:
    with replaced(folder / PICTURES_NAME) as partial:
        partial.mkdir()
        captions = [[(f"{shown.name}.jpg", shown.caption) for shown in row] for row in rows]
        for shown in (shown for row in rows for shown in row):
            # Full chroma: coloured edges are what a crop is looked at for.
            picture = to_pil_image(to_uint8(shown.picture))
            picture.save(partial / f"{shown.name}.jpg", quality=92, subsampling=0)
        (partial / _CAPTIONS_NAME).write_text(json.dumps(captions))


def _curves(events: Path) -> dict[str, Curve]:
    """What TensorBoard's events tell of the fit, the part before a resume included."""
    if not events.is_dir():
        return {}
    found = EventAccumulator(str(events), size_guidance={"scalars": 0, "images": 1, "histograms": 1, "tensors": 1})
    found.Reload()
    there = found.Tags()["scalars"]
    return {
        name: [(event.step, event.value) for event in found.Scalars(tag)]
        for name, tag in _CURVES.items()
        if tag in there
    }
