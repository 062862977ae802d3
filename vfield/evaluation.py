"""Judging: fit to what may be seen, predict what may not, beside what people use today, in one run.

The figures are means over frames of each frame's metric on 8-bit RGB (`vfield.metrics`).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from vfield.board import HeldOut
from vfield.clip import Clip, to_uint8
from vfield.coords import keyframe_t
from vfield.errors import UserError
from vfield.field.video_field import VideoField
from vfield.metrics import Scores, score
from vfield.peers import (
    LEAST_SIDE_OF_MINTERPOLATE,
    blend_frames,
    dis_warp,
    minterpolate,
    repeat_frames,
    resize_area,
    resize_bicubic,
    resize_lanczos,
)
from vfield.render import render
from vfield.training import Config, fit

_LOG = logging.getLogger("vfield")

BETWEEN_PEERS: dict[str, Callable[[Tensor, Fraction, int], Tensor]] = {
    "repeat": repeat_frames,
    "blend": blend_frames,
    "minterpolate": minterpolate,
    "DIS warp": dis_warp,
}
SCALE_PEERS: dict[str, Callable[[Tensor, int, int], Tensor]] = {"bicubic": resize_bicubic, "Lanczos": resize_lanczos}


@dataclass(frozen=True)
class Row:
    """One method's result.

    Attributes:
        name: the method.
        observed: scores on the frames that it was given; None where the question makes no sense.
        held_out: scores on what it never saw: frames in between, or the large frames.
        fit_seconds: time to prepare; 0 for methods that have no preparation.
        render_seconds: time to make every judged frame.
        peak_megabytes: most memory used above what the process held before, sampled.
    """

    name: str
    observed: Scores | None
    held_out: Scores | None
    fit_seconds: float
    render_seconds: float
    peak_megabytes: float


@dataclass(frozen=True)
class Split:
    """A clip divided for judging. Frames after the last observed one have nothing beyond them and are left out.

    Attributes:
        observed: every k-th frame.
        held_out: the frames between, and their instants.
        everything: (n, 3, h, w) observed and held-out frames in order.
        holdout: k.
    """

    observed: Clip
    held_out: HeldOut
    everything: Tensor
    holdout: int

    @property
    def hidden_indices(self) -> list[int]:
        """Which of `everything` are held out."""
        return [i for i in range(len(self.everything)) if i % self.holdout]


def split(clip: Clip, holdout: int) -> Split:
    """Observe every `holdout`-th frame and hold out the others.

    Raises:
        UserError: when holdout is below 2 or the clip too short for it.
    """
    if holdout < 2:
        raise UserError(f"--holdout must be at least 2 (every second frame seen), got {holdout}")
    if len(clip) < holdout + 1:
        raise UserError(f"--holdout {holdout} needs at least {holdout + 1} frames, the clip has {len(clip)}")
    last = (len(clip) - 1) // holdout * holdout
    whole = clip.select(range(last + 1))
    hidden = [i for i in range(last) if i % holdout]
    t = keyframe_t(whole.pts_seconds).tolist()
    return Split(
        observed=whole.select(range(0, last + 1, holdout)),
        held_out=HeldOut(whole.frames[hidden], [t[i] for i in hidden]),
        everything=whole.frames,
        holdout=holdout,
    )


def judge_held_out(field: VideoField, held_out: HeldOut) -> Scores:
    """The scores of a field on frames that it never saw."""
    return score(_pictures(field, field.size, held_out.t), to_uint8(held_out.frames))


def _pictures(field: VideoField, size: tuple[int, int], instants: list[float]) -> Tensor:
    """What a viewer would see at these instants: (n, 3, h, w) uint8."""
    device = next(field.buffers()).device
    return torch.stack([to_uint8(frame) for frame in render(field, size, instants, device=device)])


def evaluate_between(
    clip: Clip, holdout: int, config: Config, out: Path | None = None, records: Mapping[str, str] | None = None
) -> list[Row]:
    """Fit to every `holdout`-th frame, judge on the others: vfield first, then the peers."""
    parts = split(clip, holdout)
    instants = keyframe_t(clip.pts_seconds)[: len(parts.everything)].tolist()
    size = (clip.height, clip.width)
    with _meter() as memory:
        fitted = fit(parts.observed, config, out=out, records=records, held_out=parts.held_out)
        began = time.monotonic()
        frames = _pictures(fitted.field, size, instants)
        seconds = time.monotonic() - began
    rows = [_between_row("vfield", frames, parts, fitted.seconds, seconds, memory())]
    if not fitted.is_main:
        return rows
    for name, peer in BETWEEN_PEERS.items():
        if peer is minterpolate and min(size) < LEAST_SIDE_OF_MINTERPOLATE:
            _LOG.warning("minterpolate is left out: it needs pictures of %d pixels a side", LEAST_SIDE_OF_MINTERPOLATE)
            continue
        with _meter() as memory:
            began = time.monotonic()
            made = peer(to_uint8(parts.observed.frames), parts.observed.frame_rate, holdout)
            seconds = time.monotonic() - began
        rows.append(_between_row(name, made, parts, 0.0, seconds, memory()))
    return rows


def _between_row(name: str, made: Tensor, parts: Split, fit_seconds: float, seconds: float, megabytes: float) -> Row:
    truth = to_uint8(parts.everything)
    hidden = parts.hidden_indices
    seen = list(range(0, len(truth), parts.holdout))
    return Row(
        name,
        score(made[seen], truth[seen]),
        score(made[hidden], truth[hidden]),
        fit_seconds,
        seconds,
        megabytes,
    )


def evaluate_scale(
    clip: Clip, scale: float, config: Config, out: Path | None = None, records: Mapping[str, str] | None = None
) -> list[Row]:
    """Reduce by area averaging, fit to the small frames, ask for the large ones: vfield first, then the peers."""
    if not 1 < scale < math.inf:
        raise UserError(f"--scale must be more than 1 to judge enlarging, got {scale}")
    height, width = clip.height, clip.width
    small_size = (round(height / scale), round(width / scale))
    if min(small_size) < 1:
        raise UserError(f"--scale {scale} leaves nothing of a {width}x{height} picture")
    truth = to_uint8(clip.frames)
    small = resize_area(truth, *small_size)
    reduced = Clip(small, clip.pts_seconds, clip.end_seconds, clip.frame_rate, clip.color, clip.pixel_aspect)
    instants = keyframe_t(clip.pts_seconds).tolist()
    with _meter() as memory:
        fitted = fit(reduced, config, out=out, records=records)
        began = time.monotonic()
        large = _pictures(fitted.field, (height, width), instants)
        seconds = time.monotonic() - began
    same = _pictures(fitted.field, small_size, instants)
    rows = [Row("vfield", score(same, small), score(large, truth), fitted.seconds, seconds, memory())]
    if not fitted.is_main:
        return rows
    for name, peer in SCALE_PEERS.items():
        with _meter() as memory:
            began = time.monotonic()
            large = peer(small, height, width)
            seconds = time.monotonic() - began
        rows.append(Row(name, None, score(large, truth), 0.0, seconds, memory()))
    return rows


@contextmanager
def _meter() -> Iterator[Callable[[], float]]:
    """Samples this process's memory; the function it gives returns the peak above the start, in megabytes."""
    process = psutil.Process()
    start = peak = process.memory_info().rss
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: (peak - start) / 1e6
    finally:
        over.set()
        thread.join()


def table(rows: list[Row]) -> str:
    """The rows as text, one line each."""
    head = ["", "observed dB", "SSIM", "MS-SSIM", "held out dB", "SSIM", "MS-SSIM", "fit s", "render s", "peak MB"]
    lines = [head]
    for row in rows:
        cells = [row.name]
        for scores in (row.observed, row.held_out):
            if scores is None:
                cells += ["-"] * 3
            else:
                cells += [f"{scores.psnr:.2f}", f"{scores.ssim:.4f}", f"{scores.ms_ssim:.4f}"]
        lines.append([*cells, f"{row.fit_seconds:.1f}", f"{row.render_seconds:.1f}", f"{row.peak_megabytes:.0f}"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows as plain dictionaries; a figure that a picture is too small for is None."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return None if isinstance(value, float) and math.isnan(value) else value

    return [plain(asdict(row)) for row in rows]
