"""Fit a clip and export from it in one go; several clips, or a folder of them, one after the other."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace

from vfield.cli import forms
from vfield.cli.options import INTERRUPTED, config_of, is_main_process, parse
from vfield.cli.outcomes import conclude, figures, told
from vfield.cli.places import check_not_of_run, check_not_read, files_read, is_begun_at_most, run_held
from vfield.cli.plan import show_plan
from vfield.cli.render import export_config, written
from vfield.cli.render import told as export_told
from vfield.cli.run_batch import Ended, exit_code, output_folder, run_each, suffix_for, table
from vfield.cli.says import say, tell
from vfield.cli.sources import RUN_NAME, Source, expanded, file_of, names_apart, recorded_source
from vfield.cli.train import fit_source
from vfield.core.devices import usable_device
from vfield.core.errors import UserError
from vfield.core.folders import held
from vfield.core.memory import meter
from vfield.core.printable import as_text
from vfield.field.checkpoint import FIELD_NAME, load_field
from vfield.learn import RESUME_NAME, Config, check_device
from vfield.learn.config_files import CONFIG_NAME, differences, load_config
from vfield.output.config import ExportConfig, output_size
from vfield.output.export import ExportReport, prepare_export
from vfield.show.summary import PAGE_NAME, add_export, exported_before, is_done, read_summary

# What of a config has no say in what is fitted.
_NO_MATTER = {"training.device", "training.save_seconds", "training.picture_seconds"}

_LOG = logging.getLogger("vfield")
# How long to wait for another process that has the run folder, only to note an export there.
_NOTE_SECONDS = 10.0

# How a field was come by.
How = Literal["fitted", "gone on with", "used again", "stopped"]
# What a folder holds of a run: nothing, another run, one that was stopped, one that cannot be gone on with, all of it.
Known = Literal["nothing", "other", "stopped", "lost", "done"]


@dataclass(frozen=True)
class Job:
    """A clip to be fitted and exported.

    Attributes:
        source: which part of which file.
        folder: of the run.
        output: of the export.
    """

    source: Source
    folder: Path
    output: str


@dataclass(frozen=True)
class RunReport:
    """What became of a clip.

    Attributes:
        fit: whether it was fitted anew, gone on with, found as it was fitted before, or stopped by Ctrl-C.
        told: what the fit gave, in lines; none where it was there before.
        figures: the same for scripts.
        exported: what was written; None where the fit was stopped, and in processes that do not write.
    """

    fit: How
    told: Sequence[str] = ()
    figures: Mapping[str, Any] | None = None
    exported: ExportReport | None = None


def run(words: list[str]) -> int:
    """Fit or take the earlier fit, export, and say what was done."""
    parsed = parse(forms.run(), words)
    config, wanted = config_of(parsed), export_config(parsed)
    check_device(config.training)
    clips = list(dict.fromkeys([*parsed.clips, *(parsed.input or [])]))
    if not clips:
        raise UserError("no clip given; name it, for example clip.mp4")
    found = expanded(clips)
    if isinstance(found, str) and not Path(clips[0]).is_dir():
        folder = Path(parsed.run) if parsed.run else Path("runs") / as_text(file_of(found).stem)
        check_not_read(parsed.output, files_read(parsed, clips))
        check_not_of_run(parsed.output, folder)
        if parsed.dry_run:
            return show_plan(_source(parsed, found), config, folder, (parsed.output, wanted))
        done = fit_and_export(Job(_source(parsed, found), folder, parsed.output), config, wanted)
        if is_main_process():
            say("\n".join(_told(folder, done)), _figures(folder, done))
        return INTERRUPTED if done.fit == "stopped" else 0
    videos = [found] if isinstance(found, str) else found
    if parsed.dry_run:
        raise UserError(f"--dry-run is for one clip, got {clips[0] if isinstance(found, str) else len(videos)}")
    if parsed.mask is not None and len(videos) > 1:
        raise UserError(f"--mask is for one clip, got {len(videos)}; run the masked clip alone")
    jobs = {}
    with output_folder(parsed.output, clips) as folder:
        for video, name in zip(videos, names_apart(videos), strict=True):
            output = folder / f"{name}{suffix_for(video, parsed.codec)}"
            jobs[video] = Job(_source(parsed, video), Path(parsed.run or "runs") / name, str(output))
            check_not_read(str(output), files_read(parsed, videos))
            check_not_of_run(str(output), jobs[video].folder)
        outcomes = run_each(list(jobs), lambda video: _one_of_many(jobs[video], config, wanted))
    say(table(outcomes), {"clips": [{"clip": clip, **ended._asdict()} for clip, ended in outcomes.items()]})
    return exit_code(outcomes)


def _source(parsed: Namespace, video: str) -> Source:
    """Which part of a clip the words ask for."""
    part = (parsed.start, parsed.end, parsed.fit_size)
    return Source(video, *part, mask=parsed.mask, deinterlace=parsed.deinterlace)


def _one_of_many(job: Job, config: Config, wanted: ExportConfig) -> Ended:
    """Fit and export one of several clips, unless that was done before."""
    if not wanted.overwrite and Path(job.output).exists():
        known, _ = _known(job, config)
        if known != "done" or not exported_before(job.folder, Path(job.output), wanted):
            raise UserError(f"{job.output} exists, and is not what is asked for; add --overwrite to replace it")
        return Ended("skipped", f"{job.output} is complete")
    done = fit_and_export(job, config, wanted)
    if is_main_process():
        tell("\n".join(_told(job.folder, done)))
    return Ended("stopped" if done.fit == "stopped" else "done", job.output)


def fit_and_export(job: Job, config: Config, wanted: ExportConfig) -> RunReport:
    """Fit a clip, unless it was fitted before in this way, and export from the field.

    Whatever is wrong with the export is found before the fit begins.

    Args:
        job: which clip, and where to put what.
        config: of the fit.
        wanted: of the export. Its `overwrite` also lets a run be replaced that is not of this clip and config.

    Raises:
        UserError: when something cannot be done; what was fitted until then is kept.
    """
    output_size(wanted, job.source.picture())  # what cannot be made is refused before the clip is read
    known, why = _known(job, config)
    device = usable_device(config.training.device)
    if known == "other" and not wanted.overwrite:
        raise UserError(f"{job.folder} holds another run ({why}); add --overwrite to replace it, or name a --run DIR")
    if known == "done":
        saved = load_field(job.folder, config.training.device)
        exported = written(saved, prepare_export(saved.facts, job.output, wanted), device)
        return _exported(job, RunReport("used again", exported=exported), wanted)
    resume = known == "stopped"

    with run_held(
        *(job.folder,), is_main=is_main_process(), resume=resume, overwrite=known != "nothing", option="--run"
    ):
        with meter() as peak_megabytes:
            clips = job.source.read_all(job.folder)
            (seen,) = clips.values()
            prepared = prepare_export(config.kept(seen.observed.facts), job.output, wanted)
            results = fit_source(job.source, clips, config, job.folder, resume=resume)
            megabytes = peak_megabytes()
        fitted = conclude(job.source, clips, config, results, job.folder, megabytes)
    if not fitted:
        saved = load_field(job.folder, config.training.device)
        return RunReport("fitted", exported=written(saved, prepared, device))
    report = RunReport("gone on with" if resume else "fitted", told(fitted, job.folder), figures(fitted))
    report = replace(report, told=[*report.told, f"look:   {job.folder / PAGE_NAME}"])
    if fitted[0].result.interrupted:
        return replace(report, fit="stopped")
    saved = load_field(job.folder, config.training.device)
    return _exported(job, replace(report, exported=written(saved, prepared, device)), wanted)


def _exported(job: Job, report: RunReport, wanted: ExportConfig) -> RunReport:
    """The report; the export is noted in the run's summary."""
    if report.exported is not None and is_main_process():
        try:
            with held(job.folder, _NOTE_SECONDS):
                add_export(job.folder, report.exported, wanted)
        except UserError as error:  # the export itself is there
            _LOG.warning("the summary of %s does not tell of %s: %s", job.folder, report.exported.path, error)
    return report


def _known(job: Job, config: Config) -> tuple[Known, str]:
    """What a folder holds of the run that is asked for, and what tells another run from it.

    Raises:
        UserError: when its summary is damaged.
    """
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


def _told(folder: Path, done: RunReport) -> list[str]:
    """What became of a clip, in lines."""
    lines = list(done.told)
    if done.fit == "used again":
        lines.append(f"{folder} holds this fit already: it is used again")
    if done.exported is not None:
        lines.append(export_told(done.exported))
    elif done.fit == "stopped":
        lines.append("nothing was exported; the same command goes on from here")
    return lines


def _figures(folder: Path, done: RunReport) -> dict[str, Any]:
    """What became of a clip, for scripts."""
    return {"run": folder, "fit": done.fit, "fitted": done.figures, "exported": done.exported}
