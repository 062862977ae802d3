"""The motion field: cubics in closed form, tracing against the curve itself, gradients against finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scenes import perturb
from torch import Tensor

from vfield.core.coords import pixel_uv, uv_to_xy, xy_to_uv
from vfield.core.errors import UserError
from vfield.core.splines import sample_grid, spline_coefficients
from vfield.field.motion import (
    EVIDENCE_CHANNELS,
    LONE_CHANNELS,
    Curves,
    Match,
    MotionConfig,
    MotionField,
    Visibility,
    displacement,
    split_evidence,
)

SIZE = (40, 56)
GRID = (10, 14)
DEFAULT = MotionConfig()
VELOCITY, BEND, TWIST = (3.0, -2.0), (1.6, 0.8), (0.9, -0.5)
LONE = (1.0, 2.0, -4.0, 0.5)  # from the left, then from the right, x and y each


def curves_from(coefficients: Tensor, lone: Tensor | None = None, evidence: Tensor | None = None) -> Curves:
    """Curves of these coefficients (g, 6, h, w), and nothing where nothing is given."""
    gaps = len(coefficients)
    return Curves(
        coefficients,
        torch.zeros(gaps, LONE_CHANNELS, *GRID) if lone is None else lone,
        torch.zeros(gaps, EVIDENCE_CHANNELS, *GRID, dtype=torch.float16) if evidence is None else evidence,
    )


def constant_curves(
    velocity: tuple[float, float] = VELOCITY,
    bend: tuple[float, float] = (0.0, 0.0),
    twist: tuple[float, float] = (0.0, 0.0),
    lone: tuple[float, ...] = LONE,
    gaps: int = 2,
) -> Curves:
    """The same curve everywhere: the spline coefficients of a constant are that constant."""

    def everywhere(values: Tensor) -> Tensor:
        return values[None, :, None, None].expand(gaps, len(values), *GRID).contiguous()

    return Curves(
        everywhere(torch.tensor([*velocity, *bend, *twist])),
        everywhere(torch.tensor(lone)),
        everywhere(torch.linspace(0.1, 0.9, EVIDENCE_CHANNELS).half()),
    )


def motion(curves: Curves, config: MotionConfig = DEFAULT) -> MotionField:
    return MotionField(config, curves, *SIZE)


def inner_points(count: int = 50) -> Tensor:
    return 0.3 + 0.4 * torch.rand(count, 2, generator=torch.Generator().manual_seed(0))


def moves(match: Match, uv: Tensor) -> tuple[Tensor, Tensor]:
    """How far left and right positions lie from the query, in pixels."""
    scale = torch.tensor([SIZE[1], SIZE[0]])
    return (match.left_uv - uv) * scale, (match.right_uv - uv) * scale


def at(alpha: float, uv: Tensor) -> Tensor:
    return torch.full((len(uv),), alpha, dtype=uv.dtype)


def random_curve(count: int = 20) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def tau(value: float, count: int = 20) -> Tensor:
    return torch.full((count, 1), value, dtype=torch.float64)


# --------------------------------------------------------------------------------------------- the cubic


def test_the_middle_of_the_gap_is_where_the_curve_is_anchored() -> None:
    assert torch.equal(displacement(random_curve(), tau(0.0)), torch.zeros(20, 2, dtype=torch.float64))


@pytest.mark.parametrize("end", [-0.5, 0.5])
def test_the_twist_vanishes_at_both_keyframes(end: float) -> None:
    curve = random_curve()
    untwisted = torch.cat([curve[:, :4], torch.zeros(20, 2)], dim=-1)
    torch.testing.assert_close(displacement(curve, tau(end)), displacement(untwisted, tau(end)))
    assert (displacement(curve, tau(0.3)) - displacement(untwisted, tau(0.3))).abs().min() > 1e-4


def test_the_ends_of_a_curve_are_velocity_apart_and_a_quarter_of_the_bend_off() -> None:
    curve = random_curve()
    left, right = displacement(curve, tau(-0.5)), displacement(curve, tau(0.5))
    torch.testing.assert_close(right - left, curve[:, :2])
    torch.testing.assert_close((left + right) / 2, curve[:, 2:4] / 4)


def test_a_curve_is_the_polynomial_of_its_coefficients() -> None:
    curve = torch.tensor([[1.0, 0.0, 2.0, 0.0, 8.0, 0.0]])
    out = displacement(curve, torch.tensor([[0.25]]))
    torch.testing.assert_close(out, torch.tensor([[0.25 + 2 / 16 + 8 * (1 / 64 - 1 / 16), 0.0]]))


# --------------------------------------------------------------------------------------------- matching


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_a_translation_is_shared_out_by_the_instant(alpha: float) -> None:
    uv = inner_points()
    left, right = moves(motion(constant_curves()).match(1, uv, at(alpha, uv)), uv)
    velocity = torch.tensor(VELOCITY).expand(len(uv), 2)
    torch.testing.assert_close(left, -alpha * velocity, atol=1e-4, rtol=0)
    torch.testing.assert_close(right, (1 - alpha) * velocity, atol=1e-4, rtol=0)


def test_at_a_keyframe_its_own_position_is_the_query() -> None:
    field = motion(constant_curves(bend=BEND, twist=TWIST))
    uv = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(field.match(0, uv, at(0.0, uv)).left_uv, uv, atol=1e-6, rtol=0)
    torch.testing.assert_close(field.match(0, uv, at(1.0, uv)).right_uv, uv, atol=1e-6, rtol=0)


def test_a_bend_moves_both_ends_by_a_quarter_of_it() -> None:
    uv = inner_points()
    straight = motion(constant_curves()).match(0, uv, at(0.5, uv))
    bent = motion(constant_curves(bend=BEND, twist=TWIST)).match(0, uv, at(0.5, uv))
    quarter = torch.tensor(BEND).expand(len(uv), 2) / 4
    for before, after in zip(moves(straight, uv), moves(bent, uv), strict=True):
        torch.testing.assert_close(after - before, quarter, atol=1e-4, rtol=0)


@pytest.mark.parametrize("alpha", [0.1, 0.35, 0.8])
def test_matches_are_the_ends_of_the_curve_through_the_query(alpha: float) -> None:
    uv = inner_points()
    left, right = moves(motion(constant_curves(bend=BEND, twist=TWIST)).match(0, uv, at(alpha, uv)), uv)
    v, a, j = (torch.tensor(part) for part in (VELOCITY, BEND, TWIST))

    def path(s: float) -> Tensor:
        return v * s + a * s**2 + j * (s**3 - s / 4)

    torch.testing.assert_close(left, (path(-0.5) - path(alpha - 0.5)).expand(len(uv), 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(right, (path(0.5) - path(alpha - 0.5)).expand(len(uv), 2), atol=1e-4, rtol=0)


def test_a_zoom_is_traced_back_to_where_its_curves_are_kept() -> None:
    centre, rate = torch.tensor([27.5, 19.5]), 0.06
    xy = uv_to_xy(pixel_uv(*GRID), *SIZE)
    samples = torch.cat([(rate * (xy - centre)).permute(2, 0, 1), torch.zeros(4, *GRID)])
    field = motion(curves_from(spline_coefficients(samples)[None]))
    uv = inner_points()
    for alpha in (0.0, 0.25, 0.9):
        # A point keeps its direction from the centre, and its distance grows linearly with time.
        anchor = (uv_to_xy(uv, *SIZE) - centre) / (1 + rate * (alpha - 0.5))
        match = field.match(0, uv, at(alpha, uv))
        for found, s in ((match.left_uv, -0.5), (match.right_uv, 0.5)):
            expected = xy_to_uv(centre + anchor * (1 + rate * s), *SIZE)
            torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)


def varied_curves() -> Curves:
    """Smooth curves that differ from place to place."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.nn.functional.interpolate(
        torch.randn(1, 6, 3, 4, generator=generator) * 3, size=GRID, mode="bicubic", align_corners=False
    )
    lone = torch.nn.functional.interpolate(
        torch.randn(1, LONE_CHANNELS, 3, 4, generator=generator), size=GRID, mode="bicubic", align_corners=False
    )
    return curves_from(spline_coefficients(samples), lone)


