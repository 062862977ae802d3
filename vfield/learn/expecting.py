"""How sure a field is: the score it expects on frames that nobody has seen.

Between two keyframes there is no truth, but there is their disagreement along the motion. On hidden frames there are
both, so it is known there how the error goes with the disagreement. That proportion is carried over, shot by shot:

    expected error = disagreement x (error / disagreement, on hidden frames)

all as means of logarithms, like the PSNR of a clip. Hidden frames are those of the rehearsal, which moves as far in
pixels as the gaps themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vfield.core.coords import with_t
from vfield.field.expectation import Expectation, Stretch
from vfield.field.timeline import Segment
from vfield.field.video_field import VideoField
from vfield.learn.rehearsal import Rehearsal, sample_uv, squared_errors

# Errors are not told apart below this (60 dB): frames of bytes are no more exact.
_LEAST = 1e-6
_MOST_GAPS = 8  # that are looked at
# Below this the field says that its motion cannot be trusted.
DOUBTFUL_PSNR = 26.0


@torch.no_grad()
def expect(field: VideoField, rehearsal: Rehearsal | None) -> Expectation | None:
    """What a field expects of itself; None where nothing can be hidden, or nothing moves by motion and colours."""
    hidden = [] if rehearsal is None else rehearsal.hidden
    if rehearsal is None or not hidden or field.motion is None or field.colours is None:
        return None
    errors = _decibels(squared_errors(rehearsal, hidden))
    apart = torch.stack([_apart(rehearsal.field, float(rehearsal.t[frame]), hide=True) for frame in hidden])
    better = errors - _decibels(apart)
    shots, doubtful = [], []
    every = [segment for segment in field.timeline.segments if segment.gap is not None]
    # Of a long clip some gaps speak for those around them: to find the motion of each takes as long as to render it.
    asked = every[:: max(1, -(-len(every) // _MOST_GAPS))]
    t = field.timeline.t.tolist()
    for shot in field.timeline.shots:
        segments = [segment for segment in asked if segment.left in shot]
        if not segments:
            continue
        here = [i for i, frame in enumerate(hidden) if frame in shot]
        gain = better[here].mean() if here else better.mean()
        middles = [(t[segment.left] + t[segment.right]) / 2 for segment in segments]
        expected = _decibels(torch.stack([_apart(field, middle, hide=False) for middle in middles])) + gain
        shots.append(Stretch(t[shot[0]], t[shot[-1]], len(shot) - 1, float(expected.mean())))
        doubtful += _doubtful(segments, t, expected.tolist())
    return Expectation(tuple(shots), tuple(doubtful))


def _apart(field: VideoField, t: float, hide: bool) -> Tensor:
    """Mean squared difference, a scalar, of the keyframes around an instant along the motion."""
    device = field.device
    uvt = with_t(sample_uv(*field.size), t).to(device)
    return field.disagreement(uvt, hide=hide).square().mean().cpu()


def _decibels(squared: Tensor) -> Tensor:
    return -10 * squared.clamp(min=_LEAST).log10()


def _doubtful(segments: Sequence[Segment], t: Sequence[float], expected: Sequence[float]) -> list[Stretch]:
    """Runs of neighbouring gaps that are expected to fail."""
    runs: list[list[int]] = []
    for index, psnr in enumerate(expected):
        if math.isfinite(psnr) and psnr < DOUBTFUL_PSNR:
            if runs and runs[-1][-1] == index - 1:
                runs[-1].append(index)
            else:
                runs.append([index])
    return [
        Stretch(
            t[segments[run[0]].left],
            t[segments[run[-1]].right],
            len(run),
            sum(expected[index] for index in run) / len(run),
        )
        for run in runs
    ]
