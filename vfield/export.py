"""From a field to a file: which frames, of what size, at which instants, with what sound; rendered as they are written.

Everything that can be wrong with a request is found before the first frame is rendered, and the file appears only when
it is complete. No more than a frame or two is in memory at any time, however long the video.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from vfield.checkpoint import SavedField
from vfield.clip import ClipFacts, to_uint8
from vfield.crew import Crew
from vfield.errors import UserError
from vfield.export_config import ExportConfig, output_size, pixel_aspect_of, region_of, schedule_of
from vfield.footage import Look, Relay, frames_of
from vfield.render import Region
from vfield.soundtrack import Soundtrack, choose_soundtrack
from vfield.timing import Schedule
from vfield.video_io import VideoWriter, common_time_base, has_audio
from vfield.windows import WindowedRun


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
    soundtrack = choose_soundtrack(config.audio, facts, path, plan.timing)
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
        carry=soundtrack.carry,
        time_base=None if plan.is_constant else common_time_base(plan.edges_seconds),
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
    edges = plan.edges_seconds
    if isinstance(saved, WindowedRun):
        saved.check(plan.source_seconds)
    look = Look((height, width), prepared.region, chunk_points, device, writer.alpha)

    def ready(frame: Tensor) -> Tensor:
        # Bytes would round away what a deep file can hold.
        return frame if writer.bit_depth > 8 else to_uint8(frame)

    def made(numbers: range) -> Iterator[Tensor]:
        return map(ready, frames_of(saved, plan, numbers, look))

    relay = None
    if crew is not None and crew.size > 1:
        relay = Relay(crew, len(plan.output_seconds), made, prepared.path)
    if relay is not None and not relay.is_main:
        relay.supply()
    else:
        try:
            frames = made(range(len(plan.output_seconds))) if relay is None else relay.take()
            _write(writer, frames, plan, progress, after_frame)
        finally:
            if relay is not None:
                relay.end()
    return ExportReport(
        path=prepared.path,
        frames=len(plan.output_seconds),
        height=height,
        width=width,
        frame_rate=plan.frame_rate,
        duration_seconds=edges[-1],
        seconds_taken=time.monotonic() - began,
        # The writer leaves out, with a line in the log, what the container cannot hold: the report must not deny it.
        audio=soundtrack.word if soundtrack.audio is None or has_audio(prepared.path) else "left out",
    )


def _write(
    writer: VideoWriter,
    frames: Iterator[Tensor],
    plan: Schedule,
    progress: bool,
    after_frame: Callable[[int, int], None] | None,
) -> None:
    count = len(plan.output_seconds)
    bar = tqdm(frames, total=count, desc="rendering", unit="frame", disable=not progress)
    durations = [later - earlier for earlier, later in pairwise(plan.edges_seconds)]
    with writer:
        timed = zip(bar, plan.output_seconds, durations, strict=True)
        for written, (frame, pts, lasting) in enumerate(timed, start=1):
            writer.write(frame, pts_seconds=pts, duration_seconds=lasting)
            if after_frame is not None:
                after_frame(written, count)


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
