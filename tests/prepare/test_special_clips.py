"""Flashes, fades and clips with next to nothing in them, on the whole way from a clip to frames in between."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scenes import clip_of, translating
from test_scan import flashes_apart
from torch import Tensor

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.field.config import FieldConfig
from vfield.field.render import render
from vfield.learn import fit
from vfield.learn.config_files import load_config
from vfield.learn.start import start_field
from vfield.prepare.flow import FlowConfig
from vfield.prepare.shots import find_shots
from vfield.video_io import read_clip

pytestmark = pytest.mark.slow

TINY = load_config(Path(__file__).parents[2] / "configs" / "tiny.yaml")
SIZE = (48, 64)


def starts(frames: Tensor) -> list[int]:
    """First frame of every shot, flashes counted."""
    return [shot.start for shot in flashes_apart(frames, find_shots(frames))]


def lit(frames: Tensor, factors: list[float]) -> Tensor:
    """Each frame times its own factor, clipped as a camera would."""
    return (to_float(frames) * torch.tensor(factors).view(-1, 1, 1, 1)).clamp(0, 1)


def made_at(clip: Clip, intervals: list[float]) -> Tensor:
    """Frames of the starting field at instants counted in frame intervals."""
    field = start_field(clip, FieldConfig(), FlowConfig(), seed=0).field.eval()
    return torch.stack(list(render(field, field.size, [i / float(clip.frame_rate) for i in intervals])))


# --------------------------------------------------------------------------------------------- flashes


@pytest.mark.parametrize("factor", [0.4, 0.7, 1.4])
@pytest.mark.parametrize("frames", [1, 2])
def test_a_flash_is_a_shot_of_its_own(factor: float, frames: int) -> None:
    clip = translating(SIZE, 12)
    assert starts(lit(clip, [1.0] * 5 + [factor] * frames + [1.0] * (7 - frames))) == [0, 5, 5 + frames]


def test_two_flashes_in_one_shot_are_both_set_apart() -> None:
    assert starts(lit(translating(SIZE, 12), [1, 1, 1, 1.4, 1, 1, 1, 1.4, 1.4, 1, 1, 1])) == [0, 3, 4, 7, 9]


def test_a_flash_does_not_move_the_cut_beside_it() -> None:
    frames = torch.cat([translating(SIZE, 6), 1 - translating(SIZE, 6)])
    assert starts(lit(frames, [1, 1, 1, 0.6] + [1.0] * 8)) == [0, 3, 4, 6]


@pytest.mark.parametrize(
    "factors",
    [
        [1.0] * 12,
        [1.0] * 5 + [1.4] * 7,
        [1.0] * 4 + [1.4] * 4 + [1.0] * 4,
        [1.0, 0.6] * 6,
        [1.0, 1.08, 0.95, 1.1, 0.9, 1.0, 1.12, 0.93, 1.0, 0.9, 1.06, 0.98],
        [1 - i / 11 for i in range(12)],
    ],
    ids=["steady", "jump", "lamp", "strobe", "flicker", "fade"],
)
def test_other_changes_of_light_are_no_flashes(factors: list[float]) -> None:
    assert starts(lit(translating(SIZE, 12), factors)) == [0]


def test_something_bright_that_passes_is_no_flash() -> None:
    frames = translating(SIZE, 12) * 0.5
    frames[6, :, :, : SIZE[1] // 2] = 1.0
    assert flashes_apart(frames, [range(12)]) == [range(12)]


@pytest.mark.parametrize("name", ["bear.mp4", "bikes.mp4", "carphone.mp4", "nasa_13013.mp4"])
def test_clips_as_they_were_filmed_have_no_flashes(name: str, shared_clip: Callable[[str], Path]) -> None:
    frames = read_clip(shared_clip(name), max_frames=80, size=(120, 160)).pixels
    for stride in (1, 2, 4):
        every = frames[::stride]
        assert flashes_apart(every, find_shots(every)) == find_shots(every)


def test_a_flash_leaves_no_ghost_in_a_real_clip(shared_clip: Callable[[str], Path]) -> None:
    clip = read_clip(shared_clip("carphone.mp4"), max_frames=9)
    frames = to_uint8(lit(clip.pixels, [1.0] * 4 + [1.8] + [1.0] * 4))
    instants = [2.5, 3.4, 4.0, 4.6, 5.5]
    steady, flashed = made_at(clip, instants), made_at(replace(clip, frames=frames), instants)
    light = (flashed - steady).mean(dim=(1, 2, 3)).abs()
    assert light[[0, 1, 3, 4]].max() < 0.005
    torch.testing.assert_close(flashed[2], to_float(frames[4]), atol=1e-4, rtol=0)


# --------------------------------------------------------------------------------------------- fades


def test_a_fade_to_black_is_made_step_by_step(shared_clip: Callable[[str], Path]) -> None:
    clip = read_clip(shared_clip("carphone.mp4"), max_frames=12)
    faded = replace(clip, frames=to_uint8(lit(clip.pixels, [1 - i / 11 for i in range(12)])))
    light = made_at(faded, [i / 2 for i in range(23)]).mean(dim=(1, 2, 3))
    assert starts(faded.pixels) == [0]
    assert (light.diff() < 0).all()
    torch.testing.assert_close(light[1::2], (light[:-1:2] + light[2::2]) / 2, atol=0.005, rtol=0)


# --------------------------------------------------------------------------------------------- little in them


@pytest.mark.parametrize(
    "frames",
    [
        translating(SIZE, 1),
        translating(SIZE, 1).repeat(5, 1, 1, 1),
        torch.zeros(5, 3, *SIZE),
        torch.ones(2, 3, *SIZE),
        torch.full((2, 3, 1, 1), 0.5),
    ],
    ids=["image", "still", "black", "two white", "one pixel"],
)
def test_a_clip_in_which_nothing_moves_stays_as_it_is(frames: Tensor) -> None:
    field = fit(clip_of(frames), TINY, progress=False).field
    for t in (0.0, 0.4 * (len(frames) - 1) / 25, (len(frames) - 1) / 25, 1.0):
        assert float((next(render(field, field.size, [t])) - frames[0]).abs().max()) < 0.03


def test_a_clip_of_two_frames_moves() -> None:
    field = fit(clip_of(translating(SIZE, 2)), TINY, progress=False).field
    made = next(render(field, field.size, [0.5 / 25]))
    assert float((made - translating(SIZE, 2, (1.0, -0.5))[1])[:, 8:-8, 8:-8].abs().mean()) < 0.02


def test_a_clip_of_two_scenes_shows_the_nearer_one() -> None:
    frames = torch.cat([translating(SIZE, 1), 1 - translating(SIZE, 1).flip(-1)])
    field = fit(clip_of(frames), TINY, progress=False).field
    for share, nearer in ((0.0, 0), (0.4, 0), (0.6, 1), (1.0, 1)):
        made = next(render(field, field.size, [share / 25]))
        torch.testing.assert_close(made, frames[nearer], atol=1e-4, rtol=0)


def test_a_fit_says_how_many_frames_it_runs_past(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="vfield"):
        fit(clip_of(translating(SIZE, 6).repeat_interleave(2, dim=0)), TINY, progress=False)
    assert "6 of 12 frames repeat the one before; motion runs past them" in caplog.messages
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="vfield"):
        fit(clip_of(translating(SIZE, 4)), TINY, progress=False)
    assert not any("repeat" in message for message in caplog.messages)
