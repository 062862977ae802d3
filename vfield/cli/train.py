"""Fit a field to a clip, or one field to several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from vfield.checkpoint import FIELD_NAME, SavedField
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
from vfield.cli.says import say
from vfield.cli.sources import RUN_NAME, SOURCE_OPTIONS, Seen, Source, expanded, recorded_source, source_of
from vfield.cli.windows import has_windows, show_plan, train_windows, window_options
from vfield.config import CONFIG_NAME, config_text, load_values
from vfield.errors import UserError
from vfield.evaluation import judge_held_out
from vfield.meter import meter
from vfield.metrics import Scores
from vfield.summary import PAGE_NAME, pictures, summed_up, write_summary
from vfield.training import RESUME_NAME, Config, FitResult, check_device, fit, fit_many


@dataclass(frozen=True)
class Fitted:
    """What a fit gave for one clip.

    Attributes:
        name: of the clip.
        folder: where its field lies.
        result: of the fit.
        held_out: scores on frames that were held out; None where none were.
    """

    name: str
    folder: Path
    result: FitResult
    held_out: Scores | None


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
    with meter() as peak_megabytes:
        clips = source.read_all()
        if not parsed.resume and is_main_process():
            check_folder(folder, parsed.overwrite, also="--resume to go on or ")
        results = fit_source(source, clips, config, folder, resume=parsed.resume)
        megabytes = peak_megabytes()
    fitted = conclude(source, clips, config, results, folder, megabytes)
    report(fitted, folder)
    return 0


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
        return {name: fit(seen.observed, config, out=folder, records=records, held_out=seen.held_out, resume=resume)}
    observed = {name: seen.observed for name, seen in clips.items()}
    held_out = {name: seen.held_out for name, seen in clips.items()}
    return fit_many(observed, config, out=folder, records=records, held_out=held_out, resume=resume)


def conclude(
    source: Source,
    clips: Mapping[str, Seen],
    config: Config,
    results: Mapping[str, FitResult],
    folder: Path,
    peak_megabytes: float,
) -> list[Fitted]:
    """Judge a fit on what was held out, and write the summary of each of its clips; nothing in other processes.

    Args:
        source: which clips were read.
        clips: what was read, by the clips' names.
        config: of the fit.
        results: of each clip.
        folder: of the run.
        peak_megabytes: most memory that reading and fitting took.
    """
    fitted = []
    for name, result in results.items():
        if not result.is_main:
            continue
        facts, unseen = clips[name].observed.facts, clips[name].held_out
        saved, device = SavedField(result.field, facts, result.expectation), next(result.field.buffers()).device
        # Before judging, which makes the field forget what TensorBoard's last pictures have left ready.
        rows = pictures(saved, device)
        scores = None if unseen is None else judge_held_out(result.field, unseen)
        place = folder if len(results) == 1 else folder / name
        part = {option: getattr(source, option) for option in SOURCE_OPTIONS if option != "video"}
        summary = summed_up(result, facts, config, part, held_out=scores, peak_megabytes=peak_megabytes)
        write_summary(place, summary, rows)
        fitted.append(Fitted(name, place, result, scores))
    return fitted


def report(fitted: Sequence[Fitted], run_folder: Path) -> None:
    """Say what was reached and what to do with it; nothing in processes other than the first."""
    if not fitted:
        return
    ask = "--scale 2 -o large.png" if len(fitted[0].result.field.timeline.t) == 1 else "--slowmo 4 -o slow.mp4"
    lines = [
        *told(fitted, run_folder),
        f"watch:  tensorboard --logdir {run_folder}",
        f"look:   {fitted[0].folder / PAGE_NAME}",
        f"export: vfield render {fitted[0].folder} {ask}",
    ]
    say("\n".join(lines), {"run": run_folder, **figures(fitted)})


def told(fitted: Sequence[Fitted], run_folder: Path) -> list[str]:
    """What was reached, in lines."""
    first = fitted[0].result
    ended = "stopped" if first.interrupted else "done"
    where = run_folder / FIELD_NAME if len(fitted) == 1 else f"{len(fitted)} clips in {run_folder}"
    lines = [f"{ended} after {first.steps} steps and {first.seconds:.0f} s: {where}"]
    for clip in fitted:
        prefix = f"{clip.name}: " if len(fitted) > 1 else ""
        if clip.result.expectation is not None:
            lines.append(f"{prefix}expected on frames never seen: PSNR {clip.result.expectation}")
        if clip.held_out is not None:
            scores = clip.held_out
            reached = f"PSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.4f} over {scores.frames} frames"
            lines.append(f"{prefix}frames never seen: {reached}")
    return lines


def figures(fitted: Sequence[Fitted]) -> dict[str, Any]:
    """What was reached, for scripts."""
    clips = []
    for clip in fitted:
        expected = None if clip.result.expectation is None else clip.result.expectation.psnr
        clips.append({"name": clip.name, "folder": clip.folder, "expected_psnr": expected, "held_out": clip.held_out})
    first = fitted[0].result
    return {"steps": first.steps, "seconds": first.seconds, "interrupted": first.interrupted, "clips": clips}


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
