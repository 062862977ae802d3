"""`vfield train`: one field for a clip, or for several together; `vfield adapt`: a new clip with what those taught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from vfield.cli.options import (
    config_of,
    fit_options,
    flag,
    mask_option,
    option,
    pack_options,
    packing_of,
    parse,
    source_options,
)
from vfield.cli.printing import say, tell_packed
from vfield.core.errors import UserError, told_with
from vfield.core.interrupts import exit_code
from vfield.learn.config_files import CONFIG_NAME, config_from_values, load_values

if TYPE_CHECKING:
    from vfield.output.fit_and_export import Fitted
    from vfield.output.packing import Packing


def train_arguments(parser: ArgumentParser) -> None:
    """Fit a field to a clip, or one field to several."""
    source_options(parser, "video", several=True)
    mask_option(parser)
    flag(parser, "--resume", "go on from the last save in --out")
    flag(parser, "--dry-run", "say what the fit will be, and end, writing nothing")
    pack_options(parser)
    fit_options(parser)


def train(parsed: Namespace) -> int:
    """Fit, save, and say what was reached on frames held out."""
    from vfield.core.memory import meter
    from vfield.learn import check_device
    from vfield.learn.folders import run_folder, run_held
    from vfield.learn.sources import SOURCE_OPTIONS, recorded_source, source_of
    from vfield.output.fit_and_export import fit_source, teach_source
    from vfield.output.plan import plan
    from vfield.video_io import expanded

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
        with told_with(f"{folder / CONFIG_NAME} is damaged (", "); start anew with --overwrite"):
            values = load_values(folder / CONFIG_NAME)
            config_from_values(values)  # the parser would not name the file
        parsed.parser.set_defaults(values)
        parsed = parse(parsed.parser, parsed.words)
    elif parsed.video is None:
        raise UserError("no clip given; add --video clip.mp4")
    else:
        source = source_of(vars(parsed))
        folder = run_folder(parsed.out, source.video)
    config = config_of(parsed)
    check_device(config.training)
    if parsed.dry_run:
        if parsed.resume:
            raise UserError("--dry-run and --resume contradict each other; leave one out")
        say(*plan(source, config, folder))
        return 0
    also = "--resume to go on or "
    with run_held(folder, parsed.overwrite, resume=parsed.resume, also=also), meter() as peak_megabytes:
        clips = source.read_all(folder)
        if config.teaching.pieces:
            taught = teach_source(source, clips, config, folder, resume=parsed.resume)
            if taught.is_main:
                say(str(taught), taught._asdict())
            return exit_code() if taught.interrupted else 0
        fitted = fit_source(source, clips, config, folder, peak_megabytes, resume=parsed.resume)
    return _end(fitted, folder, packing_of(parsed), go_on=f"vfield train --resume --out {folder}")


def _end(fitted: Sequence[Fitted], folder: Path, packing: Packing | None, go_on: str) -> int:
    """Pack, and say what was reached and what to do with it, which processes other than the first do not.

    `go_on` says how to go on with a fit that was stopped. The command ends with 0, or as after any Ctrl-C.
    """
    from vfield.output.fit_and_export import figures_of, lines_of
    from vfield.output.packing import pack_if_asked
    from vfield.output.summary import PAGE_NAME

    first = fitted[0]
    stopped = first.result.interrupted
    if not stopped:
        tell_packed(pack_if_asked(folder, packing))
    if first.result.is_main:
        ask = "--scale 2 -o large.png" if len(first.result.field.timeline.t) == 1 else "--slowmo 4 -o slow.mp4"
        lines = [
            *lines_of(fitted, folder),
            *([f"go on:  {go_on}"] if stopped else []),
            f"watch:  tensorboard --logdir {folder}",
            f"look:   {first.folder / PAGE_NAME}",
            f"export: vfield render {first.folder} {ask}",
        ]
        say("\n".join(lines), {"run": folder, **figures_of(fitted)})
    return exit_code() if stopped else 0


def _resumable(parsed: Namespace) -> Path:
    from vfield.learn.folders import is_begun_at_most, run_folder
    from vfield.learn.sources import RUN_NAME

    if parsed.overwrite:
        raise UserError("--resume and --overwrite contradict each other; choose one")
    if parsed.out is None and parsed.video is None:
        raise UserError("--resume needs --out DIR, the run to go on with")
    folder = run_folder(parsed.out, parsed.video or "")
    for name in (CONFIG_NAME, RUN_NAME):
        if not (folder / name).is_file():
            anew = "without --resume" if not folder.is_dir() or is_begun_at_most(folder) else "anew with --overwrite"
            raise UserError(f"{folder} cannot be resumed: it has no {name}; start {anew}")
    return folder


def adapt_arguments(parser: ArgumentParser) -> None:
    """Fit a new clip with what other clips have taught: only its codes are learnt.

    The decoder and whatever else a run's clips share are held. The run's own config is the default, its steps divided
    by the number of its clips.
    """
    about = "run folder of one clip or several, or field file, to take the rest from, for example runs/many; required"
    option(parser, "run", about, str)
    source_options(parser, "video")
    mask_option(parser)
    flag(parser, "--tune", "let what is shared learn, too, at a tenth of the rate")
    pack_options(parser)
    fit_options(parser)


def adapt(parsed: Namespace) -> int:
    """Adapt, save, and say what was reached on frames held out."""
    from vfield.core.memory import meter
    from vfield.field.checkpoint import load_field
    from vfield.learn import check_device
    from vfield.learn.folders import fields_and_values, run_folder, run_held
    from vfield.learn.sources import source_of
    from vfield.output.fit_and_export import fit_source

    if parsed.video is None:
        raise UserError("no clip given; add --video new.mp4")
    fields, values = fields_and_values(Path(parsed.run))
    parsed.parser.set_defaults(values)
    parsed = parse(parsed.parser, parsed.words)
    config = config_of(parsed)
    check_device(config.training)
    shared = load_field(fields[0]).field
    if config.field != shared.config:
        raise UserError(f"the field's parts are those of {parsed.run}; leave out --config and options of --field")
    source = source_of(vars(parsed), adapted=parsed.run)
    folder = run_folder(parsed.out, parsed.video)
    with run_held(folder, parsed.overwrite), meter() as peak_megabytes:
        clips = source.read_all()
        fitted = fit_source(source, clips, config, folder, peak_megabytes, shared=shared, tune=parsed.tune)
    return _end(fitted, folder, packing_of(parsed), go_on="the same command with --overwrite, from the beginning")
