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
from dataclasses import dataclass

import torch
from torch import Tensor

from vfield.coords import with_t
from vfield.field.timeline import Segment
from vfield.field.video_field import VideoField
from vfield.rehearsal import Rehearsal, sample_uv, squared_errors

# Errors are not told apart below this (60 dB): frames of bytes are no more exact.
_LEAST = 1e-6
_MOST_GAPS = 24  # that are looked at
# Below this the field says that its motion cannot be trusted.
DOUBTFUL_PSNR = 26.0


@dataclass(frozen=True)
class Stretch:
    """What is expected of a part of the clip.

    Attributes:
        start_seconds: from the clip's first frame.
        end_seconds: likewise.
        gaps: how many in-between gaps lie in it.
        psnr: expected dB of unseen frames half-way in its gaps, on average.
    """

    start_seconds: float
    end_seconds: float
    gaps: int
    psnr: float


@dataclass(frozen=True)
class Expectation:
    """What a field expects of itself.

    Attributes:
        shots: one stretch for each shot in which anything was looked at between frames.
        doubtful: stretches whose motion is too large to trust. Of a long clip not every gap was looked at.
    """

    shots: tuple[Stretch, ...]
    doubtful: tuple[Stretch, ...]

    @property
    def psnr(self) -> float:
        """Expected dB of unseen frames, the mean over the clip's gaps."""
        return sum(shot.psnr * shot.gaps for shot in self.shots) / sum(shot.gaps for shot in self.shots)

    def __str__(self) -> str:
        """One line for people."""
        text = f"{self.psnr:.1f} dB"
        if len(self.shots) > 1:
            parts = (f"{s.start_seconds:.2f}-{s.end_seconds:.2f} s {s.psnr:.1f}" for s in self.shots)
            text += f" ({', '.join(parts)})"
        return text

    @property
    def warning(self) -> str | None:
        """One line about where not to trust the motion; None where there is no such place."""
        if not self.doubtful:
            return None
        worst = min(self.doubtful, key=lambda stretch: stretch.psnr)
        more = f", and {len(self.doubtful) - 1} more stretches" if len(self.doubtful) > 1 else ""
        return (
            f"the motion from {worst.start_seconds:.2f} to {worst.end_seconds:.2f} s is too large to trust: "
            f"about {worst.psnr:.0f} dB expected in between{more}"
        )


@torch.no_grad()
def expect(field: VideoField, rehearsal: Rehearsal | None) -> Expectation | None:
    """What a field expects of itself; None where nothing can be hidden, or nothing moves by motion and colours."""
    hidden = [] if rehearsal is None else sorted([*rehearsal.learning, *rehearsal.checking])
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
