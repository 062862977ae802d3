"""Clips of a view: slow motion of the part of the picture that is in sight, rendered while views go on."""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from pydantic import Field

from vfield.core.clip import ClipFacts
from vfield.core.errors import UserError
from vfield.core.timing import as_typed
from vfield.field.checkpoint import SavedField
from vfield.field.render import Region
from vfield.output.config import Crop, ExportConfig
from vfield.output.export import export
from vfield.show.view.viewer import LARGEST_SIDE, Edges, Number, check_picture
from vfield.show.view.worker import GivenUpError, Worker, interruptible

_LOG = logging.getLogger("vfield")

_MOST_FRAMES = 1 << 18  # of a clip: two hours and a half at 30 a second. Their times alone take 0.3 kB each.
_FOLDER_PREFIX = "vfield-view-"
_YOUNG_SECONDS = 60  # of a folder


class ClipOrder(Edges):
    """What the page asks of a clip: the part in view, from `start` to `end`, `slowmo` times as long."""

    width: int = Field(ge=2, le=LARGEST_SIDE)
    start: Number
    end: Number
    slowmo: Number = 1.0
    fps: Number | None = None

    def config(self, facts: ClipFacts) -> ExportConfig:
        """What to export; a UserError when that is impossible, or takes too much."""
        crop, size = framing(self.region, self.width, facts)
        fps = None if self.fps is None else as_typed(self.fps)
        slowmo, start, end = as_typed(self.slowmo), self.start, self.end
        return ExportConfig(size=size, crop=crop, start=start, end=end, slowmo=slowmo, fps=fps, audio="drop")


def framing(region: Region, width: int, facts: ClipFacts) -> tuple[Crop, tuple[int, int]]:
    """The part of the picture in a region, in source pixels, and its (height, width): of about this width, both even.

    Pixels are square and the shape is kept exactly. For that the part loses a sliver on two of its sides, at most the
    share that one row is of all. A UserError when the region shows nothing of the picture, or the clip's pictures would
    be too large.
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
    return (x, y, crop_width, crop_height), (rows, columns)


def _even(length: Fraction) -> int:
    return max(2, 2 * round(length / 2))


def check_length(config: ExportConfig, facts: ClipFacts) -> None:
    """Refuse, by a UserError, a clip of absurdly many frames."""
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


@dataclass
class Job:
    """A clip being made. Its file is removed once nothing refers to this any more, not even an answer that is sent."""

    path: Path  # where it will lie
    name: str  # what to call it once it is downloaded
    number: str = field(default_factory=lambda: secrets.token_hex(8))  # hard to guess; by it the page asks
    state: Literal["rendering", "done", "failed", "cancelled"] = "rendering"
    written: int = 0  # frames
    frames: int = 0  # that there will be; 0 until the first is written
    error: str = ""  # one line that says why it failed
    cancelled: bool = False  # whether it should stop

    def __post_init__(self) -> None:
        weakref.finalize(self, self.path.unlink, missing_ok=True)

    def progress(self) -> dict[str, Any]:
        """What the page is told of it."""
        return {name: getattr(self, name) for name in ("number", "state", "written", "frames", "error")}


class Clips:
    """Makes one clip at a time and keeps the last, in a temporary folder. To be used by one thread."""

    def __init__(self, saved: SavedField, worker: Worker, folder: Path, device: torch.device | str = "cpu") -> None:
        self._saved, self._worker, self._folder, self._device = saved, worker, folder, device
        self._job: Job | None = None

    def begin(self, config: ExportConfig, name: str) -> Job:
        """Have a clip made; a UserError when one is still being made, or it would have absurdly many frames."""
        check_length(config, self._saved.facts)
        if self._job is not None and self._job.state == "rendering":
            raise UserError("another clip is still being made; wait for it or cancel it")
        # A name of its own: whoever still downloads the one before gets all of that, and nothing of this.
        self._job = job = Job(self._folder / f"{secrets.token_hex(8)}.mp4", name)
        self._worker.submit(lambda: self._make(job, config))
        return job

    def find(self, number: str) -> Job:
        """The clip of this number; a UserError when there is none."""
        if self._job is None or not secrets.compare_digest(number.encode(), self._job.number.encode()):
            raise UserError("there is no such clip any more; save it again")
        return self._job

    def _make(self, job: Job, config: ExportConfig) -> None:
        others_work = False

        def check() -> None:
            # Other work of this thread, done in between, is its own asker's to give up.
            if not others_work and (job.cancelled or self._worker.is_closing):
                raise GivenUpError

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
            with interruptible(self._saved.field, check):
                export(self._saved, job.path, config, device=self._device, progress=False, after_frame=after_frame)
            job.state = "done"
        except GivenUpError:
            job.state = "cancelled"
        except Exception as error:
            # Nobody waits for this piece of work but the page, which asks how it goes. The error first: whoever sees
            # that it failed also sees why.
            told = str(error) if isinstance(error, UserError) else f"unexpected, see the terminal: {error!r}"
            job.error = " ".join(told.split())
            job.state = "failed"
            if not isinstance(error, UserError):
                _LOG.exception("a clip could not be made")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that does not outlive its process: those of processes that were killed are removed first."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        # Somebody else's cannot be locked or removed, and what goes meanwhile need not be.
        with suppress(OSError, Timeout):
            # One that was just made may not be locked yet; what only points to a folder is none of ours.
            if not folder.is_symlink() and time.time() - folder.stat().st_mtime >= _YOUNG_SECONDS:
                with FileLock(folder / "lock", timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
    # Work that does not give way in time may still write when the folder is removed.
    made = tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX, ignore_cleanup_errors=True)
    with made as name, FileLock(Path(name) / "lock", thread_local=False):
        clips = Path(name) / "clips"
        clips.mkdir()
        yield clips
