"""A clip fitted, unless it was fitted before in this way, and exported."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vfield.core.devices import usable_device
from vfield.core.errors import UserError
from vfield.core.folders import held
from vfield.core.memory import meter
from vfield.field.checkpoint import FIELD_NAME, load_field
from vfield.learn import RESUME_NAME, Config
from vfield.learn.config_files import CONFIG_NAME, differences, load_config
from vfield.learn.folders import is_begun_at_most, run_held
from vfield.learn.sources import RUN_NAME, Source, recorded_source
from vfield.output.config import ExportConfig, output_size
from vfield.output.export import ExportReport, prepare_export, written
from vfield.output.fits import Fitted, figures_of, fit_source, lines_of
from vfield.output.packing import Packing, pack_if_asked
from vfield.output.summary import PAGE_NAME, add_export, exported_before, is_done, read_summary

# What of a config has no say in what is fitted.
_NO_MATTER = {"training.device", "training.save_seconds", "training.picture_seconds"}
# How long to wait for another process that has the run folder, only to note an export there.
_NOTE_SECONDS = 10.0
_LOG = logging.getLogger("vfield")

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

    Whatever is wrong with the export is found before the fit begins. A UserError when something cannot be done; what
    was fitted until then is kept.

    Args:
        job: which clip, and where to put what.
        config: of the fit.
        wanted: of the export. Its `overwrite` also lets a run be replaced that is not of this clip and config.
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
    exported = written(saved, prepared, device)
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
