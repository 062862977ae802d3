"""Open a local page to look at a fitted field."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vfield.cli import forms
from vfield.cli.options import INTERRUPTED, parse, run_of
from vfield.cli.says import say
from vfield.cli.sources import RUN_NAME, recorded_source
from vfield.core.clip import ClipFacts
from vfield.core.devices import usable_device
from vfield.core.errors import UserError
from vfield.core.interrupts import exit_code
from vfield.field.checkpoint import load_field
from vfield.show.view.source import SourceFrames, frames_of_clip

_INSTALL = "vfield view needs FastAPI and uvicorn: pip install 'vfield[view]'"


def run(words: list[str]) -> int:
    """Read the options, and serve the page until Ctrl-C."""
    parsed = parse(forms.view(), words)
    try:
        from vfield.show.view.server import make_app, serve
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "vfield":
            raise
        raise UserError(f"{_INSTALL} ({error.name} is missing)") from error
    path = Path(run_of(parsed))
    folder = path if path.is_dir() else path.parent
    saved = load_field(path, parsed.device, parsed.source)

    def read_source() -> SourceFrames:
        return clip_frames(folder, saved.facts)

    app = make_app(saved, folder.absolute().name, read_source, usable_device(parsed.device))
    if not serve(app, parsed.port, not parsed.no_browser, _tell):
        # A clip that is being read, or the last frames of one that are being coded, cannot be interrupted. Python may
        # crash when such work comes back while it ends; nothing is left to tidy up.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code())
    return INTERRUPTED


def _tell(address: str) -> None:
    say(f"{address} (Ctrl-C ends it)", {"address": address})


def clip_frames(folder: Path, facts: ClipFacts) -> SourceFrames:
    """The frames of the clip that a run was fitted to, for fields that hold none.

    Raises:
        UserError: when the run does not name its clip, or it is not there any more.
    """
    top = folder if (folder / RUN_NAME).is_file() else folder.parent
    if not (top / RUN_NAME).is_file():
        raise UserError(
            f"no source to show: the field holds no frames, and {folder} has no {RUN_NAME} to name the clip"
        )
    try:
        clips = recorded_source(top).read_all()
        # A run of several clips has a folder for each.
        seen = next(iter(clips.values())) if len(clips) == 1 else clips[folder.name]
        return frames_of_clip(seen.observed, facts.pts_seconds[0])
    except UserError as error:
        raise UserError(
            f"no source to show: the field holds no frames, and its clip cannot be read: {error}"
        ) from error
