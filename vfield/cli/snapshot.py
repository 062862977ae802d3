"""Write one picture of what a fitted field adds."""

from __future__ import annotations

from pathlib import Path

from vfield.checkpoint import load_field
from vfield.cli.options import command_parser, parse
from vfield.panels import side_by_side


def run(words: list[str]) -> int:
    """Read the options, write the picture, and name it."""
    parser = command_parser("snapshot", "Picture what a fitted field adds.")
    parser.add_argument("run", type=str, help="run folder or field file")
    parser.add_argument("-o", "--output", type=str, required=True, help="a .png file")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier picture")
    parsed = parse(parser, words)
    saved = load_field(parsed.run, parsed.device)
    side_by_side(saved, Path(parsed.output), device=parsed.device, overwrite=parsed.overwrite)
    print(parsed.output)
    return 0
