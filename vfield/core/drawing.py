"""Pictures for people: captioned panels, errors and directions as colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image
from torchvision.utils import flow_to_image, make_grid

from vfield.core.clip import to_float, to_uint8
from vfield.core.coords import pixel_uv
from vfield.core.folders import replaced

_NARROWEST = 320  # a panel narrower than this has no room for its caption
_LARGEST = 2048  # pixels of either side of a picture in a panel: what takes memory is bounded for any shape
_GAP = 8  # pixels between pictures
_MOST_COLUMNS = 4  # of pictures above their errors
_LETTERS_ACROSS = 26  # size of captions: the width of a panel over this

_BLUE, _GREY, _ORANGE = (0.10, 0.45, 0.90), (0.50, 0.50, 0.50), (0.95, 0.50, 0.10)

Labelled = tuple[str, Tensor]


def panel(pictures: Sequence[Labelled]) -> Tensor:
    """Pictures (3, h, w) in [0, 1], all of one size, under their captions: (3, h', w') uint8."""
    # TensorBoard first fits every image into a card some 350 pixels wide and 200 high, so wide pictures go two by two
    # and captions are large: both can still be made out there.
    cells = [(label, _fitted(picture)) for label, picture in pictures]
    height, width = cells[0][1].shape[-2:]
    columns = min(2, len(pictures)) if width > height else len(pictures)
    font_size = min(columns * width, _LARGEST) // _LETTERS_ACROSS
    return _grid([captioned(picture, label, font_size) for label, picture in cells], columns)


def _grid(cells: list[Tensor], columns: int) -> Tensor:
    return make_grid(cells, nrow=columns, padding=_GAP, pad_value=255)


def fitting(height: int, width: int, widest: int) -> tuple[int, int]:
    """Height and width of a picture in its shape, at most so wide and four times as high, and not larger than it is."""
    share = min(1.0, widest / width, 4 * widest / height)
    return max(1, round(height * share)), max(1, round(width * share))


def _fitted(picture: Tensor) -> Tensor:
    """A picture (3, h, w) in [0, 1] as a panel shows it: (3, h', w') uint8, of a size that is bounded for any shape."""
    height, width = picture.shape[-2:]
    # Large ones are averaged down, small ones magnified, and what is still too narrow for a caption gets a margin.
    if max(height, width) > _LARGEST:
        height, width = fitting(height, width, _LARGEST if width >= height else _LARGEST // 4)
        picture = F.adaptive_avg_pool2d(picture, (height, width))
    shown = to_uint8(magnify(picture, max(1, min(-(-_NARROWEST // width), _LARGEST // height))))
    margin = max(0, _NARROWEST - shown.shape[-1])
    return F.pad(shown, (margin // 2, margin - margin // 2), value=255)


def with_errors(truth: Labelled, made: Sequence[Labelled], gain: float) -> Tensor:
    """The truth and what was made of it, beneath each its error times `gain`: (3, h', w') uint8.

    Truth and made are captions and pictures (3, h, w) in [0, 1] of one size.
    """
    font_size = _fitted(truth[1]).shape[-1] // _LETTERS_ACROSS

    def cell(picture: Tensor, label: str) -> Tensor:
        return captioned(_fitted(picture), label, font_size)

    above = [cell(picture, label) for label, picture in (truth, *made)]
    blank = torch.full_like(above[0], 255)
    errors = [cell(error_picture(picture, truth[1], gain), f"error x{gain:g}") for _, picture in made]
    beneath = [blank, *errors]
    columns = min(_MOST_COLUMNS, len(above))
    cells = []
    for first in range(0, len(above), columns):
        for row in (above, beneath):
            part = row[first : first + columns]
            cells += [*part, *[blank] * (columns - len(part))]
    return _grid(cells, columns)


def captioned(picture: Tensor, text: str, font_size: int) -> Tensor:
    """A picture (3, h, w) uint8 under a strip with a line of text, which shrinks to fit the width."""
    width = picture.shape[-1]
    strip = Image.new("RGB", (width, font_size * 3 // 2), "white")
    font = ImageFont.load_default(font_size)
    fits = ImageFont.load_default(font_size * min(1.0, 0.95 * width / font.getlength(text)))
    ImageDraw.Draw(strip).text((width // 2, strip.height // 2), text, fill="black", font=fits, anchor="mm")
    return torch.cat([pil_to_tensor(strip), picture], dim=-2)


def magnify(picture: Tensor, factor: int) -> Tensor:
    """(c, h, w) with each pixel made a square of factor x factor."""
    return repeat(picture, "c h w -> c (h a) (w b)", a=factor, b=factor)


def error_picture(made: Tensor, truth: Tensor, gain: float) -> Tensor:
    """Absolute difference of each channel, amplified: black where equal."""
    return (gain * (made - truth).abs()).clamp(max=1)


def diverging_colours(share: Tensor) -> Tensor:
    """Shares (h, w) in [0, 1] as colours (3, h, w): blue at 0, grey at 0.5, orange at 1."""
    low, middle, high = (share.new_tensor(colour)[:, None, None] for colour in (_BLUE, _GREY, _ORANGE))
    return torch.where(share < 0.5, torch.lerp(low, middle, 2 * share), torch.lerp(middle, high, 2 * share - 1))


def motion_colours(flow: Tensor, most: float) -> Tensor:
    """Motion (2, h, w) float32 in x and y as colours (3, h, w) uint8: the hue is the direction, white stands still.

    The colours are those of Baker et al., "A database and evaluation methodology for optical flow" (2011). They are
    full at a length of `most`, whatever else is in the picture; what is longer looks like `most`.
    """
    shortened = flow * (most / flow.norm(dim=0).clamp(min=1e-9)).clamp(max=1)
    # torchvision takes the longest vector for the full colour, so one of that length goes with the others.
    scale = flow.new_zeros(2, flow.shape[1], 1)
    scale[0] = most
    return flow_to_image(torch.cat([shortened, scale], dim=-1))[..., :-1]


def with_colour_wheel(colours: Tensor) -> Tensor:
    """Motion colours (3, h, w) with a disc in the corner that shows which way each colour moves."""
    side = min(colours.shape[-2:]) // 5
    if side < 16:
        return colours
    uv = 2 * pixel_uv(side, side) - 1
    inside = uv.norm(dim=-1) <= 1
    disc = flow_to_image(rearrange(uv * inside[..., None], "h w c -> c h w"))
    keyed = colours.clone()
    keyed[:, -side:, -side:] = torch.where(inside, disc, keyed[:, -side:, -side:])
    return keyed


def most_detailed(frame: Tensor, side: int) -> tuple[int, int, int]:
    """The square of the frame (3, h, w) where neighbouring pixels differ most: y and x of its corner, and its side."""
    # Not where the variance is largest: that prefers the border between a dark and a bright surface.
    side = min(side, *frame.shape[-2:])
    luma = F.pad(to_float(frame).mean(dim=0, keepdim=True), (0, 1, 0, 1), mode="replicate")
    across, down = luma[:, :-1].diff(dim=-1), luma[:, :, :-1].diff(dim=-2)
    return (*busiest(across.square() + down.square(), side, side), side)


def busiest(energy: Tensor, height: int, width: int) -> tuple[int, int]:
    """The region of height x width pixels that holds most of a map (1, h, w), not negative: y and x of its corner."""
    stride = (max(1, height // 8), max(1, width // 8))
    held = F.avg_pool2d(energy, (height, width), stride)[0]
    row, column = divmod(int(held.argmax()), held.shape[1])
    return row * stride[0], column * stride[1]


def save_png(picture: Tensor, path: Path) -> None:
    """Write a picture (3, h, w) uint8, whole or not at all; a UserError where it cannot be."""
    with replaced(path) as partial:
        to_pil_image(picture).save(partial, format="PNG")
