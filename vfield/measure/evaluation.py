"""Judging: fit to what may be seen, predict what may not, beside what people use today, in one run.

The figures are means over frames of each frame's metric on 8-bit RGB (`vfield.core.metrics`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vfield.core.clip import to_uint8
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.core.memory import meter
from vfield.core.metrics import Scores, psnr, score
from vfield.learn import Config, FitResult, fit
from vfield.learn.held_out import Split, pictures_of
from vfield.measure.peers import BETWEEN_PEERS, SCALE_PEERS, Reduction, reduce_frames
from vfield.video_io import resize

_LOG = logging.getLogger("vfield")

# RIFE and Real-ESRGAN take longer than all others together and are not everywhere: the benchmark has them.
_EVALUATED = ("repeat", "blend", "minterpolate", "DIS")
_ENLARGED = ("bicubic", "Lanczos")


@dataclass(frozen=True)
class Row:
    """One method's result, or why there is none."""

    name: str
    # At the instants that it was given: of the frames that it was given, at their size, or where also frames in between
    # were asked for, of those at the size asked for. None where that makes no sense.
    observed: Scores | None = None
    held_out: Scores | None = None  # of what it never saw: frames in between, or the large frames
    fit_seconds: float = 0.0  # time to prepare; 0 for methods that have no preparation
    render_seconds: float = 0.0  # time to make every judged frame
    peak_megabytes: float = 0.0  # most memory used above what the process held before, sampled
    psnr_each: tuple[float, ...] = ()  # dB of each frame that `held_out` is the mean over
    note: str = ""  # why there are no figures
    expected_psnr: float | None = None  # dB that a field expected of `held_out` before it was judged
    stability: float | None = None  # dB of `vfield.measure.stability`, over all frames in order, where it was measured


def check_scale(scale: float) -> None:
    """Refuse a scale by which nothing is enlarged."""
    if not 1 < scale < math.inf:
        raise UserError(f"--scale must be more than 1 to judge enlarging, got {scale}")


def reduced(parts: Split, scale: float, reduction: Reduction = "area") -> Split:
    """The same question with the observed frames `scale` times smaller a side, rounded to pixels.

    A UserError when the scale is not above 1 or leaves nothing.
    """
    seen = parts.observed
    check_scale(scale)
    size = (round(seen.height / scale), round(seen.width / scale))
    if min(size) < 1:
        raise UserError(f"--scale {scale} leaves nothing of a {seen.width}x{seen.height} picture")
    frames = reduce_frames(to_uint8(seen.pixels), *size, reduction)
    # Colours are judged, as they look over black.
    return replace(parts, observed=replace(seen, frames=frames, alpha=None))


def evaluate(
    parts: Split, config: Config, out: Path | None = None, records: Mapping[str, str] | None = None
) -> list[Row]:
    """Fit to what is given and judge on the rest: vfield first, then the peers that can work on such pictures."""
    row, _, fitted = judge_fit("vfield", parts, config, out, records)
    rows = [row]
    if fitted.is_main:
        for name in _EVALUATED if parts.holdout > 1 else _ENLARGED:
            try:
                rows.append(judge_peer(name, parts)[0])
            except UserError as error:
                _LOG.warning("%s is left out: %s", name, error)
    return rows


def judge_fit(
    name: str, parts: Split, config: Config, out: Path | None = None, records: Mapping[str, str] | None = None
) -> tuple[Row, Tensor, FitResult]:
    """Fit to the observed frames, make what is asked for and judge it.

    The run goes to the folder `out`, with `records` (texts by file name), or stays in memory. Gives the figures under a
    name; (n, 3, h, w) uint8, what was made of `Split.everything`; and the fit. A fit that was stopped raises a
    KeyboardInterrupt: half a fit is no result.
    """
    with meter() as memory:
        # The board shows held-out frames at the field's own size.
        held_out = None if parts.enlarges else parts.held_out
        fitted = fit(parts.observed, config, out=out, records=records, held_out=held_out)
        if fitted.interrupted:
            raise KeyboardInterrupt
        began = time.monotonic()
        instants = fitted.field.held(parts.t) if parts.holdout == 1 else parts.t
        frames = pictures_of(fitted.field, parts.size, instants)
        seconds = time.monotonic() - began
    row = _row(name, frames, parts, (fitted.seconds, seconds, memory()))
    if parts.holdout == 1:
        given = to_uint8(parts.observed.pixels)
        row = replace(row, observed=score(pictures_of(fitted.field, fitted.field.size, instants), given))
    if fitted.expectation is not None and not parts.enlarges:
        row = replace(row, expected_psnr=fitted.expectation.psnr)
    return row, frames, fitted


def judge_peer(name: str, parts: Split) -> tuple[Row, Tensor]:
    """Let a peer make what is asked for from the observed frames, and judge it.

    It is one of `SCALE_PEERS` where every frame is observed, of `BETWEEN_PEERS` otherwise. Where larger frames are
    asked for, too, it makes the frames in between at the small size and Lanczos enlarges them all: that is the usual
    order, and the cheaper one. A UserError when the peer cannot work on such pictures, or is not installed.

    Returns:
        The figures, and (n, 3, h, w) uint8, what was made of `Split.everything`.
    """
    given = to_uint8(parts.observed.pixels)
    with meter() as memory:
        began = time.monotonic()
        if parts.holdout == 1:
            frames = SCALE_PEERS[name](given, *parts.size)
        else:
            frames = BETWEEN_PEERS[name](given, parts.observed.frame_rate, parts.holdout)
            if parts.enlarges:
                frames = resize(frames, *parts.size, "lanczos")
        seconds = time.monotonic() - began
    return _row(name, frames, parts, (0.0, seconds, memory())), frames


def _row(name: str, made: Tensor, parts: Split, costs: tuple[float, float, float]) -> Row:
    """The figures of frames; costs are seconds to fit and to render, and megabytes."""
    truth = to_uint8(in_memory(parts.everything))
    judged = parts.judged_indices
    observed = None
    if parts.holdout > 1:
        observed = score(made[:: parts.holdout], truth[:: parts.holdout])
    each = tuple(psnr(made[judged], truth[judged]).tolist())
    return Row(name, observed, score(made[judged], truth[judged]), *costs, each)


def table(rows: list[Row]) -> str:
    """The rows as text, one line each."""
    head = ["", "observed dB", "SSIM", "MS-SSIM", "held out dB", "SSIM", "MS-SSIM", "expected dB", "fit s"]
    lines = [[*head, "render s", "peak MB"]]
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
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join("  ".join([line[0].ljust(first), *map(str.rjust, line[1:], others)]) for line in lines)


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows as plain dictionaries; a figure that a picture is too small for is None."""

    def without_nan(values: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values}

    return [asdict(row, dict_factory=without_nan) for row in rows]
