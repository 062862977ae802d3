"""The one loop, over the clips of a run: each step's batch is of one of them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from vfield.core.clip import Clip
from vfield.core.errors import UserError
from vfield.core.folders import remove
from vfield.core.interrupts import Flag, interrupts
from vfield.field.checkpoint import FIELD_NAME, KeptFrames, save_field
from vfield.field.conditioning import running_statistics
from vfield.field.video_field import VideoField
from vfield.learn.board import Board, HeldOut, TimeShare
from vfield.learn.config import Config
from vfield.learn.enlarging import Patches, find_detail_force
from vfield.learn.expecting import expect
from vfield.learn.kept import Kept, remove_unused
from vfield.learn.members import Member, learnt, own_parameters, shared_parameters
from vfield.learn.objective import JointObjective, Terms
from vfield.learn.prior import UNCHECKED_FORCES
from vfield.learn.rehearsal import apply_forces, find_forces
from vfield.learn.sampling import turn
from vfield.learn.saves import fingerprint, read_resume, write_resume
from vfield.prepare.denoise import keep_in_memory
from vfield.prepare.opening import SCAN_NAME
from vfield.prepare.scan import Scan

EVENTS_NAME = "tensorboard"
_LOG = logging.getLogger("vfield")
_LOG_EVERY_STEPS = 10
# How much of the fit is done when the learnt parts are checked.
_CHECK_AT = 0.5
# Spline coefficients of the hidden keyframes' neighbours, of all clips: read again at each step, so worth keeping.
_TRAINING_CACHE_BYTES = 256 << 20
# How much of the time pictures may take on the way.
_LOOKING = 0.05
# How much slower the shared parts learn than the codes where a new clip may tune them.
_TUNE_RATE = 0.1

# Told after every step: the field, and how many steps were done. The time that it takes is not the fit's.
Watch = Callable[[VideoField, int], None]


class Task(NamedTuple):
    """What is to be fitted, and how; see `fit` and `adapt`."""

    clips: Mapping[str, Clip]
    config: Config
    out: Path | None
    records: Mapping[str, str]
    held_out: Mapping[str, HeldOut | None]
    progress: bool
    watch: Watch | None = None
    shared: VideoField | None = None
    tune: bool = False
    scans: Mapping[str, Scan] = MappingProxyType({})


class Run:
    """The state of one fit."""

    def __init__(self, accelerator: Accelerator, task: Task) -> None:
        self.began = time.monotonic()
        self.accelerator = accelerator
        self.task = task
        self.config = config = task.config
        self.out = task.out
        self.is_main = bool(accelerator.is_main_process)
        self.show = task.progress and self.is_main
        self.step = 0
        self.last = 0
        self.interrupted = False
        self.forces: dict[str, float] | None = None
        self._kept: dict[str, KeptFrames] = {}
        self.writers: list[SummaryWriter] = []
        self.looking = TimeShare(_LOOKING)
        like = None if task.shared is None else task.shared.with_copied_parts()
        self.members: list[Member] = []
        for number, (name, clip) in enumerate(task.clips.items()):
            seed = config.training.seed + number
            says = self.is_main and config.teaching.pieces == 0
            member = Member(
                *(name, clip, config),
                scan=task.scans.get(name),
                keep=keep_in_memory if task.out is None else Kept(self._folder_of(task.out) / name),
                seed=seed,
                like=like,
                says=says,
                shows=self.show,
            )
            self.members.append(member)
            like = member.field
        for member in self.members:
            member.field.to(accelerator.device)
            member.cache(_TRAINING_CACHE_BYTES // len(self.members))
        if task.shared is not None and not task.tune and config.training.steps != 0:
            for parameter in shared_parameters(self.members[0].field):
                parameter.requires_grad_(False)
        elif config.has_prior:
            self._hold_prior()
        objective = JointObjective([member.objective() for member in self.members])
        optimizer = torch.optim.Adam(self._groups(), betas=(0.9, 0.99), eps=1e-8)
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)

    def _hold_prior(self) -> None:
        """Leave visibility to the prior: one clip has nothing to add to it, as it has to detail (docs/notes.md)."""
        field = self.members[0].field
        if field.detail is None:
            self.config = replace(self.config, training=replace(self.config.training, steps=0, minutes=None))
        elif field.visibility is not None:
            field.visibility.requires_grad_(False)

    @property
    def folders(self) -> list[str]:
        """Names of the clips' folders in that of the run; "" for the folder itself."""
        return [member.name for member in self.members]

    def _folder_of(self, out: Path) -> Path:
        """Where this process keeps changed frames: the run's folder, or beside the main process's one of its own."""
        return out if self.accelerator.is_main_process else out / f".process-{self.accelerator.process_index}"

    def open_boards(self, out: Path) -> None:
        """Begin to show every clip in TensorBoard: the only one in the run's own events, several each in its own."""
        tracker = self.accelerator.get_tracker("tensorboard", unwrap=True)
        for member in self.members:
            writer = tracker
            if member.name:
                writer = SummaryWriter(str(out / member.name / EVENTS_NAME))
                self.writers.append(writer)
            held_out = self.task.held_out.get(member.name)
            member.board = Board(writer, member.clip, held_out, self.accelerator.device, len(self.members))
            member.board.describe(self._words(), repr(member.clip))

    def _words(self) -> str:
        """The records of the run that people read."""
        return "\n".join(text for name, text in self.task.records.items() if name != SCAN_NAME)

    def close(self) -> None:
        """End what `open_boards` began, and remove what processes other than the main one kept."""
        if self.out is not None and not self.accelerator.is_main_process:
            remove(self._folder_of(self.out))
        for writer in self.writers:
            writer.close()

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters with their learning rates; "base" is what the schedule multiplies."""
        training, fields = self.config.training, [member.field for member in self.members]
        tuned = shared_parameters(fields[0]) if self.task.shared is not None else []
        taken = {id(parameter) for parameter in tuned}
        every = {id(parameter): parameter for field in fields for parameter in field.parameters()}
        rates = {
            "networks": ([p for key, p in every.items() if key not in taken], training.learning_rate),
            "shared": (tuned, _TUNE_RATE * training.learning_rate),
        }
        groups = []
        for name, (parameters, rate) in rates.items():
            learning = [parameter for parameter in parameters if parameter.requires_grad]
            if learning:
                groups.append({"name": name, "params": learning, "lr": rate, "base": rate})
        return groups

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
            # A run that is gone on with, or that only has an end, begins with no pictures.
            begins = self.step == 0 and self.config.training.steps != 0
            self._picture(0.0 if begins else self.done())
            with self._bar() as bar:
                self._steps(bar, asked)
            self.save()
            self._settle()
            self._save_fields()
            self._picture(1, last=True)

    def _check(self) -> None:
        """Find out which learnt parts help on frames that were kept for it; then those frames are learnt from, too."""
        rehearsals = [member.rehearsal for member in self.members if member.rehearsal is not None]
        seen = [(m.field.detail, m.enlarging) for m in self.members if m.field.detail is not None]
        details = [(detail, enlarging) for detail, enlarging in seen if enlarging is not None]
        if self.forces is not None or not (rehearsals or details):
            return
        self._mode(training=False)
        self.forces = find_forces(*rehearsals)
        if details:
            (detail, enlarging), *others = details
            self.forces["detail"] = find_detail_force(detail, enlarging, *others)
        self._mode(training=True)
        for member in self.members:
            member.learn_from_all()
        if self.forces and self.accelerator.is_main_process:
            _LOG.info(
                "learnt parts in force: %s", ", ".join(f"{name} {force:g}" for name, force in self.forces.items())
            )

    def _mode(self, training: bool) -> None:
        for member in self.members:
            member.field.train(training)

    def _settle(self) -> None:
        """Turn down what does not help on hidden frames, and say what to expect of unseen ones.

        Resuming goes on from before this: what is saved for it is left alone.
        """
        if self.step > 0 or self.task.shared is not None or self.config.has_prior:
            self._check()
            unchecked = UNCHECKED_FORCES if self.config.has_prior else {}
            apply_forces(self.members[0].field, unchecked | (self.forces or {}))
        for member in self.members:
            member.end_learning()
            member.expectation = expect(member.field, member.rehearsal)
            if member.expectation is None:
                continue
            if member.expectation.warning is not None:
                member.say("%s", member.expectation.warning, level=logging.WARNING)
            if member.board is not None:
                member.board.scalars({"psnr/expected on unseen frames": member.expectation.psnr}, self.step)

    def _steps(self, bar: tqdm[Any], asked: Flag) -> None:
        training = self.config.training
        saved = pictured = since = time.monotonic()
        points = 0
        while (done := self.done()) < 1:
            if done >= _CHECK_AT:
                self._check()
            terms, seen = self._step(done)
            self._watched()
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
                self._picture(done)
                pictured = time.monotonic()

    def _step(self, done: float) -> tuple[Terms, int]:
        """One optimisation step: the last batch's terms, and how many points were seen here."""
        fall = (1 + math.cos(math.pi * done)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * fall
        seen = 0
        parts = self.config.training.accumulation
        numbers = range(self.step * parts, (self.step + 1) * parts)
        drawn = [turn(self.config.training.seed, number, len(self.members)) for number in numbers]
        for number, chosen in zip(numbers, drawn, strict=True):
            share = (self.accelerator.process_index, self.accelerator.num_processes)
            batch = self.members[chosen].sampler.batch(number, *share).to(self.accelerator.device)
            with self.accelerator.accumulate(self.objective):
                terms: Terms = self.objective(chosen, batch, self._patches(self.members[chosen], number))
                self.accelerator.backward(terms.total())
                if self.accelerator.sync_gradients:
                    self._leave_alone(set(range(len(self.members))) - set(drawn))
                self.optimizer.step()
                self.optimizer.zero_grad()
            seen += len(batch.uvt)
        self._share_statistics()
        self.step += 1
        terms = Terms(*(term.detach() for term in terms))
        if not math.isfinite(float(terms.total())):
            raise self._diverged()
        self.last = drawn[-1]
        return terms, seen

    def _share_statistics(self) -> None:
        """Bring what a step has changed besides parameters to the mean over processes, so that all hold one field."""
        if self.accelerator.num_processes > 1:
            buffers = [buffer for member in self.members for buffer in running_statistics(member.field).values()]
            for buffer in {id(buffer): buffer for buffer in buffers}.values():
                buffer.copy_(self.accelerator.reduce(buffer, "mean"))

    def _leave_alone(self, members: set[int]) -> None:
        """Clips that a step does not see keep their codes: without gradients, Adam's momentum moves them no further."""
        for number in members:
            for parameter in own_parameters(self.members[number].field):
                parameter.grad = None

    def _watched(self) -> None:
        if self.task.watch is None:
            return
        before = time.monotonic()
        self.task.watch(self.members[0].field, self.step)
        self.began += time.monotonic() - before

    def _patches(self, member: Member, number: int) -> Patches | None:
        """What the encoder of detail sees in this batch; None where it does not learn."""
        detail = member.field.detail
        if member.enlarging is None or detail is None or not detail.last.weight.requires_grad:
            return None
        accelerator, checked = self.accelerator, self.forces is not None
        share = (accelerator.process_index, accelerator.num_processes)
        return member.enlarging.patches(self.config.training.seed, number, checked, *share).to(accelerator.device)

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
        bar.set_postfix(loss=f"{float(terms.total()):.2e}")
        board = self.members[self.last].board
        if board is None:
            return
        values = {f"loss/{name}": float(value) for name, value in terms._asdict().items() if name != "error"}
        if float(terms.error) > 0:
            values["psnr/batch"] = -10 * math.log10(float(terms.error))
        board.scalars({**values, "loss/total": float(terms.total())}, self.step)
        rates = {f"training/learning rate, {group['name']}": group["lr"] for group in self.optimizer.param_groups}
        self.accelerator.log({**rates, "training/points per second": points_per_second}, step=self.step)

    def _picture(self, done: float, last: bool = False) -> None:
        """Show the clips, those shown least first, as far as there is time; in the end all of them."""
        shown = [(member.board, member.field) for member in self.members if member.board is not None]
        for board, field in sorted(shown, key=lambda pair: pair[0].sets):
            if last or (board.is_due(done) and self.looking.allows_more()):
                with self.looking:
                    board.show(field.eval(), self.step, moving=last and not self.interrupted)
                field.train()

    def save(self) -> None:
        """Write the field files, and beside them what resuming needs."""
        if self.out is None or not self.accelerator.is_main_process:
            return
        if not all(member.is_finite() for member in self.members):
            raise self._diverged()
        self._save_fields()
        facts = {"of": self._made_of(), "step": self.step, "elapsed": self.elapsed(), "forces": self.forces}
        write_resume(self.out, learnt(self.members), self.optimizer, facts)

    def _save_fields(self) -> None:
        if self.out is None or not self.accelerator.is_main_process:
            return
        for member in self.members:
            folder, field = self.out / member.name, member.field
            kept = self._kept.get(member.name)
            self._kept[member.name] = save_field(folder / FIELD_NAME, field, member.facts, member.expectation, kept)
            remove_unused(folder, field.frames, member.facts.source)

    def _made_of(self) -> str:
        return fingerprint(self.config.field, {member.name: member.facts for member in self.members})

    def load(self) -> None:
        """Go on from the last save.

        Raises:
            UserError: when there is none, or it belongs to another config or clip.
        """
        facts = read_resume(self.out, learnt(self.members), self.optimizer, self._made_of())
        self.step = facts["step"]
        self.forces = facts["forces"]
        if self.forces is not None:
            for member in self.members:
                member.learn_from_all()
        self.began -= facts["elapsed"]
        if self.accelerator.is_main_process:
            _LOG.info("going on from step %d", self.step)
