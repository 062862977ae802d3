"""What a fit will take, from trying it on a few frames: time, memory and disk, before it starts.

Two small fits of the same config and size, of different numbers of frames, tell what is spent once, what on every
frame and what on every step. Two more, kept in folders, tell what is spent on disk, likewise, and the larger one what
pictures for TensorBoard and the summary take. That one is made of frames from several places, since a film changes, and
an export is tried on each of them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
import torch
from torch import Tensor

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
_PLACES = 3
_SHOWN_FEW, _SHOWN_MORE = 1, 4  # frames of the clip that are exported, of each place
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


class TrialRun(NamedTuple):
    """A run of a few frames of a clip, that lasts while it is looked at.

    Attributes:
        folder: where it lies.
        places: its frames, as runs of neighbours.
    """

    folder: Path
    places: list[range]


class _Trial(NamedTuple):
    frames: int
    seconds: float  # without steps
    step_seconds: float
    memory_bytes: float
    held_bytes: float  # of it, that which surely grows with the frames
    disk_bytes: float


def forecast(
    windows: Sequence[range],
    read: Callable[[range], Clip],
    config: Config,
    processes: int = 1,
    conclude: Callable[[Clip, FitResult, Path], object] = lambda clip, result, run: None,
    use: Callable[[TrialRun], None] = lambda _: None,
) -> Forecast:
    """Try a fit, and say what one of all windows will take.

    Args:
        windows: the frames of each.
        read: gives some of the clip's frames.
        config: of the fit.
        processes: how many share the windows.
        conclude: what follows the fit of each window, with its frames, what came of it, and the folder of its run.
        use: called with the largest trial's run, which is removed afterwards.

    Raises:
        UserError: when the config cannot work here.
    """
    began = time.monotonic()
    longest = max(windows, key=len)
    steps = _STEPS if config.training.steps is None else min(_STEPS, config.training.steps)
    trial = replace(config, training=replace(config.training, steps=steps, minutes=None))
    _warm_up(trial)
    more = _tried([_middle(longest, _MORE)], read, trial)
    while more.seconds < _LEAST_SECONDS and more.frames < min(_MOST_TRIED, len(longest)):
        more = _tried([_middle(longest, 2 * more.frames)], read, trial)
    few = _tried([_middle(longest, _FEW)], read, trial)
    small = _tried([_middle(longest, _FEW)], read, trial, conclude)
    whole = range(windows[0].start, windows[-1].stop)
    kept = _tried(_places(whole, max(_KEPT, more.frames)), read, trial, conclude, use)
    # TensorBoard and the summary show a few frames of a clip, however long it is.
    pictures = max(0.0, kept.seconds - _line(few, more, "seconds", kept.frames))
    each = [_seconds(few, more, len(window), config, len(window) / sum(map(len, windows))) for window in windows]
    # A process keeps what it has freed, and small trials may seem to need no more than that.
    memory = max(_line(few, more, name, len(longest)) for name in ("memory_bytes", "held_bytes"))
    return Forecast(
        max(sum(seconds + pictures for seconds in each[rank::processes]) for rank in range(processes)),
        psutil.Process().memory_info().rss + memory,
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


def _middle(frames: range, count: int) -> range:
    count = min(count, len(frames))
    first = frames.start + (len(frames) - count) // 2
    return range(first, first + count)


def _places(frames: range, count: int) -> list[range]:
    """About so many frames: the middles of the clip's thirds, or of a short clip as a whole."""
    if len(frames) < 2 * count:
        return [_middle(frames, count)]
    edges = [frames.start + len(frames) * part // _PLACES for part in range(_PLACES + 1)]
    return [_middle(range(*part), -(-count // _PLACES)) for part in pairwise(edges)]


def _joined(pieces: Sequence[Clip]) -> Clip:
    """Pieces of one clip as if each followed the one before."""
    times, end = list(pieces[0].pts_seconds), pieces[0].end_seconds
    for piece in pieces[1:]:
        times += [end + pts - piece.pts_seconds[0] for pts in piece.pts_seconds]
        end += piece.end_seconds - piece.pts_seconds[0]
    frames = torch.cat([piece.frames for piece in pieces])
    visible = [piece.visible for piece in pieces]
    alpha = [piece.alpha for piece in pieces]
    opaque = 255 if frames.dtype == torch.uint8 else 1
    return replace(
        pieces[0],
        frames=frames,
        pts_seconds=tuple(times),
        end_seconds=end,
        visible=_planes(pieces, visible, torch.tensor(True)),
        alpha=_planes(pieces, alpha, torch.tensor(opaque, dtype=frames.dtype)),
    )


def _planes(pieces: Sequence[Clip], planes: Sequence[Tensor | None], nothing: Tensor) -> Tensor | None:
    """What is kept beside the colours (t, h, w); None where no piece has any, `nothing` where one has none."""
    if all(plane is None for plane in planes):
        return None
    sizes = [(len(piece), piece.height, piece.width) for piece in pieces]
    return torch.cat([nothing.expand(s) if plane is None else plane for plane, s in zip(planes, sizes, strict=True)])


def _tried(
    places: Sequence[range],
    read: Callable[[range], Clip],
    config: Config,
    conclude: Callable[[Clip, FitResult, Path], object] | None = None,
    use: Callable[[TrialRun], None] = lambda _: None,
) -> _Trial:
    """Read and fit some frames: in memory, or in a folder that is used for something and removed."""
    edges = list(accumulate(map(len, places), initial=0))
    steps: list[float] = []

    def watch(_: VideoField, __: int) -> None:
        steps.append(time.monotonic())

    with tempfile.TemporaryDirectory(prefix="vfield-") as folder, meter() as peak:
        began = time.monotonic()
        clip = _joined([read(place) for place in places])
        run = None if conclude is None else Path(folder) / "run"
        result = fit(clip, config, out=run, progress=False, watch=watch)
        if conclude is not None and run is not None:
            conclude(clip, result, run)
        seconds = time.monotonic() - began
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        memory = peak() * 1e6
        if run is not None:
            use(TrialRun(run, [range(*edge) for edge in pairwise(edges)]))
    lasted = [later - earlier for earlier, later in pairwise(steps)][_SETTLED:]
    step = median(lasted) if lasted else 0.0
    return _Trial(edges[-1], max(0.0, seconds - step * len(steps)), step, memory, _held(clip, result), float(disk))


def _held(clip: Clip, result: FitResult) -> float:
    """Bytes that are held when a field is saved: the clip, the field, and the file of it."""
    planes = [plane for plane in (clip.frames, clip.visible, clip.alpha) if plane is not None]
    return float(sum(plane.nbytes for plane in [*planes, *2 * list(result.field.state_dict().values())]))


def forecast_export(run: TrialRun, prepared: PreparedExport, device: torch.device, *, learns: bool) -> ExportForecast:
    """Export small parts of a run, and say what an export like that will take.

    A video begins with a frame that is coded alone, as do its next some hundred frames again; what each frame more
    takes is told by the difference between two parts that begin alike.

    Args:
        run: of some frames of the same clip, beside whose folder the parts are written.
        prepared: the export, of which nothing is written.
        device: where to render.
        learns: whether the fit takes steps at all.

    Raises:
        UserError: when it cannot be exported.
    """
    saved = load_field(run.folder)
    detail = saved.field.detail
    if learns and detail is not None and detail.is_mute:
        # After so few steps it says nothing yet. In the end it will, and takes most of the time.
        with torch.no_grad():
            detail.last.weight.add_(1e-6)

    def exported(place: range, count: int) -> _Part:
        return _exported(saved, place, count, run.folder.parent / f"{place.start}-{count}", prepared, device)

    count = min(_SHOWN_MORE, len(run.places[0]))
    first = exported(run.places[0], count)
    while first.seconds < _LEAST_SECONDS and 2 * count <= len(run.places[0]):
        count *= 2
        first = exported(run.places[0], count)
    more = _Part.total([first, *(exported(place, count) for place in run.places[1:])])
    few = _Part.total([exported(place, _SHOWN_FEW) for place in run.places])
    # What a frame takes, and what there is besides for each part.
    beyond, parts = max(1, more.frames - few.frames), len(run.places)
    seconds = max(0.0, more.seconds - few.seconds) / beyond
    size = max(0.0, more.bytes - few.bytes) / beyond
    begin_seconds = max(0.0, few.seconds - few.frames * seconds) / parts
    begin_bytes = max(0.0, few.bytes - few.frames * size) / parts
    frames = len(prepared.plan.output_seconds)
    groups = -(-frames // _GROUP_FRAMES)
    return ExportForecast(
        frames,
        *prepared.size,
        float(prepared.plan.edges_seconds[-1]),
        begin_seconds + frames * seconds,
        begin_bytes * groups + frames * size,
    )


class _Part(NamedTuple):
    """A part that was exported: output frames, and what it took."""

    frames: int
    seconds: float
    bytes: float

    @staticmethod
    def total(parts: Sequence[_Part]) -> _Part:
        """Of several."""
        frames, seconds, size = zip(*parts, strict=True)
        return _Part(sum(frames), sum(seconds), sum(size))


def _exported(
    saved: SavedField, place: range, count: int, folder: Path, prepared: PreparedExport, device: torch.device
) -> _Part:
    """Export about so many source frames from where a place begins."""
    pts, stop = saved.facts.pts_seconds, place.start + count
    end = None if stop >= len(pts) else float((pts[stop] + pts[stop - 1]) / 2 - pts[0])
    config = replace(
        prepared.config,
        start=float(pts[place.start] - pts[0]),
        end=end,
        speed_curve=None,
        path=None,
        audio="drop",
        overwrite=False,
    )
    folder.mkdir()
    # One picture is a part of a folder of them, whose own name may look like a file's.
    is_video = prepared.writer.coding is not None or prepared.path.suffix.lower() == ".gif"
    name = prepared.path.name if is_video else "pictures"
    report = export(saved, folder / name, config, device=device, progress=False)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return _Part(report.frames, report.seconds_taken, float(size))


def _warm_up(config: Config) -> None:
    """What is loaded and made on the first fit of a process is not to be taken for the clip's."""
    frames = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rate = Fraction(25)
    clip = Clip(frames, tuple(i / rate for i in range(4)), 4 / rate, rate)
    with tempfile.TemporaryDirectory(prefix="vfield-") as folder:
        fit(clip, config, out=Path(folder) / "run", progress=False)
