"""What a fit and an export would make, said without making it: `--dry-run`."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vfield.core.clip import Clip, ClipFacts, parse_size
from vfield.core.devices import usable_device
from vfield.core.errors import UserError
from vfield.field.render import render
from vfield.learn import Config
from vfield.learn.sources import Source
from vfield.learn.start import start_field
from vfield.output.config import ExportConfig
from vfield.output.export import PreparedExport, prepare_export
from vfield.video_io import inspect_file, read_clip

# Of the clip, that are read to see how long things take; and of the result, that are made.
_READ_FRAMES, _MADE_FRAMES = 6, 3


def plan(
    source: Source, config: Config, folder: Path, wanted: tuple[str, ExportConfig] | None = None
) -> tuple[str, dict[str, Any]]:
    """What a fit will be, and what an export of it will make, in words and for scripts. Nothing is written.

    `wanted` is where an export goes, and what it is to be; None for none. The learning itself is not tried: its
    progress bar knows what is left after its first steps.
    """
    if not isinstance(source.video, str):
        raise UserError(f"--dry-run is for one clip, got {len(source.video)}")
    path, start, end = source.part(source.video)
    began = time.monotonic()
    clip = read_clip(
        path,
        start_seconds=start,
        end_seconds=end,
        size=None if source.size is None else parse_size(source.size),
        deinterlace=source.deinterlace,
        max_frames=_READ_FRAMES,
    )
    read_seconds = (time.monotonic() - began) / len(clip)
    facts = _facts_of_all(path, start, end, clip)
    frames = len(facts.pts_seconds)
    looked_seconds = frames * read_seconds
    learning = f"{config.training.steps} steps" if config.training.steps is not None else "as long as it may"
    lines = [
        f"clip:   about {frames} frames of {facts.width}x{facts.height}, looked through in about "
        f"{_lasting(looked_seconds)}",
        f"fit:    {learning if config.training.steps else 'nothing is learnt'}, kept in {folder}",
    ]
    report: dict[str, Any] = {"run": folder, "frames": frames, "scan_seconds": looked_seconds, "export": None}
    if wanted is not None:
        prepared = prepare_export(config.kept(facts), *wanted)
        seconds = _render_seconds(clip, config, prepared)
        made, (height, width) = len(prepared.plan.output_seconds), prepared.size
        lasts = prepared.plan.edges_seconds[-1]
        lines.append(
            f"export: {made} frames of {width}x{height}, {float(lasts):.2f} s, in {prepared.path}, rendered in about "
            f"{_lasting(seconds)}, before detail is learnt"
        )
        report["export"] = {"frames": made, "height": height, "width": width, "seconds": seconds, "lasts": lasts}
    return "\n".join([*lines, "nothing was written"]), report


def _facts_of_all(path: str, start: float | None, end: float | None, clip: Clip) -> ClipFacts:
    """The facts of all of a clip, taken for one of even times: what its header says, and its first frames."""
    details, rate = inspect_file(path), clip.frame_rate
    lasts = Fraction(details.timestamps.frames) / details.info.frame_rate
    until = lasts if end is None else min(lasts, Fraction(end))
    count = max(len(clip), round((until - Fraction(start or 0)) * rate))
    origin = clip.pts_seconds[0]
    pts = tuple(origin + number / rate for number in range(count))
    return replace(clip.facts, pts_seconds=pts, end_seconds=pts[-1] + 1 / rate)


def _render_seconds(clip: Clip, config: Config, prepared: PreparedExport) -> float:
    """How long all frames of an export take, by some of them from a field that has learnt nothing."""
    device = usable_device(config.training.device)
    field = start_field(clip, config.field, config.flow, config.training.seed, rehearse=False).field.to(device).eval()
    last = float(clip.pts_seconds[-1] - clip.pts_seconds[0])
    instants = [last * (number + 1) / (_MADE_FRAMES + 1) for number in range(_MADE_FRAMES)]
    began = time.monotonic()
    for _ in render(field, prepared.size, instants, region=prepared.region, device=device):
        pass
    return (time.monotonic() - began) / _MADE_FRAMES * len(prepared.plan.output_seconds)


def _lasting(seconds: float) -> str:
    minutes = seconds / 60
    hours = f"{minutes / 60:.1f} h" if minutes >= 120 else f"{minutes:.0f} min"
    return f"{seconds:.0f} s" if minutes < 2 else hours
