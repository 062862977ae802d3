"""From a clip to a field: shots, keyframes, and which frames may be hidden."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import reduce
from scenes import DEFAULT, clip_of, curves_of, moving, perturb, translating, with_cut
from torch import Tensor

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.coords import pixel_uv, with_t
from vfield.core.frames import Frames
from vfield.field import tracks
from vfield.field.config import FieldConfig
from vfield.field.detail import DetailConfig
from vfield.field.latents import LocalConfig
from vfield.field.motion import Curves, MotionConfig
from vfield.field.timeline import gaps_between
from vfield.field.tracks import find_curves
from vfield.learn import Config
from vfield.learn import start as module
from vfield.learn.members import Member
from vfield.learn.start import Start, _keyframes, start_field
from vfield.prepare.flow import FlowConfig
from vfield.prepare.scan import Scan
from vfield.video_io import read_clip

pytestmark = pytest.mark.slow

SIZE = (32, 48)


def started(clip: Clip, config: FieldConfig = DEFAULT) -> Start:
    return start_field(clip, config, FlowConfig(), seed=0)


def strided(stride: int) -> FieldConfig:
    return FieldConfig(local=LocalConfig(keyframe_stride=stride))


def gaps_of(start: Start) -> int:
    """How many gaps have curves: as many as can be asked for."""
    assert start.field.motion is not None
    for number in count():
        try:
            start.field.motion.curves(number)
        except IndexError:
            return number
    raise AssertionError


def pictures_of(frames: Frames) -> Tensor:
    """All of them, read now."""
    return torch.stack([frames[index] for index in range(len(frames))])


def hidden_by(start: Start) -> list[int]:
    """The frames that the rehearsal may hide."""
    if start.rehearsal is None:
        return []
    assert not {*start.rehearsal.learning} & {*start.rehearsal.checking}
    return sorted([*start.rehearsal.learning, *start.rehearsal.checking])


# --------------------------------------------------------------------------------------------- keyframes


@pytest.mark.parametrize(
    ("stride", "chosen", "shots"),
    [
        (1, [0, 1, 2, 3, 4, 5, 6, 7, 8], [range(6), range(6, 7), range(7, 9)]),
        (2, [0, 2, 4, 5, 6, 7, 8], [range(4), range(4, 5), range(5, 7)]),
        (5, [0, 5, 6, 7, 8], [range(2), range(2, 3), range(3, 5)]),
        (99, [0, 5, 6, 7, 8], [range(2), range(2, 3), range(3, 5)]),
    ],
)
def test_keyframes_are_every_kth_frame_and_the_ends_of_each_shot(
    stride: int, chosen: list[int], shots: list[range]
) -> None:
    assert _keyframes([range(6), range(6, 7), range(7, 9)], stride) == (chosen, shots)


@pytest.mark.slow
def test_by_default_every_frame_is_a_keyframe() -> None:
    frames = translating(SIZE, 5)
    start = started(clip_of(frames))
    assert start.field.colours is not None
    assert torch.equal(pictures_of(start.field.colours.frames), frames)
    torch.testing.assert_close(start.field.timeline.t, torch.arange(5) / 25)
    assert gaps_of(start) == 4
    assert hidden_by(start) == [1, 2, 3]


def test_with_a_stride_the_others_are_not_stored_and_cannot_be_hidden() -> None:
    frames = translating(SIZE, 6)
    start = started(clip_of(frames), strided(2))
    assert start.field.colours is not None
    assert torch.equal(pictures_of(start.field.colours.frames), frames[[0, 2, 4, 5]])
    torch.testing.assert_close(start.field.timeline.t, torch.tensor([0.0, 0.08, 0.16, 0.2]))
    assert gaps_of(start) == 3
    assert start.rehearsal is None


def test_uneven_times_are_kept() -> None:
    pts = [Fraction(p, 30) for p in (7, 8, 11, 12)]
    field = started(clip_of(translating(SIZE, 4), pts)).field
    torch.testing.assert_close(field.timeline.t, torch.tensor([0.0, 1 / 30, 4 / 30, 5 / 30]))


# --------------------------------------------------------------------------------------------- shots


@pytest.mark.slow
def test_cuts_become_shots_without_gaps_between_them() -> None:
    start = started(clip_of(with_cut(SIZE, 4, 3)))
    assert start.field.timeline.shots == [range(4), range(4, 7)]
    assert gaps_of(start) == 3 + 2
    assert hidden_by(start) == [1, 2, 5]


def test_cuts_are_counted_in_keyframes() -> None:
    start = started(clip_of(with_cut(SIZE, 6, 4)), strided(3))
    assert start.field.timeline.shots == [range(3), range(3, 5)]
    torch.testing.assert_close(start.field.timeline.t, torch.tensor([0, 3, 5, 6, 9]) / 25)
    assert gaps_of(start) == 2 + 1


@pytest.mark.slow
def test_each_gap_has_the_motion_of_its_own_shot() -> None:
    curves = curves_of(started(clip_of(with_cut((64, 64), 4, 4))).field)
    # The first shot moves by (2, -1) pixels a frame, the second by (1, 0).
    middle = curves.coefficients[:, :2, 6:10, 6:10].mean(dim=(2, 3))
    expected = torch.tensor([[2.0, -1.0]] * 3 + [[1.0, 0.0]] * 3)
    torch.testing.assert_close(middle, expected, atol=0.15, rtol=0)


# --------------------------------------------------------------------------------------------- hiding


@pytest.mark.slow
def test_frames_are_hidden_at_half_the_size_where_motion_is_as_long_as_in_the_task() -> None:
    clip = clip_of(translating((64, 64), 6, (3.0, 1.0)))
    rehearsal = started(clip).rehearsal
    assert rehearsal is not None
    assert rehearsal.field.size == (32, 32)
    assert rehearsal.frames.shape == (6, 3, 32, 32)
    assert rehearsal.field.hidden_rows == {1: 0, 2: 1, 3: 2, 4: 3}
    assert rehearsal.field.motion is not None
    with pytest.raises(IndexError):
        rehearsal.field.motion.curves(4)
    curves = curves_of(rehearsal.field)
    # Twice the way, in pixels twice as large.
    middle = curves.coefficients[:, :2, 3:5, 3:5].mean(dim=(2, 3))
    torch.testing.assert_close(middle, torch.tensor([[3.0, 1.0]]).expand(4, 2), atol=0.15, rtol=0)


@pytest.mark.slow
def test_a_repeat_that_is_left_out_is_not_missing() -> None:
    frames = translating((64, 64), 8, (3.0, 1.0))
    frames[4] = frames[3]
    start = started(clip_of(frames))
    assert len(start.seen) == 7
    assert start.rehearsal is not None
    assert start.rehearsal.field.size == (32, 32)


@pytest.mark.slow
def test_where_a_frame_is_missing_frames_are_hidden_at_full_size() -> None:
    """The gap that it leaves is as long as those that hiding leaves."""
    visible = torch.ones(8, 64, 64, dtype=torch.bool)
    visible[4] = False
    visible[6, :9] = False
    holed = replace(clip_of(translating((64, 64), 8, (3.0, 1.0))), visible=visible)
    member = Member("", holed, replace(Config(), field=DEFAULT), seed=0, like=None, says=False, shows=False)
    rehearsal = member.rehearsal
    assert rehearsal is not None
    assert rehearsal.field.size == (64, 64)
    assert rehearsal.visible is not None
    assert rehearsal.visible.shape == (7, 64, 64)
    assert not rehearsal.visible[5, :9].any()
    task, practice = member.field.motion, rehearsal.field.motion
    assert task is not None
    assert practice is not None
    # The gap from frame 3 to frame 5, and the one that hiding frame 1 leaves.
    gaps = (task.curves(3), practice.curves(0))
    ways = [curves.coefficients[:2, 6:10, 6:10].mean(dim=(1, 2)) for curves in gaps]
    torch.testing.assert_close(ways[0], torch.tensor([6.0, 2.0]), atol=0.15, rtol=0)
    torch.testing.assert_close(ways[0], ways[1], atol=0.15, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(32, 48), (33, 47), (1, 1), (2, 3)])
@pytest.mark.parametrize("deep", [False, True])
def test_the_small_frames_are_means_over_areas(size: tuple[int, int], deep: bool) -> None:
    frames = translating(size, 3)
    rehearsal = started(clip_of(frames if deep else to_uint8(frames))).rehearsal
    assert rehearsal is not None
    # An odd row or column is left out, unless there is no other.
    half = (max(size[0] // 2, 1), max(size[1] // 2, 1))
    assert rehearsal.frames.shape == (3, 3, *half)
    assert rehearsal.frames.dtype == (torch.float32 if deep else torch.uint8)
    assert rehearsal.field.size == half
    torch.testing.assert_close(rehearsal.t, torch.arange(3) / 25)
    if min(size) > 1:
        even = frames[..., : 2 * half[0], : 2 * half[1]]
        means = reduce(even, "n c (h 2) (w 2) -> n c h w", "mean")
        small = to_float(pictures_of(rehearsal.frames))
        torch.testing.assert_close(small, means, atol=1e-6 if deep else 1.01 / 255, rtol=0)


@pytest.mark.parametrize(("frames", "hideable"), [(1, []), (2, []), (3, [1])])
def test_short_clips(frames: int, hideable: list[int]) -> None:
    start = started(clip_of(translating(SIZE, frames)))
    assert gaps_of(start) == frames - 1
    assert hidden_by(start) == hideable


# --------------------------------------------------------------------------------------------- long clips

TINY = (12, 16)
LONG = 200


@pytest.fixture(scope="module")
def long_clip() -> Clip:
    """A picture that goes to and fro, with a cut after 90 frames."""
    offsets = [(0.5 * abs(k % 30 - 15), 0.0) for k in range(LONG)]
    frames = to_uint8(moving(TINY, offsets))
    frames[90:] = 255 - frames[90:].flip(1)
    return clip_of(frames)


@pytest.fixture(scope="module")
def long_start(long_clip: Clip) -> Start:
    return started(long_clip, replace(DEFAULT, detail=DetailConfig(enabled=False)))


@pytest.mark.slow
def test_a_long_clip_is_learnt_from_in_places_that_are_spread_over_it(long_start: Start) -> None:
    assert long_start.rehearsal is not None
    assert long_start.field.timeline.shots == [range(90), range(90, LONG)]
    hidden = hidden_by(long_start)
    assert len(hidden) == 64
    assert hidden[0] == 1
    assert hidden[-1] == LONG - 2
    # 196 can be hidden, all but the ends of the shots.
    assert {later - earlier for earlier, later in pairwise(hidden)} <= {3, 4, 5, 6}
    assert list(long_start.rehearsal.field.hidden_rows) == hidden
    assert len(long_start.rehearsal.checking) == 8
    motion = long_start.rehearsal.field.motion
    assert motion is not None
    with pytest.raises(IndexError):
        motion.curves(64)


def test_of_a_long_clip_only_the_hidden_frames_and_their_neighbours_are_kept(
    long_clip: Clip, long_start: Start
) -> None:
    rehearsal = long_start.rehearsal
    assert rehearsal is not None
    assert tuple(rehearsal.frames.shape) == (LONG, 3, TINY[0] // 2, TINY[1] // 2)
    needed = {near for hidden in hidden_by(long_start) for near in (hidden - 1, hidden, hidden + 1)}
    assert len(needed) < LONG
    for index in range(LONG):
        if index in needed:
            mean = reduce(to_float(long_clip.frames[index]), "c (h 2) (w 2) -> c h w", "mean")
            torch.testing.assert_close(to_float(rehearsal.frames[index]), mean, atol=0.51 / 255, rtol=0)
        else:
            with pytest.raises(KeyError):
                rehearsal.frames[index]
    for hidden in hidden_by(long_start):
        uvt = with_t(pixel_uv(3, 4), float(rehearsal.t[hidden])).reshape(-1, 3)
        assert rehearsal.field(uvt, hide=True).isfinite().all()


@pytest.mark.slow
def test_a_long_clip_answers_as_if_all_its_motion_were_known_beforehand(long_clip: Clip, long_start: Start) -> None:
    field = long_start.field
    perturb(field)
    assert field.colours is not None
    gaps = gaps_between(field.timeline.shots)
    found = list(find_curves(long_clip.frames, field.timeline.t, gaps, field.config.motion.cell, FlowConfig()))
    before = field.at_size(field.colours.frames, Curves(*(torch.cat(grids) for grids in zip(*found, strict=True))))
    # Here and there and back again.
    for t in (7.99, 0.01, 3.59, 3.61, 0.01):
        points = with_t(pixel_uv(*TINY), t).reshape(-1, 3)
        with torch.no_grad():
            assert torch.equal(field(points), before(points))
            assert torch.equal(field.inspect(points).velocity, before.inspect(points).velocity)


@pytest.mark.parametrize(("most", "hidden"), [(5, [1, 7, 14, 21, 27]), (1, [1]), (0, [1]), (1000, list(range(1, 28)))])
def test_memory_bounds_how_many_frames_are_hidden(
    most: int, hidden: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two neighbours' spline coefficients, at half the size.
    monkeypatch.setattr(module, "_MOST_HIDDEN_BYTES", most * 2 * 3 * (TINY[0] // 2) * (TINY[1] // 2) * 4)
    config = FieldConfig(motion=MotionConfig(enabled=False), detail=DetailConfig(enabled=False))
    assert hidden_by(started(clip_of(translating(TINY, 29, (0.5, 0.0))), config)) == hidden


def test_what_a_look_through_the_clip_has_found_is_believed() -> None:
    clip = clip_of(translating(SIZE, 8))
    scan = Scan([range(3), range(3, 8)], [5])
    start = start_field(clip, DEFAULT, FlowConfig(), 0, rehearse=False, scan=scan)
    assert start.field.timeline.shots == [range(3), range(3, 7)]
    assert start.seen.pts_seconds == clip.select([0, 1, 2, 3, 4, 6, 7]).pts_seconds


# --------------------------------------------------------------------------------------------- detail


@pytest.mark.slow
def test_what_is_seen_of_small_frames_is_along_their_own_motion() -> None:
    start = started(clip_of(translating((64, 64), 6, (3.0, -1.0))))
    assert start.enlarging is not None
    # The phases of the next frame (the second neighbour): 1.5 and -0.5 small pixels away are half a turn each.
    cosines, sines = start.enlarging.evidence[2, 15 + 17 + 12 : 15 + 17 + 16].float().split(2)
    assert cosines[:, 8:-8, 8:-8].mean() < -0.45
    assert sines[:, 8:-8, 8:-8].mean().abs() < 0.1


def test_a_stride_leaves_detail_to_the_keyframes() -> None:
    start = started(clip_of(translating(SIZE, 6)), strided(2))
    assert start.rehearsal is None
    assert start.enlarging is not None
    assert len(start.enlarging.evidence) == 4


def test_where_nothing_will_be_learnt_nothing_is_prepared() -> None:
    start = start_field(clip_of(translating(SIZE, 4)), DEFAULT, FlowConfig(), 0, rehearse=False)
    assert start.rehearsal is None
    assert start.enlarging is None


# --------------------------------------------------------------------------------------------- without motion


@pytest.mark.parametrize(
    "config",
    [
        FieldConfig(motion=MotionConfig(enabled=False)),
        FieldConfig(local=LocalConfig(colours=False, levels=())),
    ],
)
def test_without_motion_no_flow_is_asked_for(config: FieldConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Tensor:
        raise AssertionError("a flow was asked for")

    monkeypatch.setattr(tracks, "dense_flow", never)
    start = started(clip_of(translating(SIZE, 4)), config)
    assert start.field.motion is None
    # Fading from one neighbour to the other is a task too; without anything local there is nothing to hide.
    assert hidden_by(start) == ([1, 2] if config.has_local else [])
    assert start.rehearsal is None or start.rehearsal.field.motion is None


def test_progress_sees_every_place_to_learn_from() -> None:
    seen = []

    def counting(places: Iterable[Any], total: int) -> Iterable[Any]:
        for place in places:
            seen.append(total)
            yield place

    start_field(clip_of(translating(SIZE, 5)), FieldConfig(), FlowConfig(), 0, counting)
    # Three frames can be hidden, and five small ones enlarged.
    assert seen == [3] * 3 + [5] * 5


def test_the_cell_of_the_curves_is_the_configured_one() -> None:
    config = replace(DEFAULT, motion=MotionConfig(cell=10))
    curves = curves_of(started(clip_of(moving(SIZE, [(0, 0), (1, 0)])), config).field)
    assert curves.coefficients.shape == (1, 6, 4, 5)


@pytest.mark.slow
def test_a_real_clip_starts_better_than_fading(demo_clip: Path) -> None:
    clip = read_clip(demo_clip, max_frames=5, size=(180, 320))
    moved, faded = (started(clip, FieldConfig(motion=MotionConfig(enabled=enabled))).field for enabled in (True, False))
    uvt = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 1, 4 / 25])
    assert moved.disagreement(uvt).square().mean() < 0.7 * faded.disagreement(uvt).square().mean()


def test_starting_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    started(clip_of(translating(SIZE, 4)))
    assert torch.equal(torch.random.get_rng_state(), before)
