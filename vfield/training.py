"""fit(): the one training loop. Accelerate brings devices, processes, precision and gradient accumulation."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from tqdm import tqdm

from vfield.board import Board, HeldOut
from vfield.checkpoint import FIELD_NAME, read_tensors, save_compact, save_field, write_tensors
from vfield.clip import Clip
from vfield.compact.config import CompressionConfig
from vfield.compact.packed import check_parts, field_of, pack
from vfield.coords import keyframe_t
from vfield.denoise import DenoiseConfig, denoise
from vfield.devices import DeviceName, usable_device
from vfield.enlarging import Patches, find_detail_force
from vfield.errors import UserError
from vfield.expectation import Expectation, expect
from vfield.field.motion import Curves
from vfield.field.video_field import FieldConfig, VideoField
from vfield.flow import FlowConfig
from vfield.interrupts import Flag, interrupts
from vfield.objective import Objective, ObjectiveConfig, Terms
from vfield.rehearsal import apply_forces, find_forces
from vfield.sampling import PatchSampler, SamplingConfig
from vfield.start import distinct, start_field

RESUME_NAME = "resume.safetensors"
_EVENTS = "tensorboard"
_LOG = logging.getLogger("vfield")
_LOG_EVERY_STEPS = 10
# How much of the fit is done when the learnt parts are checked.
_CHECK_AT = 0.5
# Colours of every keyframe at the source's own footprint: read again at each step, so worth keeping.
_TRAINING_CACHE_BYTES = 3 << 30


@dataclass(frozen=True)
class TrainingConfig:
    """The loop.

    Attributes:
        steps: optimisation steps; None to be bounded by `minutes` alone.
        minutes: time budget for the whole fit, the start of the motion included; None for no bound.
        learning_rate: of the networks and latents at the start; it falls to zero along a cosine.
        motion_learning_rate: of the motion corrections, in source pixels.
        seed: of everything random.
        device: "auto" takes an accelerator where there is one.
        mixed_precision: None leaves it to Accelerate's own settings.
        accumulation: batches a step.
        save_seconds: time between saves of the field and of what resuming needs.
        picture_seconds: time between pictures in TensorBoard.
    """

    steps: int | None = 300
    minutes: float | None = None
    learning_rate: float = 2e-3
    motion_learning_rate: float = 2e-3
    seed: int = 0
    device: DeviceName = "auto"
    mixed_precision: Literal["no", "bf16", "fp16"] | None = None
    accumulation: int = 1
    save_seconds: float = 30.0
    picture_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise UserError("training needs an end: give training.steps or training.minutes")
        if self.steps is not None and self.steps < 0:
            raise UserError(f"training.steps must not be negative, got {self.steps}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise UserError(f"training.minutes must be positive, got {self.minutes}")
        if min(self.learning_rate, self.motion_learning_rate) < 0:
            raise UserError(
                "training learning rates must not be negative, "
                f"got {self.learning_rate} and {self.motion_learning_rate}"
            )
        if not 0 <= self.seed < 1 << 31:
            raise UserError(f"training.seed must be from 0 to {(1 << 31) - 1}, got {self.seed}")
        if self.accumulation < 1:
            raise UserError(f"training.accumulation must be at least 1, got {self.accumulation}")
        if min(self.save_seconds, self.picture_seconds) <= 0:
            raise UserError("training.save_seconds and training.picture_seconds must be positive")


@dataclass(frozen=True)
class Config:
    """Everything that decides what a fit does, besides the clip.

    Attributes:
        field: the parts of the field.
        flow: the classical flow that starts its motion.
        sampling: what a batch holds.
        objective: the loss terms.
        training: the loop.
        denoising: noise taken out of the clip before anything else.
        compression: the field made small.
    """

    field: FieldConfig = FieldConfig()
    flow: FlowConfig = FlowConfig()
    sampling: SamplingConfig = SamplingConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    denoising: DenoiseConfig = DenoiseConfig()
    compression: CompressionConfig = CompressionConfig()

    def __post_init__(self) -> None:
        if self.compression.enabled:
            check_parts(self.field)


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


def fit(
    clip: Clip,
    config: Config | None = None,
    *,
    out: Path | None = None,
    records: Mapping[str, str] | None = None,
    held_out: HeldOut | None = None,
    resume: bool = False,
    progress: bool = True,
) -> FitResult:
    """Fit a field to a clip.

    Args:
        clip: the observed frames.
        config: None for the defaults.
        out: run folder, for the field file, what resuming needs and TensorBoard's events. What an earlier run left
            there stays until this one has something to put in its place. None keeps everything in memory.
        records: texts to keep with the run, by file name; TensorBoard shows them too.
        held_out: frames to be judged on in TensorBoard. They are never learnt from.
        resume: go on from the last save in `out`.
        progress: show progress bars.

    Raises:
        UserError: when the config cannot work here, or the folder cannot be written or resumed from.
    """
    config = config or Config()
    if config.compression.enabled:
        return _fit_compact(clip, config, out, records or {}, progress)
    accelerator = _accelerator(config.training, out)
    try:
        run = _Run(accelerator, clip, config, out, progress)
        if resume:
            run.load()
        if accelerator.is_main_process and out is not None:
            _begin_folder(out, records or {}, keep_events=resume)
            accelerator.init_trackers(_EVENTS)
            run.board = Board(
                accelerator.get_tracker("tensorboard", unwrap=True), run.clip, held_out, accelerator.device
            )
            run.board.describe("\n".join((records or {}).values()), repr(clip))
        run.train()
        return FitResult(
            run.field.eval(),
            run.step,
            run.elapsed(),
            run.interrupted,
            bool(accelerator.is_main_process),
            run.expectation,
        )
    finally:
        accelerator.end_training()
        # Accelerate keeps its settings for the whole process; the next fit may ask for others.
        AcceleratorState._reset_state(reset_partial_state=accelerator.num_processes == 1)
        GradientState._reset_state()


def _fit_compact(clip: Clip, config: Config, out: Path | None, records: Mapping[str, str], progress: bool) -> FitResult:
    """Make a clip small. There is no loop over batches, and nothing to go on with when it is stopped."""
    began = time.monotonic()
    check_device(config.training)
    is_main = bool(PartialState(cpu=config.training.device == "cpu").is_main_process)
    if out is not None and is_main:
        _begin_folder(out, records, keep_events=False)

    def follow(loop: Iterable[Any], total: int) -> Iterable[Any]:
        return tqdm(loop, total=total, desc="compress", disable=not (progress and is_main), leave=False)

    denoised = denoise(clip, config.denoising, follow).clip
    seen, shots = distinct(denoised, moving=True)
    t = keyframe_t(seen.pts_seconds)
    packed, coded = pack(seen.frames, t, shots, config.compression, config.flow, config.training.seed, follow)
    field = field_of(packed, coded, config.field, float(clip.duration_seconds))
    if out is not None and is_main:
        save_compact(out / FIELD_NAME, packed, config.field, clip.facts)
    on = usable_device(config.training.device)
    return FitResult(field.to(on).eval(), 0, time.monotonic() - began, False, is_main, None)


def _begin_folder(out: Path, records: Mapping[str, str], keep_events: bool) -> None:
    """Make the run folder, or clear an earlier run's events out of it, and write the records."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not keep_events:
            shutil.rmtree(out / _EVENTS, ignore_errors=True)
            (out / RESUME_NAME).unlink(missing_ok=True)
        for name, text in records.items():
            (out / name).write_text(text)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; name another folder") from error


