"""Masks: which pixels of a clip are not to be believed, read from a picture or a video.

White is what is not to be believed, black what is; the line is drawn at half. One picture stands for every frame, a
video has a frame for each. A frame that is all white was not seen at all.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vfield.core.clip import Clip, to_float
from vfield.core.errors import UserError
from vfield.video_io import probe, read_clip

_HALF = 0.5  # of white, in the mean of the channels


def with_mask(
    clip: Clip,
    path: str | Path,
    *,
    start_seconds: Fraction | float | None = None,
    end_seconds: Fraction | float | None = None,
) -> Clip:
    """A clip whose `visible` says what a mask leaves of it.

    A UserError when the file cannot be read, is partly transparent, has another shape or number of frames, or hides
    everything. A mask that hides nothing gives the clip itself.

    Args:
        clip: as it was read.
        path: a picture, or a video with a frame for each of the clip's. Any size of the clip's shape will do: where it
            is larger, a pixel is hidden if any part of it is.
        start_seconds: of the clip's part; it is the mask video's part, too.
        end_seconds: likewise.
    """
    # A picture has no time to take a part of.
    still = probe(path).frame_count == 1 or probe(path).duration_seconds is None
    mask = read_clip(path) if still else read_clip(path, start_seconds=start_seconds, end_seconds=end_seconds)
    if mask.alpha is not None:
        # It would say two things at once.
        raise UserError(
            f"the mask {path} is transparent in places, and transparency says nothing here: save it without an alpha "
            "channel, white where the clip is not to be believed and black elsewhere"
        )
    if len(mask) not in (1, len(clip)):
        advice = "give one picture for all of them, or a video with a frame for each"
        raise UserError(f"the mask {path} has {len(mask)} frames and the clip {len(clip)}: {advice}")
    shape = (clip.height, clip.width)
    # Sizes that were rounded to whole pixels still have one shape.
    if abs(mask.height * clip.width - mask.width * clip.height) > max(*shape, mask.height, mask.width):
        shapes = f"{mask.width}x{mask.height}, which is not the shape of the clip's {clip.width}x{clip.height}"
        raise UserError(f"the mask {path} is of {shapes}")
    hidden = torch.cat([_resized(frame, shape) for frame in mask.pixels.split(1)])
    if not bool(hidden.any()):
        return clip
    if bool(hidden.all()):
        raise UserError(f"the mask {path} hides every pixel; white is what is not to be believed, black what is")
    return replace(clip, visible=~hidden.expand(len(clip), -1, -1))


def _resized(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, 3, h, w) as (1, height, width) bool: what is lighter than half."""
    light = to_float(frame).mean(dim=1) >= _HALF
    height, width = light.shape[1:]
    if (height, width) == size:
        return light
    if height >= size[0] and width >= size[1]:
        return F.adaptive_max_pool2d(light.float(), size) > 0
    return F.interpolate(light[None].float(), size=size, mode="nearest-exact")[0] > 0
