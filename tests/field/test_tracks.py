"""Starting curves: known trajectories are found again, however their frames are spaced."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from inspect import getgeneratorlocals
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from einops import reduce
from scenes import crossing, moving, picture, translating, with_cut
from torch import Tensor

from vfield.core.clip import to_float, to_uint8
from vfield.core.coords import pixel_uv, uv_to_xy
from vfield.core.frames import Frames, MadeFrames
from vfield.core.splines import sample_bilinear, sample_grid
from vfield.field.motion import COMMON_EVIDENCE, EVIDENCE_CHANNELS, SIDE_EVIDENCE, Curves, displacement
from vfield.field.timeline import Gap, gaps_between, gaps_hiding
from vfield.field.tracks import AskedCurves, FlowStore, _gap_curves, _Grid, _outer, find_curves
from vfield.prepare.flow import FlowConfig
from vfield.video_io import read_clip

SIZE = (64, 80)
CELL = 4
POINTS = pixel_uv(9, 9, region=(0.25, 0.25, 0.75, 0.75)).reshape(-1, 2)

# Where evidence has what it tells: how much both sides disagree, then of each side what it tells of itself.
MISMATCHES = [0, 1, 2, 3]
LEFT, RIGHT = COMMON_EVIDENCE, COMMON_EVIDENCE + SIDE_EVIDENCE
ALONE, ALONG, UNSETTLED, TURN = 0, 1, 3, 6


def curves_of(frames: Tensor, gap: Gap, t: Sequence[float] | None = None, cell: int = CELL) -> Curves:
    times = torch.tensor(list(t) if t else [k / 25 for k in range(len(frames))])
    (found,) = find_curves(frames, times, [gap], cell, FlowConfig())
    return found


def read(found: Curves, margin: float = 0.25) -> Tensor:
    """The curves (n, 6) at points of the interior."""
    uv = pixel_uv(9, 9, region=(margin, margin, 1 - margin, 1 - margin)).reshape(-1, 2)
    return sample_grid(found.coefficients[0], uv_to_xy(uv, *found.coefficients.shape[-2:]))


def know(store: FlowStore, source: int, target: int, flow: Tensor) -> None:
    """Give a store a flow that is known exactly."""
    store._flows.get((source, target), 8, lambda: flow)


def assert_all_near(values: Tensor, expected: tuple[float, float], tolerance: float) -> None:
    torch.testing.assert_close(values, torch.tensor(expected).expand_as(values), atol=tolerance, rtol=0)


# --------------------------------------------------------------------------------------------- trajectories


@pytest.mark.parametrize("step", [(0.0, 0.0), (1.5, -0.7), (-4.0, 3.0)])
def test_a_translation_is_found_and_is_straight(step: tuple[float, float]) -> None:
    curve = read(curves_of(translating(SIZE, 4, step), Gap(1, 2, 0, 3)))
    assert_all_near(curve[:, :2], step, 0.15)
    assert_all_near(curve[:, 2:4], (0.0, 0.0), 0.15)
    assert_all_near(curve[:, 4:], (0.0, 0.0), 0.15)


def test_a_steady_acceleration_is_the_bend() -> None:
    # x(k) = v k + a k² / 2: across the gap from 1 to 2 the velocity is v + 1.5 a, and the bend is a / 2.
    velocity, acceleration = (1.0, -2.0), (2.0, 1.0)
    path = [tuple(v * k + a * k**2 / 2 for v, a in zip(velocity, acceleration, strict=True)) for k in range(4)]
    curve = read(curves_of(moving(SIZE, [(x, y) for x, y in path]), Gap(1, 2, 0, 3)))
    assert_all_near(curve[:, :2], (4.0, -0.5), 0.15)
    assert_all_near(curve[:, 2:4], (1.0, 0.5), 0.15)
    assert_all_near(curve[:, 4:], (0.0, 0.0), 0.15)


@pytest.mark.parametrize(("before", "after"), [(0, None), (None, 3)])
def test_one_outer_frame_makes_a_parabola(before: int | None, after: int | None) -> None:
    frames = moving(SIZE, [(k + k**2, 0.0) for k in range(4)])
    curve = read(curves_of(frames, Gap(1, 2, before, after)))
    assert_all_near(curve[:, :2], (4.0, 0.0), 0.15)
    assert_all_near(curve[:, 2:4], (1.0, 0.0), 0.2)
    assert (curve[:, 4:] == 0).all()


def test_without_outer_frames_motion_is_straight() -> None:
    curve = read(curves_of(translating(SIZE, 2), Gap(0, 1, None, None)))
    assert_all_near(curve[:, :2], (2.0, -1.0), 0.15)
    assert curve[:, 2:].abs().max() < 1e-6


def test_gaps_across_a_hidden_frame_have_twice_the_velocity() -> None:
    frames = moving(SIZE, [(k + 0.2 * k**2, -0.5 * k) for k in range(7)])
    gap = gaps_hiding([range(7)])[3]
    assert (gap.before, gap.after) == (0, 6)
    curve = read(curves_of(frames, gap))
    # From 2 to 4: 2 + 0.2 (16 - 4) pixels; in units of a gap of two the acceleration counts four times.
    assert_all_near(curve[:, :2], (4.4, -1.0), 0.15)
    assert_all_near(curve[:, 2:4], (0.8, 0.0), 0.2)


def test_uneven_frames_of_one_trajectory_lie_on_the_same_path() -> None:
    def position(t: float) -> tuple[float, float]:
        return 60 * t + 500 * t**2, -40 * t + 1500 * t**3

    for times in ([0.0, 0.04, 0.08, 0.12], [0.0, 0.02, 0.08, 0.1], [0.03, 0.04, 0.07, 0.15]):
        frames = moving(SIZE, [position(t) for t in times])
        curve = read(curves_of(frames, Gap(1, 2, 0, 3), times))
        left, right = times[1], times[2]
        for t in (0.045, 0.06, 0.065):
            tau = torch.full((len(curve), 1), (t - left) / (right - left) - 0.5)
            found = displacement(curve, tau) - displacement(curve, torch.full_like(tau, -0.5))
            expected = tuple(here - there for here, there in zip(position(t), position(left), strict=True))
            assert_all_near(found, (expected[0], expected[1]), 0.15)


@pytest.mark.parametrize("times", [[0.0, 1.0, 2.0, 3.0], [0.0, 0.4, 1.9, 2.3], [0.0, 2.0, 2.5, 7.0]])
@pytest.mark.parametrize("outer", [(0, 3), (0, None), (None, 3), (None, None)])
def test_bend_and_twist_are_the_polynomial_through_all_positions(
    times: list[float], outer: tuple[int | None, int | None]
) -> None:
    """Against numpy's polynomial fit, with flows that are known exactly."""
    height, width = 6, 7
    positions = torch.tensor([[0.0, 1.0], [2.5, -1.0], [3.0, 4.0], [9.0, 2.0]])
    store = FlowStore(torch.zeros(4, 3, height, width), FlowConfig())
    for inner, beyond in ((1, 0), (2, 3)):
        flow = positions[beyond] - positions[inner]
        know(store, inner, beyond, flow[:, None, None].expand(2, height, width))
    xy = uv_to_xy(pixel_uv(height, width).reshape(-1, 2), height, width)
    velocity = (positions[2] - positions[1]).expand(len(xy), 2)
    grid = _Grid(xy, height, width, height, width)
    bend, twist, seen = _outer(
        store, torch.tensor(times), Gap(1, 2, *outer), grid, velocity, xy - velocity / 2, xy + velocity / 2
    )
    known = [k for k in (outer[0], 1, 2, outer[1]) if k is not None]
    tau = [(times[k] - times[1]) / (times[2] - times[1]) - 0.5 for k in known]
    for axis in range(2):
        highest_first = np.polyfit(tau, positions[known, axis].numpy(), len(known) - 1)
        _, linear, square, cube = [*reversed(highest_first), 0.0, 0.0][:4]
        found = torch.stack([velocity[:, axis] - twist[:, axis] / 4, bend[:, axis], twist[:, axis]], dim=-1)
        expected = torch.tensor([linear, square, cube], dtype=torch.float32)
        torch.testing.assert_close(found, expected.expand_as(found), atol=1e-4, rtol=0)
    assert [side is None for side in seen] == [frame is None for frame in outer]


