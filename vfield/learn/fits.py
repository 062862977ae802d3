"""fit(), fit_many() and adapt(): from clips to fields. Accelerate brings devices, processes and precision."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedDataParallelKwargs

from vfield.core.clip import Clip
from vfield.core.devices import usable_device
from vfield.core.errors import UserError, enough_memory
from vfield.core.folders import held, remove, replaced
from vfield.core.printable import as_text
from vfield.field.checkpoint import EXPORTS_NAME, FIELD_NAME, clip_folders
from vfield.field.expectation import Expectation
from vfield.field.video_field import VideoField
from vfield.learn.board import HeldOut
from vfield.learn.config import Config, TrainingConfig
from vfield.learn.kept import remove_field
from vfield.learn.members import own_parameters
from vfield.learn.run import EVENTS_NAME, Run, Task, Watch
from vfield.learn.saves import RESUME_NAME, remove_summary
from vfield.learn.teaching import PRIOR_NAME, Taught, Teaching, teaching_config, teaching_task
from vfield.prepare.opening import open_clip
from vfield.prepare.scan import Scan

AnyRun = TypeVar("AnyRun", bound=Run)


class FitResult(NamedTuple):
    """What a fit gave.

    Attributes:
        field: the fitted field, on the device it was fitted on, ready to be asked.
        steps: optimisation steps done, those before a resume included.
        seconds: time taken, likewise.
        interrupted: whether it was stopped by Ctrl-C before its end.
        is_main: whether this process is the one that writes and prints.
        expectation: what the field expects of itself on unseen frames; None where it cannot tell.
    """

    field: VideoField
    steps: int
    seconds: float
    interrupted: bool
    is_main: bool
    expectation: Expectation | None


@enough_memory("the fit")
def fit(
    clip: Clip | str | Path,
    config: Config | None = None,
    *,
    scan: Scan | None = None,
    out: str | Path | None = None,
    records: Mapping[str, str] | None = None,
    held_out: HeldOut | None = None,
    resume: bool = False,
    progress: bool = True,
    watch: Watch | None = None,
) -> FitResult:
    """Fit a field to a clip.

    Args:
        clip: the observed frames, or the path of a file. What `visible` hides is filled from the rest
            (`vfield.prepare.fill`) and not learnt from. Of a clip in a file no more is held than a few frames,
            however long it is.
        config: None for the defaults.
        scan: what a look through the clip has found (`vfield.prepare.opening`); None looks when it is needed.
        out: run folder, for the field file, what resuming needs and TensorBoard's events. What an earlier run left
            there stays until this one has something to put in its place. None keeps everything in memory.
        records: texts to keep with the run, by file name; TensorBoard shows them too.
        held_out: frames to be judged on in TensorBoard. They are never learnt from.
        resume: go on from the last save in `out`.
        progress: show progress bars.
        watch: told after every step.

    Raises:
        UserError: when the config cannot work here, or the folder cannot be written or resumed from.
    """
    config = config or Config()
    if not isinstance(clip, Clip):
        clip, scan, _ = open_clip(clip)
    scans = {} if scan is None else {"": scan}
    out = None if out is None else Path(out)
    task = Task({"": clip}, config, out, records or {}, {"": held_out}, progress, watch, scans=scans)
    return _fitted(task, resume)[""]


@enough_memory("the fit")
def fit_many(
    clips: Mapping[str, Clip],
    config: Config | None = None,
    *,
    scans: Mapping[str, Scan] | None = None,
    out: Path | None = None,
    records: Mapping[str, str] | None = None,
    held_out: Mapping[str, HeldOut | None] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, FitResult]:
    """Fit one field to several clips, of any sizes, rates and lengths: what is learnt and is of no one clip is shared.

    Steps, minutes and the learning rate's fall are those of the whole run.

    Args:
        clips: the observed frames of each clip, by a name that can be a folder's.
        config: None for the defaults.
        scans: what a look through each clip has found, by its name, where it was looked through.
        out: run folder, with a folder for each clip's field file and TensorBoard events. None keeps all in memory.
        records: as in `fit`.
        held_out: frames of each clip to be judged on in TensorBoard.
        resume: go on from the last save in `out`.
        progress: show progress bars.

    Returns:
        The result of each clip; the fields hold the same shared parts.

    Raises:
        UserError: as `fit`.
    """
    if len(clips) < 2 or "" in clips:
        raise UserError(f"one field for many clips needs two or more, each with a name, got {sorted(clips)}")
    task = Task(clips, config or Config(), out, records or {}, held_out or {}, progress, scans=scans or {})
    return _fitted(task, resume)


@enough_memory("the fit")
def adapt(
    shared: VideoField,
    clip: Clip,
    config: Config | None = None,
    *,
    tune: bool = False,
    out: Path | None = None,
    records: Mapping[str, str] | None = None,
    held_out: HeldOut | None = None,
    progress: bool = True,
    watch: Watch | None = None,
) -> FitResult:
    """Fit a new clip by its codes alone: what is shared comes from another clip's field and is held.

    A field with keyframe colours has no codes: then no steps are taken. Learnt
    parts that do not help on this clip's own hidden frames are turned down, as in every fit.

    Args:
        shared: a fitted field; it stays as it is.
        clip: the observed frames of the new clip.
        config: None for the defaults; the parts of the field are those of `shared`.
        tune: let the shared parts learn, too, at a tenth of the rate.
        out: as in `fit`.
        records: as in `fit`.
        held_out: as in `fit`.
        progress: as in `fit`.
        watch: as in `fit`.

    Raises:
        UserError: as `fit`, and when there are no codes to fit.
    """
    config = config or Config()
    # What is shared takes the prior's place.
    config = replace(config, field=shared.config, training=replace(config.training, prior="none"))
    if shared.colours is None and not tune and not own_parameters(shared):
        raise UserError("this field has neither local latents nor a global code to fit; add --tune")
    if not tune and not own_parameters(shared):
        config = replace(config, training=replace(config.training, steps=0, minutes=None))
    task = Task({"": clip}, config, out, records or {}, {"": held_out}, progress, watch, shared, tune)
    return _fitted(task, resume=False)[""]


@enough_memory("teaching")
def teach(
    clips: Mapping[str, Clip],
    config: Config,
    *,
    out: Path,
    scans: Mapping[str, Scan] | None = None,
    records: Mapping[str, str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Taught:
    """Teach a prior on pieces of clips (`vfield.learn.teaching`), and keep it in the run folder.

    Args:
        clips: the clips as they were filmed, by name.
        config: how many pieces of each, and how to learn.
        out: run folder.
        scans: as in `fit_many`.
        records: as in `fit`.
        resume: go on from the last save in `out`.
        progress: show progress bars.

    Raises:
        UserError: as `fit`, and when there is nothing to learn from, or no clip of a name to judge by.
    """
    config = teaching_config(config)
    task, judged = teaching_task(clips, scans or {}, config, out, records or {}, progress)
    run = _trained(task, resume, lambda accelerator: Teaching(accelerator, task, judged))
    return Taught(out / PRIOR_NAME, run.step, run.elapsed(), run.kept, run.interrupted, run.is_main)


def _fitted(task: Task, resume: bool) -> dict[str, FitResult]:
    run = _trained(task, resume, lambda accelerator: Run(accelerator, task))
    return {
        member.name: FitResult(
            member.field.eval(), run.step, run.elapsed(), run.interrupted, run.is_main, member.expectation
        )
        for member in run.members
    }


def _trained(task: Task, resume: bool, start: Callable[[Accelerator], AnyRun]) -> AnyRun:
    """A run from its start to its end, or to Ctrl-C; its folder is held meanwhile by the process that writes there."""
    accelerator = _accelerator(task.config.training, task.out)
    is_main = bool(accelerator.is_main_process)
    with held(task.out) if task.out is not None and is_main else nullcontext():
        run: AnyRun | None = None
        try:
            run = start(accelerator)
            if resume:
                run.load()
            if is_main and task.out is not None:
                begin_folder(task.out, task.records, run.folders, keep_events=resume)
                accelerator.init_trackers(EVENTS_NAME)
                run.open_boards(task.out)
            run.train()
            return run
        finally:
            if run is not None:
                run.close()
            accelerator.end_training()
            # Accelerate keeps its settings for the whole process; the next fit may ask for others.
            AcceleratorState._reset_state(reset_partial_state=accelerator.num_processes == 1)
            GradientState._reset_state()


def begin_folder(out: Path, records: Mapping[str, str], names: list[str], keep_events: bool) -> None:
    """Make the run folder, or clear an earlier run's events and exports out of it, and write the records.

    Args:
        out: the folder.
        records: texts by file name.
        names: folders of the clips' fields in it; "" for the folder itself.
        keep_events: leave TensorBoard's events and what resuming needs.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for folder in (out, *clip_folders(out)):
            remove_summary(folder)
        if not keep_events:
            shutil.rmtree(out / EVENTS_NAME, ignore_errors=True)
            (out / RESUME_NAME).unlink(missing_ok=True)
            remove(out / EXPORTS_NAME)
            for folder in clip_folders(out):
                shutil.rmtree(folder / EVENTS_NAME, ignore_errors=True)
            # Fields of another choice of clips would be taken for some of this one.
            for folder in {out, *clip_folders(out)} - {out / name for name in names}:
                if (folder / FIELD_NAME).is_file():
                    remove_field(folder)
                if folder != out and not any(folder.iterdir()):
                    folder.rmdir()
        for name in names:
            (out / name).mkdir(exist_ok=True)
        for name, text in records.items():
            with replaced(out / name) as partial:
                partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; name another folder") from error


def check_device(config: TrainingConfig) -> None:
    """Raise a UserError when the device is not here or cannot work in the precision asked for."""
    device = usable_device(config.device)
    if config.mixed_precision == "fp16" and device.type == "cpu":
        raise UserError("mixed_precision fp16 needs an accelerator; use bf16 or no on the CPU")


def _accelerator(config: TrainingConfig, out: Path | None) -> Accelerator:
    check_device(config)
    if out is not None and as_text(str(out)) != str(out):
        raise UserError(f"TensorBoard cannot write into {out}, whose name is not UTF-8; name another folder")
    return Accelerator(
        cpu=config.device == "cpu",
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.accumulation,
        log_with="tensorboard" if out is not None else None,
        project_dir=out,
        # Buffers are the same everywhere from the start, and never change but for what `Run` keeps equal.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
