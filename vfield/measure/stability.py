"""How steady frames are over time: flicker and shimmer, judged along the true motion.

PSNR rates each frame alone, so that an enlargement whose invented detail boils from frame to frame can have as good a
figure as one whose detail moves with the scene. A viewer sees the difference at once.

What changes from a frame to the next once motion is taken out, D = frame[t + 1] - warp(frame[t]), is compared between
the frames judged and the true ones. Warping is linear in the frame, so D_judged - D_true is
error[t + 1] - warp(error[t]): what counts is how the *error* changes along the motion. An error that moves with the
scene (lost sharpness, a wrong colour) costs little, one that stands still before a moving scene, flickers, boils or
comes and goes with every second frame costs twice: when it comes and when it goes.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from vfield.core.clip import to_float
from vfield.core.metrics import IDENTICAL_PSNR
from vfield.prepare.flow import dense_flow, warp
from vfield.prepare.shots import find_shots


class TrueMotion:
    """The motion of true frames, found once, and the stability of others along it.

    The motion from each frame to the one before is DIS flow on the true frames. Pairs across a cut have none, and
    pixels that come from outside the picture are left out. Where something is uncovered, or the flow errs, errors are
    compared between places that have nothing to do with each other: that costs something, the same for every method.
    """

    def __init__(self, truth: Tensor) -> None:
        """Find the motion of the true frames, (t, 3, h, w) uint8 or float in [0, 1]."""
        self._truth = truth
        self._flows: dict[int, Tensor] = {}
        for shot in find_shots(truth):
            for before, after in pairwise(shot):
                self._flows[after] = dense_flow(truth[after], truth[before])

    def stability(self, frames: Tensor) -> float | None:
        """-10 log10 of the mean of (D_judged - D_true)^2, over channels, pixels and pairs of frames.

        The mean is taken before the logarithm, unlike that of `vfield.core.metrics.psnr`: where the clip shows a frame
        twice, a method that enlarges each frame alone makes no error at all, and one pair of `IDENTICAL_PSNR` would
        outweigh all the others.

        Args:
            frames: (t, 3, h, w) made in the place of the true ones, uint8 or float in [0, 1].

        Returns:
            dB for a range of 1, at most `IDENTICAL_PSNR`; higher is steadier. None where there is no pair: a single
            frame, or nothing but cuts.
        """
        means = []
        for after, flow in self._flows.items():
            # Cubic: linear reading would blur the finest detail, which is what errors of enlarging are made of.
            carried = warp(self._error(frames, after - 1), flow, "cubic")
            change = (self._error(frames, after) - carried).square().mean(dim=0)
            x = torch.arange(flow.shape[2]) + flow[0]
            y = torch.arange(flow.shape[1])[:, None] + flow[1]
            inside = (x >= 0) & (x <= flow.shape[2] - 1) & (y >= 0) & (y <= flow.shape[1] - 1)
            if inside.any():
                means.append(float(change[inside].double().mean()))
        if not means:
            return None
        mean = sum(means) / len(means)
        return IDENTICAL_PSNR if mean == 0 else min(IDENTICAL_PSNR, -10 * math.log10(mean))

    def _error(self, frames: Tensor, index: int) -> Tensor:
        return (to_float(frames[index]) - to_float(self._truth[index])).cpu()
