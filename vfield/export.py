"""From a field to a file: which frames, of what size, at which instants, with what sound; rendered as they are written.

Everything that can be wrong with a request is found before the first frame is rendered, and the file appears only when
it is complete. No more than a frame or two is in memory at any time, however long the video.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from vfield.checkpoint import SavedField
from vfield.clip import ClipFacts, to_uint8
from vfield.crew import Crew
from vfield.errors import UserError, enough_memory
from vfield.export_config import ExportConfig, output_size, pixel_aspect_of, region_of, schedule_of
from vfield.footage import Look, Relay, frames_of
from vfield.pieces import Pieces
from vfield.render import Region
from vfield.soundtrack import Soundtrack, choose_soundtrack
from vfield.timing import Schedule
from vfield.video_io import VideoWriter, check_gif_times, common_time_base, has_audio, loops_of
from vfield.windows import WindowedRun

_LOG = logging.getLogger("vfield")


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the file or folder.
        frames: number of frames.
        height: rows.
        width: columns.
        frame_rate: nominal frames per second.
        duration_seconds: length of the written video.
        seconds_taken: how long that took.
        audio: what became of the sound: "copied", "stretched", "coded again", "none", "dropped" or "left out".
    """

    path: Path
    frames: int
    height: int
    width: int
    frame_rate: Fraction
    duration_seconds: Fraction
    seconds_taken: float
    audio: str


class PreparedExport(NamedTuple):
    """An export of which everything is settled but the field.

    Attributes:
        config: what was asked for.
        path: where the result goes.
        size: (height, width) of the result.
        region: what it shows of the picture, or that as a function of t.
        plan: when which instant is shown.
        soundtrack: what goes with the picture.
        writer: what will write it.
    """

    config: ExportConfig
    path: Path
    size: tuple[int, int]
    region: Region | Callable[[float], Region]
    plan: Schedule
    soundtrack: Soundtrack
    writer: VideoWriter


def prepare_export(facts: ClipFacts, path: str | Path, config: ExportConfig) -> PreparedExport:
    """Settle everything that needs no field, so that what is impossible is known before a field is fitted.

    Nothing is written yet. What the result cannot hold is said in the log.

    Args:
        facts: of the clip that the field is, or will be, fitted to.
        path: where the result goes; the name decides the kind, as in `VideoWriter`.
        config: what to make of it.

    Raises:
        UserError: when the request is impossible.
    """
    region = region_of(config, facts)
    height, width = output_size(config, facts)
    plan = schedule_of(config, facts)
    _check_one_picture(path, len(plan.output_seconds))
    _check_not_source(path, facts)
    if Path(path).suffix.lower() == ".gif":
        check_gif_times(plan.edges_seconds)
    soundtrack = choose_soundtrack(config.audio, facts, path, plan.timing)
    carry = soundtrack.carry
    if carry is not None:
        carry = replace(carry, whole=config.crop is None and config.path is None)
    writer = VideoWriter(
        path,
        height=height,
        width=width,
        frame_rate=plan.frame_rate,
        color=facts.color,
        alpha=facts.has_alpha,
        pixel_aspect=pixel_aspect_of(config, facts),
        codec=config.codec,
        crf=config.crf,
        pixel_format=config.pixel_format,
        overwrite=config.overwrite,
        audio=soundtrack.audio,
        carry=carry,
        time_base=None if plan.is_constant else common_time_base(plan.edges_seconds),
        loops=loops_of(facts.source) if facts.source else 0,
    )
    return PreparedExport(config, Path(path), (height, width), region, plan, soundtrack, writer)


def export(
    saved: SavedField | WindowedRun,
    path: str | Path,
    config: ExportConfig,
    *,
    crew: Crew | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
    after_frame: Callable[[int, int], None] | None = None,
    chunk_points: int = 1 << 16,
) -> ExportReport:
    """Render a field to a video file, a GIF, a PNG file or a folder of them.

    Args:
        saved: the field, and the facts of its clip; or the windows of a long one.
        path: where the result goes; the name decides the kind, as in `VideoWriter`.
        config: what to make of it.
        crew: the processes that share the work, all of which call this; None for this one alone.
        device: where to render. The field is moved there.
        progress: show a bar on stderr.
        after_frame: called with the number of frames written and that of all. What it raises ends the export, and
            nothing is left of the file.
        chunk_points: most points to ask the field for at once.

    Raises:
        UserError: when the request is impossible, before anything is rendered; or when the disk is full.
    """
    prepared = prepare_export(saved.facts, path, config)
    return write_export(
        *(saved, prepared),
        crew=crew,
        device=device,
        progress=progress,
        after_frame=after_frame,
        chunk_points=chunk_points,
    )


