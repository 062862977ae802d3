"""Fit a new clip with what other clips have taught: only its codes are learnt."""

from __future__ import annotations

from pathlib import Path

from vfield.cli import forms
from vfield.cli.options import config_of, is_main_process, parse, run_folder
from vfield.cli.outcomes import conclude, exit_code, report
from vfield.cli.places import run_held
from vfield.cli.sources import RUN_NAME, source_of
from vfield.core.errors import UserError
from vfield.core.memory import meter
from vfield.field.checkpoint import clip_folders, load_field
from vfield.learn import adapt, check_device
from vfield.learn.config_files import CONFIG_NAME, config_text, load_values


def run(words: list[str]) -> int:
    """Adapt, save, and say what was reached on frames held out."""
    parser = forms.adapt()
    parsed = parse(parser, words)
    if parsed.video is None:
        raise UserError("no clip given; add --video new.mp4")
    fields = fields_of(Path(parsed.run))
    parser.set_defaults(run_values(Path(parsed.run), len(fields)))
    parsed = parse(parser, words)
    config = config_of(parsed)
    check_device(config.training)
    shared = load_field(fields[0]).field
    if config.field != shared.config:
        raise UserError(f"the field's parts are those of {parsed.run}; leave out --config and options of --field")
    source = source_of(parsed, adapted=parsed.run)
    folder = run_folder(parsed, parsed.video)
    with run_held(folder, is_main=is_main_process(), resume=False, overwrite=parsed.overwrite):
        with meter() as peak_megabytes:
            ((name, seen),) = source.read_all().items()
            records = {CONFIG_NAME: config_text(config), RUN_NAME: source.with_digest().text()}
            result = adapt(
                shared, seen.observed, config, tune=parsed.tune, out=folder, records=records, held_out=seen.held_out
            )
            megabytes = peak_megabytes()
        fitted = conclude(source, {name: seen}, config, {name: result}, folder, megabytes)
    report(fitted, folder, go_on="the same command with --overwrite, from the beginning")
    return exit_code({name: result})


def fields_of(path: Path) -> list[Path]:
    """The field of a run, or those of a run of several clips.

    Raises:
        UserError: when there are none.
    """
    several = clip_folders(path) if path.is_dir() else []
    return several or [path]


def run_values(path: Path, clips: int) -> dict[str, dict[str, object]]:
    """The values of a run's config, for one of its clips; none where there is no config."""
    for folder in (path, path.parent):
        if (folder / CONFIG_NAME).is_file():
            values = load_values(folder / CONFIG_NAME)
            training = values.get("training", {})
            if training.get("steps") is not None:
                training["steps"] = -(-training["steps"] // clips)
            return values
    return {}
