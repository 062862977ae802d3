"""Write one picture of what a fitted field adds."""

from __future__ import annotations

from pathlib import Path

from vfield.cli import forms
from vfield.cli.options import parse, run_of
from vfield.cli.places import check_not_read
from vfield.cli.says import say
from vfield.field.checkpoint import load_field
from vfield.show.pictures import side_by_side


def run(words: list[str]) -> int:
    """Read the options, write the picture, and name it."""
    parsed = parse(forms.snapshot(), words)
    saved = load_field(run_of(parsed), parsed.device, parsed.source)
    check_not_read(parsed.output, {"the clip that the field was fitted to": saved.facts.source})
    side_by_side(saved, Path(parsed.output), device=parsed.device, overwrite=parsed.overwrite)
    say(parsed.output, {"path": parsed.output})
    return 0
