"""Judging: fit to what may be seen, predict what may not, beside what people use today, in one run.

The figures are means over frames of each frame's metric on 8-bit RGB (`vfield.metrics`).
"""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil
import torch
from torch import Tensor

from vfield.board import HeldOut
from vfield.clip import Clip, to_uint8
from vfield.coords import keyframe_t
from vfield.errors import UserError
from vfield.field.video_field import VideoField
from vfield.metrics import Scores, psnr, score
from vfield.peers import blend_frames, dis_warp, minterpolate, repeat_frames, resize, rife
from vfield.render import render
from vfield.training import Config, FitResult, fit

_LOG = logging.getLogger("vfield")

BETWEEN_PEERS: dict[str, Callable[[Tensor, Fraction, int], Tensor]] = {
    "repeat": repeat_frames,
    "blend": blend_frames,
    "minterpolate": minterpolate,
    "DIS": dis_warp,
    "RIFE": rife,
}
SCALE_PEERS: dict[str, Literal["bicubic", "lanczos"]] = {"bicubic": "bicubic", "Lanczos": "lanczos"}

# RIFE takes longer than all others together and is not everywhere: the benchmark has it.
_EVALUATED = ("repeat", "blend", "minterpolate", "DIS")


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
        psnr_each: dB of each frame that `held_out` is the mean over.
        note: why there are no figures; empty where there are.
        expected_psnr: dB that the field expected of `held_out` before it was judged; None for what expects nothing.
    """

    name: str
    observed: Scores | None
    held_out: Scores | None
    fit_seconds: float
    render_seconds: float
    peak_megabytes: float
    psnr_each: tuple[float, ...] = ()
    note: str = ""
    expected_psnr: float | None = None


class Judged(NamedTuple):
    """A row and the frames that it is about.

    Attributes:
        row: the figures.
        frames: (n, 3, h, w) uint8, what the method made of `Split.everything`.
    """

    row: Row
    frames: Tensor


@dataclass(frozen=True)
class Split:
    """A clip divided for judging. Frames after the last observed one have nothing beyond them and are left out.

    Attributes:
        observed: every k-th frame.
        held_out: the frames between, and their instants.
        everything: (n, 3, h, w) observed and held-out frames in order.
        t: their instants, seconds since the first.
        holdout: k.
    """

    observed: Clip
    held_out: HeldOut
    everything: Tensor
    t: list[float]
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
        t=t,
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
    judged, fitted = judge_fit("vfield", parts, config, out, records)
    rows = [judged.row]
    if not fitted.is_main:
        return rows
    for name in _EVALUATED:
        try:
            rows.append(judge_peer(name, parts).row)
        except UserError as error:
            _LOG.warning("%s is left out: %s", name, error)
    return rows


def judge_fit(
    name: str, parts: Split, config: Config, out: Path | None = None, records: Mapping[str, str] | None = None
) -> tuple[Judged, FitResult]:
    """Fit to the observed frames, make all and judge them.

    Args:
        name: of the row.
        parts: the divided clip.
        config: of the fit.
        out: run folder; None keeps everything in memory.
        records: texts to keep with the run, by file name.
    """
    with _meter() as memory:
        fitted = fit(parts.observed, config, out=out, records=records, held_out=parts.held_out)
        began = time.monotonic()
        frames = _pictures(fitted.field, fitted.field.size, parts.t)
        seconds = time.monotonic() - began
    row = _between_row(name, frames, parts, fitted.seconds, seconds, memory())
    if fitted.expectation is not None:
        row = replace(row, expected_psnr=fitted.expectation.psnr)
    return Judged(row, frames), fitted


def judge_peer(name: str, parts: Split) -> Judged:
    """Let one of `BETWEEN_PEERS` make all frames from the observed ones and judge them.

    Raises:
        UserError: when the peer cannot work on such pictures, or is not installed.
    """
    with _meter() as memory:
        began = time.monotonic()
        frames = BETWEEN_PEERS[name](to_uint8(parts.observed.frames), parts.observed.frame_rate, parts.holdout)
        seconds = time.monotonic() - began
    return Judged(_between_row(name, frames, parts, 0.0, seconds, memory()), frames)


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
        tuple(psnr(made[hidden], truth[hidden]).tolist()),
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
    small = resize(truth, *small_size, "area")
    reduced = Clip(small, clip.pts_seconds, clip.end_seconds, clip.frame_rate, clip.color, clip.pixel_aspect)
    instants = keyframe_t(clip.pts_seconds).tolist()
    with _meter() as memory:
        fitted = fit(reduced, config, out=out, records=records)
        began = time.monotonic()
        large = _pictures(fitted.field, (height, width), instants)
        seconds = time.monotonic() - began
    same = _pictures(fitted.field, small_size, instants)
    each = tuple(psnr(large, truth).tolist())
    rows = [Row("vfield", score(same, small), score(large, truth), fitted.seconds, seconds, memory(), each)]
    if not fitted.is_main:
        return rows
    for name, kernel in SCALE_PEERS.items():
        with _meter() as memory:
            began = time.monotonic()
            large = resize(small, height, width, kernel)
            seconds = time.monotonic() - began
        each = tuple(psnr(large, truth).tolist())
        rows.append(Row(name, None, score(large, truth), 0.0, seconds, memory(), each))
    return rows


@contextmanager
def _meter() -> Iterator[Callable[[], float]]:
    """Samples this process's memory; the function it gives returns the peak above the start, in megabytes."""
    _give_back_freed_memory()
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


def _give_back_freed_memory() -> None:
    """What the method before left in the allocator would hide what this one takes."""
    gc.collect()
    if sys.platform == "linux":
        # Only glibc has it, and not every Linux has glibc.
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def table(rows: list[Row]) -> str:
    """The rows as text, one line each."""
    head = ["", "observed dB", "SSIM", "MS-SSIM", "held out dB", "SSIM", "MS-SSIM", "expected dB", "fit s"]
    head += ["render s", "peak MB"]
    lines = [head]
    for row in rows:
        cells = [row.name]
        for scores in (row.observed, row.held_out):
            if scores is None:
                cells += ["-"] * 3
            else:
                cells += [f"{scores.psnr:.2f}", f"{scores.ssim:.4f}", f"{scores.ms_ssim:.4f}"]
        cells.append("-" if row.expected_psnr is None else f"{row.expected_psnr:.2f}")
        lines.append([*cells, f"{row.fit_seconds:.1f}", f"{row.render_seconds:.1f}", f"{row.peak_megabytes:.0f}"])
    return aligned(lines)


def aligned(lines: list[list[str]]) -> str:
    """Cells as text: the first column begins at the left, the others end at the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
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
