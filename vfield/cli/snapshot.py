"""Write one picture of what a fitted field adds."""

from __future__ import annotations

from pathlib import Path

from vfield.checkpoint import load_field
from vfield.cli.options import command_parser, output_option, parse, render_device, run_of, run_options
from vfield.cli.places import check_not_read
from vfield.cli.says import say
from vfield.panels import side_by_side


def run(words: list[str]) -> int:
    """Read the options, write the picture, and name it."""
    parser = command_parser("snapshot", "Picture what a fitted field adds.")
    run_options(parser)
    output_option(parser, "a .png file, for example snapshot.png")
    render_device(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier picture")
    parsed = parse(parser, words)
    saved = load_field(run_of(parsed), parsed.device)
    check_not_read(parsed.output, {"the clip that the field was fitted to": saved.facts.source})
    side_by_side(saved, Path(parsed.output), device=parsed.device, overwrite=parsed.overwrite)
    say(parsed.output, {"path": parsed.output})
    return 0
