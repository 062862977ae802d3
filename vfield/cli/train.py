"""Fit a field to a clip, or one field to several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from vfield.cli import forms
from vfield.cli.options import config_of, is_main_process, parse, run_folder
from vfield.cli.outcomes import conclude, exit_code, report
from vfield.cli.places import is_begun_at_most, run_held
from vfield.cli.plan import show_plan
from vfield.cli.sources import RUN_NAME, SOURCE_OPTIONS, Seen, Source, expanded, recorded_source, source_of
from vfield.core.errors import UserError
from vfield.core.memory import meter
from vfield.learn import RESUME_NAME, Config, FitResult, check_device, fit, fit_many
from vfield.learn.config_files import CONFIG_NAME, config_from_values, config_text, load_values
from vfield.prepare.opening import SCAN_NAME


def run(words: list[str]) -> int:
    """Fit, save, and say what was reached on frames held out."""
    parser = forms.train()
    parsed = parse(parser, words)
    if parsed.video is not None:
        parsed.video = expanded(parsed.video)
    if parsed.resume:
        folder = _resumable(parsed)
        source = recorded_source(folder)
        if source.adapted is not None:
            raise UserError(f"{folder} was made by vfield adapt, which is not resumed; adapt again, with --overwrite")
        for name in SOURCE_OPTIONS:
            given = getattr(parsed, name)
            if given is not None and given != getattr(source, name):
                raise UserError(f"--{name} {given} differs from the run's {getattr(source, name)}; leave it out")
        # What the run was made with comes first, what is given now over it.
        parser.set_defaults(_recorded_values(folder / CONFIG_NAME))
        parsed = parse(parser, words)
    elif parsed.video is None:
        raise UserError("no clip given; add --video clip.mp4")
    else:
        source = source_of(parsed)
        folder = run_folder(parsed, source.video)
    config = config_of(parsed)
    check_device(config.training)
    if parsed.dry_run:
        if parsed.resume:
            raise UserError("--dry-run and --resume contradict each other; leave one out")
        return show_plan(source, config, folder)
    main, also = is_main_process(), "--resume to go on or "
    with run_held(folder, is_main=main, resume=parsed.resume, overwrite=parsed.overwrite, also=also):
        with meter() as peak_megabytes:
            clips = source.read_all(folder)
            results = fit_source(source, clips, config, folder, resume=parsed.resume)
            megabytes = peak_megabytes()
        fitted = conclude(source, clips, config, results, folder, megabytes)
    report(fitted, folder, go_on=f"vfield train --resume --out {folder}")
    return exit_code(results)


def fit_source(
    source: Source, clips: Mapping[str, Seen], config: Config, folder: Path, *, resume: bool
) -> dict[str, FitResult]:
    """Fit one field to a clip, or to several together, and keep it.

    Args:
        source: which clips they are; kept with the run.
        clips: what was read, by the clips' names.
        config: of the fit.
        folder: of the run.
        resume: go on from the last save, where there is one.
    """
    records = {CONFIG_NAME: config_text(config), RUN_NAME: source.with_digest().text()}
    # A run that was stopped before its first save has nothing to lose by starting again.
    resume = resume and (folder / RESUME_NAME).is_file()
    if isinstance(source.video, str):
        ((name, seen),) = clips.items()
        records |= {} if seen.kept is None else {SCAN_NAME: seen.kept}
        fitted = fit(
            *(seen.observed, config),
            scan=seen.scan,
            out=folder,
            records=records,
            held_out=seen.held_out,
            resume=resume,
        )
        return {name: fitted}
    observed = {name: seen.observed for name, seen in clips.items()}
    held_out = {name: seen.held_out for name, seen in clips.items()}
    scans = {name: seen.scan for name, seen in clips.items() if seen.scan is not None}
    return fit_many(observed, config, scans=scans, out=folder, records=records, held_out=held_out, resume=resume)


def _recorded_values(path: Path) -> dict[str, Any]:
    """The config that was kept with a run."""
    try:
        values = load_values(path)
        config_from_values(values)  # the parser would not name the file
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}); start anew with --overwrite") from error
    return values


def _resumable(parsed: Namespace) -> Path:
    if parsed.overwrite:
        raise UserError("--resume and --overwrite contradict each other; choose one")
    if parsed.out is None and parsed.video is None:
        raise UserError("--resume needs --out DIR, the run to go on with")
    folder = run_folder(parsed, parsed.video or "")
    for name in (CONFIG_NAME, RUN_NAME):
        if not (folder / name).is_file():
            anew = "without --resume" if not folder.is_dir() or is_begun_at_most(folder) else "anew with --overwrite"
            raise UserError(f"{folder} cannot be resumed: it has no {name}; start {anew}")
    return folder
