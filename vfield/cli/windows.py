"""Fit a long clip as windows; say beforehand what a fit will take."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

import psutil
from torch import Tensor
from tqdm import tqdm

from vfield.checkpoint import WINDOWS_NAME
from vfield.cli.outcomes import conclude, part_of
from vfield.cli.says import plain, say, tell
from vfield.cli.sources import RUN_NAME, Seen, Source
from vfield.cli.values import exact_number, parse_size
from vfield.clip import Clip, ClipFacts
from vfield.config import CONFIG_NAME, config_text
from vfield.crew import Crew, crew_of_launch
from vfield.devices import usable_device
from vfield.errors import UserError
from vfield.export import prepare_export
from vfield.export_config import ExportConfig
from vfield.forecast import ExportForecast, Forecast, TrialRun, forecast, forecast_export
from vfield.shots import shots_of
from vfield.summary import PAGE_NAME, windows_summed_up, write_summary
from vfield.training import Config, FitResult, WindowSource, WindowsResult, begin_folder, fit_windows, remove_summary
from vfield.video_io import VideoInfo, probe, scan_clip
from vfield.windows import LEAST_FRAMES, WindowPlan, plan_windows, read_plan, write_plan

_LOG = logging.getLogger("vfield")
# Of one fit: so much whatever the clip, for each pixel of a frame, and for each pixel of each frame (8 bits, deeper).
# Measured: docs/notes.md.
_BASE_BYTES = 400_000_000
_PIXEL_BYTES = 700
_FRAME_BYTES, _DEEP_FRAME_BYTES = 40, 58
# Of the machine's memory: what one field of the whole clip may take, and what a window may, where that is too much.
_WHOLE_SHARE, _WINDOW_SHARE = 0.75, 0.5
# However small the pictures: a window is what a crash may lose.
_MOST_FRAMES = 600
_LEAST_AUTO_FRAMES = 24
_SHOWN_WINDOWS = 20


def has_windows(source: Source, folder: Path, window: str, resume: bool) -> bool:
    """Whether a run is one of windows: it was begun as one, or is asked for as one, or would be too large otherwise.

    Raises:
        UserError: when windows are asked for that cannot be.
    """
    if resume:
        if window != "auto":
            raise UserError(f"--window {window} and --resume contradict each other: a run keeps its own windows")
        return (folder / WINDOWS_NAME).is_file()
    return most_frames(source, window) is not None


def most_frames(source: Source, window: str) -> int | None:
    """How many frames a window may have; None where the clip is to be fitted whole."""
    if window == "off":
        return None
    asked = None if window == "auto" else exact_number("window", window)
    if not isinstance(source.video, str) or source.holdout is not None:
        if asked is not None:
            what = "--holdout" if isinstance(source.video, str) else "several clips"
            raise UserError(f"--window {window} and {what} cannot go together; leave one out")
        return None
    path, start, end = source.part(source.video)
    try:
        info = probe(path)
    except UserError:
        if asked is None:
            return None  # reading it tells what is wrong
        raise
    rate = _picture_rate(source, info)
    if asked is not None and asked * rate < LEAST_FRAMES:
        raise UserError(
            f"--window {window} is too short: it must hold {LEAST_FRAMES} frames, at {float(rate):g} a second"
        )
    seconds = _lasting_seconds(info, start, end)
    if seconds is None:
        return None if asked is None else math.floor(asked * rate)
    if asked is not None:
        return math.floor(asked * rate) if seconds > asked else None
    height, width = parse_size(source.size) if source.size is not None else (info.height, info.width)
    each = height * width * (_FRAME_BYTES if info.color.bit_depth == 8 else _DEEP_FRAME_BYTES)
    fixed = _BASE_BYTES + height * width * _PIXEL_BYTES
    memory = psutil.virtual_memory().total / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if fixed + seconds * float(rate) * each <= _WHOLE_SHARE * memory:
        return None
    held = int((_WINDOW_SHARE * memory - fixed) / each)
    return max(_LEAST_AUTO_FRAMES, min(held, _MOST_FRAMES))


def _planned(source: Source, most: int | None, shows: bool) -> WindowPlan:
    """Go through the clip once, and divide it; one window of all where there is no limit."""
    assert isinstance(source.video, str)
    path, start, end = source.part(source.video)
    size = None if source.size is None else parse_size(source.size)

    info = probe(path)
    lasting = _lasting_seconds(info, start, end)
    expected = None if lasting is None else math.ceil(lasting * _picture_rate(source, info))

    def seen(batches: Iterator[Tensor]) -> list[range]:
        with tqdm(total=expected, desc="looking for cuts", unit="frame", disable=not shows, leave=False) as bar:
            return shots_of(_counted(batches, bar))

    scan = scan_clip(path, seen, start_seconds=start, end_seconds=end, size=size, deinterlace=source.deinterlace)
    frames = len(scan.facts.pts_seconds)
    return plan_windows(scan.facts, scan.seen, max(LEAST_FRAMES, most or frames), scan.origin)


def _counted(batches: Iterator[Tensor], bar: tqdm[NoReturn]) -> Iterator[Tensor]:
    for batch in batches:
        yield batch
        bar.update(len(batch))


def _picture_rate(source: Source, info: VideoInfo) -> Fraction:
    return info.frame_rate * (2 if source.deinterlace == "field" else 1)


def _lasting_seconds(info: VideoInfo, start: float | None, end: float | None) -> float | None:
    """Of the part of a clip; None where its file does not say how long it is."""
    if info.duration_seconds is None:
        return None
    lasting = float(info.duration_seconds)
    return (lasting if end is None else min(end, lasting)) - (start or 0)


def _part_of(source: Source, plan: WindowPlan, number: int) -> Source:
    """What one window learns from."""
    assert isinstance(source.video, str)
    path, start, end = source.part(source.video)
    first, last = plan.span(number)
    bounds = (start if first is None else float(first), end if last is None else float(last))
    return replace(source, video=path, start=bounds[0], end=bounds[1])


def plan_run(
    source: Source,
    config: Config,
    folder: Path,
    window: str,
    crew: Crew,
    *,
    resume: bool,
    check: Callable[[ClipFacts], object] = lambda facts: None,
) -> WindowPlan:
    """The plan of a run: made and kept with it, or that of the run to go on with.

    Args:
        source: the clip.
        config: of each fit.
        folder: of the run.
        window: what `--window` says.
        crew: the processes that share the windows, all of which call this.
        resume: take the plan that is there.
        check: what else there is to find wrong with the clip, in the main process, before anything is written.

    Raises:
        UserError: when the clip is no good, or the folder cannot be written to.
    """
    if not crew.is_main:
        logging.getLogger("vfield").setLevel(logging.WARNING)
    elif resume:
        check(read_plan(folder).facts)
    else:
        plan = _planned(source, most_frames(source, window), shows=True)
        plan = replace(plan, facts=config.kept(plan.facts))
        check(plan.facts)
        records = {CONFIG_NAME: config_text(config), RUN_NAME: source.with_digest().text()}
        begin_folder(folder, records, [], keep_events=False)
        write_plan(folder, plan)
    if crew.size > 1:
        crew.tell("planned", True)
        crew.hear(0, "planned")
    plan = read_plan(folder)
    if crew.is_main:
        tell(_described(plan))
    return plan


def fit_plan(source: Source, config: Config, folder: Path, plan: WindowPlan, crew: Crew) -> WindowsResult:
    """Fit what is not fitted yet of a plan, and sum it up."""
    if crew.is_main:
        remove_summary(folder)
    source = source.with_digest()  # once: the file may be large

    def read(number: int) -> Clip:
        return _part_of(source, plan, number).read().observed

    def records(number: int) -> dict[str, str]:
        return {CONFIG_NAME: config_text(config), RUN_NAME: _part_of(source, plan, number).text()}

    def concluded(number: int, clip: Clip, result: FitResult, megabytes: float) -> None:
        part, seen = _part_of(source, plan, number), {"": Seen(clip, None)}
        conclude(part, seen, config, {"": result}, plan.folder(folder, number), megabytes)

    result = fit_windows(plan, WindowSource(read, records, concluded), config, out=folder, crew=crew)
    if crew.is_main and not result.interrupted:
        write_summary(folder, windows_summed_up(plan, folder, config, part_of(source)), [])
    return result


def report_windows(plan: WindowPlan, result: WindowsResult, folder: Path, crew: Crew) -> None:
    """Say what was reached and what to do with it; nothing in processes other than the first."""
    if crew.is_main:
        going_on = [f"go on:  vfield train --resume --out {folder}"] if result.interrupted else []
        look = [] if result.interrupted else [f"look:   {folder / PAGE_NAME}"]
        lines = [
            windows_told(plan, result, folder),
            f"watch:  tensorboard --logdir {folder}",
            *(going_on or look),
            f"export: vfield render {folder} --slowmo 4 -o slow.mp4",
        ]
        say("\n".join(lines), {"run": folder, "windows": len(plan.windows), **plain(result)})


def windows_told(plan: WindowPlan, result: WindowsResult, folder: Path) -> str:
    """What was reached, in a line."""
    ended = "stopped" if result.interrupted else "done"
    return f"{ended} after {result.seconds:.0f} s: {result.fitted} of {len(plan.windows)} windows in {folder}"


def show_plan(
    source: Source, config: Config, folder: Path, window: str, wanted: tuple[str, ExportConfig] | None = None
) -> int:
    """Print what a fit will take: windows, time, memory, disk; and what an export will. Nothing is written.

    Args:
        source: the clip.
        config: of the fit.
        folder: of the run.
        window: what `--window` says.
        wanted: where an export goes, and what it is to be; None for none.

    Raises:
        UserError: when the clip, the config or the export is no good.
    """
    if not isinstance(source.video, str):
        raise UserError(f"--dry-run is for one clip, got {len(source.video)}")
    with crew_of_launch() as crew:
        if not crew.is_main:
            return 0
        began = time.monotonic()
        plan = _planned(source, most_frames(source, window), shows=True)
        looked_seconds = time.monotonic() - began
        prepared = None if wanted is None else prepare_export(config.kept(plan.facts), *wanted)
        tell(_described(plan))

        def read(frames: range) -> Clip:
            part = replace(plan, windows=(frames,), seams=())
            return replace(_part_of(source, part, 0), holdout=None).read().observed

        exports: list[ExportForecast] = []

        def use(run: TrialRun) -> None:
            if prepared is not None:
                _LOG.setLevel(logging.ERROR)  # what there is to say of the export was said when it was prepared
                device, learns = usable_device(config.training.device), config.training.steps != 0
                exports.append(forecast_export(run, prepared, device, learns=learns))

        def concluded(clip: Clip, result: FitResult, run: Path) -> None:
            conclude(source, {"": Seen(clip, None)}, config, {"": result}, run, 0)

        is_windowed = len(plan.windows) > 1
        found = forecast(plan.windows, read, config, crew.size if is_windowed else 1, concluded, use)
        if is_windowed:  # a run looks for cuts, too
            found = found._replace(seconds=found.seconds + looked_seconds)
        lines = [_told(found, folder)]
        if prepared is not None:
            lines.append(_export_told(exports[0], prepared.path))
        shares = [{"start_seconds": begin, "end_seconds": end} for begin, end in plan.spans()]
        exported = exports[0]._asdict() if exports else None
        document = {"run": folder, "windows": shares, **found._asdict(), "export": exported}
        say("\n".join([*lines, "nothing was written"]), document)
    return 0


def _described(plan: WindowPlan) -> str:
    """The clip, and its windows a line each."""
    facts = plan.facts
    pts, origin = facts.pts_seconds, facts.pts_seconds[0]
    lasts = facts.end_seconds - origin
    lines = [f"clip:   {len(pts)} frames of {facts.width}x{facts.height}, {float(lasts):.2f} s"]
    if len(plan.windows) == 1:
        return "\n".join([*lines, "fitted: whole, as one field"])
    longest = max(map(len, plan.windows))
    lines.append(f"fitted: as {len(plan.windows)} windows of at most {longest} frames")
    for number, (window, (begin, end)) in enumerate(zip(plan.windows[:_SHOWN_WINDOWS], plan.spans(), strict=False)):
        at = "" if number == len(plan.seams) else ", to a cut" if plan.seams[number].is_cut else ""
        lines.append(f"  {number:03}: {begin:.2f} to {end:.2f} s, frames {window.start} to {window.stop - 1}{at}")
    if len(plan.windows) > _SHOWN_WINDOWS:
        lines.append(f"  and {len(plan.windows) - _SHOWN_WINDOWS} more")
    return "\n".join(lines)


def _told(found: Forecast, folder: Path) -> str:
    return (
        f"time:   about {_lasting(found.seconds)}, after {found.measured_seconds:.0f} s of trying\n"
        f"memory: about {found.memory_bytes / 1e9:.1f} GB at most, in each process\n"
        f"disk:   about {found.disk_bytes / 1e9:.2f} GB in {folder}"
    )


def _export_told(found: ExportForecast, path: Path) -> str:
    size = f"{found.disk_bytes / 1e6:.1f} MB" if found.disk_bytes < 1e9 else f"{found.disk_bytes / 1e9:.1f} GB"
    return (
        f"export: {found.frames} frames of {found.width}x{found.height}, {found.duration_seconds:.2f} s: about {size} "
        f"without sound in {path}, made in about {_lasting(found.seconds)}"
    )


def _lasting(seconds: float) -> str:
    minutes = seconds / 60
    hours = f"{minutes / 60:.1f} h" if minutes >= 120 else f"{minutes:.0f} min"
    return f"{seconds:.0f} s" if minutes < 2 else hours
