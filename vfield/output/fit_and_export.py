"""From a source to a field that is kept, judged on what was held out and summed up; and to an export of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vfield.core.devices import usable_device
from vfield.core.errors import UserError
from vfield.core.folders import held
from vfield.core.memory import meter
from vfield.core.metrics import Scores
from vfield.field.checkpoint import FIELD_NAME, SavedField, load_field
from vfield.field.video_field import VideoField
from vfield.learn import RESUME_NAME, Config, FitResult, Taught, adapt, fit, fit_many, teach
from vfield.learn.config_files import CONFIG_NAME, config_text, differences, load_config
from vfield.learn.folders import is_begun_at_most, run_held
from vfield.learn.held_out import judge_held_out
from vfield.learn.sources import RUN_NAME, SOURCE_OPTIONS, Seen, Source, recorded_source
from vfield.output.config import ExportConfig, output_size
from vfield.output.export import ExportReport, prepare_export, write_export
from vfield.output.packing import Packing, pack_if_asked
from vfield.output.pictures import pictures
from vfield.output.summary import (
    PAGE_NAME,
    add_export,
    exported_before,
    is_done,
    read_summary,
    summed_up,
    write_summary,
)
from vfield.prepare.opening import SCAN_NAME

# What of a config has no say in what is fitted.
_NO_MATTER = {"training.device", "training.save_seconds", "training.picture_seconds"}
# How long to wait for another process that has the run folder, only to note an export there.
_NOTE_SECONDS = 10.0
_LOG = logging.getLogger("vfield")


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
        peak_megabytes: tells the most memory that was taken since the clips began to be read.
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


def teach_source(
    source: Source, clips: Mapping[str, Seen], config: Config, folder: Path, *, resume: bool = False
) -> Taught:
    """Teach a prior with clips, in place of fields; the arguments are those of `fit_source`."""
    observed = {name: seen.observed for name, seen in clips.items()}
    scans = {name: seen.scan for name, seen in clips.items() if seen.scan is not None}
    records = {CONFIG_NAME: config_text(config), RUN_NAME: source.with_digest().text()}
    resume = resume and (folder / RESUME_NAME).is_file()
    return teach(observed, config, out=folder, scans=scans, records=records, resume=resume)


def _summed_up(
    result: FitResult, seen: Seen, config: Config, source: Source, folder: Path, megabytes: float
) -> Scores | None:
    """Write the summary of a clip's fit; the scores on what was held out of it."""
    facts = seen.observed.facts
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


# What a folder holds of a run: nothing, another run, one that was stopped, one that cannot be gone on with, all of it.
Known = Literal["nothing", "other", "stopped", "lost", "done"]


@dataclass(frozen=True)
class Job:
    """A clip to be fitted and exported."""

    source: Source  # which part of which file
    folder: Path  # of the run
    output: str  # of the export
    packing: Packing | None = None  # how the clip goes into the run's folder at the end; None for not at all


@dataclass(frozen=True)
class Done:
    """What became of a clip."""

    folder: Path  # of the run
    fit: Literal["fitted", "gone on with", "used again", "stopped"]  # how its field was come by; stopped by Ctrl-C
    fitted: Sequence[Fitted] = ()  # what the fit gave; nothing where it was there before
    exported: ExportReport | None = None  # None where the fit was stopped, and in processes that do not write
    packed: Sequence[Path] = ()  # files that the clip was packed into

    def lines(self) -> list[str]:
        """It in lines, but for what was packed."""
        if self.fitted:
            lines = [*lines_of(self.fitted, self.folder), f"look:   {self.folder / PAGE_NAME}"]
        else:
            lines = [f"{self.folder} holds this fit already: it is used again"]
        if self.exported is not None:
            lines.append(str(self.exported))
        elif self.fit == "stopped":
            lines.append("nothing was exported; the same command goes on from here")
        return lines

    def figures(self) -> dict[str, Any]:
        """It for scripts."""
        fitted = figures_of(self.fitted) if self.fitted else None
        return {"run": self.folder, "fit": self.fit, "fitted": fitted, "exported": self.exported}