@enough_memory("the export")
def write_export(
    saved: SavedField | WindowedRun,
    prepared: PreparedExport,
    *,
    crew: Crew | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
    after_frame: Callable[[int, int], None] | None = None,
    chunk_points: int = 1 << 16,
) -> ExportReport:
    """Render what was prepared from the clip's facts; see `export`, which does both."""
    began = time.monotonic()
    plan, (height, width), soundtrack, writer = prepared.plan, prepared.size, prepared.soundtrack, prepared.writer
    pieces = None
    if isinstance(saved, WindowedRun):
        saved.check(plan.source_seconds)
        pieces = _pieces_of(saved, prepared)
    look = Look((height, width), prepared.region, chunk_points, device, writer.alpha)

    def ready(frame: Tensor) -> Tensor:
        # Bytes would round away what a deep file can hold.
        return frame if writer.bit_depth > 8 else to_uint8(frame)

    def made(numbers: range) -> Iterator[Tensor]:
        return map(ready, frames_of(saved, plan, numbers, look))

    wanted = range(0 if pieces is None else pieces.done, len(plan.output_seconds))
    relay = None
    if crew is not None and crew.size > 1:
        relay = Relay(crew, wanted, made, prepared.path)
    if relay is not None and not relay.is_main:
        relay.supply()
    else:
        try:
            frames = made(wanted) if relay is None else relay.take()
            _Writing(prepared, frames, wanted, progress, after_frame).write(pieces)
        finally:
            if relay is not None:
                relay.end()
    return ExportReport(
        path=prepared.path,
        frames=len(plan.output_seconds),
        height=height,
        width=width,
        frame_rate=plan.frame_rate,
        duration_seconds=plan.edges_seconds[-1],
        seconds_taken=time.monotonic() - began,
        # The writer leaves out, with a line in the log, what the container cannot hold: the report must not deny it.
        audio=soundtrack.word if soundtrack.audio is None or has_audio(prepared.path) else "left out",
    )


def _pieces_of(run: WindowedRun, prepared: PreparedExport) -> Pieces | None:
    """The pieces that an export of a long clip is coded in, those of an earlier try included; None for pictures."""
    config, plan, coding = prepared.config, prepared.plan, prepared.writer.coding
    if coding is None:
        return None
    request = f"{coding} {config.crop} {config.path} {list(map(str, plan.source_seconds))}"
    return Pieces(run, request, len(plan.output_seconds), prepared.path.suffix)


class _Writing:
    """Frames on their way into a file."""

    def __init__(
        self,
        prepared: PreparedExport,
        frames: Iterator[Tensor],
        wanted: range,
        progress: bool,
        after_frame: Callable[[int, int], None] | None,
    ) -> None:
        self._prepared, self._after_frame = prepared, after_frame
        self._pts = prepared.plan.output_seconds
        self._lasting = [later - earlier for earlier, later in pairwise(prepared.plan.edges_seconds)]
        bar = tqdm(*(frames, "rendering"), total=wanted.stop, initial=wanted.start, unit="frame", disable=not progress)
        # Whoever makes the frames must make as many as are wanted.
        self._numbered = zip(wanted, bar, strict=True)

    def write(self, pieces: Pieces | None) -> None:
        """Write them all, in one go or piece by piece."""
        writer = self._prepared.writer
        if pieces is None:
            self._fill(writer, len(self._pts), Fraction(0))
            self._end()
            return
        pieces.begin()
        if pieces.done:
            _LOG.info(
                "going on after %d of %d frames, which are kept in %s", pieces.done, len(self._pts), pieces.folder
            )
        try:
            for file, numbers in pieces.missing():
                self._fill(writer.piece(file), len(numbers), self._pts[numbers.start])
            self._end()
            writer.join(pieces.files, self._pts, self._lasting)
        except BaseException:
            if pieces.files[0].exists():
                _LOG.warning("what was rendered is kept in %s: the same command goes on from there", pieces.folder)
            raise
        pieces.end()

    def _fill(self, writer: VideoWriter, count: int, origin: Fraction) -> None:
        """Write the next frames, whose times are counted from an origin."""
        with writer:
            for number, frame in islice(self._numbered, count):
                writer.write(frame, pts_seconds=self._pts[number] - origin, duration_seconds=self._lasting[number])
                if self._after_frame is not None:
                    self._after_frame(number + 1, len(self._pts))

    def _end(self) -> None:
        """Let the bar end, and the makers of frames; it is an error if they have more."""
        next(self._numbered, None)


def _check_one_picture(path: str | Path, frames: int) -> None:
    """Refuses more frames than the one that a picture file holds."""
    if Path(path).suffix.lower() == ".png" and not str(path).endswith("/") and frames > 1:
        raise UserError(
            f"{path} holds one picture, and {frames} frames were asked for; choose one by start and end, or name a "
            "folder, without a suffix"
        )


def _check_not_source(path: str | Path, facts: ClipFacts) -> None:
    """Refuses to replace the clip that the field was fitted to, which nothing could bring back."""
    if facts.source and Path(path).exists() and Path(facts.source).exists() and Path(path).samefile(facts.source):
        raise UserError(f"{path} is the clip that the field was fitted to; choose another name")
