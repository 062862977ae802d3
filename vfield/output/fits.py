"""From a source to a field that is kept, judged on what was held out and summed up; and what is said of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vfield.core.metrics import Scores
from vfield.field.checkpoint import FIELD_NAME, SavedField
from vfield.field.video_field import VideoField
from vfield.learn import RESUME_NAME, Config, FitResult, adapt, fit, fit_many
from vfield.learn.config_files import CONFIG_NAME, config_text
from vfield.learn.held_out import judge_held_out
from vfield.learn.sources import RUN_NAME, SOURCE_OPTIONS, Seen, Source
from vfield.output.pictures import pictures
from vfield.output.summary import summed_up, write_summary
from vfield.prepare.opening import SCAN_NAME


@dataclass(frozen=True)
class Fitted:
    """What a fit gave for one clip."""

    name: str  # of the clip
    folder: Path  # where its field lies
    result: FitResult
    held_out: Scores | None  # on frames that were held out; None where none were, and in processes that only help


def fit_source(
    source: Source,
    clips: Mapping[str, Seen],
    config: Config,
    folder: Path,
    peak_megabytes: Callable[[], float],
    *,
    resume: bool = False,
    shared: VideoField | None = None,
    tune: bool = False,
) -> list[Fitted]:
    """Fit one field to a clip, or to several together; keep it, judge it on what was held out, and write its summary.

    Args:
        source: which clips they are; kept with the run.
        clips: what was read, by the clips' names.
        config: of the fit.
        folder: of the run.
        peak_megabytes: tells, after the fit, the most memory that was taken since the clips began to be read.
        resume: go on from the last save, where there is one.
        shared: a field whose shared parts are held, so that only the one clip's codes are learnt; None learns all.
        tune: let these learn, too.
    """
    records = {CONFIG_NAME: config_text(config), RUN_NAME: source.with_digest().text()}
    # A run that was stopped before its first save has nothing to lose by starting again.
    resume = resume and (folder / RESUME_NAME).is_file()
    if isinstance(source.video, str):
        ((name, seen),) = clips.items()
        records |= {} if seen.kept is None or shared is not None else {SCAN_NAME: seen.kept}
        kept: dict[str, Any] = {"out": folder, "records": records, "held_out": seen.held_out}
        if shared is not None:
            results = {name: adapt(shared, seen.observed, config, tune=tune, **kept)}
        else:
            results = {name: fit(seen.observed, config, scan=seen.scan, resume=resume, **kept)}
    else:
        observed = {name: seen.observed for name, seen in clips.items()}
        held_out = {name: seen.held_out for name, seen in clips.items()}
        scans = {name: seen.scan for name, seen in clips.items() if seen.scan is not None}
        kept = {"out": folder, "records": records, "held_out": held_out}
        results = fit_many(observed, config, scans=scans, resume=resume, **kept)
    megabytes = peak_megabytes()
    fitted = []
    for name, result in results.items():
        place = folder if len(results) == 1 else folder / name
        scores = _summed_up(result, clips[name], config, source, place, megabytes) if result.is_main else None
        fitted.append(Fitted(name, place, result, scores))
    return fitted


def _summed_up(
    result: FitResult, seen: Seen, config: Config, source: Source, folder: Path, megabytes: float
) -> Scores | None:
    """Write the summary of a clip's fit; the scores on what was held out of it."""
    facts = seen.observed.facts
    # Before judging, which makes the field forget what TensorBoard's last pictures have left ready.
    rows = pictures(SavedField(result.field, facts, result.expectation), result.field.device)
    scores = None if seen.held_out is None else judge_held_out(result.field, seen.held_out)
    part = {option: getattr(source, option) for option in SOURCE_OPTIONS if option != "video"}
    summary = summed_up(result, facts, config, part, held_out=scores, peak_megabytes=megabytes)
    write_summary(folder, summary, rows)
    return scores


def lines_of(fitted: Sequence[Fitted], folder: Path) -> list[str]:
    """What was reached, in lines."""
    first = fitted[0].result
    ended = "stopped" if first.interrupted else "done"
    where = folder / FIELD_NAME if len(fitted) == 1 else f"{len(fitted)} clips in {folder}"
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


def figures_of(fitted: Sequence[Fitted]) -> dict[str, Any]:
    """What was reached, for scripts."""
    clips = []
    for clip in fitted:
        expected = None if clip.result.expectation is None else clip.result.expectation.psnr
        clips.append({"name": clip.name, "folder": clip.folder, "expected_psnr": expected, "held_out": clip.held_out})
    first = fitted[0].result
    return {"steps": first.steps, "seconds": first.seconds, "interrupted": first.interrupted, "clips": clips}
