"""Peers that fill holes."""

from __future__ import annotations

import pytest
import torch
from scenes import translating

from vfield.core.clip import to_uint8
from vfield.core.errors import UserError
from vfield.core.metrics import psnr_within
from vfield.measure.inpainters import inpaint, temporal_median

SIZE = (48, 64)
FRAMES = to_uint8(translating(SIZE, 4, (1.0, 0.0)))
VISIBLE = torch.ones(4, *SIZE, dtype=torch.bool)
VISIBLE[:, 20:25, 30:35] = False


@pytest.mark.parametrize("method", ["Telea", "Navier-Stokes"])
def test_holes_are_filled_from_around_and_hold_no_secret(method: str) -> None:
    made = inpaint(FRAMES, VISIBLE, method)  # type: ignore[arg-type]
    assert torch.equal(made.where(VISIBLE[:, None], FRAMES), FRAMES)
    black = torch.where(VISIBLE[:, None], FRAMES, 0)
    assert torch.equal(made, inpaint(black, VISIBLE, method))  # type: ignore[arg-type]
    assert float(psnr_within(made, FRAMES, ~VISIBLE).mean()) > float(psnr_within(black, FRAMES, ~VISIBLE).mean()) + 10


def test_the_median_is_of_what_is_visible_nearby() -> None:
    frames = torch.tensor([10, 20, 60, 90], dtype=torch.uint8)[:, None, None, None].expand(4, 3, 1, 2)
    visible = torch.tensor([[1, 1], [0, 1], [1, 1], [1, 1]]).bool()[:, None]
    visible[:, :, 1] = False
    made = temporal_median(frames, visible, fallback=False)
    assert made[1, :, 0, 0].tolist() == [60, 60, 60]
    assert made[:, 0, 0, 1].tolist() == [128] * 4
    assert temporal_median(frames, visible, fallback=True)[1, 0, 0].tolist() == [60, 60]


def test_a_frame_that_nobody_saw_is_black_to_those_who_look_at_one() -> None:
    visible = VISIBLE.clone()
    visible[2] = False
    assert not inpaint(FRAMES, visible, "Telea")[2].any()


def test_sizes_are_checked() -> None:
    with pytest.raises(UserError, match=r"visible must be"):
        inpaint(FRAMES, VISIBLE[1:], "Telea")
    with pytest.raises(UserError, match=r"frames must be"):
        temporal_median(FRAMES.float(), VISIBLE, fallback=False)
