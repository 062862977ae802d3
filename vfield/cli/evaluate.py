"""Judge a fit on what was held out, beside peers."""

from __future__ import annotations

import json
from pathlib import Path

from vfield.cli import forms
from vfield.cli.options import config_of, is_main_process, parse
from vfield.cli.places import check_not_read, files_read, run_held
from vfield.cli.says import say
from vfield.cli.values import parse_size
from vfield.core.errors import UserError
from vfield.core.folders import replaced
from vfield.learn import check_device
from vfield.learn.config_files import CONFIG_NAME, config_text
from vfield.measure.evaluation import as_json, check_scale, evaluate, reduced, split, table, whole
from vfield.video_io import read_clip


def run(words: list[str]) -> int:
    """Judge, and print the table or write the figures."""
    parsed = parse(forms.evaluate(), words)
    if parsed.clip is None:
        raise UserError("no clip given; add --clip clip.mp4")
    if (parsed.scale is None) == (parsed.holdout is None):
        raise UserError("give either --holdout K (frames in between) or --scale S (enlarging)")
    if parsed.scale is not None:
        check_scale(parsed.scale)
    config = config_of(parsed)
    check_device(config.training)
    if parsed.json not in (None, "-"):
        _check_json(Path(parsed.json))
        check_not_read(parsed.json, files_read(parsed, [parsed.clip]), option="--json")
    size = None if parsed.size is None else parse_size(parsed.size)
    clip = read_clip(
        parsed.clip,
        start_seconds=parsed.start,
        end_seconds=parsed.end,
        size=size,
        max_frames=parsed.frames,
        deinterlace=parsed.deinterlace,
    )
    folder = Path(parsed.out) if parsed.out else None
    records = {CONFIG_NAME: config_text(config)}
    is_main = folder is not None and is_main_process()
    with run_held(folder or Path(), is_main=is_main, resume=False, overwrite=parsed.overwrite):
        parts = reduced(whole(clip), parsed.scale) if parsed.holdout is None else split(clip, parsed.holdout)
        rows = evaluate(parts, config, folder, records)
    if is_main_process():
        document = {
            "clip": parsed.clip,
            "frames": len(clip),
            "holdout": parsed.holdout,
            "scale": parsed.scale,
            "rows": as_json(rows),
        }
        say(f"{parsed.clip}: {clip!r}\n{table(rows)}", document)
        if parsed.json not in (None, "-"):
            with replaced(Path(parsed.json)) as partial:
                partial.write_text(json.dumps(document, indent=1))
    return 0


def _check_json(path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--json {path} cannot be written: name a file in a folder that exists")
