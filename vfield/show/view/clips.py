"""Clips of a view: slow motion of the part of the picture that is in sight, rendered while views go on."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from vfield.core.clip import ClipFacts
from vfield.core.errors import UserError
from vfield.field.checkpoint import SavedField
from vfield.field.render import Region
from vfield.output.config import Crop, ExportConfig
from vfield.output.export import export
from vfield.show.view.views import check_picture
from vfield.show.view.watch import watched
from vfield.show.view.worker import Worker

_LOG = logging.getLogger("vfield")

_MOST_FRAMES = 1 << 18  # of a clip: two hours and a half at 30 a second. Their times alone take 0.3 kB each.

State = Literal["rendering", "done", "failed", "cancelled"]


class Framing(NamedTuple):
    """What of the source a clip shows, in source pixels, and its (height, width)."""

    crop: Crop
    size: tuple[int, int]


def framing(region: Region, width: int, facts: ClipFacts) -> Framing:
    """The part of the picture in a region, at a width in even numbers, with square pixels and the shape kept exactly.

    For that the part loses a sliver on two of its sides, at most the share that one row is of all.

    Raises:
        UserError: when the region shows nothing of the picture, or the clip's pictures would be too large.
    """
    u0, v0, u1, v1 = (min(max(Fraction(edge), Fraction(0)), Fraction(1)) for edge in region)
    if not (u0 < u1 and v0 < v1):
        raise UserError("nothing of the picture is in view; move it back into sight")
    part_width, part_height = (u1 - u0) * facts.width, (v1 - v0) * facts.height
    shape = part_width * facts.pixel_aspect / part_height
    columns = _even(Fraction(width))
    rows = _even(columns / shape)
    check_picture((rows, columns))
    crop_width = min(part_width, part_height * columns / rows / facts.pixel_aspect)
    crop_height = crop_width * facts.pixel_aspect * rows / columns
    x = u0 * facts.width + (part_width - crop_width) / 2
    y = v0 * facts.height + (part_height - crop_height) / 2
    return Framing((x, y, crop_width, crop_height), (rows, columns))


def check_length(config: ExportConfig, facts: ClipFacts) -> None:
    """Refuse a clip of absurdly many frames.

    Raises:
        UserError: then.
    """
    covered = facts.end_seconds - facts.pts_seconds[0]
    seconds = min(Fraction(config.end or covered), covered) - Fraction(config.start or 0)
    rate = config.fps if isinstance(config.fps, Fraction) else facts.frame_rate
    frames = round(seconds * config.slowmo * rate)
    if frames > _MOST_FRAMES:
        raise UserError(
            f"a clip of {float(seconds):g} s, {float(config.slowmo):g} times as long, at {float(rate):g} frames a "
            f"second has {frames} frames, and the page makes at most {_MOST_FRAMES}; choose a shorter part, less slow "
            "motion or fewer frames a second"
        )


def _even(length: Fraction) -> int:
    return max(2, 2 * round(length / 2))


class CancelledError(Exception):
    """The clip is not wanted any more."""


@dataclass
class Job:
    """A clip being made.

    Attributes:
        path: where it will lie.
        name: what to call it once it is downloaded.
        number: by which the page asks for it; hard to guess.
        state: what has become of it.
        written: frames written.
        frames: of how many; 0 until the first is written.
        error: one line that says why it failed, or "".
        cancelled: whether it should stop.
        readers: how many read its file.
    """

    path: Path
    name: str
    number: str = field(default_factory=lambda: secrets.token_hex(8))
    state: State = "rendering"
    written: int = 0
    frames: int = 0
    error: str = ""
    cancelled: bool = False
    readers: int = 0


class Clips:
    """Makes one clip at a time and keeps the last, in a temporary folder. To be used by one thread."""

    def __init__(self, saved: SavedField, worker: Worker, folder: Path, device: torch.device | str = "cpu") -> None:
        self._saved = saved
        self._worker = worker
        self._folder = folder
        self._device = device
        self._job: Job | None = None
        self._earlier: list[Job] = []

    def begin(self, config: ExportConfig, name: str) -> Job:
        """Have a clip made.

        Raises:
            UserError: when one is still being made, or it would have absurdly many frames.
        """
        check_length(config, self._saved.facts)
        if self._job is not None and self._job.state == "rendering":
            raise UserError("another clip is still being made; wait for it or cancel it")
        if self._job is not None:
            self._earlier.append(self._job)
            self._remove_earlier()
        # A name of its own: whoever still downloads the one before gets all of that, and nothing of this.
        job = Job(self._folder / f"{secrets.token_hex(8)}.mp4", name)
        self._job = job
        self._worker.submit(lambda: self._make(job, config))
        return job

    def find(self, number: str) -> Job:
        """The clip of this number.

        Raises:
            UserError: when there is none.
        """
        if self._job is None or not secrets.compare_digest(number.encode(), self._job.number.encode()):
            raise UserError("there is no such clip any more; save it again")
        return self._job

    @contextmanager
    def reading(self, job: Job) -> Iterator[Path]:
        """The file of a clip, which stays there meanwhile, whatever else is made.

        Raises:
            UserError: when it is not there: not yet, or not any more.
        """
        if job.state != "done":
            raise UserError(f"the clip is not there to download: {job.state}")
        if job is not self._job:
            raise UserError("another clip was made since; save this one again")
        job.readers += 1
        try:
            yield job.path
        finally:
            job.readers -= 1
            self._remove_earlier()

    def _remove_earlier(self) -> None:
        for job in [job for job in self._earlier if not job.readers]:
            job.path.unlink(missing_ok=True)
            self._earlier.remove(job)

    def _make(self, job: Job, config: ExportConfig) -> None:
        others_work = False

        def check() -> None:
            # Other work of this thread, done in between, is its own asker's to give up.
            if not others_work and (job.cancelled or self._worker.is_closing):
                raise CancelledError

        def after_frame(written: int, frames: int) -> None:
            nonlocal others_work
            job.written, job.frames = written, frames
            others_work = True
            try:
                self._worker.let_others_go_first()
            finally:
                others_work = False
            check()

        try:
            check()
            with watched(self._saved.field, check):
                export(self._saved, job.path, config, device=self._device, progress=False, after_frame=after_frame)
        except CancelledError:
            job.state = "cancelled"
        except UserError as error:
            self._fail(job, str(error))
        except Exception as error:
            # Nobody waits for this piece of work but the page, which asks how it goes.
            self._fail(job, f"unexpected, see the terminal: {error!r}")
            _LOG.exception("a clip could not be made")
        else:
            job.state = "done"

    def _fail(self, job: Job, error: str) -> None:
        # In this order: whoever sees that it failed also sees why.
        job.error = error
        job.state = "failed"
