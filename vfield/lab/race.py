"""Fields that race on the same clip: PSNR against steps and seconds.

A bare loop around the parts that a fit uses: on the CPU, no checks, no checkpoints, and a clock that runs only while
something is learnt. It counts the process's own CPU time, so that other work on the machine spoils no comparison.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vfield.core.clip import Clip
from vfield.core.coords import keyframe_t
from vfield.core.errors import UserError
from vfield.core.frames import Frames
from vfield.core.metrics import psnr
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.lab.plots import new_figure, save_figure
from vfield.learn import Config
from vfield.learn.board import HeldOut
from vfield.learn.held_out import split, whole
from vfield.learn.objective import Objective
from vfield.learn.sampling import PatchSampler
from vfield.learn.start import start_field
from vfield.measure.evaluation import aligned

_JUDGED = 6  # frames a mark, at most


class Entry(NamedTuple):
    """One that takes part."""

    group: str  # those that are compared with each other
    name: str  # in its group
    config: Config


class Course(NamedTuple):
    """What all race on."""

    name: str  # of the clip
    observed: Clip  # the frames that are learnt from
    held_out: HeldOut  # frames between them; may be none


@dataclass(frozen=True)
class Curve:
    """How one did; parameters are counted in numbers that are learnt."""

    clip: str
    group: str
    name: str
    width: int  # units in a hidden layer of its decoder
    decoder_parameters: int  # what steers it included
    code_parameters: int
    encoder_parameters: int  # of what predicts the codes; 0 where they are learnt
    steps: tuple[int, ...]  # of each mark
    seconds: tuple[float, ...]  # CPU seconds of learning up to it, those of all threads together
    psnr: tuple[float, ...]  # dB, mean over observed frames
    held_out_psnr: tuple[float, ...]  # dB, mean over frames in between; nan where there are none

    def as_json(self) -> dict[str, Any]:
        """Plain values; what was not measured is None."""
        values = asdict(self)
        values["held_out_psnr"] = [None if math.isnan(value) else value for value in self.held_out_psnr]
        return values


def course(name: str, clip: Clip, crop: tuple[int, int], holdout: int = 1) -> Course:
    """The middle of a clip's pictures, `crop` (height, width) pixels of it or what there is.

    Every `holdout`-th frame is seen, and those between are judged, too.

    Raises:
        UserError: when the clip is too short for the holdout.
    """
    height, width = min(crop[0], clip.height), min(crop[1], clip.width)
    top, left = (clip.height - height) // 2, (clip.width - width) // 2
    pixels = clip.pixels[..., top : top + height, left : left + width].contiguous()
    middle = Clip(pixels, clip.pts_seconds, clip.end_seconds, clip.frame_rate)
    if len(clip) <= holdout:
        raise UserError(f"{name} has {len(clip)} frames, and every {holdout}th is to be seen; take more --frames")
    parts = whole(middle) if holdout == 1 else split(middle, holdout)
    return Course(name, parts.observed, parts.held_out)


def marks(steps: int) -> list[int]:
    """Steps at which to measure: closer together at the beginning, the last one among them."""
    return sorted({round(steps * share) for share in (0, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.55, 0.7, 0.85, 1)})


def race(entry: Entry, on: Course, steps: int) -> Curve:
    """Let one learn for so many steps, and measure it on the way."""
    config = entry.config
    seed = config.training.seed
    field, _, _, seen = start_field(on.observed, config.field, config.flow, seed, rehearse=False)
    t = keyframe_t(seen.pts_seconds)
    sampler = PatchSampler(seen.frames, t, seen.frames, [], config.sampling, seed)
    objective = Objective(field, None, config.objective)
    learnt = [parameter for parameter in field.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learnt, betas=(0.9, 0.99), eps=1e-8)
    at = marks(steps)
    seconds, observed, held_out = [], [], []
    spent = 0.0
    for step in range(steps + 1):
        if step in at:
            field.eval()
            seconds.append(spent)
            observed.append(mean_psnr(field, seen.pixels, t.tolist(), _JUDGED))
            held_out.append(mean_psnr(field, on.held_out.frames, on.held_out.t, _JUDGED))
            field.train()
        if step == steps:
            break
        began = time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = config.training.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        objective(sampler.batch(step)).total().backward()
        optimizer.step()
        spent += time.process_time() - began
    about = (on.name, entry.group, entry.name, config.field.decoder.width, *_counts(field))
    return Curve(*about, tuple(at), tuple(seconds), tuple(observed), tuple(held_out))


def mean_psnr(field: VideoField, frames: Frames, t: Sequence[float], most: int) -> float:
    """Mean PSNR in dB of at most so many of these frames, spread evenly, at their instants; nan without any."""
    if not len(frames):
        return math.nan
    chosen = sorted({round(i * (len(frames) - 1) / (most - 1)) for i in range(most)})
    shown = torch.stack(list(render(field, field.size, [t[i] for i in chosen], device=field.device)))
    return float(psnr(shown, torch.stack([frames[i] for i in chosen])).mean())


def _counts(field: VideoField) -> tuple[int, int, int]:
    """Numbers learnt by the decoder, numbers in codes, numbers learnt by what predicts codes."""
    parameters = () if field.decoder is None else field.decoder.parameters()
    decoder = sum(parameter.numel() for parameter in parameters)
    codes = encoder = 0
    for part in (field.shared, field.latents):
        for name, parameter in part.named_parameters() if part is not None else ():
            if name.startswith("encoder."):
                encoder += parameter.numel()
            else:
                codes += parameter.numel()
    return decoder, codes, encoder


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Write the curves of one clip as a PNG: a row a group, PSNR against steps and against CPU seconds."""
    groups = list(dict.fromkeys(curve.group for curve in curves))
    figure = new_figure(9, 0.6 + 2.9 * len(groups))
    axes = figure.subplots(len(groups), 2, squeeze=False, sharey="row")
    for row, group in zip(axes, groups, strict=True):
        for curve in curves:
            if curve.group == group:
                # Without the first mark, where nothing is learnt: it would squeeze all the others.
                row[0].plot(curve.steps[1:], curve.psnr[1:], marker=".", label=curve.name)
                row[1].plot(curve.seconds[1:], curve.psnr[1:], marker=".", label=curve.name)
        row[0].set(xlabel="steps", ylabel=f"{group}: PSNR, dB")
        row[1].set(xlabel="CPU seconds of learning")
        row[0].legend(fontsize="small")
        for plot in row:
            plot.grid(alpha=0.3)
    figure.suptitle(curves[0].clip)
    save_figure(figure, path)


def table(curves: Sequence[Curve]) -> str:
    """A line each: what it is, how large, and what it reached."""
    lines = [["", "width", "decoder", "codes", "encoder", "a quarter, dB", "end, dB", "between, dB", "CPU s"]]
    for curve in curves:
        quarter = min(range(len(curve.steps)), key=lambda i: abs(curve.steps[i] - curve.steps[-1] / 4))
        reached = (curve.psnr[quarter], curve.psnr[-1], curve.held_out_psnr[-1])
        numbers = (curve.width, curve.decoder_parameters, curve.code_parameters, curve.encoder_parameters)
        cells = [*map(str, numbers), *("-" if math.isnan(value) else f"{value:.2f}" for value in reached)]
        lines.append([f"{curve.clip} {curve.group} {curve.name}", *cells, f"{curve.seconds[-1]:.1f}"])
    return aligned(lines)
