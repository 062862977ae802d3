"""A clip fitted, unless it was fitted before in this way, and exported."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vfield.cli.fits import Fitted, figures_of, fit_source, lines_of
from vfield.cli.folders import is_begun_at_most, run_held
from vfield.cli.printing import is_main_process, tell
from vfield.cli.render import line_of, written
from vfield.cli.sources import RUN_NAME, Source, recorded_source
from vfield.core.devices import usable_device
from vfield.core.errors import UserError
from vfield.core.folders import held
from vfield.core.memory import meter
from vfield.core.printable import printable
from vfield.field.checkpoint import FIELD_NAME, load_field
from vfield.learn import RESUME_NAME, Config
from vfield.learn.config_files import CONFIG_NAME, differences, load_config
from vfield.output.config import ExportConfig, output_size
from vfield.output.export import ExportReport, prepare_export
from vfield.show.summary import PAGE_NAME, add_export, exported_before, is_done, read_summary

# What of a config has no say in what is fitted.
_NO_MATTER = {"training.device", "training.save_seconds", "training.picture_seconds"}
# How long to wait for another process that has the run folder, only to note an export there.
_NOTE_SECONDS = 10.0
_LOG = logging.getLogger("vfield")

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
class Done:
    """What became of a clip.

    Attributes:
        folder: of the run.
        fit: how its field was come by; "stopped" is by Ctrl-C.
        fitted: what the fit gave; nothing where it was there before.
        exported: what was written; None where the fit was stopped, and in processes that do not write.
    """

    folder: Path
    fit: Literal["fitted", "gone on with", "used again", "stopped"]
    fitted: Sequence[Fitted] = ()
    exported: ExportReport | None = None

    def lines(self) -> list[str]:
        """It in lines."""
        if self.fitted:
            lines = [*lines_of(self.fitted, self.folder), f"look:   {self.folder / PAGE_NAME}"]
        else:
            lines = [f"{self.folder} holds this fit already: it is used again"]
        if self.exported is not None:
            lines.append(line_of(self.exported))
        elif self.fit == "stopped":
            lines.append("nothing was exported; the same command goes on from here")
        return lines

    def figures(self) -> dict[str, Any]:
        """It for scripts."""
        fitted = figures_of(self.fitted) if self.fitted else None
        return {"run": self.folder, "fit": self.fit, "fitted": fitted, "exported": self.exported}


class Ended(NamedTuple):
    """How it ended with a clip.

    Attributes:
        how: "stopped" by Ctrl-C, which leaves the clips after it "not begun".
        what: the file that was written, or why there is none.
    """

    how: Literal["done", "skipped", "failed", "stopped", "not begun"]
    what: str


def fit_and_export(job: Job, config: Config, wanted: ExportConfig) -> Done:
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
        return _noted(Done(job.folder, "used again", exported=exported), wanted)
    resume, overwrite = known == "stopped", known != "nothing"
    with run_held(job.folder, overwrite, resume=resume, option="--run"), meter() as peak_megabytes:
        clips = job.source.read_all(job.folder)
        (seen,) = clips.values()
        prepared = prepare_export(config.kept(seen.observed.facts), job.output, wanted)
        fitted = fit_source(job.source, clips, config, job.folder, peak_megabytes, resume=resume)
    if fitted[0].result.interrupted:
        return Done(job.folder, "stopped", fitted)
    saved = load_field(job.folder, config.training.device)
    exported = written(saved, prepared, device)
    return _noted(Done(job.folder, "gone on with" if resume else "fitted", fitted, exported), wanted)


def _noted(done: Done, wanted: ExportConfig) -> Done:
    """What became of a clip; the export is noted in the run's summary."""
    if done.exported is not None:
        try:
            with held(done.folder, _NOTE_SECONDS):
                add_export(done.folder, done.exported, wanted)
        except UserError as error:  # the export itself is there
            _LOG.warning("the summary of %s does not tell of %s: %s", done.folder, done.exported.path, error)
    return done


def fit_and_export_each(jobs: Mapping[str, Job], config: Config, wanted: ExportConfig) -> dict[str, Ended]:
    """How it ended with each of several clips; a bad clip is told in one line, and Ctrl-C ends it all."""
    outcomes = dict.fromkeys(jobs, Ended("not begun", ""))
    for number, (clip, job) in enumerate(jobs.items(), start=1):
        tell(f"\n{number}/{len(jobs)}  {printable(clip)}")
        try:
            outcomes[clip] = _fit_and_export_once(job, config, wanted)
        except UserError as error:
            outcomes[clip] = Ended("failed", " ".join(str(error).split()))
        except OSError as error:
            outcomes[clip] = Ended("failed", f"{error.filename or 'the system'}: {error.strerror or error}")
        except KeyboardInterrupt:
            outcomes[clip] = Ended("stopped", "")
        if outcomes[clip].how == "failed":
            tell(f"error: {printable(clip)}: {outcomes[clip].what}", sys.stderr)
        if outcomes[clip].how == "stopped":
            break
    return outcomes


def _fit_and_export_once(job: Job, config: Config, wanted: ExportConfig) -> Ended:
    """Fit and export one of several clips, unless that was done before."""
    if not wanted.overwrite and Path(job.output).exists():
        known, _ = _known(job, config)
        if known != "done" or not exported_before(job.folder, Path(job.output), wanted):
            raise UserError(f"{job.output} exists, and is not what is asked for; add --overwrite to replace it")
        return Ended("skipped", f"{job.output} is complete")
    done = fit_and_export(job, config, wanted)
    if is_main_process():
        tell("\n".join(done.lines()))
    return Ended("stopped" if done.fit == "stopped" else "done", job.output)


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