def test_every_instant_of_one_trajectory_leads_to_the_same_ends() -> None:
    curves = varied_curves()
    field = motion(curves)
    p = inner_points()
    curve = sample_grid(curves.coefficients[0], uv_to_xy(p, *GRID))
    ends = field.match(0, p, at(0.5, p))
    for alpha in (0.25, 0.75):
        s = torch.full((len(p), 1), alpha - 0.5)
        there = xy_to_uv(uv_to_xy(p, *SIZE) + displacement(curve, s), *SIZE)
        match = field.match(0, there, at(alpha, there))
        for found, expected in ((match.left_uv, ends.left_uv), (match.right_uv, ends.right_uv)):
            assert (found - expected).abs().max() * SIZE[1] < 0.05


def test_instants_can_be_mixed() -> None:
    field = motion(varied_curves())
    uv = inner_points()
    alpha = torch.linspace(0, 1, 5).repeat(10)
    together = field.match(0, uv, alpha)
    for instant in alpha.unique():
        chosen = alpha == instant
        alone = field.match(0, uv[chosen], alpha[chosen])
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[chosen], b, atol=1e-5, rtol=0)


def test_evidence_is_read_where_the_curve_is_anchored() -> None:
    ramp = torch.linspace(0, 1, GRID[1]).expand(1, EVIDENCE_CHANNELS, *GRID)
    field = motion(curves_from(constant_curves(velocity=(8.0, 0.0), gaps=1).coefficients, evidence=ramp))
    uv = inner_points()
    middle = field.match(0, uv, at(0.5, uv)).evidence
    late = field.match(0, uv, at(1.0, uv)).evidence
    # At the end the point has come 4 pixels, one cell, from its anchor.
    torch.testing.assert_close(middle - late, torch.full_like(late, 1 / (GRID[1] - 1)), atol=1e-4, rtol=0)


