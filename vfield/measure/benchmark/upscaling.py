"""Larger frames, alone or together with frames in between: every clip, factor and reduction, beside peers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.drawing import Labelled, busiest, with_errors
from vfield.core.frames import in_memory
from vfield.learn import Config
from vfield.measure.benchmark.cases import START, Case, Judgement, judge, named, untaught
from vfield.measure.choices import Reduction
from vfield.measure.evaluation import Split, reduced, split, whole
from vfield.measure.peers import reduce_frames
from vfield.measure.stability import TrueMotion
from vfield.video_io import resize

SINGLE = "single"
"""Name of the row of the field that looks at one frame only: its closed-form footprint filter."""

_GAIN = 5  # by which errors are amplified in pictures
_CROP = (64, 96)  # height and width of the part that is shown, pixels of the large frames


def upscaling(
    clips: Mapping[str, Clip],
    factors: Sequence[float],
    reductions: Sequence[Reduction],
    presets: Mapping[str, Config],
    peers: Sequence[str],
) -> Iterator[tuple[Case, Tensor]]:
    """Reduce every clip by every factor, in every way, and ask for its own size.

    Args:
        clips: by name.
        factors: how many times smaller, a side.
        reductions: how the frames are made small.
        presets: configs by name, at least one. The field of a single frame is that of the first.
        peers: names in `vfield.measure.evaluation.SCALE_PEERS`.

    Yields:
        Figures, and a picture (3, h, w) uint8 of a part of the median frame, as soon as each case is done.

    Raises:
        KeyboardInterrupt: when a fit was stopped: half a fit is no result.
    """
    fits = named(presets) | {SINGLE: _single(next(iter(presets.values())))}
    for name, clip in clips.items():
        parts = whole(clip)
        motion = TrueMotion(in_memory(parts.everything))
        for factor in factors:
            for reduction in reductions:
                small = reduced(parts, factor, reduction)
                judged = judge(small, fits, {peer: peer for peer in peers}, motion)
                size = (clip.height, clip.width)
                case = Case(name, len(clip), *size, factor, judged.rows, judged.shown, "upscaling", reduction)
                yield case, _picture(name, small, reduction, judged)


def space_time(
    clips: Mapping[str, Clip],
    factors: Sequence[int],
    reductions: Sequence[Reduction],
    presets: Mapping[str, Config],
    peers: Sequence[str],
) -> Iterator[tuple[Case, Tensor]]:
    """Give every k-th frame at a k-th of its size, and ask for all frames at their own.

    Peers first make the frames in between at the small size, then Lanczos enlarges all.

    Args:
        clips: by name.
        factors: k.
        reductions: how the frames are made small.
        presets: configs by name, at least one. The start is that of the first.
        peers: names in `vfield.measure.evaluation.BETWEEN_PEERS`.

    Yields:
        Figures, and a picture (3, h, w) uint8 of a part of the median held-out frame, as soon as each case is done.

    Raises:
        KeyboardInterrupt: when a fit was stopped: half a fit is no result.
    """
    fits = named(presets) | {START: untaught(next(iter(presets.values())))}
    for name, clip in clips.items():
        for factor in factors:
            parts = split(clip, factor)
            motion = TrueMotion(in_memory(parts.everything))
            for reduction in reductions:
                small = reduced(parts, factor, reduction)
                judged = judge(small, fits, {f"{peer} + Lanczos": peer for peer in peers}, motion)
                size = (clip.height, clip.width)
                case = Case(name, len(clip), *size, factor, judged.rows, judged.shown, "space-time", reduction)
                yield case, _picture(name, small, reduction, judged)


def _single(config: Config) -> Config:
    """The same field without motion, so that it knows no other frame, and learning nothing."""
    motion = replace(config.field.motion, enabled=False)
    return untaught(replace(config, field=replace(config.field, motion=motion)))


def _picture(name: str, parts: Split, reduction: Reduction, judged: Judgement) -> Tensor:
    """The part of the frame where most is lost: where bicubic enlarging of the true frame, reduced, errs most."""
    true = to_uint8(parts.everything[judged.place])
    small = reduce_frames(true[None], parts.observed.height, parts.observed.width, reduction)
    bicubic = resize(small, *parts.size, "bicubic")[0]
    height, width = (min(crop, side) for crop, side in zip(_CROP, parts.size, strict=True))
    error = (to_float(bicubic) - to_float(true)).square().mean(dim=0, keepdim=True)
    y, x = busiest(error, height, width)

    def crop(labelled: Labelled) -> Labelled:
        return labelled[0], labelled[1][:, y : y + height, x : x + width]

    truth = (f"{name}, frame {judged.place}", to_float(true))
    return with_errors(crop(truth), [crop(picture) for picture in judged.pictures], _GAIN)
