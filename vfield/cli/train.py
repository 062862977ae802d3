"""Fit a field to a clip, or one field to several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from vfield.board import HeldOut
from vfield.checkpoint import FIELD_NAME
from vfield.cli.options import (
    check_folder,
    command_parser,
    config_of,
    fit_options,
    is_main_process,
    mask_option,
    parse,
    run_folder,
    source_options,
)
from vfield.cli.sources import RUN_NAME, SOURCE_OPTIONS, expanded, recorded_source, source_of
from vfield.cli.windows import has_windows, show_plan, train_windows, window_options
from vfield.config import CONFIG_NAME, config_text, load_values
from vfield.errors import UserError
from vfield.evaluation import judge_held_out
from vfield.training import RESUME_NAME, FitResult, check_device, fit, fit_many


def _train_parser() -> ArgumentParser:
    parser = command_parser("train", "Fit a neural field to a video clip.")
    source_options(parser, "video", several=True)
    mask_option(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the last save in --out")
    window_options(parser)
    fit_options(parser)
    return parser


def run(words: list[str]) -> int:
    """Fit, save, and say what was reached on frames held out."""
    parser = _train_parser()
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
        parser.set_defaults(load_values(folder / CONFIG_NAME))
        parsed = parse(parser, words)
    elif parsed.video is None:
        raise UserError("no clip given; add --video clip.mp4")
    else:
        source = source_of(parsed)
        folder = run_folder(parsed, source.video)
    config = config_of(parsed)
    check_device(config.training)
    if parsed.dry_run:
        return show_plan(source, config, folder, parsed)
    if has_windows(source, folder, parsed):
        return train_windows(source, config, folder, parsed)
    clips = source.read_all()
    if not parsed.resume and is_main_process():
        check_folder(folder, parsed.overwrite, also="--resume to go on or ")
    records = {CONFIG_NAME: config_text(config), RUN_NAME: source.text()}
    # A run that was stopped before its first save has nothing to lose by starting again.
    resume = parsed.resume and (folder / RESUME_NAME).is_file()
    held_out = {name: seen.held_out for name, seen in clips.items()}
    if isinstance(source.video, str):
        ((name, seen),) = clips.items()
        fitted = fit(seen.observed, config, out=folder, records=records, held_out=seen.held_out, resume=resume)
        report({name: fitted}, held_out, {name: folder}, folder)
    else:
        observed = {name: seen.observed for name, seen in clips.items()}
        results = fit_many(observed, config, out=folder, records=records, held_out=held_out, resume=resume)
        report(results, held_out, {name: folder / name for name in clips}, folder)
    return 0


def report(
    results: Mapping[str, FitResult],
    held_out: Mapping[str, HeldOut | None],
    folders: Mapping[str, Path],
    run_folder: Path,
) -> None:
    """Say what was reached, once for all processes.

    Args:
        results: of each clip, by its name.
        held_out: frames that each did not see.
        folders: where each one's field lies.
        run_folder: where the run lies.
    """
    first = next(iter(results.values()))
    if not first.is_main:
        return
    ended = "stopped" if first.interrupted else "done"
    where = run_folder / FIELD_NAME if len(results) == 1 else f"{len(results)} clips in {run_folder}"
    print(f"{ended} after {first.steps} steps and {first.seconds:.0f} s: {where}")
    for name, result in results.items():
        prefix = f"{name}: " if len(results) > 1 else ""
        if result.expectation is not None:
            print(f"{prefix}expected on frames never seen: PSNR {result.expectation}")
        unseen = held_out[name]
        if unseen is not None:
            scores = judge_held_out(result.field, unseen)
            told = f"PSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.4f} over {scores.frames} frames"
            print(f"{prefix}frames never seen: {told}")
    print(f"watch:  tensorboard --logdir {run_folder}")
    ask = "--scale 2 -o large.png" if len(first.field.timeline.t) == 1 else "--slowmo 4 -o slow.mp4"
    print(f"export: vfield render {next(iter(folders.values()))} {ask}")


def _resumable(parsed: Namespace) -> Path:
    if parsed.overwrite:
        raise UserError("--resume and --overwrite contradict each other; choose one")
    if parsed.out is None and parsed.video is None:
        raise UserError("--resume needs --out DIR, the run to go on with")
    folder = run_folder(parsed, parsed.video or "")
    for name in (CONFIG_NAME, RUN_NAME):
        if not (folder / name).is_file():
            raise UserError(f"{folder} cannot be resumed: it has no {name}; start without --resume")
    return folder
