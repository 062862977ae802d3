"""Denoising: clean clips pass unchanged, noisy ones gain, and nothing is read across a cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scenes import clip_of, translating, with_cut
from test_noise import clean, noisy

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.errors import UserError
from vfield.core.metrics import psnr
from vfield.prepare.denoise import DenoiseConfig, denoise
from vfield.video_io import read_clip

pytestmark = pytest.mark.slow

SIZE = (96, 128)


def gain(clip: Clip, level: float, config: DenoiseConfig | None = None) -> float:
    """dB by which noise of so many levels falls when it is taken out again."""
    spoilt = noisy(to_float(clip.pixels), level)
    made = denoise(replace(clip, frames=spoilt), config).clip
    return float((psnr(made.pixels, to_uint8(clip.pixels)) - psnr(spoilt, to_uint8(clip.pixels))).mean())


def part(path: Path, frames: int, rows: slice, columns: slice) -> Clip:
    """The first frames of a file, cropped."""
    clip = read_clip(path, max_frames=frames)
    return replace(clip, frames=clip.pixels[:, :, rows, columns].contiguous())


@pytest.mark.slow
@pytest.mark.parametrize("level", [10, 25, 50])
def test_a_noisy_moving_picture_gains(level: float) -> None:
    assert gain(clip_of(translating(SIZE, 5)), level) > 10


@pytest.mark.slow
def test_a_noisy_real_clip_gains(demo_clip: Path) -> None:
    clip = part(demo_clip, 5, slice(200, 328), slice(400, 560))
    assert gain(clip, 25) > 8


def test_black_comes_back() -> None:
    # Clipped noise of 40 levels has its mean at 16 where the picture is black.
    frames = torch.zeros(4, 3, *SIZE)
    made = denoise(clip_of(noisy(frames, 40)), DenoiseConfig(40)).clip.pixels
    assert float(made.float().mean()) < 2


def test_off_is_the_same_clip() -> None:
    clip = clip_of(noisy(translating(SIZE, 3), 25))
    result = denoise(clip, DenoiseConfig(0))
    assert result.clip is clip
    assert result.found is None
    assert str(result) == "no noise taken out"


@pytest.mark.parametrize("kind", ["gradient", "edges", "checkerboard", "text"])
def test_clean_patterns_are_the_same_clip(kind: str) -> None:
    clip = clip_of(noisy(clean(kind), 0))
    assert denoise(clip).clip is clip


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("name", ["bigbuckbunny", "bikes", "carphone", "bear"])
def test_clean_clips_are_the_same_clip(shared_clip: Callable[[str], Path], name: str, step: int, dark: bool) -> None:
    clip = read_clip(shared_clip(f"{name}.mp4"), max_frames=13).select(range(0, 13, step))
    if dark:
        clip = replace(clip, frames=clip.pixels // 5)
    result = denoise(clip)
    assert result.clip is clip
    assert result.found is not None
    assert result.found < 2.5


def test_a_single_picture_is_left_alone_unless_told() -> None:
    clip = clip_of(noisy(translating(SIZE, 1), 25))
    assert denoise(clip).clip is clip
    assert gain(clip_of(translating(SIZE, 1)), 25, DenoiseConfig(25)) > 5


@pytest.mark.slow
def test_nothing_is_read_across_a_cut() -> None:
    frames = noisy(with_cut(SIZE, 4, 4), 15)
    whole = denoise(clip_of(frames), DenoiseConfig(15)).clip.pixels
    other = frames.clone()
    other[4:] = other[4:].flip(1)
    changed = denoise(clip_of(other), DenoiseConfig(15)).clip.pixels
    assert torch.equal(whole[:4], changed[:4])
    assert psnr(whole, to_uint8(with_cut(SIZE, 4, 4))).min() > 33


@pytest.mark.slow
def test_a_clean_shot_is_left_alone_beside_a_noisy_one() -> None:
    frames = noisy(with_cut(SIZE, 6, 3), 0)
    frames[:6] = noisy(with_cut(SIZE, 6, 3)[:6], 15)
    result = denoise(clip_of(frames))
    assert result.removed == pytest.approx(15, rel=0.1)
    assert torch.equal(result.clip.pixels[6:], frames[6:])
    assert not torch.equal(result.clip.pixels[:6], frames[:6])


@pytest.mark.slow
def test_a_repeated_frame_is_its_original() -> None:
    frames = noisy(translating(SIZE, 6, (4.0, -3.0)), 12)
    held = frames[[0, 1, 1, 2, 3, 4, 4, 5]]
    made = denoise(clip_of(held), DenoiseConfig(12)).clip.pixels
    once = denoise(clip_of(frames), DenoiseConfig(12)).clip.pixels
    assert torch.equal(made[1], made[2])
    assert torch.equal(made, once[[0, 1, 1, 2, 3, 4, 4, 5]])


def test_deep_frames_stay_deep() -> None:
    frames = noisy(translating(SIZE, 3), 20).float() / 255
    made = denoise(clip_of(frames)).clip.pixels
    assert made.dtype == torch.float32
    assert made.unique().numel() > 1000
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1


@pytest.mark.parametrize("size", [(1, 1), (5, 30), (9, 17)])
def test_tiny_pictures_work(size: tuple[int, int]) -> None:
    frames = noisy(translating(size, 3), 10)
    assert denoise(clip_of(frames), DenoiseConfig(10)).clip.frames.shape == frames.shape


@pytest.mark.slow
def test_it_is_deterministic_and_says_what_it_did() -> None:
    clip = clip_of(noisy(translating(SIZE, 3), 12))
    one, two = denoise(clip), denoise(clip)
    assert torch.equal(one.clip.pixels, two.clip.pixels)
    assert str(one) == "noise of about 12 grey levels: taken out"
    assert one.found == one.removed == pytest.approx(12, rel=0.1)
    assert "kept" in str(denoise(clip, DenoiseConfig(least=20)))


def test_progress_counts_every_frame() -> None:
    seen: list[int] = []

    def follow(steps: range, total: int) -> range:
        seen.append(total)
        return steps

    denoise(clip_of(noisy(translating(SIZE, 3), 12)), None, follow)  # type: ignore[arg-type]
    assert seen == [12]


@pytest.mark.parametrize("strength", [-1.0, float("nan"), 200.0])
def test_wrong_strengths_are_named(strength: float) -> None:
    with pytest.raises(UserError, match=r"denoising\.strength must be from 0 to 127.5"):
        DenoiseConfig(strength)


def test_wrong_least_is_named() -> None:
    with pytest.raises(UserError, match=r"denoising\.least must be more than 0"):
        DenoiseConfig(least=0)
