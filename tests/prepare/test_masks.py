"""Masks read from pictures and videos."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from scenes import RATE, clip_of, translating
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from vfield.core.clip import Clip, ColorInfo, to_uint8
from vfield.core.errors import UserError
from vfield.prepare.masks import with_mask
from vfield.video_io import VideoWriter

SIZE = (48, 64)


@pytest.fixture
def clip() -> Clip:
    return clip_of(to_uint8(translating(SIZE, 5)))


def logo(factor: int = 1) -> Tensor:
    hidden = torch.zeros(SIZE[0] * factor, SIZE[1] * factor, dtype=torch.bool)
    hidden[8 * factor : 20 * factor, 16 * factor : 40 * factor] = True
    return hidden


def saved(hidden: Tensor, path: Path, mode: str = "L") -> Path:
    to_pil_image((255 * hidden.to(torch.uint8))[None]).convert(mode).save(path)
    return path


def filmed(hidden: Tensor, path: Path, codec: str = "h264") -> Path:
    height, width = hidden.shape[1:]
    with VideoWriter(path, height=height, width=width, frame_rate=RATE, color=ColorInfo(), codec=codec) as writer:
        for frame in hidden:
            writer.write(frame.expand(3, -1, -1).float())
    return path


def visible(clip: Clip) -> Tensor:
    assert clip.visible is not None
    return clip.visible


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P"])
def test_white_hides_in_every_frame(clip: Clip, tmp_path: Path, mode: str) -> None:
    masked = with_mask(clip, saved(logo(), tmp_path / "mask.png", mode))
    assert torch.equal(visible(masked), ~logo().expand(5, -1, -1))
    assert torch.equal(masked.pixels, clip.pixels)


def test_the_line_is_at_half(clip: Clip, tmp_path: Path) -> None:
    grey = torch.tensor([[120, 135]], dtype=torch.uint8).repeat(SIZE[0], SIZE[1] // 2)
    Image.fromarray(grey.numpy()).save(tmp_path / "mask.png")
    assert torch.equal(visible(with_mask(clip, tmp_path / "mask.png")), (grey < 128).expand(5, -1, -1))


def test_a_video_has_a_mask_for_each_frame(clip: Clip, tmp_path: Path) -> None:
    hidden = torch.stack([logo().roll(4 * k, dims=1) for k in range(5)])
    hidden[3] = True
    masked = with_mask(clip, filmed(hidden, tmp_path / "mask.mp4"))
    assert torch.equal(visible(masked), ~hidden)
    assert masked.missing == (3,)


def test_a_part_of_the_clip_takes_that_part_of_the_mask(clip: Clip, tmp_path: Path) -> None:
    hidden = torch.stack([logo().roll(4 * k, dims=1) for k in range(5)])
    path = filmed(hidden, tmp_path / "mask.mp4")
    masked = with_mask(clip.select([2, 3]), path, start_seconds=0.08, end_seconds=0.16)
    assert torch.equal(visible(masked), ~hidden[2:4])


@pytest.mark.parametrize("factor", [2, 3])
def test_a_larger_mask_hides_all_it_touches(clip: Clip, tmp_path: Path, factor: int) -> None:
    hidden = logo(factor)
    assert torch.equal(visible(with_mask(clip, saved(hidden, tmp_path / "a.png"))), ~logo().expand(5, -1, -1))
    hidden[0, 0] = True
    assert not visible(with_mask(clip, saved(hidden, tmp_path / "b.png")))[:, 0, 0].any()


def test_a_smaller_mask_is_enlarged(clip: Clip, tmp_path: Path) -> None:
    masked = with_mask(clip, saved(logo()[::4, ::4], tmp_path / "mask.png"))
    assert torch.equal(visible(masked), ~logo().expand(5, -1, -1))


def test_a_mask_of_nothing_is_no_mask(clip: Clip, tmp_path: Path) -> None:
    assert with_mask(clip, saved(torch.zeros(SIZE, dtype=torch.bool), tmp_path / "mask.png")) is clip


def test_an_opaque_alpha_channel_is_no_harm(clip: Clip, tmp_path: Path) -> None:
    masked = with_mask(clip, saved(logo(), tmp_path / "mask.png", "RGBA"))
    assert torch.equal(visible(masked), ~logo().expand(5, -1, -1))


def test_masks_that_cannot_be_meant(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    with pytest.raises(UserError, match=r"does not exist"):
        with_mask(clip, path)
    saved(torch.ones(SIZE, dtype=torch.bool), path)
    with pytest.raises(UserError, match=r"hides every pixel; white is what is not to be believed"):
        with_mask(clip, path)
    saved(logo()[:, :40], path)
    with pytest.raises(UserError, match=r"is of 40x48, which is not the shape of the clip's 64x48"):
        with_mask(clip, path)
    picture = Image.fromarray((255 * logo()).to(torch.uint8).numpy()).convert("RGBA")
    picture.putalpha(128)
    picture.save(path)
    with pytest.raises(UserError, match=r"transparent in places"):
        with_mask(clip, path)
    path.write_text("no picture")
    with pytest.raises(UserError, match=r"can be decoded"):
        with_mask(clip, path)
    few = filmed(torch.stack([logo()] * 4), tmp_path / "mask.mp4")
    with pytest.raises(UserError, match=r"has 4 frames and the clip 5"):
        with_mask(clip, few)
