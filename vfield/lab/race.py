"""Fields that race on the same clip: PSNR against steps and seconds.

A bare loop around the parts that a fit uses: on the CPU, no checks, no checkpoints, and a clock that runs only while
something is learnt. It counts the process's own CPU time, so that other work on the machine spoils no comparison.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vfield.core.clip import Clip
from vfield.core.coords import keyframe_t
from vfield.core.errors import UserError
from vfield.core.metrics import psnr
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.learn import Config
from vfield.learn.objective import Objective
from vfield.learn.sampling import PatchSampler
from vfield.learn.start import start_field

_MOST_JUDGED = 6  # frames a mark


class Entry(NamedTuple):
    """One that takes part.

    Attributes:
        group: those that are compared with each other.
        name: what it is called in its group.
        config: what it does.
    """

    group: str
    name: str
    config: Config


class Course(NamedTuple):
    """What all race on.

    Attributes:
        name: of the clip.
        observed: the frames that are learnt from.
        held_out: (n, 3, h, w) frames between them; may be none.
        held_out_t: their instants, in seconds since the first observed frame.
    """

    name: str
    observed: Clip
    held_out: Tensor
    held_out_t: list[float]


@dataclass(frozen=True)
class Curve:
    """How one did.

    Attributes:
        clip: what it ran on.
        group: see `Entry`.
        name: see `Entry`.
        width: units in a hidden layer of its decoder.
        decoder_parameters: how many numbers its decoder learnt, what steers it included.
        code_parameters: how many numbers its codes are.
        encoder_parameters: how many numbers the encoder that predicts the codes learnt; 0 where they are learnt.
        steps: of each mark.
        seconds: CPU seconds of learning up to it, those of all threads together.
        psnr: dB, mean over observed frames.
        held_out_psnr: dB, mean over frames in between; nan where there are none.
    """

    clip: str
    group: str
    name: str
    width: int
    decoder_parameters: int
    code_parameters: int
    encoder_parameters: int
    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    psnr: tuple[float, ...]
    held_out_psnr: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values; what was not measured is None."""
        values = asdict(self)
        values["held_out_psnr"] = [None if math.isnan(value) else value for value in self.held_out_psnr]
        return values


def course(name: str, clip: Clip, crop: tuple[int, int], holdout: int = 1) -> Course:
    """The middle of a clip's pictures, and which of its frames are seen.

    Args:
        name: what to call it.
        clip: its frames.
        crop: (height, width) of the middle, in pixels; at most the picture.
        holdout: every so-many-th frame is seen, and those between are judged, too.

    Raises:
        UserError: when the clip is too short for the holdout.
    """
    height, width = min(crop[0], clip.height), min(crop[1], clip.width)
    top, left = (clip.height - height) // 2, (clip.width - width) // 2
    middle = Clip(
        clip.pixels[..., top : top + height, left : left + width].contiguous(),
        clip.pts_seconds,
        clip.end_seconds,
        Fraction(clip.frame_rate),
    )
    if len(clip) <= holdout:
        raise UserError(f"{name} has {len(clip)} frames, and every {holdout}th is to be seen; take more --frames")
    last = (len(clip) - 1) // holdout * holdout
    between = [frame for frame in range(last) if frame % holdout]
    times = keyframe_t(middle.pts_seconds)
    return Course(
        name, middle.select(range(0, last + 1, holdout)), middle.pixels[between], [float(times[i]) for i in between]
    )


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
    optimizer = torch.optim.Adam(
        [parameter for parameter in field.parameters() if parameter.requires_grad], betas=(0.9, 0.99), eps=1e-8
    )
    at = marks(steps)
    seconds, observed, held_out = [], [], []
    spent = 0.0
    for step in range(steps + 1):
        if step in at:
            field.eval()
            seconds.append(spent)
            observed.append(_mean_psnr(field, seen.pixels, t.tolist()))
            held_out.append(_mean_psnr(field, on.held_out, on.held_out_t))
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
    return Curve(
        on.name,
        entry.group,
        entry.name,
        config.field.decoder.width,
        *_counts(field),
        steps=tuple(at),
        seconds=tuple(seconds),
        psnr=tuple(observed),
        held_out_psnr=tuple(held_out),
    )


def _mean_psnr(field: VideoField, frames: Tensor, instants: Sequence[float]) -> float:
    """Of some of these frames, spread evenly."""
    if not len(frames):
        return math.nan
    chosen = sorted({round(i) for i in torch.linspace(0, len(frames) - 1, _MOST_JUDGED).tolist()})
    shown = torch.stack(list(render(field, field.size, [instants[i] for i in chosen])))
    return float(psnr(shown, frames[chosen]).mean())


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
