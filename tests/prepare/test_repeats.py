"""Held frames: recognised where motion goes on around them, and passed by motion that does not stop for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from scenes import DEFAULT, clip_of, moving, translating, with_cut
from torch import Tensor

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.metrics import psnr
from vfield.field.config import FieldConfig
from vfield.field.latents import LocalConfig
from vfield.field.motion import MotionConfig
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.learn.start import Start, start_field
from vfield.prepare.flow import FlowConfig
from vfield.prepare.scan import change_between, repeats_of
from vfield.prepare.shots import find_shots
from vfield.video_io import read_clip

SIZE = (48, 64)


def find_repeats(frames: Tensor, shots: Sequence[range]) -> list[int]:
    """What repeats in shots."""
    changes = [change_between(before, after) for before, after in pairwise(frames)]
    return repeats_of(torch.stack(changes), shots) if changes else []


def repeats(frames: Tensor) -> list[int]:
    """What repeats in one shot."""
    return find_repeats(frames, [range(len(frames))])


def shown(frames: Tensor, times: int) -> Tensor:
    """Each frame shown so many times."""
    return frames.repeat_interleave(times, dim=0)


def started(clip: Clip, config: FieldConfig = DEFAULT) -> Start:
    return start_field(clip, config, FlowConfig(), seed=0)


def pictures(field: VideoField, t: Sequence[float]) -> Tensor:
    """(len(t), 3, h, w) as the field makes them."""
    return torch.stack(list(render(field.eval(), field.size, t)))


# --------------------------------------------------------------------------------------------- recognised


@pytest.mark.parametrize("times", [2, 3, 4])
def test_animation_on_twos_to_fours_is_held(times: int) -> None:
    frames = shown(translating(SIZE, 6), times)
    assert repeats(frames) == [i for i in range(len(frames)) if i % times]


def test_a_picture_shown_longer_is_a_still() -> None:
    assert repeats(shown(translating(SIZE, 4), 5)) == []
    freeze = torch.cat([translating(SIZE, 5), shown(translating(SIZE, 6)[5:], 8)])
    assert repeats(freeze) == []
    assert repeats(freeze.flip(0)) == []


@pytest.mark.parametrize("times", [2, 3, 4])
def test_the_end_of_a_shot_is_held_only_where_its_inside_is(times: int) -> None:
    frames = translating(SIZE, 6)
    assert repeats(torch.cat([frames, frames[-1:].repeat(times - 1, 1, 1, 1)])) == []
    both = torch.cat([shown(frames[:3], times), frames[3:], frames[-1:].repeat(times - 1, 1, 1, 1)])
    assert repeats(both)[-(times - 1) :] == list(range(len(both) - times + 1, len(both)))


def test_the_repeats_of_a_telecine_and_of_a_stutter_are_held() -> None:
    frames = translating(SIZE, 12)
    order = [i - i // 5 for i in range(14)]  # A B C D D
    assert repeats(frames[order]) == [5, 10]
    assert repeats(frames[[0, 1, 2, 3, 3, 5, 6, 7]]) == [4]


def test_coding_noise_does_not_hide_a_repeat() -> None:
    frames = to_uint8(shown(translating(SIZE, 6), 2)).int()
    noise = torch.randint(-1, 2, frames.shape, generator=torch.Generator().manual_seed(0))
    assert repeats((frames + noise).clamp(0, 255).to(torch.uint8)) == [1, 3, 5, 7, 9, 11]


def test_the_first_frame_of_a_shot_repeats_nothing() -> None:
    frames = torch.cat([shown(translating(SIZE, 4), 2), 1 - shown(translating(SIZE, 4), 2)])
    assert find_repeats(frames, [range(8), range(8, 16)]) == [1, 3, 5, 7, 9, 11, 13, 15]


# --------------------------------------------------------------------------------------------- left alone


def test_what_does_not_move_has_no_repeats() -> None:
    assert repeats(shown(translating(SIZE, 1), 9)) == []
    assert repeats(torch.zeros(9, 3, *SIZE)) == []
    still = to_uint8(shown(translating(SIZE, 1), 9)).int()
    noise = torch.randint(-1, 2, still.shape, generator=torch.Generator().manual_seed(0))
    assert repeats((still + noise).clamp(0, 255).to(torch.uint8)) == []


def test_something_small_that_slows_down_before_a_still_background_is_no_repeat() -> None:
    frames = shown(translating((144, 192), 1), 12)
    x = 0
    for i in range(len(frames)):
        x += (4, 1)[i % 2]
        frames[i, :, 60:66, 20 + x : 26 + x] = 1.0
    assert repeats(frames) == []


def test_motion_that_sets_in_slowly_has_no_repeats() -> None:
    assert repeats(moving(SIZE, [(0.02 * i**2, 0.0) for i in range(16)])) == []


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips_have_no_repeats(frames: int) -> None:
    assert repeats(translating(SIZE, frames)) == []
    assert repeats(shown(translating(SIZE, 1), frames)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bear.mp4", "bikes.mp4", "carphone.mp4", "test_non_zero_start.mp4", "av1_video.mkv"])
def test_clips_as_they_were_filmed_have_none(name: str, shared_clip: Callable[[str], Path]) -> None:
    frames = read_clip(shared_clip(name), max_frames=60).pixels
    shots = find_shots(frames)
    assert find_repeats(frames, shots) == []
    for stride in (2, 4):
        every = frames[::stride]
        assert find_repeats(every, find_shots(every)) == []


@pytest.mark.slow
def test_a_film_shown_at_a_higher_rate_has_one_a_second(demo_clip: Path) -> None:
    # 24 frames a second brought to 25, beginning almost still.
    frames = read_clip(demo_clip, max_frames=60, size=(180, 320)).pixels
    assert repeats(frames) == [7, 32, 57]
    assert repeats(frames[::2]) == []
    assert repeats(frames[::4]) == []


# --------------------------------------------------------------------------------------------- run past


@pytest.mark.slow
def test_repeats_are_no_keyframes_and_motion_runs_evenly_past_them() -> None:
    start = started(clip_of(shown(translating(SIZE, 6), 2)))
    torch.testing.assert_close(start.field.timeline.t, torch.arange(6) * 2 / 25)
    assert len(start.seen) == 6
    assert start.rehearsal is not None
    assert sorted([*start.rehearsal.learning, *start.rehearsal.checking]) == [1, 2, 3, 4]
    made = pictures(start.field, [1 / 25, 5 / 25])
    truth = moving(SIZE, [(1.0, -0.5), (5.0, -2.5)])
    assert float((made - truth)[..., 8:-8, 8:-8].abs().mean()) < 0.01


@pytest.mark.slow
def test_a_picture_held_up_to_a_cut_is_shown_until_then() -> None:
    frames = shown(with_cut(SIZE, 4, 4).clamp(0, 1), 4)
    field = started(clip_of(frames)).field
    assert field.timeline.shots == [range(4), range(4, 5), range(5, 9)]
    torch.testing.assert_close(pictures(field, [12 / 25, 14 / 25, 15 / 25, 15.4 / 25]), frames[[12, 12, 12, 12]])
    torch.testing.assert_close(pictures(field, [15.6 / 25, 16 / 25]), frames[[16, 16]])
    # And at the end of the clip.
    torch.testing.assert_close(pictures(field, [29 / 25, 31 / 25]), frames[[28, 28]])


def test_local_latents_run_past_repeats_and_fields_without_motion_learn_them() -> None:
    clip = clip_of(shown(translating(SIZE, 6), 2))
    latents = FieldConfig(local=LocalConfig(colours=False, keyframe_stride=2))
    start = started(clip, latents)
    torch.testing.assert_close(start.field.timeline.t, torch.tensor([0, 4, 8, 10]) / 25)
    assert len(start.seen) == 6
    assert len(started(clip, replace(latents, motion=MotionConfig(enabled=False))).seen) == 12


@pytest.mark.slow
def test_a_real_clip_on_twos_moves_again(shared_clip: Callable[[str], Path]) -> None:
    clip = read_clip(shared_clip("carphone.mp4"), max_frames=17)
    drawn = range(0, len(clip), 2)
    on_twos = replace(clip, frames=shown(clip.pixels[drawn], 2)[: len(clip)])
    odd = range(1, len(clip), 2)
    t = [float(clip.pts_seconds[i] - clip.start_seconds) for i in odd]
    truth = to_float(clip.pixels[odd])
    made, known = (pictures(started(seen).field, t) for seen in (on_twos, clip.select(drawn)))
    repeated = to_float(on_twos.pixels[odd])
    scores = [float(psnr(frames, truth).mean()) for frames in (made, repeated, known)]
    assert scores[0] > scores[1] + 2
    assert scores[0] > scores[2] - 0.3
