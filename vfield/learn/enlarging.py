"""The between-pixels task: enlarge the clip's frames at half their size, and be compared with the frames themselves.

The source's own pixels are the truth. What is seen of the small frames, along motion that was found at that size, is
made once and kept; a batch is patches of it. Some small frames are kept for checking: what was learnt and does not help
there will be turned down or off. See `vfield.field.detail` for the method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from vfield.core.clip import to_float
from vfield.core.errors import UserError
from vfield.core.frames import Frames
from vfield.field.detail import Detail, Symmetry
from vfield.field.video_field import VideoField

# What is kept of the small frames, spread over the clip: bytes, and frames.
_MOST_BYTES = 256 << 20
MOST_FRAMES = 48
_CHECK_EVERY = 4
_FORCES = (1.0, 0.5, 0.0)
# One frame or two keep a part of themselves instead, and what there is like nothing else in them counts for more than
# it should: nothing at all must be better by so many dB. Few pixels are known by heart soon, and never get full force.
_FEW_PIXELS = 1 << 17
_FEW_FORCES = (0.5, 0.25, 0.0)
_DOUBT = 0.3
# Patches of small frames in a step, over all processes, and their side in pixels.
_PATCHES = 8
_PATCH_SIZE = 32
_TURN_EVERY = 4
# Sides of small frames, in pixels: under the first they tell nothing, from the second on they are believed in full.
# Few pixels are soon known by heart, and frames kept for checking, much like the others, do not show it; and motion,
# matched by patches of 12 pixels, errs more at half of such a size than at the size itself.
_LEAST_SIDE = 12
_ENOUGH_SIDE = 24
_FORCE_POWER = 1.5


class Patches(NamedTuple):
    """What the encoder sees (p, c, s, s), and the residual that it should find (p, 3, 2 s, 2 s), in its units.

    `visible` is (p, 1, 2 s, 2 s) bool, where that residual is the truth; None for everywhere.
    """

    evidence: Tensor
    residual: Tensor
    visible: Tensor | None = None

    def to(self, device: torch.device) -> Patches:
        """The same patches on another device."""
        visible = None if self.visible is None else self.visible.to(device)
        return Patches(self.evidence.to(device), self.residual.to(device), visible)


class Enlarging(NamedTuple):
    """Small frames to learn from.

    Attributes:
        evidence: (n, c, h, w) float16, what the encoder sees of them.
        residual: (n, 3, 2 h, 2 w) float16, the source's frames less the splines of the small ones, in units of `scale`.
        scale: root mean square of that difference, on a scale of 0 to 1.
        learning: which of them to learn from.
        checking: which are not learnt from until it has been checked.
        visible: (n, 1, 2 h, 2 w) bool, where the residual is the truth; None for everywhere.
        kept: (2 h, 2 w) bool, the part of every frame that is kept for checking, where there are too few frames to
            keep one; None for none.
    """

    evidence: Tensor
    residual: Tensor
    scale: float
    learning: list[int]
    checking: list[int]
    visible: Tensor | None = None
    kept: Tensor | None = None

    def patches(self, seed: int, step: int, checked: bool, rank: int = 0, processes: int = 1) -> Patches:
        """The share of one step's patches that belongs to process `rank` of `processes`.

        Args:
            seed: of the whole sequence.
            step: number of the step.
            checked: whether what is kept for checking may be learnt from by now.
            rank: of the process.
            processes: how many there are; each gets an equal share.
        """
        if _PATCHES % processes:
            raise UserError(
                f"{_PATCHES} patches of detail cannot be shared equally by {processes} processes; use 1, 2, 4 or 8, or "
                "--field.detail.enabled false"
            )
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        frames = self.learning + self.checking if checked else self.learning
        height, width = self.evidence.shape[-2:]
        rows, columns = min(_PATCH_SIZE, height), min(_PATCH_SIZE, width)

        def draw(below: int) -> int:
            return int(torch.randint(below, (1,), generator=generator))

        corners = [
            (frames[draw(len(frames))], draw(height - rows + 1), draw(width - columns + 1)) for _ in range(_PATCHES)
        ]
        turns = [_turn(draw, rows == columns) for _ in corners]
        seen, wanted, visible = [], [], []
        for (k, y, x), turn in list(zip(corners, turns, strict=True))[rank::processes]:
            fine = (k, slice(None), slice(2 * y, 2 * (y + rows)), slice(2 * x, 2 * (x + columns)))
            seen.append(turn.of_evidence(self.evidence[k, :, y : y + rows, x : x + columns]).float())
            wanted.append(turn.of_picture(self.residual[fine]).float())
            true = self.visible_at(k, checked)
            if true is not None:
                visible.append(turn.of_picture(true[fine[1:]]))
        return Patches(torch.stack(seen), torch.stack(wanted), torch.stack(visible) if visible else None)

    def visible_at(self, k: int, checked: bool) -> Tensor | None:
        """(1, 2 h, 2 w) bool, what of a frame is learnt from; None for everything."""
        return self._true(k, None if self.kept is None or checked else ~self.kept)

    def checked_at(self, k: int) -> Tensor | None:
        """(1, 2 h, 2 w) bool, what of a frame kept for checking tells something; None for everything."""
        return self._true(k, self.kept)

    def _true(self, k: int, within: Tensor | None) -> Tensor | None:
        """(1, 2 h, 2 w) bool, what of a part of a frame is the truth; None for everything."""
        true = None if self.visible is None else self.visible[k]
        if within is None:
            return true
        return within[None] if true is None else true & within


def _turn(draw: Callable[[int], int], square: bool) -> Symmetry:
    """Now and then a scene is shown in a mirror, or turned by a right angle.

    An encoder that is never shown one may find that left cells of pixels are brighter than right ones, and draws a grid
    on what is smooth. One that often is knows less of which way grass grows.
    """
    if draw(_TURN_EVERY):
        return Symmetry(False, False, False)
    return Symmetry(bool(draw(2)), bool(draw(2)), square and bool(draw(2)))


@torch.no_grad()
def make_enlarging(
    small: VideoField,
    frames: Frames,
    visible: Tensor | None = None,
    progress: Callable[[Iterable[int], int], Iterable[int]] = lambda frames, _: frames,
    most: int = MOST_FRAMES,
) -> Enlarging | None:
    """See the small frames.

    Args:
        small: the field of the small frames (`VideoField.at_size`).
        frames: n of (3, 2 h, 2 w), the source's, uint8 or float in [0, 1].
        visible: (n, 2 h, 2 w) bool, which of their pixels are the truth; None for all.
        progress: wraps the loop over the frames that are seen.
        most: how many of them.

    Returns:
        None where the frames are too small to tell anything, or nothing is lost by making them small.
    """
    height, width = small.size
    if min(height, width) <= _LEAST_SIDE:
        return None
    assert small.detail is not None
    channels = small.detail.differences.numel()
    chosen = _spread(len(frames), most, 2 * channels * height * width)
    # Filled in place: a list that is stacked in the end would take the memory twice.
    seen = torch.empty(len(chosen), channels, height, width, dtype=torch.float16)
    apart = torch.empty(len(chosen), 3, 2 * height, 2 * width)
    for place, k in enumerate(progress(chosen, len(chosen))):
        evidence, base = small.detail_evidence(k)
        seen[place] = evidence
        apart[place] = to_float(frames[k]) - base
    true = None if visible is None else visible[chosen][:, None]
    if true is not None and not bool(true.any()):
        return None
    scale = float((apart if true is None else apart[true.expand_as(apart)]).square().mean().sqrt())
    if scale < 1e-4:
        return None
    wanted, frames_seen = (apart / scale).half(), list(range(len(chosen)))
    checking = frames_seen[_CHECK_EVERY // 2 :: _CHECK_EVERY]
    if not checking:
        return Enlarging(seen, wanted, scale, frames_seen, frames_seen, true, _third_quarter(height, width))
    return Enlarging(seen, wanted, scale, [k for k in frames_seen if k not in checking], checking, true)


def _third_quarter(height: int, width: int) -> Tensor:
    """(2 h, 2 w) bool, the cells of the third of four parts side by side."""
    kept = torch.zeros(2 * height, 2 * width, dtype=torch.bool)
    side = max(height, width)
    kept.transpose(0, 1 if width >= height else 0)[2 * (side // 2) : 2 * (3 * side // 4)] = True
    return kept


def _spread(frames: int, most: int, bytes_each: int) -> list[int]:
    """Indices of frames spread over the clip, as many as memory is allowed for."""
    most = max(1, min(frames, most, _MOST_BYTES // bytes_each))
    return sorted({round(i * (frames - 1) / max(most - 1, 1)) for i in range(most)})


@torch.no_grad()
def detail_gain(detail: Detail, enlarging: Enlarging) -> float:
    """Decibels by which the encoder betters the spline, mean over all small frames."""
    gains = []
    for k in range(len(enlarging.evidence)):
        made = detail.residual(enlarging.evidence[k]).cpu()
        wanted = enlarging.residual[k].float()
        errors = torch.stack([wanted.square().mean(), (made - wanted).square().mean()])
        gains.append(float(10 * (errors[0] / errors[1].clamp(min=1e-10)).log10()))
    return sum(gains) / len(gains)


@torch.no_grad()
def find_detail_force(detail: Detail, enlarging: Enlarging, *others: tuple[Detail, Enlarging]) -> float:
    """With how much of its force, 0 to 1, the encoder does best on the small frames kept for checking.

    Its answers are linear in its last layer, so that any force is a multiple of them. What was learnt from very small
    frames alone is given less.

    Args:
        detail: the encoder.
        enlarging: what it learnt from.
        others: likewise of other clips that share its network; all are judged together.
    """
    clips = [(detail, enlarging), *others]
    side = max(min(small.evidence.shape[-2:]) for _, small in clips)
    most = min(1.0, (side - _LEAST_SIDE) / (_ENOUGH_SIDE - _LEAST_SIDE)) ** _FORCE_POWER
    if not any(small.checking for _, small in clips):
        return most
    pixels = sum(small.evidence[:, 0].numel() for _, small in clips)
    few = pixels < _FEW_PIXELS and all(small.kept is not None for _, small in clips)
    forces = _FEW_FORCES if few else _FORCES
    errors = torch.zeros(len(forces))
    for encoder, small in clips:
        for k in small.checking:
            made = encoder.residual(small.evidence[k]).cpu()
            wanted = small.residual[k].float()
            true = small.checked_at(k)
            if true is not None:
                true = true.expand_as(wanted)
                if not bool(true.any()):
                    continue
                made, wanted = made[true], wanted[true]
            # Like the PSNR of a clip, a mean of logarithms: one hard frame must not decide for all.
            errors += torch.stack([(force * made - wanted).square().mean() for force in forces]).log10()
    if few:
        errors[-1] += _DOUBT / 10 * sum(len(small.checking) for _, small in clips)
    return most * forces[int(errors.argmin())]