def test_points_outside_the_picture_have_finite_matches() -> None:
    uv = torch.tensor([[-3.0, 0.5], [0.5, 9.0], [1.0, 0.0], [0.0, 1.0]])
    match = motion(constant_curves(bend=BEND)).match(0, uv, at(0.3, uv))
    assert all(part.isfinite().all() for part in match)


# --------------------------------------------------------------------------------------------- alone


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_each_keyframe_alone_leads_along_its_own_velocity(alpha: float) -> None:
    uv = inner_points()
    match = motion(constant_curves(bend=BEND, twist=TWIST)).match(1, uv, at(alpha, uv))
    left, right = moves(Match(match.lone_left_uv, match.lone_right_uv, *match[2:]), uv)
    torch.testing.assert_close(left, -alpha * torch.tensor(LONE[:2]).expand(len(uv), 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(right, (1 - alpha) * torch.tensor(LONE[2:]).expand(len(uv), 2), atol=1e-4, rtol=0)


def test_at_a_keyframe_its_own_view_is_the_query() -> None:
    field = motion(varied_curves())
    uv = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(field.match(0, uv, at(0.0, uv)).lone_left_uv, uv)
    assert torch.equal(field.match(0, uv, at(1.0, uv)).lone_right_uv, uv)


def test_a_lone_velocity_belongs_to_where_its_point_is_at_the_middle() -> None:
    # A zoom on the left and another on the right: distances from the centre grow linearly with time.
    centre, rates = torch.tensor([27.5, 19.5]), (0.1, -0.16)
    away = (uv_to_xy(pixel_uv(*GRID), *SIZE) - centre).permute(2, 0, 1)
    field = motion(curves_from(torch.zeros(1, 6, *GRID), torch.cat([rate * away for rate in rates])[None]))
    uv = inner_points()
    for alpha in (0.0, 0.25, 0.5, 0.9):
        match = field.match(0, uv, at(alpha, uv))
        for found, rate, s in ((match.lone_left_uv, rates[0], -0.5), (match.lone_right_uv, rates[1], 0.5)):
            anchor = (uv_to_xy(uv, *SIZE) - centre) / (1 + rate * (alpha - 0.5))
            torch.testing.assert_close(found, xy_to_uv(centre + anchor * (1 + rate * s), *SIZE), atol=5e-5, rtol=0)


# --------------------------------------------------------------------------------------------- what it holds


def test_straight_motion_has_neither_bend_nor_twist() -> None:
    uv = inner_points()
    straight = motion(constant_curves(bend=BEND, twist=TWIST), MotionConfig(curved=False))
    plain = motion(constant_curves())
    for alpha in (0.2, 0.5):
        for a, b in zip(straight.match(0, uv, at(alpha, uv))[:2], plain.match(0, uv, at(alpha, uv))[:2], strict=True):
            torch.testing.assert_close(a, b)


def test_curves_are_asked_for_by_number_when_they_are_needed() -> None:
    curves, asked = varied_curves(), list[int]()

    class Asked:
        def gap(self, number: int) -> Curves:
            asked.append(number)
            return curves.gap(number)

    field = MotionField(DEFAULT, Asked(), *SIZE)
    assert not asked
    uv = inner_points()
    for found, expected in zip(field.match(0, uv, at(0.3, uv)), motion(curves).match(0, uv, at(0.3, uv)), strict=True):
        assert torch.equal(found, expected)
    assert asked == [0]
    assert not field.state_dict()
    assert not list(field.parameters())


def test_the_speed_of_a_gap_is_the_mean_size_of_its_velocity() -> None:
    still, moved = constant_curves((0.0, 0.0), gaps=1), constant_curves(bend=BEND, twist=TWIST, gaps=1)
    field = motion(Curves(*(torch.cat(both) for both in zip(still, moved, strict=True))))
    assert field.speed(0) == 0
    assert field.speed(1) == pytest.approx((abs(VELOCITY[0]) + abs(VELOCITY[1])) / 2)


def test_curves_follow_the_field_into_another_precision() -> None:
    field = motion(varied_curves()).double()
    found = field.curves(0)
    assert found.coefficients.dtype == found.lone.dtype == torch.float64
    uv = inner_points()
    for double, single in zip(
        field.match(0, uv.double(), at(0.3, uv.double())),
        motion(varied_curves()).match(0, uv, at(0.3, uv)),
        strict=True,
    ):
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, atol=1e-5, rtol=1e-4)


def test_no_gaps_are_legal_until_one_is_asked_for() -> None:
    empty = Curves.empty(*GRID)
    assert empty.coefficients.shape == (0, 6, *GRID)
    with pytest.raises(IndexError):
        motion(empty).curves(0)


def test_a_bad_size_is_named() -> None:
    with pytest.raises(UserError, match=r"cell must be .* got 0"):
        replace(DEFAULT, cell=0)


# --------------------------------------------------------------------------------------------- visibility

COUNT = 64
UNSEEN_ALONE = math.exp(-3)  # how likely a keyframe on its own is, to begin with


def views(seed: int = 0, spread: float = 1.0) -> tuple[Match, list[Tensor], Tensor]:
    """Random matches in the picture, spread out beyond it on request, their colours and instants."""
    generator = torch.Generator().manual_seed(seed)
    uv = [0.5 + spread * (torch.rand(COUNT, 2, generator=generator) - 0.5) for _ in range(4)]
    match = Match(uv[0], uv[1], uv[2], uv[3], 5 * torch.rand(COUNT, EVIDENCE_CHANNELS, generator=generator))
    colours = [torch.rand(COUNT, 3, generator=generator) for _ in range(4)]
    return match, colours, torch.rand(COUNT, generator=generator) * 0.98 + 0.01


def judge(weights_std: float = 0.0) -> Visibility:
    visibility = Visibility(*SIZE)
    if weights_std:
        perturb(visibility, weights_std)
    return visibility


def reversed_in_time(match: Match, colours: list[Tensor], alpha: Tensor) -> tuple[Match, list[Tensor], Tensor]:
    left, right, lone_left, lone_right, evidence = match
    common, of_left, of_right = split_evidence(evidence)
    turned = Match(right, left, lone_right, lone_left, torch.cat([common, of_right, of_left], dim=-1))
    return turned, [colours[i] for i in SWAPPED], 1 - alpha


SWAPPED = [1, 0, 3, 2]


def test_evidence_is_split_into_what_is_common_and_what_is_of_each_side() -> None:
    common, left, right = split_evidence(torch.arange(EVIDENCE_CHANNELS)[None])
    assert common.shape[1] + left.shape[1] + right.shape[1] == EVIDENCE_CHANNELS
    assert left.shape == right.shape
    assert torch.equal(torch.cat([common, left, right], dim=-1), torch.arange(EVIDENCE_CHANNELS)[None])


@torch.no_grad()
@pytest.mark.parametrize("std", [0.0, 0.3, 100.0])
def test_shares_are_positive_and_sum_to_one(std: float) -> None:
    shares = judge(std)(*views(spread=1.5))
    assert shares.shape == (COUNT, 4)
    assert (shares > 0).all()
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(COUNT))


