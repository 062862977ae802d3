"""From a field to a file: which frames, of what size, at which instants, with what sound; rendered as they are written.

Everything that can be wrong with a request is found before the first frame is rendered, and the file appears only when
it is complete. No more than a frame or two is in memory at any time, however long the video.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from vfield.core.clip import ClipFacts, to_uint8
from vfield.core.coords import seconds_to_t
from vfield.core.devices import is_main_process
from vfield.core.errors import UserError, enough_memory
from vfield.core.folders import make_folder
from vfield.core.timing import Schedule, as_typed
from vfield.field.checkpoint import FIELD_NAME, SavedField, load_field
from vfield.field.render import Region, render
from vfield.output.config import ExportConfig, output_size, pixel_aspect_of, region_of, schedule_of
from vfield.output.pieces import Pieces
from vfield.output.soundtrack import Soundtrack, choose_soundtrack
from vfield.video_io import VideoWriter, check_gif_times, common_time_base, has_audio, loops_of

_LOG = logging.getLogger("vfield")
# Frames: exports of fewer are coded in one go, by one process.
_LEAST_IN_PIECES = 480
_POLL_SECONDS = 0.2
_WAIT_SECONDS = 60.0  # for the process that is helped to begin


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the file or folder.
        frames, height, width: how many frames, of what size in pixels.
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

    def __str__(self) -> str:
        """It in a line."""
        if self.path.suffix.lower() == ".png":
            return f"{self.path}: {self.width}x{self.height}, made in {self.seconds_taken:.0f} s"
        return (
            f"{self.path}: {self.frames} frames of {self.width}x{self.height} at {float(self.frame_rate):g} fps, "
            f"{float(self.duration_seconds):.2f} s, made in {self.seconds_taken:.0f} s; sound: {self.audio}"
        )


class PreparedExport(NamedTuple):
    """An export of which everything is settled but the field."""

    config: ExportConfig
    path: Path
    size: tuple[int, int]  # (height, width) of the result
    region: Region | Callable[[float], Region]  # what it shows of the picture, or that as a function of t
    plan: Schedule
    soundtrack: Soundtrack
    writer: VideoWriter


def prepare_export(facts: ClipFacts, path: str | Path, config: ExportConfig) -> PreparedExport:
    """Settle everything that needs no field, so that what is impossible is known before a field is fitted.

    The facts are those of the clip that the field is, or will be, fitted to; the path's name decides the kind, as in
    `VideoWriter`. Nothing is written yet. What the result cannot hold is said in the log. A UserError when the request
    is impossible.
    """
    region = region_of(config, facts)
    height, width = output_size(config, (facts.height, facts.width))
    plan = schedule_of(config, facts)
    file, frames = Path(path), len(plan.output_seconds)
    if file.suffix.lower() == ".png" and not str(path).endswith("/") and frames > 1:
        raise UserError(
            f"{path} holds one picture, and {frames} frames were asked for; choose one by start and end, or name a "
            "folder, without a suffix"
        )
    # Nothing could bring back the source.
    if facts.source and file.exists() and Path(facts.source).exists() and file.samefile(facts.source):
        raise UserError(f"{path} is the clip that the field was fitted to; choose another name")
    if file.suffix.lower() == ".gif":
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
    return PreparedExport(config, file, (height, width), region, plan, soundtrack, writer)


def export(
    run: SavedField | str | Path,
    path: str | Path,
    config: ExportConfig | None = None,
    *,
    source: str | Path | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
    after_frame: Callable[[int, int], None] | None = None,
    chunk_points: int = 1 << 16,
    **options: Any,
) -> ExportReport:
    """Render a field to a video file, a GIF, a PNG file or a folder of them.

    Args:
        run: a run folder or field file, or a field that was loaded from one.
        path: where the result goes; the name decides the kind, as in `VideoWriter`.
        config: what to make of it; None for the clip's own times and size.
        source: as in `load_field`, for a run that is named by its folder.
        device: where to render. The field is moved there.
        progress: show a bar on stderr.
        after_frame: called with the number of frames written and that of all. What it raises ends the export, and
            nothing is left of the file.
        chunk_points: most points to ask the field for at once.
        options: fields of `ExportConfig`, instead of those of `config`. Rates and slow motion may be any numbers.

    Raises:
        UserError: when the request is impossible, before anything is rendered; or when the disk is full.
        TypeError: when there is no such option.
    """
    for name in options.keys() & {"fps", "slowmo"}:
        if isinstance(options[name], int | float) and math.isfinite(options[name]):
            options[name] = as_typed(options[name])
    config = replace(config or ExportConfig(), **options)
    saved = run if isinstance(run, SavedField) else load_field(run, source=source)
    prepared = prepare_export(saved.facts, path, config)
    return _Writing(saved, prepared, device, progress, after_frame, chunk_points).all()


def write_export(saved: SavedField, prepared: PreparedExport, device: torch.device | str) -> ExportReport | None:
    """Render what was prepared from the clip's facts; see `export`, which does both.

    Of several processes of a launch the main one does, and the others help and give None.
    """
    is_main = is_main_process()
    writing = _Writing(saved, prepared, device, progress=is_main)
    if is_main:
        return writing.all()
    writing.help()
    return None


def _pieces_of(saved: SavedField, prepared: PreparedExport) -> Pieces | None:
    """The pieces that a long export of a run is coded in, those of an earlier try included; None for one in one go."""
    config, coding, shown, folder = prepared.config, prepared.writer.coding, prepared.plan.source_seconds, saved.folder
    if coding is None or len(shown) < _LEAST_IN_PIECES or folder is None or not os.access(folder, os.W_OK):
        return None
    held = (folder / FIELD_NAME).stat()
    request = f"{coding} {config.crop} {config.path} {list(map(str, shown))} {held.st_size} bytes, {held.st_mtime_ns}"
    return Pieces(folder, request, len(shown), prepared.path.suffix)


@dataclass
class _Writing:
    """Frames of a field on their way into a file, or into pieces of one."""

    saved: SavedField
    prepared: PreparedExport
    device: torch.device | str
    progress: bool = False
    after_frame: Callable[[int, int], None] | None = None
    chunk_points: int = 1 << 16

    def __post_init__(self) -> None:
        self._pts, edges = self.prepared.plan.output_seconds, self.prepared.plan.edges_seconds
        self._lasting = [later - earlier for earlier, later in pairwise(edges)]
        self.bar = tqdm(total=len(self._pts), desc="rendering", unit="frame", disable=not self.progress)

    @enough_memory("the export")
    def all(self) -> ExportReport:
        """Write the whole result."""
        began, plan, prepared = time.monotonic(), self.prepared.plan, self.prepared
        if (pieces := _pieces_of(self.saved, prepared)) is not None:
            self.in_pieces(pieces)
        else:
            with self.bar:
                self.fill(prepared.writer, range(len(self._pts)))
        # The writer codes again, or leaves out, what the container cannot hold: the report must not deny it.
        sound = prepared.writer.audio
        word = "coded again" if sound is not None and sound.coded else prepared.soundtrack.word
        if prepared.soundtrack.audio is not None and not has_audio(prepared.path):
            word = "left out"
        count, (height, width), taken = len(self._pts), prepared.size, time.monotonic() - began
        rate, lasting = plan.frame_rate, plan.edges_seconds[-1]
        return ExportReport(prepared.path, count, height, width, rate, lasting, taken, word)

    def help(self) -> None:
        """Make pieces of an export that another process writes, until none is left to make."""
        pieces = _pieces_of(self.saved, self.prepared)
        if pieces is None:
            return
        until = time.monotonic() + _WAIT_SECONDS
        while not pieces.folder.is_dir() and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        try:
            while self.next_piece(pieces):
                pass
        except UserError:
            if pieces.folder.is_dir():  # else the other process has ended, and what was being made is not wanted
                raise

    def in_pieces(self, pieces: Pieces) -> None:
        """Write piece by piece, with whatever processes help, and join the pieces."""
        make_folder(pieces.folder)
        if done := pieces.done():
            _LOG.info("going on after %d of %d frames, which are kept in %s", done, len(self._pts), pieces.folder)
        try:
            with self.bar:
                while pieces.done() < len(self._pts):
                    self.bar.update(pieces.done() - self.bar.n)
                    if not self.next_piece(pieces):
                        time.sleep(_POLL_SECONDS)  # others are at the last ones; what they give up is taken over
            self.prepared.writer.join(list(pieces.frames), self._pts, self._lasting)
        except BaseException:
            if pieces.done():
                _LOG.warning("what was rendered is kept in %s: the same command goes on from there", pieces.folder)
            raise
        pieces.end()

    def next_piece(self, pieces: Pieces) -> bool:
        """Make a piece that nobody makes; whether there was one."""
        with pieces.taken() as piece:
            if piece is not None:
                self.fill(self.prepared.writer.piece(piece[0]), piece[1])
        return piece is not None

    def fill(self, writer: VideoWriter, numbers: range) -> None:
        """Write some of the frames; their times are counted from the first of them."""
        prepared, origin = self.prepared, self._pts[numbers.start]
        try:
            field = self.saved.field.to(self.device)
        except (RuntimeError, AssertionError) as error:
            told = str(error).splitlines()[0]
            raise UserError(f"cannot render on device {self.device}: {told}") from error
        frames = render(
            field,
            prepared.size,
            _instants(prepared.plan, numbers, self.saved),
            region=prepared.region,
            chunk_points=self.chunk_points,
            device=self.device,
            alpha=writer.alpha,
        )
        # Bytes would round away what a deep file can hold.
        shown = frames if writer.bit_depth > 8 else map(to_uint8, frames)
        with writer:
            for number, frame in zip(numbers, shown, strict=True):
                writer.write(frame, pts_seconds=self._pts[number] - origin, duration_seconds=self._lasting[number])
                self.bar.update()
                if self.after_frame is not None:
                    self.after_frame(number + 1, len(self._pts))


def _instants(plan: Schedule, numbers: range, saved: SavedField) -> list[float]:
    """The t of some frames: seconds after the field's first."""
    facts = saved.facts
    shown = plan.source_seconds[numbers.start : numbers.stop]
    instants = [seconds_to_t(seconds, facts.pts_seconds[0]) for seconds in shown]
    if plan.is_constant or abs(plan.timing.constant_speed or 0) != 1:
        return instants
    # At the clip's own times its frames are shown as they are, those that repeat the one before included. Frames that
    # were not seen are made like any others in between.
    own = {pts for frame, pts in enumerate(facts.pts_seconds) if frame not in facts.missing}
    held = saved.field.held(instants)
    return [at if seconds in own else t for seconds, t, at in zip(shown, instants, held, strict=True)]
