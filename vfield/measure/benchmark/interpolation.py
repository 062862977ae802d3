"""Frames in between: every clip at every factor, by the field of each preset, by its start and by peers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from vfield.core.clip import Clip, to_float
from vfield.core.drawing import with_errors
from vfield.learn import Config
from vfield.measure.benchmark.cases import START, Case, judge, named, untaught
from vfield.measure.evaluation import split

_GAIN = 5  # by which errors are amplified in pictures


def interpolation(
    clips: Mapping[str, Clip], factors: Sequence[int], presets: Mapping[str, Config], peers: Sequence[str]
) -> Iterator[tuple[Case, Tensor]]:
    """Judge every clip at every factor: the field of each preset, its start, then the peers.

    Args:
        clips: by name.
        factors: every frame but each so-manieth is held out.
        presets: configs by name, at least one. The start is that of the first.
        peers: names in `vfield.measure.evaluation.BETWEEN_PEERS`.

    Yields:
        Figures, and a picture (3, h, w) uint8 of the median held-out frame, as soon as each case is done.

    Raises:
        KeyboardInterrupt: when a fit was stopped: half a fit is no result.
    """
    fits = named(presets) | {START: untaught(next(iter(presets.values())))}
    for name, clip in clips.items():
        for factor in factors:
            parts = split(clip, factor)
            rows, shown, place, pictures = judge(parts, fits, {peer: peer for peer in peers})
            case = Case(name, len(clip), clip.height, clip.width, factor, rows, shown)
            truth = (f"{name}, frame {place}, at {place % factor / factor:.3g}", to_float(parts.everything[place]))
            yield case, with_errors(truth, pictures, _GAIN)
