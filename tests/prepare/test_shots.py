"""Scene cuts: found where they are by construction, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vfield.prepare.shots import find_shots

HEIGHT, WIDTH = 72, 128


def scene(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """A picture with structure at several sizes and colours of its own: (3, height, width) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(3, 1, 1, generator=generator).expand(3, height, width)
    for cells, weight in ((3, 0.6), (8, 0.4), (24, 0.3)):
        coarse = torch.rand(1, 3, cells, round(cells * 1.8), generator=generator) - 0.5
        picture = picture + weight * F.interpolate(coarse, (height, width), mode="bicubic")[0]
    return picture.clamp(0, 1)


def pan(seed: int, count: int, step: int) -> Tensor:
    """A window that moves by `step` pixels a frame over a scene: (count, 3, HEIGHT, WIDTH) in [0, 1]."""
    wide = scene(seed, HEIGHT, WIDTH + step * (count - 1))
    return torch.stack([wide[..., i * step : i * step + WIDTH] for i in range(count)])


def hold(seed: int, count: int) -> Tensor:
    """A still: (count, 3, HEIGHT, WIDTH) in [0, 1]."""
    return scene(seed).expand(count, 3, HEIGHT, WIDTH).clone()


def starts(frames: Tensor) -> list[int]:
    """First frame of every shot, after checking that the shots cover the clip without gaps."""
    shots = find_shots(frames)
    assert [i for shot in shots for i in shot] == list(range(len(frames)))
    assert all(len(shot) > 0 for shot in shots)
    return [shot.start for shot in shots]


def gains(frames: Tensor, factors: list[float]) -> Tensor:
    """Each frame times its own factor, clipped as a camera would."""
    return (frames * torch.tensor(factors).view(-1, 1, 1, 1)).clamp(0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [hold, lambda seed, count: pan(seed, count, 4)], ids=["still", "pan"])
def test_hard_cut_is_found_at_its_frame(seed: int, make: Callable[[int, int], Tensor]) -> None:
    frames = torch.cat([make(seed, 7), make(seed + 10, 5), make(seed + 20, 8)])
    assert starts(frames) == [0, 7, 12]
    assert starts((frames * 255).round().to(torch.uint8)) == [0, 7, 12]


def test_cut_is_found_in_grey_and_in_dark_pictures() -> None:
    frames = torch.cat([pan(1, 6, 3), pan(2, 6, 3)])
    assert starts(frames.mean(1, keepdim=True).expand_as(frames)) == [0, 6]
    assert starts(frames * 0.15) == [0, 6]


def test_cut_is_found_between_scenes_of_equal_mean_and_contrast() -> None:
    def equalised(frames: Tensor) -> Tensor:
        centred = frames - frames.mean((2, 3), keepdim=True)
        return 0.5 + 0.15 * centred / centred.std((2, 3), keepdim=True)

    assert starts(torch.cat([equalised(pan(1, 6, 3)), equalised(pan(2, 6, 3))])) == [0, 6]


def test_one_frame_is_one_shot() -> None:
    assert find_shots(hold(0, 1)) == [range(0, 1)]


def test_two_frames_are_judged_on_their_own() -> None:
    assert starts(torch.stack([scene(0), scene(1)])) == [0, 1]
    assert starts(hold(0, 2)) == [0]
    assert starts(pan(0, 2, 12)) == [0]


def test_montage_of_single_frames_is_all_cuts() -> None:
    assert starts(torch.stack([scene(seed) for seed in range(8)])) == list(range(8))


@pytest.mark.parametrize("step", [1, 8, 16])
def test_large_motion_is_no_cut(step: int) -> None:
    # Up to an eighth of the picture a frame, alone and when every frame but the second is left out.
    frames = pan(3, 12, step)
    assert starts(frames) == [0]
    assert starts(frames[::2] if step < 16 else frames[:2]) == [0]


