"""Hidden pixels filled from other instants and from around them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scenes import clip_of, picture, translating, with_cut
from torch import Tensor

from vfield.core.clip import Clip, to_uint8
from vfield.core.metrics import psnr_within
from vfield.prepare.fill import _opened, fill
from vfield.prepare.flow import read_points, warp

SIZE = (64, 80)
MOVING = to_uint8(translating(SIZE, 7, (5.0, -3.0)))


def box(frames: int, rows: slice = slice(24, 36), columns: slice = slice(30, 42)) -> Tensor:
    visible = torch.ones(frames, *SIZE, dtype=torch.bool)
    visible[:, rows, columns] = False
    return visible


def half(frames: int) -> Tensor:
    return torch.rand(frames, *SIZE, generator=torch.Generator().manual_seed(0)) < 0.5


def holed(frames: Tensor, visible: Tensor, value: int = 0) -> Clip:
    return replace(clip_of(torch.where(visible[:, None], frames, value)), visible=visible)


def inside(frames: Tensor, visible: Tensor, truth: Tensor = MOVING) -> float:
    return float(psnr_within(frames, truth, ~visible).mean())


@pytest.mark.slow
def test_what_moves_out_from_behind_a_logo_is_found_in_other_frames() -> None:
    visible = box(7)
    made = fill(holed(MOVING, visible))
    assert torch.equal(made.pixels.where(visible[:, None], MOVING), MOVING)
    assert inside(made.pixels, visible) > 45
    # Around it alone there is much less.
    assert inside(fill(holed(MOVING, visible), rough=True).pixels, visible) < 25


@pytest.mark.slow
def test_half_of_the_pixels_tell_the_others() -> None:
    visible = half(7)
    made = fill(holed(MOVING, visible)).pixels
    assert inside(made, visible) > 38
    assert torch.equal(made.where(visible[:, None], MOVING), MOVING)


def test_scratches_of_one_frame_are_filled() -> None:
    visible = torch.ones(7, *SIZE, dtype=torch.bool)
    visible[3, :, 40:43] = False
    assert inside(fill(holed(MOVING, visible)).pixels[3:4], visible[3:4], MOVING[3:4]) > 37


@pytest.mark.slow
@pytest.mark.parametrize("visible", [box(7), half(7)], ids=["box", "half"])
def test_what_is_hidden_has_no_say(visible: Tensor) -> None:
    one, two = (fill(holed(MOVING, visible, value)) for value in (0, 255))
    assert torch.equal(one.pixels, two.pixels)


def test_nothing_hidden_is_the_same_clip() -> None:
    made = fill(holed(MOVING, torch.ones(7, *SIZE, dtype=torch.bool)))
    assert made.visible is None
    assert torch.equal(made.pixels, MOVING)


@pytest.mark.slow
def test_nothing_is_taken_across_a_cut() -> None:
    frames = to_uint8(with_cut(SIZE, 4, 4))
    visible = box(8)
    other = frames.clone()
    other[4:] = other[4:].flip(1)
    assert torch.equal(fill(holed(frames, visible)).pixels[:4], fill(holed(other, visible)).pixels[:4])


def test_frames_that_nobody_saw_are_left_out() -> None:
    visible = torch.ones(7, *SIZE, dtype=torch.bool)
    visible[[2, 6]] = False
    clip = holed(MOVING, visible)
    made = fill(clip)
    assert torch.equal(made.pixels, MOVING[[0, 1, 3, 4, 5]])
    assert made.pts_seconds == tuple(clip.pts_seconds[k] for k in (0, 1, 3, 4, 5))
    assert made.end_seconds == clip.end_seconds
    assert made.frame_rate == clip.frame_rate
    assert clip.facts.missing == (2, 6)


def test_time_is_counted_from_a_first_frame_that_nobody_saw() -> None:
    visible = torch.ones(7, *SIZE, dtype=torch.bool)
    visible[:2] = False
    made = fill(holed(MOVING, visible))
    assert torch.equal(made.pixels, MOVING[[2, 2, 3, 4, 5, 6]])
    assert made.pts_seconds[0] == 0
    assert made.missing == (0,)


def test_deep_frames_stay_deep() -> None:
    visible = box(4)
    frames = translating(SIZE, 4, (5.0, -3.0))
    made = fill(holed(frames, visible)).pixels
    assert made.dtype == torch.float32
    assert torch.equal(made.where(visible[:, None], frames), frames)


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (9, 7)])
def test_tiny_pictures_work(size: tuple[int, int]) -> None:
    frames = to_uint8(translating(size, 3))
    visible = torch.rand(3, *size, generator=torch.Generator().manual_seed(1)) < 0.6
    visible[1, 0, 0] = True
    made = fill(holed(frames, visible))
    assert made.frames.shape[2:] == size


def test_holes_are_told_from_scattered_pixels() -> None:
    assert torch.equal(_opened(~box(1)), ~box(1))
    assert not _opened(~half(3)).any()
    scratch = torch.zeros(1, *SIZE, dtype=torch.bool)
    scratch[0, 10:12] = True
    assert not _opened(scratch).any()
    assert _opened(torch.ones(1, 4, 4, dtype=torch.bool)).all()


def test_points_are_read_as_whole_pictures_are() -> None:
    frame = picture((20, 30))
    y, x = torch.meshgrid(torch.arange(20).float(), torch.arange(30).float(), indexing="ij")
    xy = torch.stack([x, y], dim=-1).reshape(-1, 2) + torch.tensor([0.25, -0.5])
    flow = torch.tensor([0.25, -0.5])[:, None, None].expand(2, 20, 30)
    torch.testing.assert_close(read_points(frame, xy).T.reshape(3, 20, 30), warp(frame, flow, "cubic"))
    assert read_points(frame, xy[:0]).shape == (0, 3)
