"""What every benchmark does: one clip at one setting, by the field and by its peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from vfield.core.clip import to_float
from vfield.core.drawing import Labelled
from vfield.core.errors import UserError
from vfield.learn import Config
from vfield.measure.choices import Benchmark, Reduction
from vfield.measure.evaluation import Judged, Row, Split, judge_fit, judge_peer
from vfield.measure.stability import TrueMotion

START = "start"
"""Name of the row of the field that has learnt nothing yet."""


@dataclass(frozen=True)
class Case:
    """One clip at one setting.

    Attributes:
        clip: its name.
        frames: how many it has.
        height: pixels.
        width: pixels.
        factor: how many times as many frames, pixels a side, or both, are asked for as are given.
        rows: one for each method.
        shown: which of the judged frames is in the picture: the median one of the first row.
        benchmark: what is asked for: frames in between, larger frames, or both.
        reduction: by which the given frames were made small; None where they were not.
    """

    clip: str
    frames: int
    height: int
    width: int
    factor: float
    rows: list[Row]
    shown: int
    benchmark: Benchmark = "interpolation"
    reduction: Reduction | None = None

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


class Judgement(NamedTuple):
    """Every method on one clip at one setting.

    Attributes:
        rows: one for each method.
        shown: which of the judged frames is the median one of the first row.
        place: where that frame is among all of them.
        pictures: what each method with figures made of it, in [0, 1], with name and PSNR.
    """

    rows: list[Row]
    shown: int
    place: int
    pictures: list[Labelled]


def judge(
    parts: Split, fits: Mapping[str, Config], peers: Mapping[str, str], motion: TrueMotion | None = None
) -> Judgement:
    """Judge fits and peers. A peer that cannot work here gets a row that says why.

    Args:
        parts: the divided clip.
        fits: configs by the names of their rows, at least one.
        peers: peers of `vfield.measure.evaluation` by the names of their rows.
        motion: of `parts.everything`, where stability is to be judged.

    Raises:
        KeyboardInterrupt: when a fit was stopped: half a fit is no result.
    """
    rows: list[Row] = []
    pictures: list[Labelled] = []
    shown = place = 0

    def keep(name: str, judged: Judged) -> None:
        nonlocal shown, place
        each = judged.row.psnr_each
        if not rows:
            shown = sorted(range(len(each)), key=each.__getitem__)[len(each) // 2]
            place = parts.judged_indices[shown]
        stability = None if motion is None else motion.stability(judged.frames)
        rows.append(replace(judged.row, name=name, stability=stability))
        pictures.append((f"{name}, {each[shown]:.2f} dB", to_float(judged.frames[place])))

    for name, config in fits.items():
        judged, fitted = judge_fit(name, parts, config)
        if fitted.interrupted:
            raise KeyboardInterrupt
        keep(name, judged)
    for name, peer in peers.items():
        try:
            keep(name, judge_peer(peer, parts))
        except UserError as error:
            rows.append(Row(name, None, None, 0.0, 0.0, 0.0, note=str(error)))
    return Judgement(rows, shown, place, pictures)


def named(presets: Mapping[str, Config]) -> dict[str, Config]:
    """Configs by the names of their rows."""
    return {f"vfield ({name})": config for name, config in presets.items()}


def untaught(config: Config) -> Config:
    """The same field, which learns nothing."""
    return replace(config, training=replace(config.training, steps=0, minutes=None))