def fit_and_export(job: Job, config: Config, wanted: ExportConfig) -> Done:
    """Fit a clip, unless it was fitted before in this way, and export from the field.

    Whatever is wrong with the export is found before the fit begins. The `overwrite` of `wanted` also lets a run be
    replaced that is not of this clip and config. A UserError when something cannot be done; what was fitted until then
    is kept.
    """
    output_size(wanted, job.source.picture_size())  # what cannot be made is refused before the clip is read
    known, why = _known(job, config)
    device = usable_device(config.training.device)
    if known == "other" and not wanted.overwrite:
        raise UserError(f"{job.folder} holds another run ({why}); add --overwrite to replace it, or name a --run DIR")
    if known == "done":
        saved = load_field(job.folder, config.training.device)
        prepared = prepare_export(saved.facts, job.output, wanted)
        done = Done(job.folder, "used again")
    else:
        resume, overwrite = known == "stopped", known != "nothing"
        with run_held(job.folder, overwrite, resume=resume, option="--run"), meter() as peak_megabytes:
            clips = job.source.read_all(job.folder)
            (seen,) = clips.values()
            prepared = prepare_export(config.kept(seen.observed.facts), job.output, wanted)
            fitted = fit_source(job.source, clips, config, job.folder, peak_megabytes, resume=resume)
        if fitted[0].result.interrupted:
            return Done(job.folder, "stopped", fitted)
        saved = load_field(job.folder, config.training.device)
        done = Done(job.folder, "gone on with" if resume else "fitted", fitted)
    exported = write_export(saved, prepared, device)
    if exported is not None:
        try:
            with held(job.folder, _NOTE_SECONDS):
                add_export(job.folder, exported, wanted)
        except UserError as error:  # the export itself is there
            _LOG.warning("the summary of %s does not tell of %s: %s", job.folder, exported.path, error)
    return replace(done, exported=exported, packed=pack_if_asked(job.folder, job.packing))


def is_complete(job: Job, config: Config, wanted: ExportConfig) -> bool:
    """Whether the export is there, as it was made in this way before; a UserError where something else is there."""
    if wanted.overwrite or not Path(job.output).exists():
        return False
    if _known(job, config)[0] != "done" or not exported_before(job.folder, Path(job.output), wanted):
        raise UserError(f"{job.output} exists, and is not what is asked for; add --overwrite to replace it")
    return True


def _known(job: Job, config: Config) -> tuple[Known, str]:
    """What a folder holds of the run that is asked for, and what tells another run from it."""
    there = [name for name in (CONFIG_NAME, RUN_NAME) if (job.folder / name).is_file()]
    if not there or is_begun_at_most(job.folder):
        return "nothing", ""
    if len(there) == 1:
        return "other", f"all that is known of it is in {there[0]}"
    try:
        recorded, held_config = recorded_source(job.folder), load_config(job.folder / CONFIG_NAME)
    except UserError as error:
        return "other", str(error)
    source = job.source.with_digest()
    files = [(of.video if isinstance(of.video, str) else "", of.mask or "") for of in (recorded, source)]
    if [os.path.realpath(path) for path in files[0]] != [os.path.realpath(path) for path in files[1]]:
        return "other", f"of {recorded.video}" + (f", mask {recorded.mask}" if recorded.mask else "")
    for name in ("start", "end", "size", "holdout", "deinterlace", "adapted", "digest"):
        was, now = getattr(recorded, name), getattr(source, name)
        if was != now and not (name == "digest" and was is None):  # Runs of before there were digests have none.
            return "other", "the file has changed" if name == "digest" else f"{name} {was}, not {now}"
    for name, was in differences(held_config, config).items():
        if name not in _NO_MATTER:
            return "other", f"{name} {was}, not {differences(config, held_config)[name]}"
    if is_done(read_summary(job.folder)) and (job.folder / FIELD_NAME).is_file():
        return "done", ""
    return "stopped" if (job.folder / RESUME_NAME).is_file() else "lost", ""
