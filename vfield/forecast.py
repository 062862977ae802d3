"""What a fit will take, from trying it on a few frames: time, memory and disk, before it starts.

Two small fits of the same config and size, of different numbers of frames, tell what is spent once, what on every
frame and what on every step. Two more, kept in folders, tell what is spent on disk, likewise, and the larger one what
pictures for TensorBoard and the summary take. An export is tried on the last of these fits.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
import torch

from vfield.checkpoint import SavedField, load_field
from vfield.clip import Clip
from vfield.export import PreparedExport, export
from vfield.field.video_field import VideoField
from vfield.meter import meter
from vfield.training import Config, FitResult, fit

_FEW, _MORE, _KEPT = 6, 12, 24  # frames
# Small pictures: more frames, until they take so many seconds; less is not told from noise.
_LEAST_SECONDS, _MOST_TRIED = 0.7, 192
_STEPS = 8
_SHOWN_FEW, _SHOWN_MORE = 2, 10  # frames of the clip that are exported
_GROUP_FRAMES = 250  # after which encoders code a frame by itself again
# The first steps fill caches.
_SETTLED = 3


class Forecast(NamedTuple):
    """What a fit will take.

    Attributes:
        seconds: of time, from when the clip has been looked through.
        memory_bytes: of the process, at most.
        disk_bytes: of the run folder in the end.
        measured_seconds: how long the trial took.
    """

    seconds: float
    memory_bytes: float
    disk_bytes: float
    measured_seconds: float


class ExportForecast(NamedTuple):
    """What an export will be, and take.

    Attributes:
        frames: how many.
        height, width: pixels.
        duration_seconds: of the video.
        seconds: of time.
        disk_bytes: of the file, or of all files of a folder; without sound.
    """

    frames: int
    height: int
    width: int
    duration_seconds: float
    seconds: float
    disk_bytes: float


class _Trial(NamedTuple):
    frames: int
    seconds: float  # without steps
    step_seconds: float
    memory_bytes: float
    disk_bytes: float


def forecast(
    windows: Sequence[range],
    read: Callable[[range], Clip],
    config: Config,
    processes: int = 1,
    conclude: Callable[[Clip, FitResult, Path], object] = lambda clip, result, run: None,
    use: Callable[[Path], None] = lambda _: None,
) -> Forecast:
    """Try a fit, and say what one of all windows will take.

    Args:
        windows: the frames of each.
        read: gives some of the clip's frames.
        config: of the fit.
        processes: how many share the windows.
        conclude: what follows the fit of each window, with its frames, what came of it, and the folder of its run.
        use: called with the folder of the largest trial's run, which is removed afterwards.

    Raises:
        UserError: when the config cannot work here.
    """
    began = time.monotonic()
    longest = max(windows, key=len)
    steps = _STEPS if config.training.steps is None else min(_STEPS, config.training.steps)
    trial = replace(config, training=replace(config.training, steps=steps, minutes=None))
    _warm_up(trial)
    more = _tried(longest, _MORE, read, trial)
    while more.seconds < _LEAST_SECONDS and more.frames < min(_MOST_TRIED, len(longest)):
        more = _tried(longest, 2 * more.frames, read, trial)
    few = _tried(longest, _FEW, read, trial)
    small = _tried(longest, _FEW, read, trial, conclude)
    kept = _tried(longest, max(_KEPT, more.frames), read, trial, conclude, use)
    # TensorBoard and the summary show a few frames of a clip, however long it is.
    pictures = max(0.0, kept.seconds - _line(few, more, "seconds", kept.frames))
    each = [_seconds(few, more, len(window), config, len(window) / sum(map(len, windows))) for window in windows]
    return Forecast(
        max(sum(seconds + pictures for seconds in each[rank::processes]) for rank in range(processes)),
        psutil.Process().memory_info().rss + _line(few, more, "memory_bytes", len(longest)),
        sum(_line(small, kept, "disk_bytes", len(window)) for window in windows),
        time.monotonic() - began,
    )


def _seconds(few: _Trial, more: _Trial, frames: int, config: Config, share: float) -> float:
    """Of the fit of one window, which has a share of all frames."""
    training = config.training
    around = _line(few, more, "seconds", frames)
    by_steps = around + (training.steps or 0) * more.step_seconds
    if training.minutes is None:
        return by_steps
    by_time = max(around, 60 * training.minutes * share)
    return by_time if training.steps is None else min(by_steps, by_time)


def _line(few: _Trial, more: _Trial, name: str, frames: int) -> float:
    """A figure for so many frames, on the line through both trials'."""
    one, other = getattr(few, name), getattr(more, name)
    if few.frames == more.frames:
        return float(other * frames / more.frames)
    slope = max(0.0, (other - one) / (more.frames - few.frames))
    return float(max(other, one) + slope * (frames - more.frames))


