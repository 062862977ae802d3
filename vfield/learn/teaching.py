"""Teaching a prior: the tasks of a fit, on short degraded pieces of many clips, with one set of shared parts.

Each piece is a clip of its own (`vfield.prepare.degrade`). Its hidden frames are made at the piece's own size: pieces
are small, and what was filmed between two frames is at hand, so nothing needs to be halved for the sake of the motion.
Errors count relative to the start's (`Objective.unit`), or clips that move much would rule those that do not.

Pieces of clips that are not learnt from are judged now and then, by how many decibels the shared parts gain over the
start: visibility on their hidden frames, detail between their pixels. Each part is kept as it last was about as good
there as it ever was. So it is stopped by clips of other sources than it has seen (early stopping: Prechelt, "Early
stopping - but when?", 1998).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from accelerate import Accelerator
from tqdm import tqdm

from vfield.core.clip import Clip
from vfield.core.errors import UserError
from vfield.learn.config import Config, TrainingConfig
from vfield.learn.enlarging import detail_gain
from vfield.learn.members import Member, learnt
from vfield.learn.prior import read_prior, taught, write_prior
from vfield.learn.rehearsal import squared_errors
from vfield.learn.run import Run, Task
from vfield.learn.saves import write_resume
from vfield.prepare.degrade import degraded
from vfield.prepare.scan import Scan, scan_frames

PRIOR_NAME = "prior.safetensors"
"""In a run folder: the prior that was taught."""

_LOG = logging.getLogger("vfield")
# Decibels under its best that a part may be and still be kept: pieces to judge by are few, and of two that are about as
# good there, what has learnt for longer was better on other clips.
_ABOUT = 0.1


class Gain(NamedTuple):
    """Decibels over the start on pieces that are not learnt from: of hidden frames, and between pixels."""

    between_frames: float
    between_pixels: float


class Taught(NamedTuple):
    """What teaching gave.

    Attributes:
        path: of the prior.
        steps: done, those before a resume included.
        seconds: taken, likewise.
        gain: of the parts that were kept.
        interrupted: whether it was stopped by Ctrl-C before its end.
        is_main: whether this process is the one that writes and prints.
    """

    path: Path
    steps: int
    seconds: float
    gain: Gain
    interrupted: bool
    is_main: bool

    def __str__(self) -> str:
        ended = "stopped" if self.interrupted else "done"
        return (
            f"{ended} after {self.steps} steps and {self.seconds:.0f} s: {self.path}\ngain on clips not learnt from: "
            f"{self.gain.between_frames:+.2f} dB between frames, {self.gain.between_pixels:+.2f} between pixels"
        )


def pieces(clips: Mapping[str, Clip], scans: Mapping[str, Scan], config: Config, show: bool) -> dict[str, Clip]:
    """Degraded pieces of clips, by names that tell clip and number; fewer of a clip in which little moves."""
    drawn = {}
    for name, clip in clips.items():
        shots = (scans.get(name) or scan_frames(clip.frames)).shots
        numbers = range(config.teaching.pieces)
        for number in tqdm(numbers, desc=f"draw {name}", disable=not show, leave=False):
            draw = Random(f"{config.training.seed} {name} {number}")
            piece = degraded(clip, shots, config.teaching.frames, draw)
            if piece is not None:
                drawn[f"{name}-{number}"] = piece
    return drawn


class Teaching(Run):
    """The run that teaches a prior: as many members as pieces, and no field of any of them is kept."""

    def __init__(self, accelerator: Accelerator, task: Task, judged: Mapping[str, Clip]) -> None:
        """Start every piece of `task`, and the judged ones, whose parts are those of the first."""
        super().__init__(accelerator, task)
        first = self.members[0].field
        if not taught(first):
            raise UserError("a prior speaks for visibility and detail, and this field has neither")
        self.judged = [
            Member(
                *(name, piece, self.config),
                scan=task.scans[name],
                seed=self.config.training.seed,
                like=first,
                says=False,
                shows=False,
            )
            for name, piece in tqdm(judged.items(), desc="pieces to judge by", disable=not self.show, leave=False)
        ]
        for member in self.judged:
            member.field.to(accelerator.device)
            member.cache(0)
        # All of a piece is learnt from: clips that nothing is learnt from are what tells.
        self.forces = {}
        for member in self.members:
            member.learn_from_all()
        self.best = self.kept = Gain(0.0, 0.0)
        self.values = taught(first)

    def save(self) -> None:
        """Write the parts that are kept so far, and what resuming needs."""
        if self.out is None or not self.accelerator.is_main_process:
            return
        facts = {"steps": self.step, "gain": self.kept._asdict(), "best": self.best._asdict()}
        write_prior(self.out / PRIOR_NAME, self.values, facts)
        told = {"of": self._made_of(), "step": self.step, "elapsed": self.elapsed(), "forces": self.forces}
        write_resume(self.out, learnt(self.members), self.optimizer, told)

    def load(self) -> None:
        """Go on from the last save; a UserError when there is none, or it is of another run."""
        super().load()
        assert self.out is not None
        self.values, facts = read_prior(self.out / PRIOR_NAME)
        self.best, self.kept = Gain(**facts["best"]), Gain(**facts["gain"])

    @torch.no_grad()
    def gain(self) -> Gain:
        """What the shared parts gain as they are now."""
        frames, pixels = [], []
        for member in self.judged:
            member.field.eval()
            if member.rehearsal is not None and member.start_errors is not None:
                now = squared_errors(member.rehearsal, member.rehearsal.hidden)
                frames.append(float(10 * (member.start_errors / now.clamp(min=1e-10)).log10().mean()))
            if member.enlarging is not None and member.field.detail is not None:
                pixels.append(detail_gain(member.field.detail, member.enlarging))
        return Gain(*(sum(gains) / max(len(gains), 1) for gains in (frames, pixels)))

    def _watched(self) -> None:
        steps = self.config.training.steps or 1
        every = max(1, steps // self.config.teaching.judgements)
        if not self.judged or (self.step % every and self.step != steps):
            return
        gain = self.gain()
        if self.accelerator.is_main_process:
            told = f"{gain.between_frames:+.2f} dB between frames, {gain.between_pixels:+.2f} between pixels"
            _LOG.info("step %d: %s on clips that are not learnt from", self.step, told)
            self.accelerator.log({f"gain/{name}": value for name, value in gain._asdict().items()}, step=self.step)
        now = taught(self.members[0].field)
        self.best = Gain(*map(max, gain, self.best))
        for place, part in enumerate(("visibility", "detail")):
            if gain[place] > max(self.best[place] - _ABOUT, 0):
                self.values |= {name: value for name, value in now.items() if name.startswith(part)}
                self.kept = self.kept._replace(**{Gain._fields[place]: gain[place]})

    @property
    def folders(self) -> list[str]:
        """No piece has a folder."""
        return []

    # Nothing is shown of single pieces, and none is turned down: whoever fits a clip with the prior decides that.
    def open_boards(self, out: Path) -> None:
        """Show nothing but what the loop logs."""

    def _check(self) -> None:
        pass

    def _settle(self) -> None:
        if not self.judged:
            self.values = taught(self.members[0].field)

    def _save_fields(self) -> None:
        self.save()

    def _picture(self, done: float, last: bool = False) -> None:
        pass


def teaching_task(
    clips: Mapping[str, Clip],
    scans: Mapping[str, Scan],
    config: Config,
    out: Path,
    records: Mapping[str, str],
    progress: bool,
) -> tuple[Task, dict[str, Clip]]:
    """What a prior is taught on, and the pieces that it is judged by.

    Raises:
        UserError: when a clip to judge by is not there, or none is left to learn from.
    """
    for name in config.teaching.judged:
        if name not in clips:
            raise UserError(f"teaching.judged names {name}, which is none of the clips {', '.join(sorted(clips))}")
    drawn = pieces(clips, scans, config, progress)
    judged = {name: piece for name, piece in drawn.items() if name.rpartition("-")[0] in config.teaching.judged}
    learning = {name: piece for name, piece in drawn.items() if name not in judged}
    if not learning:
        raise UserError("no clip is left to teach a prior with; give more, or judge by fewer (teaching.judged)")
    one_shot = {name: Scan([range(len(piece))], []) for name, piece in drawn.items()}
    return Task(learning, config, out, records, {}, progress, scans=one_shot), judged


def teaching_config(config: Config) -> Config:
    """A config that teaches: from nothing, and with pieces as they are."""
    training: TrainingConfig = replace(config.training, prior="none")
    return replace(config, training=training, denoising=replace(config.denoising, strength=0.0))
