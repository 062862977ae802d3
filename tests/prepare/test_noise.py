"""The noise estimate: right on added noise, near zero on what is sharp but clean; and clipped noise in closed form."""

from __future__ import annotations

import pytest
import torch
from scenes import translating
from torch import Tensor

from vfield.prepare.noise import Clipped, Noise, estimate_noise, from_opponent, to_opponent

SIZE = (144, 176)


def noisy(frames: Tensor, level: float, seed: int = 0) -> Tensor:
    """Frames in [0, 1] with Gaussian noise of so many grey levels, as uint8."""
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(seed))
    return (255 * frames + level * noise).round().clamp(0, 255).to(torch.uint8)


def level_of(frames: Tensor) -> float:
    return estimate_noise(frames).level


@pytest.mark.slow
@pytest.mark.parametrize("level", [5, 10, 25, 50])
def test_white_noise_on_a_moving_picture(level: float) -> None:
    noise = estimate_noise(noisy(translating(SIZE, 4), level))
    assert noise.level == pytest.approx(level, rel=0.1)
    assert noise.opponent == pytest.approx((level,) * 3, rel=0.12)


@pytest.mark.parametrize("grey", [0.04, 0.1, 0.96])
def test_noise_that_is_clipped_is_seen_whole(grey: float) -> None:
    assert level_of(noisy(torch.full((4, 3, *SIZE), grey), 25)) == pytest.approx(25, rel=0.15)


def test_deep_frames_are_measured_in_the_same_levels() -> None:
    frames = noisy(translating(SIZE, 3), 12)
    assert level_of(frames.float() / 255) == pytest.approx(level_of(frames), rel=1e-3)


def test_noise_of_brightness_alone() -> None:
    frames = translating(SIZE, 4)
    grain = torch.randn(4, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    first, *others = estimate_noise((frames + 10 / 255 * grain).clamp(0, 1)).opponent
    # The same grain in three channels adds up in their sum.
    assert first == pytest.approx(10 * 3**0.5, rel=0.12)
    assert max(others) < 1


def clean(kind: str) -> Tensor:
    """(4, 3, h, w) in [0, 1], moving, without noise."""
    x = torch.arange(SIZE[1] + 40)[None].expand(SIZE[0], -1)
    y = torch.arange(SIZE[0])[:, None].expand(-1, SIZE[1] + 40)
    wide = {
        "gradient": x / 300 + y / 500,
        "edges": ((x // 23 + y // 17) % 2).float() * 0.7 + 0.1,
        "checkerboard": ((x + y) % 2).float() * 0.8 + 0.1,
        # Strokes one to three pixels wide at letters' distances, on paper.
        "text": 0.9 - 0.8 * ((torch.sin(x * 1.3 + (y // 12) * 2.1) * torch.cos(y * 0.9) > 0.35) & (y % 12 < 9)).float(),
    }[kind].float()
    return torch.stack([wide[None, :, 3 * k : 3 * k + SIZE[1]].expand(3, -1, -1) for k in range(4)])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gradient", "edges", "checkerboard", "text"])
def test_clean_pictures_have_none(kind: str) -> None:
    assert level_of(noisy(clean(kind), 0)) < 1


def test_a_fine_texture_that_moves_has_none() -> None:
    # Alone, each frame is white noise.
    still = torch.rand(3, SIZE[0], SIZE[1] + 20, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(still, 3, 1, 1)
    frames = torch.stack([smooth[..., 2 * k : 2 * k + SIZE[1]] for k in range(4)])
    assert level_of(frames) < 1


def test_one_frame_and_tiny_ones_have_none() -> None:
    frames = noisy(translating(SIZE, 2), 25)
    assert estimate_noise(frames[:1]) == Noise(0.0, (0.0, 0.0, 0.0))
    assert level_of(frames) > 20
    assert level_of(noisy(translating((9, 9), 2), 25)) == 0


def test_grain_that_stays_where_it_is_has_none() -> None:
    # As when a still picture is shown: it cannot be told from texture.
    assert level_of(noisy(translating(SIZE, 1), 25).expand(3, -1, -1, -1)) == 0


def test_noise_at_another_level_is_of_the_same_kind() -> None:
    assert Noise(10.0, (20.0, 5.0, 2.5)).scaled(20) == Noise(20, (40.0, 10.0, 5.0))
    assert Noise(0.1, (0.4, 0.0, 0.0)).scaled(20) == Noise.white(20)


def test_opponent_channels_are_orthonormal() -> None:
    frames = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    turned = to_opponent(frames)
    assert torch.allclose(from_opponent(turned), frames, atol=1e-6)
    assert torch.allclose(turned.square().sum(1), frames.square().sum(1), rtol=1e-5)
    assert torch.allclose(turned[:, 0], frames.mean(1) * 3**0.5, atol=1e-6)


@pytest.mark.parametrize("true", [0.0, 10.0, 40.0, 128.0, 250.0])
def test_clipped_noise_has_the_mean_and_variance_of_drawn_noise(true: float) -> None:
    drawn = (true + 25 * torch.randn(400_000, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    clipped = Clipped(25, black=True, white=True)
    mean = drawn.mean()
    assert float(clipped.unbiased(mean)) == pytest.approx(true, abs=0.4)
    assert float(clipped.variance_left(mean)) * 625 == pytest.approx(float(drawn.var()), rel=0.02)


def test_without_clipping_nothing_changes() -> None:
    seen = torch.tensor([3.0, 100.0, 252.0])
    clipped = Clipped(25, black=False, white=False)
    assert torch.allclose(clipped.unbiased(seen), seen, atol=1e-2)
    assert torch.allclose(clipped.variance_left(seen), torch.ones(3), atol=1e-3)


def test_clipping_is_told_from_the_pixels_at_the_limits() -> None:
    smooth = torch.full((1, 3, 64, 64), 5.0)
    noise = torch.randn(smooth.shape, generator=torch.Generator().manual_seed(0))
    ends = Clipped.of((smooth - 5 + 20 * noise).clamp(0, 255), smooth + 3, 20)
    assert float(ends.unbiased(torch.tensor(8.0))) < 1
    # A dark clip whose shadows have less noise reaches black nowhere: it is not darkened.
    kept = Clipped.of(smooth + 1 + noise, smooth + 1, 20)
    assert float(kept.unbiased(torch.tensor(8.0))) == pytest.approx(8, abs=0.1)
