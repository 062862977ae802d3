"""Dense flow: known motions are recovered, warping inverts them, tiny pictures are legal."""

from __future__ import annotations

import math

import pytest
import torch
from einops import rearrange
from torch import Tensor

from vfield.core.errors import UserError
from vfield.prepare.flow import FlowConfig, dense_flow, flow_between, warp


def positions(height: int, width: int) -> Tensor:
    """Pixel positions x, y: (2, height, width) float32."""
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    return torch.stack([x, y])


def texture(xy: Tensor, waves: int = 60, seed: int = 0) -> Tensor:
    """A smooth random picture, exact at any position: (2, h, w) positions to (3, h, w) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    frequencies = torch.randn(3, waves, 2, generator=generator) * 0.35
    phases = torch.rand(3, waves, generator=generator) * 2 * math.pi
    angles = torch.einsum("k n d, d h w -> k n h w", frequencies, xy) + rearrange(phases, "k n -> k n 1 1")
    return (0.5 + 0.18 * angles.cos().sum(dim=1) / math.sqrt(waves / 2)).clamp(0, 1)


def interior(flow: Tensor, margin: int) -> Tensor:
    return flow[:, margin:-margin, margin:-margin]


@pytest.mark.slow
@pytest.mark.parametrize("shift", [(0.5, -0.3), (3.4, 1.7), (-6.2, 4.5)])
def test_subpixel_translation_is_recovered(shift: tuple[float, float]) -> None:
    xy = positions(128, 160)
    moved = rearrange(torch.tensor(shift), "c -> c 1 1")
    flow = dense_flow(texture(xy), texture(xy - moved))
    assert flow.shape == (2, 128, 160)
    assert flow.dtype == torch.float32
    error = interior((flow - moved).norm(dim=0, keepdim=True), 20)
    assert error.max() < 0.15


def test_small_rotation_is_recovered() -> None:
    xy = positions(128, 128)
    centre = torch.full((2, 1, 1), 63.5)
    angle = math.radians(1.5)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    there = torch.einsum("i j, j h w -> i h w", turn, xy - centre) + centre
    back = torch.einsum("j i, j h w -> i h w", turn, xy - centre) + centre
    flow = dense_flow(texture(xy), texture(back))
    error = interior((flow - (there - xy)).norm(dim=0, keepdim=True), 20)
    assert error.max() < 0.15


def test_uint8_and_float_pictures_give_the_same_flow_on_every_call() -> None:
    xy = positions(64, 80)
    source, target = texture(xy), texture(xy - 1.25)
    flows = [dense_flow(source, target) for _ in range(3)]
    flows.append(dense_flow((source * 255).round().byte(), (target * 255).round().byte()))
    assert all(torch.equal(flow, flows[0]) for flow in flows)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (8, 8), (11, 9), (16, 16), (64, 5), (33, 31)])
@pytest.mark.parametrize(
    "config", [FlowConfig(), FlowConfig(patch_size=16, patch_stride=4), FlowConfig(finest_scale=5)]
)
def test_small_pictures_have_a_bounded_flow(size: tuple[int, int], config: FlowConfig) -> None:
    xy = positions(*size)
    flow = dense_flow(texture(xy), texture(xy - 0.5), config)
    assert flow.shape == (2, *size)
    assert flow.abs().max() < 3
    still = dense_flow(texture(xy), texture(xy), config)
    assert still.abs().max() < 0.02


def test_a_picture_of_sixteen_pixels_still_shows_its_motion() -> None:
    xy = positions(16, 16)
    flow = dense_flow(texture(xy), texture(xy - 0.5))
    assert (interior(flow, 4) - 0.5).abs().max() < 0.15


def test_one_pixel_does_not_move() -> None:
    assert not dense_flow(torch.zeros(3, 1, 1), torch.ones(3, 1, 1)).any()


@pytest.mark.parametrize(("mode", "tolerance"), [("linear", 0.05), ("cubic", 0.02)])
def test_warping_reads_at_the_displaced_position(mode: str, tolerance: float) -> None:
    xy = positions(48, 64)
    flow = 3 * torch.sin(xy.flip(0) / 20)
    read = warp(texture(xy), flow, mode)  # type: ignore[arg-type]
    assert (interior(read - texture(xy + flow), 5)).abs().max() < tolerance


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_warping_by_whole_pixels_is_exact_and_repeats_the_border(channels: int) -> None:
    frame = torch.rand(channels, 5, 7, generator=torch.Generator().manual_seed(1)) * 10 - 5
    flow = torch.stack([torch.full((5, 7), 2.0), torch.full((5, 7), -1.0)])
    columns, rows = (torch.arange(7) + 2).clamp(max=6), (torch.arange(5) - 1).clamp(min=0)
    expected = frame[:, rows][:, :, columns]
    torch.testing.assert_close(warp(frame, flow, "linear"), expected)
    torch.testing.assert_close(warp(frame, flow, "cubic"), expected)


def test_warping_a_uint8_frame_gives_floats_of_unit_range() -> None:
    frame = torch.full((3, 4, 4), 51, dtype=torch.uint8)
    torch.testing.assert_close(warp(frame, torch.zeros(2, 4, 4), "linear"), torch.full((3, 4, 4), 0.2))


@pytest.mark.parametrize("instant", [0.25, 0.5, 0.8])
def test_the_flow_between_belongs_to_its_instant(instant: float) -> None:
    """A motion that doubles distances from the centre: at the instant, a point's motion is known in closed form."""
    xy = positions(64, 64)
    centred = xy - 31.5
    growth = 0.2
    forward = growth * centred
    backward = -growth / (1 + growth) * centred
    expected = growth / (1 + instant * growth) * centred
    source, target = texture(xy), texture(centred / (1 + growth) + 31.5)
    flow = flow_between(source, target, forward, backward, instant)
    # Beyond the margin the target's flow is read outside the picture; OpenCV 4 rounds positions to 1/32 pixel.
    assert interior(flow - expected, 8).abs().max() < 0.02


def test_the_flow_between_keeps_the_side_that_matches() -> None:
    xy = positions(48, 48)
    source, target = texture(xy), texture(xy - 2.0)
    right = torch.full((2, 48, 48), 2.0)
    wrong = torch.full((2, 48, 48), -5.0)
    kept = flow_between(source, target, right, -wrong, 0.5)
    torch.testing.assert_close(interior(kept, 8), interior(right, 8))
    kept = flow_between(source, target, wrong, -right, 0.5)
    torch.testing.assert_close(interior(kept, 8), interior(right, 8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"finest_scale": -1}, "finest_scale must be from 0 to 10, got -1"),
        ({"patch_size": 3}, "patch_size must be from 4 to 64, got 3"),
        ({"patch_stride": 13}, r"patch_stride must be at most flow.patch_size \(12\), got 13"),
        ({"patch_stride": 0}, "patch_stride must be"),
        ({"variational_iterations": -2}, "variational_iterations must be from 0 to 1000, got -2"),
    ],
)
def test_config_out_of_range_is_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FlowConfig(**values)