@torch.no_grad()
def test_at_the_start_shares_are_nearness_and_a_keyframe_alone_is_the_exception() -> None:
    match, colours, alpha = views()
    near = torch.stack([1 - alpha, alpha], dim=-1)
    expected = torch.cat([near, UNSEEN_ALONE * near], dim=-1) / (1 + UNSEEN_ALONE)
    torch.testing.assert_close(judge()(match, colours, alpha), expected)


@torch.no_grad()
@pytest.mark.parametrize("view", range(4))
@pytest.mark.parametrize(("pixels", "odds"), [(0.0, 0.0), (0.5, 1.5), (1.0, 3.0), (2.0, 6.0), (7.0, 6.0)])
def test_a_view_from_outside_the_picture_loses_its_share_pixel_by_pixel(view: int, pixels: float, odds: float) -> None:
    match, colours, alpha = views()
    inside = judge()(match, colours, alpha)
    for beyond in ([-pixels / SIZE[1], 0.5], [0.3, 1 + pixels / SIZE[0]]):
        moved = list(match)
        moved[view] = torch.tensor(beyond).expand(COUNT, 2)
        outside = judge()(Match(*moved), colours, alpha)
        expected = inside.clone()
        expected[:, view] *= math.exp(-odds)
        torch.testing.assert_close(outside, expected / expected.sum(dim=-1, keepdim=True), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_point_outside_every_view_is_judged_as_if_inside() -> None:
    match, colours, alpha = views()
    away = torch.full((COUNT, 2), 1.5)
    torch.testing.assert_close(
        judge()(Match(away, away, away, away, match.evidence), colours, alpha), judge()(match, colours, alpha)
    )


@torch.no_grad()
@pytest.mark.parametrize("std", [0.0, 0.3, 3.0])
def test_a_clip_and_its_reverse_are_judged_alike(std: float) -> None:
    visibility = judge(std)
    match, colours, alpha = views(spread=1.1)
    shares = visibility(match, colours, alpha)
    turned = visibility(*reversed_in_time(match, colours, alpha))
    torch.testing.assert_close(turned[:, SWAPPED], shares, atol=2e-5, rtol=1e-4)
    # Not for want of an opinion.
    undecided = judge()(match, colours, alpha)
    assert std == 0 or (shares - undecided).abs().max() > 0.05


@torch.no_grad()
def test_what_is_learnt_is_bounded() -> None:
    match, colours, alpha = views()
    visibility = judge()
    visibility.last.bias.copy_(torch.tensor([-1e4, 1e4]))
    odds = visibility(match, colours, alpha).log() - judge()(match, colours, alpha).log()
    torch.testing.assert_close(odds[:, 2:] - odds[:, :2], torch.full((COUNT, 2), 12.0), atol=1e-3, rtol=0)


@torch.no_grad()
def test_every_clue_can_be_heard() -> None:
    """Evidence of any kind, every colour and every place moves the shares of a network with random weights."""
    visibility = judge(0.3)
    match, colours, alpha = views()
    before = visibility(match, colours, alpha)
    for channel in range(EVIDENCE_CHANNELS):
        changed = match.evidence.clone()
        changed[:, channel] += 1
        assert (visibility(match._replace(evidence=changed), colours, alpha) - before).abs().max() > 1e-3
    for view in range(4):
        other = [1 - colour if i == view else colour for i, colour in enumerate(colours)]
        assert (visibility(match, other, alpha) - before).abs().max() > 1e-3


def test_gradients_of_visibility_agree_with_finite_differences() -> None:
    match, colours, alpha = views()
    visibility = judge(0.1).double()
    known = Match(*(part.double() for part in match)), [colour.double() for colour in colours], alpha.double()
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    (visibility(*known) @ weights).sum().backward()
    for parameter in visibility.parameters():
        assert parameter.grad is not None
        values = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                parameter.view(-1)[1] += step
                values.append((visibility(*known) @ weights).sum())
        assert parameter.grad.view(-1)[1] == pytest.approx(float(values[0] - values[1]) / 2e-6, rel=1e-3, abs=1e-7)


def test_a_resized_visibility_shares_the_network_and_measures_in_its_own_pixels() -> None:
    whole = Visibility(40, 80)
    state = torch.random.get_rng_state()
    half = whole.resized(20, 40)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert half.network is whole.network
    assert [id(p) for p in half.parameters()] == [id(p) for p in whole.parameters()]
    assert (whole.size, half.size) == ((40, 80), (20, 40))
    match, colours, alpha = views()
    match = match._replace(left_uv=torch.tensor([-1 / 80, 0.5]).expand(COUNT, 2))
    with torch.no_grad():
        whole_odds, half_odds = (
            (shares[:, 1] / shares[:, 0]).log()
            for shares in (judged(match, colours, alpha) for judged in (whole, half))
        )
        torch.testing.assert_close(whole_odds - half_odds, torch.full((COUNT,), 1.5), atol=1e-3, rtol=0)
        perturb(whole)
        inside = views(seed=3)
        torch.testing.assert_close(half(*inside), whole(*inside))


def test_every_learnt_value_of_visibility_is_kept_once() -> None:
    visibility = Visibility(*SIZE)
    assert len(visibility.state_dict()) == len(list(visibility.parameters())) == 4
    pointers = [tensor.data_ptr() for tensor in visibility.state_dict().values()]
    assert len(set(pointers)) == len(pointers)
