"""Holes in clips, filled by the field and by what people use otherwise, judged by what the holes hid.

- `boxes`: five squares in every frame, around its middle and those of its quarters, 50 pixels wide where the picture is
  360 pixels high, after Chen, Gwilliam, Lim and Shrivastava, "HNeRV: a hybrid neural representation for videos",
  CVPR 2023, and its published code.
- `half`: every second pixel on average, at random, anew in each frame.
- `frames`: every tenth frame as a whole.

The first two are asked for at observed instants, where a field shows its keyframes however long it has learnt: there
it learns nothing. The third is asked for in between, after a whole fit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import torch
from torch import Tensor

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.coords import keyframe_t
from vfield.core.drawing import most_detailed, with_errors
from vfield.core.metrics import psnr, psnr_within
from vfield.learn import Config, fit
from vfield.learn.held_out import pictures_of
from vfield.measure.benchmark.cases import ERROR_GAIN, untaught
from vfield.measure.choices import Holes
from vfield.measure.peers import BETWEEN_PEERS, inpaint, temporal_median

_BOX = 50 / 360  # of the picture's height
# Middles of the boxes, down and across.
_PLACES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
_EVERY = 10
_CROP = 128  # pixels of the part that is shown


@dataclass(frozen=True)
class InpaintingRow:
    """One clip with one kind of holes, filled by one method."""

    clip: str
    holes: Holes
    name: str  # the method
    inside: float  # PSNR in dB in RGB of what was hidden, mean over the frames that have holes
    whole: float  # likewise of these frames as a whole
    seconds: float  # for the whole clip


def visible_with(holes: Holes, frames: int, height: int, width: int, seed: int = 0) -> Tensor:
    """(frames, height, width) bool, False in the holes."""
    visible = torch.ones(frames, height, width, dtype=torch.bool)
    if holes == "boxes":
        side = max(1, round(_BOX * height))
        for down, across in _PLACES:
            top, left = max(0, round(down * height) - side // 2), max(0, round(across * width) - side // 2)
            visible[:, top : top + side, left : left + side] = False
    elif holes == "half":
        visible = torch.rand(visible.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    else:
        visible[_EVERY // 2 :: _EVERY] = False
        # What comes after the last frame is not in between.
        visible[-1] = True
    return visible


def inpainting(
    clips: Mapping[str, Clip], kinds: Sequence[Holes], config: Config
) -> Iterator[tuple[list[InpaintingRow], Tensor]]:
    """Judge every clip, by name, with every kind of holes.

    Yields:
        Figures of every method, and a picture (3, h, w) uint8 of a part of the frame that is the field's median one.

    Raises:
        KeyboardInterrupt: when a fit was stopped: half a fit is no result.
    """
    for (name, clip), kind in product(clips.items(), kinds):
        yield _judged(name, replace(clip, frames=to_uint8(clip.pixels)), kind, config)


def _judged(name: str, clip: Clip, kind: Holes, config: Config) -> tuple[list[InpaintingRow], Tensor]:
    truth = clip.pixels
    visible = visible_with(kind, *truth.shape[:1], *truth.shape[2:])
    holed = replace(clip, frames=torch.where(visible[:, None], truth, 0), visible=visible)
    judged = (~visible).flatten(1).any(dim=1).nonzero()[:, 0]
    rows: list[InpaintingRow] = []
    pictures = []
    shown = 0
    for method, fill in _methods(kind, holed, config).items():
        began = time.monotonic()
        frames = fill()
        seconds = time.monotonic() - began
        each = psnr_within(frames[judged], truth[judged], ~visible[judged])
        whole = psnr(frames[judged], truth[judged])
        if not rows:
            shown = int(each.argsort()[len(each) // 2])
        rows.append(InpaintingRow(name, kind, method, float(each.mean()), float(whole.mean()), seconds))
        pictures.append((f"{method}, {float(each[shown]):.2f} dB", to_float(frames[judged[shown]])))
    frame = int(judged[shown])
    # The square with most detail is shown, of what was hidden where that is in boxes.
    detail = torch.where(visible[frame], 0, truth[frame]) if kind == "boxes" else truth[frame]
    y, x, side = most_detailed(detail, _CROP)
    pictures.insert(0, ("what is given", to_float(holed.pixels[frame])))
    made = [(label, picture[:, y : y + side, x : x + side]) for label, picture in pictures]
    true = to_float(truth[frame, :, y : y + side, x : x + side])
    return rows, with_errors((f"{name}, frame {frame}", true), made, ERROR_GAIN)


def _methods(kind: Holes, holed: Clip, config: Config) -> dict[str, Callable[[], Tensor]]:
    """What fills holes of a kind, by name; each gives all frames (t, 3, h, w) uint8."""
    if kind == "frames":
        peers = {name: partial(_between, name, holed) for name in ("DIS", "blend")}
        return {"vfield": partial(_fitted, holed, config), **peers}
    assert holed.visible is not None
    given = (holed.pixels, holed.visible)
    return {
        "vfield": partial(_fitted, holed, untaught(config)),
        "Telea": partial(inpaint, *given, "Telea"),
        "Navier-Stokes": partial(inpaint, *given, "Navier-Stokes"),
        "median": partial(temporal_median, *given, fallback=False),
        "median, then Telea": partial(temporal_median, *given, fallback=True),
    }


def _fitted(holed: Clip, config: Config) -> Tensor:
    fitted = fit(holed, config, progress=False)
    if fitted.interrupted:
        raise KeyboardInterrupt
    # Frames that were given are shown as they are, those that repeat the one before, too.
    t = keyframe_t(holed.pts_seconds).tolist()
    held = fitted.field.held(t)
    instants = [t[k] if k in holed.missing else held[k] for k in range(len(t))]
    return pictures_of(fitted.field, (holed.height, holed.width), instants)


def _between(peer: str, holed: Clip) -> Tensor:
    made = holed.pixels.clone()
    for frame in holed.missing:
        made[frame] = BETWEEN_PEERS[peer](holed.pixels[[frame - 1, frame + 1]], holed.frame_rate / 2, 2)[1]
    return made


def inpainting_table(rows: Sequence[InpaintingRow]) -> list[list[str]]:
    """The rows as cells, with their head."""
    head = ["clip", "holes", "method", "PSNR dB inside", "whole frames", "seconds"]
    body = [
        [row.clip, row.holes, row.name, f"{row.inside:.2f}", f"{row.whole:.2f}", f"{row.seconds:.1f}"] for row in rows
    ]
    return [head, *body]
