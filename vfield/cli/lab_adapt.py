"""`vfield lab adapt`: a new clip from nothing, and by its codes alone."""

from __future__ import annotations

import re
from pathlib import Path

from vfield.cli import lab_forms as forms
from vfield.cli.adapt import fields_of, run_values
from vfield.cli.options import config_of, parse
from vfield.cli.says import say
from vfield.cli.sources import source_of
from vfield.core.errors import UserError
from vfield.core.folders import check_folder
from vfield.field.checkpoint import load_field
from vfield.lab import adapt as adapting
from vfield.learn import check_device


def run(words: list[str]) -> int:
    """Compare fitting a new clip from nothing and by its codes alone."""
    parser = forms.adapt()
    parsed = parse(parser, words)
    if parsed.video is None or parsed.out is None:
        raise UserError("name the new clip and where results go: --video new.mp4 --out DIR")
    if parsed.look_every < 1:
        raise UserError(f"--look-every must be at least 1, got {parsed.look_every}")
    fields = fields_of(Path(parsed.run))
    parser.set_defaults(run_values(Path(parsed.run), len(fields)))
    config = config_of(parse(parser, words))
    check_device(config.training)
    folder = Path(parsed.out)
    check_folder(folder, re.compile("|".join(map(re.escape, adapting.FILES))), "adapt", parsed.overwrite)
    seen = source_of(parsed).read()
    adapting.check(seen.observed, config)
    members = [load_field(path).field for path in fields]
    courses = adapting.compare(members[0], seen.observed, seen.held_out, config, parsed.look_every)
    folder.parent.mkdir(parents=True, exist_ok=True)
    adapting.report(folder, courses, members)
    say(
        f"{adapting.table(courses)}\nfigures and pictures: {folder}",
        {"folder": folder, "courses": courses},
    )
    return 0
