"""How fast a new clip is fitted by its codes alone, and what lies between the codes of clips and around them.

Three fits of one clip take the same steps: from nothing; by codes alone, with what a run's clips share held; and with
that tuned, too. After every few steps the field is asked for frames, and the PSNR is set against the processor's time,
which leaves out what the asking took and what other programs took away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange

from vfield.core.clip import Clip
from vfield.core.coords import keyframe_t
from vfield.core.errors import UserError
from vfield.field.codes import interpolated, sampled
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.lab.plots import axes, check_plots, write_experiment
from vfield.lab.race import mean_psnr
from vfield.learn import Config, adapt, fit
from vfield.learn.board import HeldOut

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILES = ("adapt.json", "adapt.png", "codes.png")
_JUDGED = 5  # frames of each kind
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_NAMES = {"nothing": "from nothing", "codes": "codes alone", "tuned": "codes, and the rest tuned"}


@dataclass
class Progress:
    """How a fit went, at each look."""

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of the processor, the start of the motion included
    observed: list[float] = field(default_factory=list)  # PSNR in dB of up to five frames that it learnt from
    held_out: list[float] = field(default_factory=list)  # likewise of frames that it never saw; empty without


def compare(
    shared: VideoField, clip: Clip, held_out: HeldOut | None, config: Config, every: int
) -> dict[str, Progress]:
    """Fit a new clip in three ways, with the same steps, and look at it after each `every` of them.

    `shared` is a field of the run to adapt from: the parts of the field are those that it has, whatever `config` says.
    """
    config = replace(config, field=shared.config)
    courses = {name: Progress() for name in _NAMES}
    fit(clip, config, progress=False, watch=_watching(courses["nothing"], clip, held_out, every))
    for name in ("codes", "tuned"):
        watch = _watching(courses[name], clip, held_out, every)
        adapt(shared, clip, config, tune=name == "tuned", progress=False, watch=watch)
    return courses


def _watching(course: Progress, clip: Clip, held_out: HeldOut | None, every: int) -> Callable[[VideoField, int], None]:
    """Fills a course while a fit runs."""
    t = keyframe_t(clip.pts_seconds).tolist()
    spent = -time.process_time()

    def watch(made: VideoField, step: int) -> None:
        nonlocal spent
        if step % every and step != 1:
            return
        now = time.process_time()
        made.eval()
        course.steps.append(step)
        course.seconds.append(now + spent)
        course.observed.append(mean_psnr(made, clip.pixels, t, _JUDGED))
        if held_out is not None:
            course.held_out.append(mean_psnr(made, held_out.frames, held_out.t, _JUDGED))
        made.train()
        spent -= time.process_time() - now

    return watch


def report(folder: Path, courses: dict[str, Progress], members: Sequence[VideoField]) -> None:
    """Write a folder with the figures, their plot, and codes between a run's first two clips and drawn anew."""
    figure, (plot,) = axes(1, width=6.4, height=3.8)
    for number, (name, course) in enumerate(courses.items()):
        plot.plot(course.seconds, course.observed, color=f"C{number}", label=_NAMES[name])
        if course.held_out:
            plot.plot(course.seconds, course.held_out, "--", color=f"C{number}")
    held_out = any(course.held_out for course in courses.values())
    plot.set(xlabel="processor seconds", ylabel="PSNR, dB" + (" (dashed: frames never seen)" if held_out else ""))
    plot.grid(alpha=0.3)
    plot.legend()
    files: dict[str, Any] = {
        "adapt.json": {name: asdict(course) for name, course in courses.items()},
        "adapt.png": figure,
    }
    if len(members) > 1:
        files["codes.png"] = _codes(members)
    write_experiment(folder, files)


def _codes(members: Sequence[VideoField]) -> Figure:
    """Rows: all codes, then only the global ones, from the first clip to the second; then draws from the Gaussian."""
    one, other = members[:2]
    generator = torch.Generator().manual_seed(0)
    rows = [
        [(f"all codes, {share:g}", interpolated(one, other, share)) for share in _SHARES],
        [(f"global code, {share:g}", interpolated(one, other, share, local=False)) for share in _SHARES],
        [(f"drawn, all codes, {i + 1}", sampled(members, generator)) for i in range(2)]
        + [(f"drawn, global code, {i + 1}", sampled(members, generator, local=False)) for i in range(3)],
    ]
    height, width = one.size
    figure, plots = axes(len(_SHARES), rows=len(rows), width=2.2, height=2.2 * height / width + 0.25)
    for plot, (title, made) in zip(plots, chain(*rows), strict=True):
        instant = float(made.timeline.t[len(made.timeline.t) // 2])
        picture = next(render(made, made.size, [instant])).clamp(0, 1)
        plot.imshow(rearrange(picture, "c h w -> h w c"))
        plot.set_title(title, fontsize=8)
        plot.axis("off")
    return figure


def table(courses: dict[str, Progress]) -> str:
    """The courses as text: PSNR by time, and how long each took to be where the fit from nothing ended."""
    goal = courses["nothing"].observed[-1] if courses["nothing"].observed else 0.0
    lines = []
    for name, course in courses.items():
        if not course.steps:
            lines.append(f"{_NAMES[name]}: no steps were needed")
            continue
        there = [i for i, value in enumerate(course.observed) if value >= goal]
        when = f"{course.seconds[there[0]]:.1f} s, step {course.steps[there[0]]}" if there else "never"
        unseen = f", never seen {course.held_out[-1]:.2f}" if course.held_out else ""
        reached = f"{course.observed[-1]:.2f} dB{unseen} after {course.seconds[-1]:.1f} s"
        lines.append(f"{_NAMES[name]}: {reached}; {goal:.2f} at {when}")
    return "\n".join(lines)


def check(clip: Clip, config: Config) -> None:
    """Refuse what could not be compared.

    Raises:
        UserError: then.
    """
    check_plots()
    if not config.training.steps:
        raise UserError("comparing fits needs steps: give --steps, at least 1")
    if len(clip) < 2:
        raise UserError(f"comparing fits needs a clip of two frames or more, got {clip}")