def test_large_object_passing_is_no_cut() -> None:
    frames = hold(4, 12)
    passing = scene(5, HEIGHT, WIDTH // 2)
    for i in range(12):
        left = (i - 4) * 14
        first, last = max(0, left), min(WIDTH, left + WIDTH // 2)
        if last > first:
            frames[i, :, 10:, first:last] = passing[:, 10:, first - left : last - left]
    assert starts(frames) == [0]


def test_still_and_flat_pictures_have_no_cut() -> None:
    assert starts(hold(6, 10)) == [0]
    assert starts(torch.full((5, 3, HEIGHT, WIDTH), 0.5)) == [0]


def test_cut_between_stills_is_found() -> None:
    assert starts(torch.cat([hold(6, 3), hold(7, 3)])) == [0, 3]


@pytest.mark.parametrize("held", [2, 3])
def test_animation_on_twos_has_no_cut(held: int) -> None:
    assert starts(pan(8, 8, 10).repeat_interleave(held, dim=0)) == [0]


def test_cut_in_animation_on_twos_is_found() -> None:
    frames = torch.cat([pan(8, 5, 10), pan(9, 5, 10)]).repeat_interleave(2, dim=0)
    assert starts(frames) == [0, 10]


def test_grain_and_flicker_are_no_cut_and_hide_none() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.cat([pan(10, 10, 2), pan(11, 10, 2)])
    factors = (0.75 + 0.5 * torch.rand(20, generator=generator)).tolist()
    frames = gains(frames, factors)
    frames = (frames + 0.08 * torch.randn(frames.shape, generator=generator)).clamp(0, 1)
    assert starts(frames) == [0, 10]


@pytest.mark.parametrize("after", [0.4, 1.4])
def test_exposure_jump_is_no_cut(after: float) -> None:
    assert starts(gains(pan(12, 10, 2), [1.0] * 5 + [after] * 5)) == [0]


def test_flash_that_shows_the_picture_is_no_cut() -> None:
    frames = pan(13, 11, 2)
    frames[5] = 0.5 + frames[5] / 2
    assert starts(frames) == [0]


@pytest.mark.parametrize("level", [0.0, 1.0], ids=["black", "white"])
def test_frame_that_wipes_the_picture_out_has_walls_on_both_sides(level: float) -> None:
    frames = pan(13, 11, 2)
    frames[5] = level
    assert starts(frames) == [0, 5, 6]


def test_foreign_frame_has_walls_on_both_sides() -> None:
    frames = pan(13, 11, 2)
    frames[5] = scene(14)
    assert starts(frames) == [0, 5, 6]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [6, 12, 24])
def test_fade_to_black_is_no_cut(steps: int) -> None:
    fade = [1.0] * 5 + [1 - (i + 1) / steps for i in range(steps)] + [0.0] * 5
    frames = pan(15, len(fade), 1)
    assert starts(gains(frames, fade)) == [0]
    assert starts(gains(frames, fade[::-1])) == [0]
    assert starts((gains(frames, fade) * 255).round().to(torch.uint8)) == [0]


@pytest.mark.parametrize("steps", [4, 8, 16])
def test_crossfade_is_no_cut(steps: int) -> None:
    weights = torch.cat([torch.zeros(5), torch.arange(1, steps + 1) / (steps + 1), torch.ones(5)]).view(-1, 1, 1, 1)
    frames = torch.lerp(pan(16, len(weights), 1), pan(17, len(weights), 1), weights)
    assert starts(frames) == [0]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (5, 7), (200, 50)])
def test_any_size_works(size: tuple[int, int]) -> None:
    frames = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).expand(4, 3, *size)
    assert starts(frames) == [0]


def real_frames(path: Path, max_frames: int) -> Tensor:
    """The first frames of a file, small: (t, 3, 134, 240)."""
    video_io = pytest.importorskip("vfield.video_io")
    frames = video_io.read_clip(path, size=(134, 240), max_frames=max_frames).frames
    assert isinstance(frames, Tensor)
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bear.mp4", "bigbuckbunny.mp4", "carphone.mp4"])
def test_one_real_shot_stays_whole(name: str, shared_clip: Callable[[str], Path]) -> None:
    frames = real_frames(shared_clip(name), 80)
    assert {stride: starts(frames[::stride]) for stride in (1, 2, 4)} == {1: [0], 2: [0], 4: [0]}


@pytest.mark.slow
def test_cuts_of_a_real_edit_are_found(shared_clip: Callable[[str], Path]) -> None:
    # Seen by eye in all 250 frames: people, cars that fill the picture, and five cuts.
    cuts = [0, 30, 76, 137, 187, 242]
    frames = real_frames(shared_clip("bikes.mp4"), 250)
    for stride in (1, 2, 4):
        assert starts(frames[::stride]) == [-(-cut // stride) for cut in cuts], f"every {stride}. frame"