def check_device(config: TrainingConfig) -> None:
    """Raise a UserError when the device is not here or cannot work in the precision asked for."""
    device = usable_device(config.device)
    if config.mixed_precision == "fp16" and device.type == "cpu":
        raise UserError("mixed_precision fp16 needs an accelerator; use bf16 or no on the CPU")


def _accelerator(config: TrainingConfig, out: Path | None) -> Accelerator:
    check_device(config)
    return Accelerator(
        cpu=config.device == "cpu",
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.accumulation,
        log_with="tensorboard" if out is not None else None,
        project_dir=out,
        # Buffers are the same everywhere from the start, and never change.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


class _Run:
    """The state of one fit."""

    def __init__(self, accelerator: Accelerator, clip: Clip, config: Config, out: Path | None, progress: bool) -> None:
        self.began = time.monotonic()
        self.accelerator = accelerator
        self.config = config
        self.out = out
        self.facts = clip.facts
        self.show = progress and bool(accelerator.is_main_process)
        self.clip = clip = self._denoised(clip)
        self.step = 0
        self.interrupted = False
        self.board: Board | None = None
        self.expectation: Expectation | None = None
        self.forces: dict[str, float] | None = None
        seed = config.training.seed
        self.field, self.rehearsal, self.enlarging, seen = start_field(
            clip, config.field, config.flow, seed, self._follow, rehearse=config.training.steps != 0
        )
        if len(seen) < len(clip) and accelerator.is_main_process:
            left_out = len(clip) - len(seen)
            _LOG.info("%d of %d frames repeat the one before; motion runs past them", left_out, len(clip))
        self.field.to(accelerator.device)
        twin = None if self.rehearsal is None else self.rehearsal.field
        if twin is not None and twin.colours is not None:
            twin.colours.cache_bytes = _TRAINING_CACHE_BYTES
        self.seen = seen
        self.sampler = self._sampler()
        objective = Objective(self.field, twin, config.objective)
        optimizer = torch.optim.Adam(self._groups(), betas=(0.9, 0.99), eps=1e-8)
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)

    def _denoised(self, clip: Clip) -> Clip:
        denoised = denoise(
            clip,
            self.config.denoising,
            lambda steps, total: tqdm(steps, total=total, desc="denoise", disable=not self.show, leave=False),
        )
        if self.accelerator.is_main_process and self.config.denoising.strength != 0:
            _LOG.info("%s", denoised)
        return denoised.clip

    def _sampler(self) -> PatchSampler:
        """Draws from all that may be learnt from: the frames kept for checking only once they have served."""
        small, learning = self.seen.frames, list[int]()
        if self.rehearsal is not None:
            small, learning = self.rehearsal.frames, self.rehearsal.learning
            if self.forces is not None:
                learning = learning + self.rehearsal.checking
        t = keyframe_t(self.seen.pts_seconds)
        return PatchSampler(self.seen.frames, t, small, learning, self.config.sampling, self.config.training.seed)

    def _follow(self, curves: Iterable[Curves], total: int) -> Iterable[Curves]:
        return tqdm(curves, total=total, desc="motion", unit="gap", disable=not self.show, leave=False)

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters with their learning rates; "base" is what the schedule multiplies."""
        motion = list(self.field.motion.levels) if self.field.motion is not None else []
        taken = {id(parameter) for parameter in motion}
        rest = [parameter for parameter in self.field.parameters() if id(parameter) not in taken]
        training = self.config.training
        groups = [
            {"name": "networks", "params": rest, "lr": training.learning_rate, "base": training.learning_rate},
            {
                "name": "motion",
                "params": motion,
                "lr": training.motion_learning_rate,
                "base": training.motion_learning_rate,
            },
        ]
        return [group for group in groups if group["params"]]

    def elapsed(self) -> float:
        """Seconds spent on this fit, those before a resume included."""
        return time.monotonic() - self.began

    def done(self) -> float:
        """How much of the fit is done, from 0 to 1: by steps or by time, whichever is further."""
        training = self.config.training
        by_steps = self.step / max(training.steps, 1) if training.steps is not None else 0.0
        if training.steps == 0:
            return 1.0
        by_time = self.elapsed() / (60 * training.minutes) if training.minutes is not None else 0.0
        # Processes agree on the slowest clock, or one would wait for the other for ever.
        if self.accelerator.num_processes > 1 and training.minutes is not None:
            times = self.accelerator.gather(torch.tensor([by_time], device=self.accelerator.device))
            by_time = float(times.max())
        return max(by_steps, by_time)

    def train(self) -> None:
        """Run to the end, or to Ctrl-C; save on the way and at the end."""
        with interrupts() as asked:
            # Saved before the first step: from here on there is always a field to keep and a run to go on with.
            self.save()
            self._picture()
            with self._bar() as bar:
                self._steps(bar, asked)
            self.save()
            self._settle()
            self._save_field()
            self._picture(last=True)

    def _check(self) -> None:
        """Find out which learnt parts help on frames that were kept for it; then those frames are learnt from, too."""
        if self.forces is not None or (self.rehearsal is None and self.enlarging is None):
            return
        self.field.eval()
        self.forces = {} if self.rehearsal is None else find_forces(self.rehearsal)
        if self.enlarging is not None and self.field.detail is not None:
            self.forces["detail"] = find_detail_force(self.field.detail, self.enlarging)
        self.field.train()
        self.sampler = self._sampler()
        if self.forces and self.accelerator.is_main_process:
            _LOG.info(
                "learnt parts in force: %s", ", ".join(f"{name} {force:g}" for name, force in self.forces.items())
            )

    def _settle(self) -> None:
        """Turn down what does not help on hidden frames, and say what to expect of unseen ones.

        Resuming goes on from before this: what is saved for it is left alone.
        """
        if self.step > 0:
            self._check()
            apply_forces(self.field, self.forces or {})
        self.expectation = expect(self.field, self.rehearsal)
        if self.expectation is None:
            return
        if self.expectation.warning is not None and self.accelerator.is_main_process:
            _LOG.warning("%s", self.expectation.warning)
        if self.board is not None:
            self.accelerator.log({"psnr/expected on unseen frames": self.expectation.psnr}, step=self.step)

    def _steps(self, bar: tqdm[Any], asked: Flag) -> None:
        training = self.config.training
        saved = pictured = since = time.monotonic()
        points = 0
        while (done := self.done()) < 1:
            if done >= _CHECK_AT:
                self._check()
            terms, seen = self._step(done)
            points += seen * self.accelerator.num_processes
            bar.update(self._units() - bar.n)
            if self.step % _LOG_EVERY_STEPS == 0:
                rate = points / (time.monotonic() - since)
                points, since = 0, time.monotonic()
                self._log(terms, rate, bar)
            if self._any(asked.is_set):
                self.interrupted = True
                return
            if time.monotonic() - saved > training.save_seconds:
                self.save()
                saved = time.monotonic()
            if time.monotonic() - pictured > training.picture_seconds:
                self._picture()
                pictured = time.monotonic()

    def _step(self, done: float) -> tuple[Terms, int]:
        """One optimisation step: the last batch's terms, and how many points were seen here."""
        fall = (1 + math.cos(math.pi * done)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * fall
        seen = 0
        for part in range(self.config.training.accumulation):
            drawn = self.sampler.batch(
                self.step * self.config.training.accumulation + part,
                self.accelerator.process_index,
                self.accelerator.num_processes,
            )
            batch = drawn.to(self.accelerator.device)
            with self.accelerator.accumulate(self.objective):
                terms: Terms = self.objective(batch, self._patches(part))
                self.accelerator.backward(terms.total())
                self.optimizer.step()
                self.optimizer.zero_grad()
            seen += len(batch.uvt)
        self.step += 1
        terms = Terms(*(term.detach() for term in terms))
        if not math.isfinite(float(terms.total())):
            raise self._diverged()
        return terms, seen

    def _patches(self, part: int) -> Patches | None:
        """What the encoder of detail sees in this part of this step."""
        if self.enlarging is None:
            return None
        accelerator, training = self.accelerator, self.config.training
        return self.enlarging.patches(
            training.seed,
            self.step * training.accumulation + part,
            self.forces is not None,
            accelerator.process_index,
            accelerator.num_processes,
        ).to(accelerator.device)

    def _diverged(self) -> UserError:
        rate = self.config.training.learning_rate
        return UserError(
            f"the fit diverged at step {self.step}; lower training.learning_rate ({rate:g}) or use mixed_precision no"
        )

    def _any(self, flag: Any) -> bool:
        """Whether any process says so."""
        here = bool(flag())
        if self.accelerator.num_processes == 1:
            return here
        flags = self.accelerator.gather(torch.tensor([int(here)], device=self.accelerator.device))
        return bool(flags.any())

    def _units(self) -> int:
        training = self.config.training
        return self.step if training.steps is not None else min(int(self.elapsed()), int(60 * (training.minutes or 0)))

    def _bar(self) -> tqdm[Any]:
        training = self.config.training
        total = training.steps if training.steps is not None else int(60 * (training.minutes or 0))
        unit = "step" if training.steps is not None else "s"
        return tqdm(total=total, initial=self._units(), desc="fit", unit=unit, disable=not self.show)

    def _log(self, terms: Terms, points_per_second: float, bar: tqdm[Any]) -> None:
        psnr = -10 * math.log10(max(float(terms.error), 1e-10))
        bar.set_postfix(loss=f"{float(terms.total()):.2e}", psnr=f"{psnr:.2f}")
        if self.board is None:
            return
        values = {f"loss/{name}": float(value) for name, value in terms._asdict().items() if name != "error"}
        values["loss/total"] = float(terms.total())
        values["psnr/batch"] = psnr
        values["training/points per second"] = points_per_second
        for group in self.optimizer.param_groups:
            values[f"training/learning rate, {group['name']}"] = group["lr"]
        self.accelerator.log(values, step=self.step)

    def _picture(self, last: bool = False) -> None:
        if self.board is None:
            return
        self.field.eval()
        self.accelerator.log(self.board.quality(self.field, self.step), step=self.step)
        self.board.pictures(self.field, self.step)
        self.board.histograms(self.field, self.step)
        if last:
            self.board.demo(self.field, self.step)
        self.field.train()

    def save(self) -> None:
        """Write the field file, and beside it what resuming needs."""
        if self.out is None or not self.accelerator.is_main_process:
            return
        if not all(bool(parameter.isfinite().all()) for parameter in self.field.parameters()):
            raise self._diverged()
        self._save_field()
        tensors = {f"field.{name}": tensor for name, tensor in _learnt(self.field).items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
        facts = {"step": self.step, "elapsed": self.elapsed(), "forces": self.forces}
        write_tensors(self.out / RESUME_NAME, tensors, facts)

    def _save_field(self) -> None:
        if self.out is not None and self.accelerator.is_main_process:
            save_field(self.out / FIELD_NAME, self.field, self.facts, self.expectation)

    def load(self) -> None:
        """Go on from the last save.

        Raises:
            UserError: when there is none, or it belongs to another config or clip.
        """
        if self.out is None or not (self.out / RESUME_NAME).is_file():
            raise UserError(f"nothing to resume in {self.out}: it has no {RESUME_NAME}; start without --resume")
        tensors, facts = read_tensors(self.out / RESUME_NAME)
        learnt = _learnt(self.field)
        saved = {name.removeprefix("field."): value for name, value in tensors.items() if name.startswith("field.")}
        if {name: value.shape for name, value in learnt.items()} != {name: v.shape for name, v in saved.items()}:
            raise UserError(f"{self.out / RESUME_NAME} belongs to another clip or config; start without --resume")
        with torch.no_grad():
            for name, value in saved.items():
                learnt[name].copy_(value)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                index, _, key = rest.partition(".")
                state.setdefault(int(index), {})[key] = value
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
        self.step = facts["step"]
        self.forces = facts["forces"]
        self.sampler = self._sampler()
        self.began -= facts["elapsed"]
        if self.accelerator.is_main_process:
            _LOG.info("going on from step %d", self.step)


def _learnt(field: nn.Module) -> dict[str, Tensor]:
    return dict(field.named_parameters())