def _tried(
    window: range,
    count: int,
    read: Callable[[range], Clip],
    config: Config,
    conclude: Callable[[Clip, FitResult, Path], object] | None = None,
    use: Callable[[Path], None] = lambda _: None,
) -> _Trial:
    """Read and fit the middle of a window: in memory, or in a folder that is used for something and removed."""
    count = min(count, len(window))
    first = window.start + (len(window) - count) // 2
    steps: list[float] = []

    def watch(_: VideoField, __: int) -> None:
        steps.append(time.monotonic())

    with tempfile.TemporaryDirectory(prefix="vfield-") as folder, meter() as peak:
        began = time.monotonic()
        clip = read(range(first, first + count))
        run = None if conclude is None else Path(folder) / "run"
        result = fit(clip, config, out=run, progress=False, watch=watch)
        if conclude is not None and run is not None:
            conclude(clip, result, run)
        seconds = time.monotonic() - began
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        memory = peak() * 1e6
        if run is not None:
            use(run)
    lasted = [later - earlier for earlier, later in pairwise(steps)][_SETTLED:]
    step = median(lasted) if lasted else 0.0
    return _Trial(count, max(0.0, seconds - step * len(steps)), step, memory, float(disk))


def forecast_export(run: Path, prepared: PreparedExport, device: torch.device, *, learns: bool) -> ExportForecast:
    """Export two small parts of a run, and say what an export like that will take.

    A video begins with a frame that is coded alone, as do its next some hundred frames again; what each frame more
    takes is told by the difference between the parts.

    Args:
        run: the folder of a run of the same clip, beside which the parts are written.
        prepared: the export, of which nothing is written.
        device: where to render.
        learns: whether the fit takes steps at all.

    Raises:
        UserError: when it cannot be exported.
    """
    saved = load_field(run)
    detail = saved.field.detail
    if learns and detail is not None and detail.is_mute:
        # After so few steps it says nothing yet. In the end it will, and takes most of the time.
        with torch.no_grad():
            detail.last.weight.add_(1e-6)
    (few, few_seconds, few_bytes), (more, more_seconds, more_bytes) = (
        _exported(saved, count, run.parent / f"part{count}", prepared, device) for count in (_SHOWN_FEW, _SHOWN_MORE)
    )
    frames = len(prepared.plan.output_seconds)
    seconds = max(0.0, more_seconds - few_seconds) / max(1, more - few)
    size = max(0.0, more_bytes - few_bytes) / max(1, more - few)
    groups = -(-frames // _GROUP_FRAMES)
    return ExportForecast(
        frames,
        *prepared.size,
        float(prepared.plan.edges_seconds[-1]),
        more_seconds + (frames - more) * seconds,
        max(0.0, few_bytes - few * size) * groups + frames * size,
    )


def _exported(
    saved: SavedField, count: int, folder: Path, prepared: PreparedExport, device: torch.device
) -> tuple[int, float, float]:
    """Export about so many source frames: the frames written, and the seconds and bytes that they took."""
    pts = saved.facts.pts_seconds
    part = None if count >= len(pts) else float((pts[count] + pts[count - 1]) / 2 - pts[0])
    config = replace(prepared.config, start=None, end=part, speed_curve=None, path=None, audio="drop", overwrite=False)
    folder.mkdir()
    # One picture is a part of a folder of them, whose own name may look like a file's.
    is_video = prepared.writer.coding is not None or prepared.path.suffix.lower() == ".gif"
    name = prepared.path.name if is_video else "pictures"
    report = export(saved, folder / name, config, device=device, progress=False)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return report.frames, report.seconds_taken, float(size)


def _warm_up(config: Config) -> None:
    """What is loaded and made on the first fit of a process is not to be taken for the clip's."""
    frames = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rate = Fraction(25)
    clip = Clip(frames, tuple(i / rate for i in range(4)), 4 / rate, rate)
    with tempfile.TemporaryDirectory(prefix="vfield-") as folder:
        fit(clip, config, out=Path(folder) / "run", progress=False)
