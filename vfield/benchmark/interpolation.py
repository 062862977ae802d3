"""Frames in between: every clip at every factor, by the field of each preset, by its start and by peers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from vfield.clip import Clip, to_float
from vfield.errors import UserError
from vfield.evaluation import Judged, Row, judge_fit, judge_peer, split
from vfield.panels import Labelled, with_errors
from vfield.training import Config

START = "start"
"""Name of the row of the field that has learnt nothing yet."""

_GAIN = 5  # by which errors are amplified in pictures


@dataclass(frozen=True)
class Case:
    """One clip at one factor.

    Attributes:
        clip: its name.
        frames: how many it has.
        height: pixels.
        width: pixels.
        factor: every frame but each `factor`-th was held out.
        rows: one for each method.
        shown: which of the held-out frames is in the picture: the median one of the first row.
    """

    clip: str
    frames: int
    height: int
    width: int
    factor: int
    rows: list[Row]
    shown: int

    @property
    def picture(self) -> str:
        """File name of the picture."""
        return f"{self.clip}-{self.factor}x.png"

    def __str__(self) -> str:
        return f"{self.clip}, {self.width}x{self.height}, {self.frames} frames, {self.factor}x"


def interpolation(
    clips: Mapping[str, Clip], factors: Sequence[int], presets: Mapping[str, Config], peers: Sequence[str]
) -> Iterator[tuple[Case, Tensor]]:
    """Judge every clip at every factor: the field of each preset, its start, then the peers.

    Args:
        clips: by name.
        factors: every frame but each so-manieth is held out.
        presets: configs by name, at least one. The start is that of the first.
        peers: names in `vfield.evaluation.BETWEEN_PEERS`.

    Yields:
        Figures, and a picture (3, h, w) uint8 of the median held-out frame, as soon as each case is done.

    Raises:
        KeyboardInterrupt: when a fit was stopped: half a fit is no result.
    """
    first = next(iter(presets.values()))
    start = replace(first, training=replace(first.training, steps=0, minutes=None))
    fits = {f"vfield ({name})": config for name, config in presets.items()} | {START: start}
    for name, clip in clips.items():
        for factor in factors:
            yield _case(name, clip, factor, fits, peers)


def _case(name: str, clip: Clip, factor: int, fits: Mapping[str, Config], peers: Sequence[str]) -> tuple[Case, Tensor]:
    parts = split(clip, factor)
    rows: list[Row] = []
    pictures: list[Labelled] = []
    shown = 0

    def keep(judged: Judged) -> None:
        nonlocal shown
        each = judged.row.psnr_each
        if not rows:
            shown = sorted(range(len(each)), key=each.__getitem__)[len(each) // 2]
        rows.append(judged.row)
        frame = judged.frames[parts.hidden_indices[shown]]
        pictures.append((f"{judged.row.name}, {each[shown]:.2f} dB", to_float(frame)))

    for label, config in fits.items():
        judged, fitted = judge_fit(label, parts, config)
        if fitted.interrupted:
            raise KeyboardInterrupt
        keep(judged)
    for peer in peers:
        try:
            keep(judge_peer(peer, parts))
        except UserError as error:
            rows.append(Row(peer, None, None, 0.0, 0.0, 0.0, note=str(error)))
    case = Case(name, len(clip), clip.height, clip.width, factor, rows, shown)
    index = parts.hidden_indices[shown]
    truth = (f"{name}, frame {index}, at {index % factor / factor:.3g}", to_float(parts.held_out.frames[shown]))
    return case, with_errors(truth, pictures, _GAIN)
