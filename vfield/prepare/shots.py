"""Where the scene cuts are.

A cut is a hard wall for motion: nothing reads across one. Missing a cut morphs two scenes into each other, and seeing
one where there is none freezes the motion there, so both errors show.

The rule asks of each pair of neighbouring frames whether the one picture could have become the other, on thumbnails
small enough to be free of grain. Two votes are multiplied:

- *structure*: how much of the picture is left unexplained after every block of it may move on its own. Brightness and
  contrast are normalised first, so a change of exposure moves nothing.
- *colour*: how little the two colour histograms share. A histogram does not see motion, however large.

An exposure jump has no structural vote and fast motion has little of the colour vote; a cut has both. The product is
compared with a threshold that rises with the pairs around it, because frames further apart in time (or wilder motion)
differ more from one another without any cut.

What the rule does with special material:

- Fades and crossfades of three steps or more are no cuts: their frames lie on the way from one to the next.
- A flash through which the picture can still be seen is no cut. One that wipes it out (a white, black or foreign
  frame) gets a wall on both sides and is a shot of one frame: there is nothing to match it with, so moving it, or
  moving its neighbours by it, could only smear. `flashes_apart` does the same to the others: they would glow through
  the frames in between.
- Held frames (animation on twos, stills) are no cuts, and are not counted among the pairs around.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from vfield.core.clip import to_float
from vfield.core.errors import UserError

_THUMBNAIL = 48  # pixels on the longer side
_BLOCK = 8  # pixels of the thumbnail that move together
_SEARCH = 1 / 6  # how far a block may move between two frames, as a fraction of the picture
_CHROMA_WEIGHT = 0.5  # of squared chroma differences; luma has 1
_NOISE = 0.03  # contrast, in [0, 1], that counts as no picture: keeps a fade's last step from being blown up
_LUMA_BINS, _CHROMA_BINS = 24, 6  # finer in luma, or grey film could not be told apart
_BIN_RANGE = 2.0  # the bins span this many standard deviations of luma to either side of the mean
_DISSOLVE = 0.5  # a frame this much nearer to its neighbours' mean than its neighbours are is a blend of them
_HELD = 0.01  # a score below this is a frame shown twice
_FLASH_FRAMES = (1, 2)
_FLASH_LEVEL = 0.08  # mean luma by which a flash is brighter, or darker, than the frames around it
_FLASH_SLOPE = 4.0  # times the median change of mean luma around it: film that flickers has no flashes
_FLASH_STEP = 0.02  # luma; a pixel that changes by more takes part, for or against
_FLASH_SHARE = 0.6  # of the picture must take part: something bright that passes is no flash
_FLASH_AGAINST = 0.05  # of the picture may go the other way
_BATCH = 16  # frames looked at at once
_NEIGHBOURS = 6  # pairs on each side that say how much the frames differ here without a cut

# Calibrated on nine shots of four clips and on random edits of them, in colour, grey and darkened, with every frame,
# every second and every fourth. With every frame or every second, the worst pair without a cut is at 0.8 of its
# threshold and the worst cut at 1.1; with every fourth the two begin to touch.
_THRESHOLD_ALONE = 0.25  # for a pair without neighbours
_THRESHOLD_LOW = 0.2
_THRESHOLD_HIGH = 0.33  # never ask for more: a montage of single frames is all cuts
_THRESHOLD_SLOPE = 2.5  # times the median score of the neighbours


def find_shots(frames: Tensor) -> list[range]:
    """The runs of frames between scene cuts: ranges in order that together cover all of (t, 3, h, w) RGB frames.

    Frames are uint8 in 0..255 or float in [0, 1], one at least.
    """
    # In small batches: a long clip in float32 does not fit the memory.
    return shots_of(frames.split(_BATCH))


def shots_of(batches: Iterable[Tensor]) -> list[range]:
    """As `find_shots`, of a clip that comes in pieces (n, 3, h, w) of one size, n of at least 1."""
    search = ShotSearch()
    for batch in batches:
        search.add(batch)
    return search.shots()


class ShotSearch:
    """Cuts and flashes of a clip that comes in pieces, of which a few numbers a frame and three thumbnails are kept."""

    def __init__(self) -> None:
        self._count = 0
        self._scores: list[Tensor] = []
        self._half_way: list[Tensor] = []
        self._steps: list[Tensor] = []
        self._rises: dict[int, list[Tensor]] = {n: [] for n in _FLASH_FRAMES}
        # The thumbnails that the next piece's first ones are compared with.
        self._last: Tensor | None = None

    def add(self, frames: Tensor) -> None:
        """Look at the next frames (n, 3, h, w), RGB, uint8 or float in [0, 1]."""
        thumbnails = _thumbnails(frames)
        new, held = len(thumbnails), 0
        if self._last is not None:
            thumbnails, held = torch.cat([self._last, thumbnails]), len(self._last)
        self._count += new
        self._scores.append(_cut_scores(thumbnails[max(0, held - 1) :]))
        self._half_way.append(_half_way(thumbnails[max(0, held - 2) :]))
        luma = thumbnails[:, 0]
        self._steps.append(luma[max(0, held - 1) :].mean((1, 2)).diff().abs())
        for n, rises in self._rises.items():
            # A flash of n frames is told from n + 2: itself, the frame before it and the one after.
            rises.append(_rises(luma[max(0, held - n - 1) :], n))
        self._last = thumbnails[-(max(_FLASH_FRAMES) + 1) :]

    def shots(self) -> list[range]:
        """The runs of frames between cuts; a UserError when no frame was looked at."""
        if self._count == 0:
            raise UserError("a clip without frames has no shots")
        found = torch.cat(self._scores)
        is_cut = (found > _thresholds(found)) & ~_gradual(torch.cat(self._half_way), self._count)
        edges = [0, *(torch.nonzero(is_cut)[:, 0] + 1).tolist(), self._count]
        return [range(start, stop) for start, stop in pairwise(edges)]

    def flashes_apart(self, shots: Iterable[range]) -> list[range]:
        """Shots that cover all frames, with every flash of one or two frames, bright or dark, as a shot of its own."""
        steps = torch.cat(self._steps)
        rises = {n: torch.cat(found) for n, found in self._rises.items()}
        apart: list[range] = []
        for shot in shots:
            start = shot.start
            for flash in _flashes(shot, steps, rises):
                apart += [range(start, flash.start), flash]
                start = flash.stop
            apart.append(range(start, shot.stop))
        return apart


def _rises(luma: Tensor, count: int) -> Tensor:
    """How luma (t, h, w) rises to `count` frames from the frame before them, and from the one after.

    (t - count - 1, 2, 3): for the flash that begins with frame i + 1, brighter or darker than its surroundings, the
    smaller mean rise, the smaller part of the picture that takes part, and the larger that goes against it.
    """
    starts = len(luma) - count - 1
    if starts < 1:
        return luma.new_zeros(0, 2, 3)
    before, first = luma[:starts], luma[1 : 1 + starts]
    last, after = luma[count : count + starts], luma[count + 1 : count + 1 + starts]
    rises = torch.stack([first - before, last - after], dim=1)
    told = []
    for rise in (rises, -rises):
        with_it, against = (rise > _FLASH_STEP).float().mean((2, 3)), (rise < -_FLASH_STEP).float().mean((2, 3))
        told.append(torch.stack([rise.mean((2, 3)).amin(1), with_it.amin(1), against.amax(1)], dim=-1))
    return torch.stack(told, dim=1)


def _flashes(shot: range, steps: Tensor, rises: Mapping[int, Tensor]) -> list[range]:
    """The flashes in one shot, in order, none at either end and none next to another.

    Of the whole clip: (t - 1,) changes of mean luma, and what `_rises` tells by the number of a flash's frames.
    """
    found: list[range] = []
    first = shot.start + 1
    while first < shot.stop - 1:
        candidates = [range(first, first + count) for count in rises if first + count < shot.stop]
        flash = next((each for each in candidates if _is_flash(each, shot, steps, rises[len(each)])), None)
        if flash is not None:
            found.append(flash)
        first = first + 1 if flash is None else flash.stop + 1
    return found


def _is_flash(frames: range, shot: range, steps: Tensor, rises: Tensor) -> bool:
    # Changes within the shot alone: a cut at its end is none of the flicker around.
    before = steps[max(shot.start, frames.start - 1 - _NEIGHBOURS) : frames.start - 1]
    around = torch.cat([before, steps[frames.stop : min(frames.stop + _NEIGHBOURS, shot.stop - 1)]])
    least = max(_FLASH_LEVEL, _FLASH_SLOPE * float(around.median()) if len(around) else 0.0)
    return any(
        level > least and share > _FLASH_SHARE and against < _FLASH_AGAINST
        for level, share, against in rises[frames.start - 1].tolist()
    )


def _cut_scores(thumbnails: Tensor) -> Tensor:
    """(t, 3, h, w) thumbnails to (t - 1,), in [0, 1]: how unlike frame i + 1 is to frame i; a cut is 0.25 to 0.6."""
    scores = [thumbnails.new_zeros(0)]
    for start in range(0, len(thumbnails) - 1, 32):
        batch = thumbnails[start : start + 33]
        before, after = batch[:-1], batch[1:]
        scores.append((_structure_change(before, after) * _colour_change(before, after)).sqrt())
    return torch.cat(scores)


def _thumbnails(frames: Tensor) -> Tensor:
    """(t, 3, h, w) RGB to (t, 3, h', w') luma in [0, 1] and two colour differences, of at most `_THUMBNAIL` pixels."""
    # Of a large frame only every step-th pixel: 64 samples for a pixel of the thumbnail average grain out as well as
    # thousands do, and converting whole frames to float would take most of the time.
    step = max(1, max(frames.shape[2:]) // (8 * _THUMBNAIL))
    frames = frames[:, :, ::step, ::step]
    height, width = frames.shape[2:]
    scale = min(1.0, _THUMBNAIL / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    red, green, blue = F.interpolate(to_float(frames), size=size, mode="bilinear", antialias=True).unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, blue - luma, red - luma], dim=1)


def _structure_change(before: Tensor, after: Tensor) -> Tensor:
    """(n, 3, h, w) thumbnails, twice, to (n,): the part of the picture that moving blocks leave unexplained."""
    before, after = _normalised(before), _normalised(after)
    # Uncorrelated pictures would score 1 without the search; with it, the best of chance matches leaves 0.3 to 0.6.
    # Both ways, since what is uncovered has nothing to be made of in one direction only when it is all of the picture.
    unexplained = torch.maximum(_unexplained(before, after), _unexplained(after, before))
    return (unexplained / 2).clamp(0, 1)


def _normalised(thumbnails: Tensor) -> Tensor:
    """Free of gain and offset: each channel without its mean, all scaled to a weighted sum of variances near 1."""
    centred = thumbnails - thumbnails.mean((2, 3), keepdim=True)
    energy = (centred.square() * _weights(centred)).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    return centred / (energy + _NOISE**2).sqrt()


def _weights(thumbnails: Tensor) -> Tensor:
    """(3, 1, 1): what a squared difference counts in each channel."""
    return thumbnails.new_tensor([1, _CHROMA_WEIGHT, _CHROMA_WEIGHT]).view(3, 1, 1)


def _unexplained(source: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference (n,) left when each block of `target` is taken from its best place in `source`."""
    height, width = target.shape[2:]
    reach_y, reach_x = round(height * _SEARCH), round(width * _SEARCH)
    roots = _weights(target).sqrt()
    padded = F.pad(source * roots, (reach_x, reach_x, reach_y, reach_y), mode="replicate")
    target = (target * roots).unsqueeze(3)
    block = min(_BLOCK, height, width)
    # One piece of memory for all differences: to get it anew each time took three quarters of the time.
    difference = padded.new_empty(*target.shape[:3], 2 * reach_x + 1, width)
    best = padded.new_full((), torch.inf)
    for y in range(2 * reach_y + 1):
        # All horizontal moves at once. One by one they would be thousands of small operations, which on a busy machine
        # spend their time waiting for each other's threads.
        moved = padded[:, :, y : y + height].unfold(3, width, 1)  # (n, 3, h, moves, w)
        unlike = torch.sub(moved, target, out=difference).square_().sum(1).transpose(1, 2)
        # Half-overlapping blocks, so that no pixel always lies at the edge of its block.
        left = F.avg_pool2d(unlike, block, max(1, block // 2), ceil_mode=True, count_include_pad=False)
        best = torch.minimum(best, left.amin(1))
    return best.mean((1, 2))


def _colour_change(before: Tensor, after: Tensor) -> Tensor:
    """(n, 3, h, w) thumbnails, twice, to (n,): 1 minus the intersection of their colour histograms."""
    # The bins lie over the mean and contrast of both pictures: a night scene is told apart as finely as a bright one.
    mean = (before + after).mean((2, 3), keepdim=True) / 2
    variance = ((before - mean)[:, :1].square() + (after - mean)[:, :1].square()).mean((2, 3), keepdim=True) / 2
    spread = 2 * _BIN_RANGE * (variance + _NOISE**2).sqrt()
    first, second = (_histogram((thumbnail - mean) / spread + 0.5) for thumbnail in (before, after))
    return (1 - torch.minimum(first, second).sum(1)).clamp(0, 1)


def _histogram(positions: Tensor) -> Tensor:
    """(n, 3, h, w), the bins spanning [0, 1] in each channel, to (n, bins) histograms that sum to 1."""
    counts = positions.new_tensor([_LUMA_BINS, _CHROMA_BINS, _CHROMA_BINS]).view(3, 1, 1)
    luma, blue, red = torch.minimum((positions * counts).floor().clamp_min(0), counts - 1).long().unbind(1)
    index = ((luma * _CHROMA_BINS + blue) * _CHROMA_BINS + red).flatten(1)
    share = torch.full(index.shape, 1 / index.shape[1], device=index.device)
    return share.new_zeros(len(index), _LUMA_BINS * _CHROMA_BINS**2).scatter_add_(1, index, share)


def _half_way(thumbnails: Tensor) -> Tensor:
    """(t, 3, h, w) thumbnails to (t - 2,) bool: whether each inner frame lies half-way between its neighbours."""
    if len(thumbnails) < 3:
        return torch.zeros(0, dtype=torch.bool)
    before, here, after = thumbnails[:-2], thumbnails[1:-1], thumbnails[2:]
    from_their_mean = (here - (before + after) / 2).square().mean((1, 2, 3)).sqrt()
    half_apart = ((after - before) / 2).square().mean((1, 2, 3)).sqrt()
    return from_their_mean < _DISSOLVE * half_apart


def _gradual(half_way: Tensor, count: int) -> Tensor:
    """What `_half_way` says of t frames to (t - 1,) bool: whether frames i and i + 1 are steps of a fade or dissolve.

    There each frame is about the mean of its neighbours; at a cut it equals one of them. One such frame alone is not
    enough: a change of frame rate leaves a single blended frame at each cut.
    """
    middle = torch.zeros(count + 2, dtype=torch.bool)  # with a frame of padding at either end
    middle[2 : 2 + len(half_way)] = half_way
    twice = middle[:-1] & middle[1:]  # twice[j]: frames j - 1 and j are both half-way
    return twice[:-2] | twice[1:-1] | twice[2:]


def _thresholds(scores: Tensor) -> Tensor:
    """(n,) scores to (n,) thresholds, from the median of the pairs around each, held frames left out."""
    if len(scores) == 0:
        return scores
    moving = scores.masked_fill(scores < _HELD, torch.nan)
    nothing = moving.new_full((_NEIGHBOURS,), torch.nan)
    windows = torch.cat([nothing, moving, nothing]).unfold(0, 2 * _NEIGHBOURS + 1, 1).clone()
    windows[:, _NEIGHBOURS] = torch.nan  # a pair does not speak for itself
    around = torch.nanmedian(windows, dim=1).values
    thresholds = (_THRESHOLD_SLOPE * around).clamp(_THRESHOLD_LOW, _THRESHOLD_HIGH)
    return torch.where(around.isnan(), _THRESHOLD_ALONE, thresholds)
