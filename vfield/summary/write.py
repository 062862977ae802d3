"""Writing a summary: everything under a temporary name first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision.transforms.functional import to_pil_image

from vfield.clip import to_uint8
from vfield.errors import UserError, shortened
from vfield.export import ExportReport
from vfield.export_config import ExportConfig
from vfield.folders import replaced
from vfield.json_files import read_json
from vfield.summary.figures import PAGE_NAME, PICTURES_NAME, SUMMARY_NAME, export_entry, read_summary
from vfield.summary.page import Curve, link, page
from vfield.summary.pictures import Shown
from vfield.training.run import EVENTS_NAME

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
    captions = read_json(folder / PICTURES_NAME / _CAPTIONS_NAME, "captions")
    curves = _curves(folder / EVENTS_NAME)
    try:
        shown = [[(f"{PICTURES_NAME}/{file}", caption) for file, caption in row] for row in captions]
        exports = [{**entry, "href": link(entry["path"], folder)} for entry in summary["exports"]]
        text = page({**summary, "exports": exports}, shown, curves)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"the summary in {folder} is damaged ({shortened(error, 100)}); remove {SUMMARY_NAME}, and the same "
            "command makes it anew"
        ) from error
    for name, content in ((PAGE_NAME, text), (SUMMARY_NAME, json.dumps(summary, indent=1))):
        with replaced(folder / name) as partial:
            partial.write_text(content, encoding="utf-8")


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