def test_flows_of_the_frames_are_carried_to_the_middle_of_the_gap() -> None:
    """A zoom with flows known exactly: x -> c + (1 + s)(x - c), so v(p) = s (p - c) / (1 + s / 2) half-way."""
    rate = 0.2
    offset = (uv_to_xy(pixel_uv(*SIZE), *SIZE) - torch.tensor([39.5, 31.5])).permute(2, 0, 1)
    store = FlowStore(torch.zeros(2, 3, *SIZE), FlowConfig())
    know(store, 0, 1, rate * offset)
    know(store, 1, 0, -rate / (1 + rate) * offset)
    found = _gap_curves(store, torch.tensor([0.0, 1.0]), Gap(0, 1, None, None), CELL, True)
    uv = pixel_uv(9, 9, region=(0.25, 0.25, 0.75, 0.75)).reshape(-1, 2)
    expected = rate / (1 + rate / 2) * (uv_to_xy(uv, *SIZE) - torch.tensor([39.5, 31.5]))
    torch.testing.assert_close(read(found)[:, :2], expected, atol=1e-2, rtol=0)
    # The two flows are each other's inverse, so going there and back again ends where it began.
    assert found.evidence[0, [LEFT + TURN, RIGHT + TURN], 4:-4, 5:-5].max() < 1e-2


