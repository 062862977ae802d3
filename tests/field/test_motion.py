"""The motion field: cubics in closed form, tracing against the curve itself, gradients against finite differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scenes import perturb
from torch import Tensor

from vfield.coords import pixel_uv, uv_to_xy, xy_to_uv
from vfield.errors import UserError
from vfield.field.latents import sample_grid, spline_coefficients
from vfield.field.motion import (
    EVIDENCE_CHANNELS,
    Curves,
    Match,
    MotionConfig,
    MotionField,
    Visibility,
    displacement,
)

SIZE = (40, 56)
GRID = (10, 14)
DEFAULT = MotionConfig()
VELOCITY, BEND, TWIST = (3.0, -2.0), (1.6, 0.8), (0.9, -0.5)


def constant_curves(
    velocity: tuple[float, float] = VELOCITY,
    bend: tuple[float, float] = (0.0, 0.0),
    twist: tuple[float, float] = (0.0, 0.0),
    gaps: int = 2,
) -> Curves:
    """The same curve everywhere: the spline coefficients of a constant are that constant."""
    values = torch.tensor([*velocity, *bend, *twist])[None, :, None, None]
    evidence = torch.linspace(0.1, 0.9, 7)[None, :, None, None]
    return Curves(values.expand(gaps, 6, *GRID).contiguous(), evidence.expand(gaps, 7, *GRID).contiguous())


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
    perturb(field)
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
    field = motion(Curves(spline_coefficients(samples)[None], torch.zeros(1, 7, *GRID)))
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
    return Curves(spline_coefficients(samples), torch.zeros(1, 7, *GRID))


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
    ramp = torch.linspace(0, 1, GRID[1]).expand(1, 7, *GRID)
    field = motion(Curves(constant_curves(velocity=(8.0, 0.0), gaps=1).coefficients, ramp))
    uv = inner_points()
    middle = field.match(0, uv, at(0.5, uv)).evidence
    late = field.match(0, uv, at(1.0, uv)).evidence
    # At the end the point has come 4 pixels, one cell, from its anchor.
    torch.testing.assert_close(middle - late, torch.full_like(late, 1 / (GRID[1] - 1)), atol=1e-4, rtol=0)


def test_points_outside_the_picture_have_finite_matches() -> None:
    uv = torch.tensor([[-3.0, 0.5], [0.5, 9.0], [1.0, 0.0], [0.0, 1.0]])
    match = motion(constant_curves(bend=BEND)).match(0, uv, at(0.3, uv))
    assert all(part.isfinite().all() for part in match)


# --------------------------------------------------------------------------------------------- what is learnt


def test_straight_motion_has_neither_bend_nor_twist() -> None:
    uv = inner_points()
    straight = motion(constant_curves(bend=BEND, twist=TWIST), MotionConfig(curved=False))
    plain = motion(constant_curves())
    for alpha in (0.2, 0.5):
        for a, b in zip(straight.match(0, uv, at(alpha, uv))[:2], plain.match(0, uv, at(alpha, uv))[:2], strict=True):
            torch.testing.assert_close(a, b)


def test_corrections_add_to_velocity_and_bend_of_their_own_gap() -> None:
    field = motion(constant_curves(bend=BEND), MotionConfig(levels=(8, 16)))
    first, second = torch.tensor([0.5, -0.25, 0.8, 0.4]), torch.tensor([0.1, 0.2, -0.4, 0.3])
    with torch.no_grad():
        for level, change in zip(field.levels, (first, second), strict=True):
            level[1] = change[:, None, None]
    uv = inner_points()
    total = first + second
    changed, untouched = (moves(field.match(gap, uv, at(0.5, uv)), uv) for gap in (1, 0))
    for after, before, side in zip(changed, untouched, (-0.5, 0.5), strict=True):
        expected = (side * total[:2] + total[2:] / 4).expand(len(uv), 2)
        torch.testing.assert_close(after - before, expected, atol=1e-4, rtol=0)


def test_hidden_curves_are_read_without_corrections() -> None:
    field = motion(constant_curves())
    with torch.no_grad():
        for level in field.levels:
            level.fill_(5.0)
    hidden = constant_curves(velocity=(-1.0, 4.0), gaps=3)
    uv = inner_points()
    match = field.match(2, uv, at(0.25, uv), hidden)
    expected = motion(hidden).match(2, uv, at(0.25, uv))
    assert all(torch.equal(a, b) for a, b in zip(match, expected, strict=True))


def test_trust_starts_neutral_and_scales_bend_and_twist_but_not_velocity() -> None:
    uv = inner_points()
    field = motion(constant_curves(bend=BEND))
    torch.testing.assert_close(field.trust(torch.rand(5, 7)), torch.zeros(5, 1))
    last = field.trust[-1]
    assert isinstance(last, torch.nn.Linear)
    for odds, share in ((0.0, 1.0), (30.0, 2.0), (-30.0, 0.0)):
        torch.nn.init.constant_(last.bias, odds)
        left, right = moves(field.match(0, uv, at(0.5, uv)), uv)
        torch.testing.assert_close(right - left, torch.tensor(VELOCITY).expand(len(uv), 2), atol=1e-4, rtol=0)
        quarter = share * torch.tensor(BEND).expand(len(uv), 2) / 4
        torch.testing.assert_close((left + right) / 2, quarter, atol=1e-4, rtol=0)


def test_gradients_reach_the_gap_in_question_and_the_trust() -> None:
    field = motion(constant_curves(bend=BEND))
    uv = inner_points()
    # Only the right side: the instants are symmetric about the middle and the left would cancel some of it.
    field.match(1, uv, at(0.3, uv)).right_uv.square().sum().backward()
    for level in field.levels:
        assert level.grad is not None
        assert level.grad[1].abs().max() > 0
        assert level.grad[0].abs().max() == 0
    last = field.trust[-1]
    assert isinstance(last, torch.nn.Linear)
    assert last.weight.grad is not None
    assert last.weight.grad.abs().max() > 0


def test_gradients_of_corrections_agree_with_finite_differences() -> None:
    # Where the starting curves are constant the held anchor costs nothing, at any instant.
    field = motion(constant_curves(bend=BEND), MotionConfig(levels=(16,))).double()
    uv = inner_points().double()

    def ends() -> Tensor:
        match = field.match(0, uv, at(0.2, uv))
        return (match.left_uv.square() + 3 * match.right_uv).sum()

    ends().backward()
    level = field.levels[0]
    assert level.grad is not None
    for channel in range(4):
        with torch.no_grad():
            level[0, channel, 1, 2] += 1e-4
            above = ends()
            level[0, channel, 1, 2] -= 2e-4
            below = ends()
            level[0, channel, 1, 2] += 1e-4
        torch.testing.assert_close(level.grad[0, channel, 1, 2], (above - below) / 2e-4, rtol=1e-3, atol=1e-9)


def test_visibility_starts_undecided() -> None:
    match = Match(torch.rand(9, 2), torch.rand(9, 2), torch.rand(9, 7))
    odds = Visibility(*SIZE)(match, torch.rand(9, 3), torch.rand(9))
    torch.testing.assert_close(odds, torch.zeros(9))


def test_no_gaps_and_no_levels_are_legal() -> None:
    field = motion(Curves.empty(*GRID), MotionConfig(levels=()))
    assert len(field.levels) == 0
    assert field.coefficients.shape == (0, 6, *GRID)


@pytest.mark.parametrize(("cell", "levels", "named"), [(0, (16,), "got 0 and"), (4, (16, 0), r"got 4 and \[16, 0\]")])
def test_bad_sizes_are_named(cell: int, levels: tuple[int, ...], named: str) -> None:
    with pytest.raises(UserError, match=named):
        replace(DEFAULT, cell=cell, levels=levels)


def test_what_lies_outside_one_picture_is_taken_from_the_other() -> None:
    visibility = Visibility(40, 80)
    inside, outside = torch.full((2, 2), 0.5), torch.tensor([[-0.025, 0.5], [0.5, 1.05]])  # by two pixels each
    nothing = torch.zeros(2, EVIDENCE_CHANNELS)
    alpha, same = torch.full((2,), 0.5), torch.zeros(2, 3)
    with torch.no_grad():
        left_out = visibility(Match(outside, inside, nothing), same, alpha)
        right_out = visibility(Match(inside, outside, nothing), same, alpha)
        both_out = visibility(Match(outside, outside, nothing), same, alpha)
    torch.testing.assert_close(left_out, torch.full((2,), 6.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(right_out, -left_out)
    assert both_out.abs().max() == 0
