"""Frames in between, larger frames, and both at once: every clip at every setting, by the field and by its peers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from torch import Tensor

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.drawing import Labelled, busiest, with_errors
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.learn import Config
from vfield.learn.held_out import Split, split, whole
from vfield.measure.choices import Benchmark, Reduction
from vfield.measure.evaluation import Row, judge_fit, judge_peer, reduced
from vfield.measure.peers import reduce_frames
from vfield.measure.stability import TrueMotion
from vfield.video_io import resize

ERROR_GAIN = 5  # by which errors are amplified in pictures
_CROP = (64, 96)  # height and width of the part that is shown of large frames, pixels


@dataclass(frozen=True)
class Case:
    """One clip at one setting."""

    clip: str
    frames: int  # how many the clip has
    height: int  # pixels
    width: int  # pixels
    factor: float  # how many times as many frames, pixels a side, or both, are asked for as are given
    rows: list[Row]  # one for each method
    shown: int  # which of the judged frames is in the picture: the median one of the first row
    benchmark: Benchmark = "interpolation"
    reduction: Reduction | None = None  # by which the given frames were made small, where they were

    @property
    def holdout(self) -> int:
        """Every so-manieth frame was given."""
        return 1 if self.benchmark == "upscaling" else int(self.factor)

    @property
    def setting(self) -> str:
        """What cases must share to be compared."""
        return f"{self.factor:g}x" + (f", {self.reduction}" if self.reduction else "")

    @property
    def picture(self) -> str:
        """File name of the picture."""
        return f"{self.clip}-{self.setting.replace(', ', '-')}.png"

    def __str__(self) -> str:
        return f"{self.clip}, {self.width}x{self.height}, {self.frames} frames, {self.setting}"


def judged_cases(
    benchmark: Benchmark,
    clips: Mapping[str, Clip],
    factors: Sequence[float],
    reductions: Sequence[Reduction],
    presets: Mapping[str, Config],
    peers: Sequence[str],
) -> Iterator[tuple[Case, Tensor]]:
    """Judge every clip at every setting: the field of each preset, one that has learnt nothing, then the peers.

    - interpolation: every k-th frame is given, and those in between are asked for.
    - upscaling: all frames are given, k times smaller a side, and asked for at their own size. The field that has
      learnt nothing looks at one frame only: that is its closed-form footprint filter.
    - space-time: every k-th frame is given, at a k-th of its size, and all are asked for at their own. Peers first make
      the frames in between at the small size, then Lanczos enlarges all.

    Args:
        benchmark: which of these.
        clips: by name.
        factors: k; whole numbers but for upscaling.
        reductions: how the frames are made small; none for interpolation.
        presets: configs by name, at least one. The field that has learnt nothing is that of the first.
        peers: names in `vfield.measure.peers.SCALE_PEERS` for upscaling, else in `BETWEEN_PEERS`.

    Yields:
        Figures, and a picture (3, h, w) uint8 of the median frame or of a part of it, as soon as each case is done.

    Raises:
        KeyboardInterrupt: when a fit was stopped: half a fit is no result.
    """
    first = next(iter(presets.values()))
    fits = {f"vfield ({name})": config for name, config in presets.items()}
    if benchmark == "upscaling":
        still = replace(first.field, motion=replace(first.field.motion, enabled=False))
        fits["single"] = untaught(replace(first, field=still))
    else:
        fits["start"] = untaught(first)
    for (name, clip), factor in product(clips.items(), factors):
        parts = whole(clip) if benchmark == "upscaling" else split(clip, int(factor))
        motion = None if benchmark == "interpolation" else TrueMotion(in_memory(parts.everything))
        for reduction in reductions or (None,):
            given = parts if reduction is None else reduced(parts, factor, reduction)
            rows, shown, pictures = _judge(given, fits, peers, motion)
            case = Case(name, len(clip), clip.height, clip.width, factor, rows, shown, benchmark, reduction)
            yield case, _picture(case, given, pictures)


def untaught(config: Config) -> Config:
    """The same field, which learns nothing."""
    return replace(config, training=replace(config.training, steps=0, minutes=None))


def _judge(
    parts: Split, fits: Mapping[str, Config], peers: Sequence[str], motion: TrueMotion | None
) -> tuple[list[Row], int, list[Labelled]]:
    """Rows of fits and peers, which of the judged frames is the first row's median one, and what each made of that.

    A peer that cannot work here gets a row that says why.
    """
    rows: list[Row] = []
    pictures: list[Labelled] = []
    shown = 0

    def keep(row: Row, frames: Tensor) -> None:
        nonlocal shown
        each = row.psnr_each
        if not rows:
            shown = sorted(range(len(each)), key=each.__getitem__)[len(each) // 2]
        rows.append(row if motion is None else replace(row, stability=motion.stability(frames)))
        pictures.append((f"{row.name}, {each[shown]:.2f} dB", to_float(frames[parts.judged_indices[shown]])))

    for name, config in fits.items():
        row, frames, _ = judge_fit(name, parts, config)
        keep(row, frames)
    for peer in peers:
        name = f"{peer} + Lanczos" if parts.enlarges and parts.holdout > 1 else peer
        try:
            row, frames = judge_peer(peer, parts)
            keep(replace(row, name=name), frames)
        except UserError as error:
            rows.append(Row(name, note=str(error)))
    return rows, shown, pictures


def _picture(case: Case, parts: Split, pictures: Sequence[Labelled]) -> Tensor:
    """The shown frame by every method above its errors.

    Of larger frames the part where most is lost: where bicubic enlarging of the true frame, reduced, errs most.
    """
    place = parts.judged_indices[case.shown]
    true = to_uint8(parts.everything[place])
    title = f"{case.clip}, frame {place}"
    if case.reduction is None:
        title += f", at {place % case.holdout / case.holdout:.3g}"
        return with_errors((title, to_float(true)), pictures, ERROR_GAIN)
    small = reduce_frames(true[None], parts.observed.height, parts.observed.width, case.reduction)
    error = (to_float(resize(small, *parts.size, "bicubic")[0]) - to_float(true)).square().mean(dim=0, keepdim=True)
    height, width = (min(crop, side) for crop, side in zip(_CROP, parts.size, strict=True))
    y, x = busiest(error, height, width)
    made = [(label, picture[:, y : y + height, x : x + width]) for label, picture in pictures]
    return with_errors((title, to_float(true[:, y : y + height, x : x + width])), made, ERROR_GAIN)