# --------------------------------------------------------------------------------------------- each side alone

# A square moves by STEP pixels a frame, and at the middle of the gap from frame 1 to 2 its left edge is at MIDDLE.
SCENE, SIDE, TOP = (64, 112), 32, 16
STEP, MIDDLE = 10, 45


def square_at(direction: int) -> list[int]:
    """Left edges in the four frames."""
    return [MIDDLE + direction * STEP * (2 * k - 3) // 2 for k in range(4)]


def strips(direction: int) -> tuple[slice, slice]:
    """Columns, at the middle, of what the square has uncovered behind it and will cover before it; 2 px cells."""
    edges = (MIDDLE - STEP // 2, MIDDLE), (MIDDLE + SIDE, MIDDLE + SIDE + STEP // 2)
    columns = [slice((first + 1) // 2 + 1, last // 2) for first, last in edges]  # a pixel away from the edges
    return (columns[0], columns[1]) if direction == 1 else (columns[1], columns[0])


ROWS = slice((TOP + 6) // 2, (TOP + SIDE - 6) // 2)


def with_exact_flows(direction: int) -> Curves:
    """Curves of the moving square with flows that know it to the pixel."""
    lefts = square_at(direction)
    store = FlowStore(crossing(SCENE, lefts, SIDE, TOP), FlowConfig())
    for source, target in ((1, 0), (1, 2), (2, 1), (2, 3)):
        flow = torch.zeros(2, *SCENE)
        flow[0, TOP : TOP + SIDE, lefts[source] : lefts[source] + SIDE] = lefts[target] - lefts[source]
        know(store, source, target, flow)
    return _gap_curves(store, torch.arange(4) / 25, Gap(1, 2, 0, 3), 2, True)


def pixels_unsettled(found: Curves, side: int) -> Tensor:
    return found.evidence[0, side + UNSETTLED].float().expm1() / 3


@pytest.mark.slow
@pytest.mark.parametrize("direction", [1, -1])
def test_what_is_seen_on_one_side_alone_moves_as_that_side_says(direction: int) -> None:
    found = with_exact_flows(direction)
    left, right = found.lone[0, :2], found.lone[0, 2:]
    uncovered, covered = strips(direction)
    middle = slice((MIDDLE + 8) // 2, (MIDDLE + SIDE - 8) // 2)
    # The background stands still, and the square is seen on both sides.
    for lone, columns in ((right, uncovered), (left, covered)):
        assert lone[:, ROWS, columns].numel() > 0
        assert (lone[:, ROWS, columns] == 0).all()
    for lone in (left, right):
        expected = torch.tensor([direction * STEP, 0.0])[:, None, None].expand_as(lone[:, ROWS, middle])
        torch.testing.assert_close(lone[:, ROWS, middle], expected, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("direction", [1, -1])
def test_where_no_point_of_a_side_arrives_is_a_hole_that_does_not_settle(direction: int) -> None:
    found = with_exact_flows(direction)
    left, right = pixels_unsettled(found, LEFT), pixels_unsettled(found, RIGHT)
    uncovered, covered = strips(direction)
    for hole, seen, columns in ((left, right, uncovered), (right, left, covered)):
        torch.testing.assert_close(hole[ROWS, columns], torch.full_like(hole[ROWS, columns], STEP), atol=0.1, rtol=0)
        assert (seen[ROWS, columns] == 0).all()
    # Nowhere else is there one.
    for hole, columns in ((left, uncovered), (right, covered)):
        outside = torch.ones(hole.shape[1], dtype=torch.bool)
        outside[columns.start - 2 : columns.stop + 2] = False
        assert hole[:, outside].max() < 1e-3


@pytest.mark.slow
def test_no_side_is_settled_without_frames_beyond_it() -> None:
    frames = crossing(SCENE, square_at(1), SIDE, TOP)
    for before, after in ((None, None), (0, None), (None, 3)):
        found = curves_of(frames, Gap(1, 2, before, after), cell=2)
        for side, beyond in ((LEFT, before), (RIGHT, after)):
            unsettled = pixels_unsettled(found, side)
            assert ((unsettled - 20).abs() < 0.1).all() if beyond is None else unsettled.min() < 1e-3
        velocity = read(found)[:, :2]
        for lone, beyond in ((found.lone[0, :2], before), (found.lone[0, 2:], after)):
            if beyond is None:
                # It has nothing of its own to say, and repeats what both say.
                own = sample_bilinear(lone, uv_to_xy(POINTS, *lone.shape[-2:]))
                assert (own - velocity).norm(dim=-1).median() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("direction", [1, -1])
def test_the_background_behind_a_real_flow_is_known_from_the_side_that_sees_it(direction: int) -> None:
    found = curves_of(crossing(SCENE, square_at(direction), SIDE, TOP), Gap(1, 2, 0, 3), cell=2)
    uncovered, covered = strips(direction)
    rows = slice((TOP + 8) // 2, (TOP + SIDE - 8) // 2)
    for mine, side, columns in ((found.lone[0, 2:], RIGHT, uncovered), (found.lone[0, :2], LEFT, covered)):
        assert mine[:, rows, columns].norm(dim=0).max() < 0.15 * STEP
        assert pixels_unsettled(found, side)[rows, columns].max() < 0.01
    # Flows carry the square's motion some pixels out of it, so the holes lie a little further out than the strips.
    for side, columns in ((LEFT, uncovered), (RIGHT, covered)):
        around = slice(columns.start - 8, columns.stop + 8)
        assert pixels_unsettled(found, side)[rows, around].amax(dim=1).mean() > 0.3 * STEP


def test_what_one_side_knows_is_spread_over_the_gap_by_time() -> None:
    """Frames beyond at another distance in time: velocities are counted in gaps."""
    times = [0.0, 0.08, 0.12, 0.14]
    found = curves_of(moving(SIZE, [(50 * t, -25 * t) for t in times]), Gap(1, 2, 0, 3), times)
    for lone in (found.lone[0, :2], found.lone[0, 2:]):
        assert_all_near(sample_bilinear(lone, uv_to_xy(POINTS, *lone.shape[-2:])), (2.0, -1.0), 0.2)


# --------------------------------------------------------------------------------------------- evidence


def test_evidence_is_low_where_all_frames_agree_and_high_where_one_does_not() -> None:
    frames = translating(SIZE, 4, (2.0, 0.0))
    clean = curves_of(frames, Gap(1, 2, 0, 3)).evidence[0].float()
    spoilt = frames.clone()
    spoilt[2, :, 20:44, 30:54] = 1 - picture(SIZE, seed=9)[:, 20:44, 30:54]
    dirty = curves_of(spoilt, Gap(1, 2, 0, 3)).evidence[0].float()
    # Cells of 4 pixels: the middle of the spoilt square.
    middle = (slice(None), slice(7, 9), slice(9, 12))
    told = [*MISMATCHES, *(side + clue for side in (LEFT, RIGHT) for clue in range(SIDE_EVIDENCE))]
    assert clean[told, 3:-3, 3:-3].max() < 1.2
    assert clean[told, 3:-3, 3:-3].mean() < 0.3
    assert (dirty[middle][MISMATCHES] > clean[middle][MISMATCHES] + 1.5).all()
    # The right frame is the one that does not go with the frame beyond it.
    assert (dirty[RIGHT + ALONE] > dirty[LEFT + ALONE] + 1).float()[middle[1:]].mean() > 0.8
    assert (dirty[LEFT + ALONE][middle[1:]] < 1.2).all()


@pytest.mark.slow
def test_evidence_of_a_clip_and_its_reverse_are_each_others() -> None:
    frames = crossing(SCENE, square_at(1), SIDE, TOP)
    there = curves_of(frames, Gap(1, 2, 0, 3), cell=2)
    back = curves_of(frames.flip(0), Gap(1, 2, 0, 3), cell=2)
    common, left, right = there.evidence[0].float().split([LEFT, SIDE_EVIDENCE, SIDE_EVIDENCE])
    torch.testing.assert_close(back.evidence[0].float(), torch.cat([common, right, left]), atol=0.02, rtol=0)
    torch.testing.assert_close(back.lone[0], -there.lone[0].roll(2, dims=0), atol=1e-2, rtol=0)


def test_evidence_without_outer_frames_falls_back_to_the_agreement_of_the_two() -> None:
    evidence = curves_of(translating(SIZE, 2), Gap(0, 1, None, None)).evidence[0]
    for side in (LEFT, RIGHT):
        assert torch.equal(evidence[side + ALONE], evidence[side + ALONG])
    assert torch.equal(evidence[LEFT + ALONE], evidence[RIGHT + ALONE])


@pytest.mark.slow
def test_evidence_of_a_real_clip_is_about_0_to_6(demo_clip: Path) -> None:
    clip = read_clip(demo_clip, max_frames=5, size=(90, 160))
    times = torch.arange(5) / 25
    for found in find_curves(clip.frames, times, gaps_between([range(5)]), CELL, FlowConfig()):
        assert all(part.isfinite().all() for part in found)
        assert found.evidence.dtype == torch.float16
        assert found.evidence.min() >= 0
        assert found.evidence.max() < 6.5
        assert found.evidence.float().mean() < 2


# --------------------------------------------------------------------------------------------- sizes and memory


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8, 8), (33, 17), (1, 1), (5, 40)])
@pytest.mark.parametrize("cell", [1, 4, 16])
def test_any_size_has_curves_of_cells_rounded_up(size: tuple[int, int], cell: int) -> None:
    found = curves_of(translating(size, 4, (0.5, 0.25)), Gap(1, 2, 0, 3), cell=cell)
    rows, columns = -(-size[0] // cell), -(-size[1] // cell)
    assert found.coefficients.shape == (1, 6, rows, columns)
    assert found.lone.shape == (1, 4, rows, columns)
    assert found.evidence.shape == (1, EVIDENCE_CHANNELS, rows, columns)
    assert all(part.isfinite().all() for part in found)
    for part, empty in zip(found, Curves.empty(rows, columns), strict=True):
        assert (part.shape[1:], part.dtype) == (empty.shape[1:], empty.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("hiding", [False, True])
def test_flows_are_forgotten_as_gaps_pass(hiding: bool) -> None:
    shots = [range(8), range(8, 14)]
    gaps = list(gaps_hiding(shots).values()) if hiding else gaps_between(shots)
    finding = find_curves(translating((16, 16), 14, (0.5, 0.0)), torch.arange(14) / 25, gaps, CELL, FlowConfig())
    held = []
    for _ in finding:
        held.append(len(getgeneratorlocals(finding)["store"]._flows))  # type: ignore[arg-type]
    assert len(held) == len(gaps)
    assert max(held) <= 8


def test_a_flow_is_made_once_and_forgotten_after_enough_others() -> None:
    store = FlowStore(translating((16, 16), 10), FlowConfig())
    first = store.between(0, 1)
    assert store.between(0, 1) is first
    for frame in range(1, 9):
        store.between(frame, frame + 1)
    assert store.between(0, 1) is not first
    torch.testing.assert_close(store.between(0, 1), first)


@pytest.mark.parametrize("size", [(8, 10), (7, 5), (1, 1)])
def test_a_frame_at_half_its_size_is_the_mean_over_areas(size: tuple[int, int]) -> None:
    frames = to_uint8(translating(size, 2))
    half = FlowStore(frames, FlowConfig()).half(1)
    rows, columns = -(-size[0] // 2), -(-size[1] // 2)
    assert half.shape == (3, rows, columns)
    torch.testing.assert_close(half.mean(dim=(1, 2)), to_float(frames[1]).mean(dim=(1, 2)), atol=0.05, rtol=0)
    if size == (8, 10):
        torch.testing.assert_close(half, reduce(to_float(frames[1]), "c (h 2) (w 2) -> c h w", "mean"))


# --------------------------------------------------------------------------------------------- when they are asked for

SHOTS = [range(5), range(5, 9)]
GAPS = gaps_between(SHOTS)
TIMES = torch.arange(9) / 25


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return with_cut((16, 24), 5, 4)


@pytest.fixture(scope="module")
def expected(clip: Tensor) -> list[Curves]:
    """What is found one after the other."""
    return list(find_curves(clip, TIMES, GAPS, CELL, FlowConfig()))


def asked(frames: Frames, kept_bytes: int = 1 << 20, views: bool = True) -> AskedCurves:
    return AskedCurves(frames, TIMES, GAPS, CELL, FlowConfig(), views=views, kept_bytes=kept_bytes)


def assert_same(found: Curves, expected: Curves) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs[0])


@pytest.mark.slow
@pytest.mark.parametrize("order", [range(7), range(6, -1, -1), [3, 3, 0, 6, 1, 5, 2, 0, 4, 6]])
@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_curves_that_are_asked_for_are_those_that_are_found(
    clip: Tensor, expected: list[Curves], order: Sequence[int], kept: int
) -> None:
    curves = asked(clip, kept)
    assert len(curves) == len(expected) == 7
    for number in order:
        assert_same(curves.gap(number), expected[number])


def test_what_only_views_need_is_left_out_of_asked_curves_too(clip: Tensor) -> None:
    found = asked(clip, views=False).gap(2)
    assert not found.lone.any()
    assert not found.evidence.any()
    assert found.coefficients.any()


def test_nothing_is_read_before_it_is_asked_for_and_then_only_what_is_near(clip: Tensor) -> None:
    read = set[int]()

    def frame(index: int) -> Tensor:
        read.add(index)
        return clip[index]

    curves = asked(MadeFrames(tuple(clip.shape), clip.dtype, frame))
    assert not read
    curves.gap(5)
    assert read == {5, 6, 7, 8}


def test_curves_are_kept_within_their_bound_of_memory(clip: Tensor, expected: list[Curves]) -> None:
    one = sum(part.numel() * part.element_size() for part in expected[0])
    curves = asked(clip, 3 * one)
    first = curves.gap(0)
    for number in (1, 2):
        curves.gap(number)
    assert curves.gap(0) is first
    kept = []
    for number in range(1, 7):
        curves.gap(number)
        kept.append(len(curves._found))
    assert max(kept) == 3
    assert curves.gap(0) is not first
    assert_same(curves.gap(0), expected[0])


@pytest.mark.slow
def test_curves_may_be_asked_for_from_two_threads(clip: Tensor, expected: list[Curves]) -> None:
    """One finds the next gap's curves while another reads this one's, and none is found twice."""
    flows = list[int]()

    def frame(index: int) -> Tensor:
        flows.append(index)
        return clip[index]

    alone = asked(MadeFrames(tuple(clip.shape), clip.dtype, frame))
    for number in range(7):
        alone.gap(number)
    once = sorted(flows)
    flows.clear()
    shared = asked(MadeFrames(tuple(clip.shape), clip.dtype, frame))
    start = Barrier(2)

    def ask(_: int) -> list[Curves]:
        start.wait()
        return [shared.gap(number) for number in range(7)]

    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(ask, range(2)))
    for found in both:
        for ours, theirs in zip(found, expected, strict=True):
            assert_same(ours, theirs)
    assert all(ours is theirs for ours, theirs in zip(*both, strict=True))
    assert sorted(flows) == once


def test_curves_asked_for_in_inference_mode_may_be_learnt_with(clip: Tensor) -> None:
    with torch.inference_mode():
        found = asked(clip).gap(0)
    assert not any(part.is_inference() for part in found)
