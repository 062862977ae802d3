"""The objective: its terms add up, vanish at a perfect fit, and have the gradients that differences say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from scenes import DEFAULT, clip_of, perturb, picture, translating, with_cut
from torch import Tensor

from vfield.clip import Clip
from vfield.coords import keyframe_t
from vfield.errors import UserError
from vfield.field.latents import LocalConfig
from vfield.field.motion import MotionConfig
from vfield.field.video_field import FieldConfig, VideoField
from vfield.flow import FlowConfig
from vfield.objective import Objective, ObjectiveConfig, Terms
from vfield.sampling import Batch, PatchSampler, SamplingConfig
from vfield.start import start_field

SIZE = (32, 40)
SAMPLING = SamplingConfig(patches=8, patch_size=8, hidden_share=0.5)


def still() -> Clip:
    return clip_of(picture(SIZE).expand(4, 3, *SIZE).contiguous())


def prepared(
    clip: Clip | None = None, config: FieldConfig = DEFAULT, perturbed: bool = True
) -> tuple[VideoField, PatchSampler]:
    clip = clip or clip_of(translating(SIZE, 5))
    torch.manual_seed(0)
    field, hideable = start_field(clip, config, FlowConfig(), 0)
    if perturbed:
        perturb(field, 0.1)
    return field, PatchSampler(clip.frames, keyframe_t(clip.pts_seconds), hideable, SAMPLING, 0)


def assert_equal_terms(found: Iterable[Tensor], expected: Iterable[Tensor], tolerance: float = 1e-6) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=1e-4)


def test_terms_are_mean_squares_and_penalties_written_out() -> None:
    field, sampler = prepared()
    batch = sampler.batch(0)
    config = ObjectiveConfig(observed=2.0, hidden=3.0, agreement=0.5, smoothness=0.25)
    terms = Objective(field, config)(batch)
    seen = len(batch.uvt) - batch.hidden
    whole = torch.cat([field(batch.uvt[:seen]), field(batch.uvt[seen:], hide=True)]) - batch.rgb
    torch.testing.assert_close(terms.observed, 2 * whole[:seen].square().sum() / whole.numel())
    torch.testing.assert_close(terms.hidden, 3 * whole[seen:].square().sum() / whole.numel())
    apart = field.disagreement(batch.between)
    torch.testing.assert_close(terms.agreement, 0.5 * ((apart**2 + 1e-4).sqrt() - 1e-2).mean())
    assert field.motion is not None
    smoothness = torch.zeros(())
    for level in field.motion.levels:
        for dim in (2, 3):
            step = level.diff(dim=dim)
            if step.numel():
                smoothness = smoothness + 0.25 * ((step**2 + 1e-4).sqrt() - 1e-2).mean()
    torch.testing.assert_close(terms.smoothness, smoothness, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(terms.total(), sum(terms, torch.zeros(())))


@pytest.mark.parametrize("processes", [2, 4])
def test_the_mean_over_shares_is_the_whole_batch(processes: int) -> None:
    field, sampler = prepared()
    objective = Objective(field, ObjectiveConfig())
    with torch.no_grad():
        whole = objective(sampler.batch(3))
        shares = [objective(sampler.batch(3, rank, processes)) for rank in range(processes)]
    assert_equal_terms((torch.stack(parts).mean() for parts in zip(*shares, strict=True)), whole)


def test_gradients_of_shares_average_to_that_of_the_whole_batch() -> None:
    field, sampler = prepared()
    objective = Objective(field, ObjectiveConfig())

    def gradients(*batches: Batch) -> list[Tensor]:
        field.zero_grad()
        for batch in batches:
            (objective(batch).total() / len(batches)).backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in field.parameters()]

    shared = gradients(*(sampler.batch(3, rank, 2) for rank in range(2)))
    assert_equal_terms(shared, gradients(sampler.batch(3)))


def test_a_perfect_fit_of_a_still_clip_costs_nothing() -> None:
    field, sampler = prepared(still(), perturbed=False)
    terms = Objective(field, ObjectiveConfig())(sampler.batch(0))
    assert_equal_terms(terms, [torch.zeros(())] * 4, tolerance=1e-7)


def test_a_perfect_fit_of_a_still_clip_is_where_it_stays() -> None:
    field, sampler = prepared(still(), perturbed=False)
    Objective(field, ObjectiveConfig())(sampler.batch(0)).total().backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is None or parameter.grad.abs().max() < 1e-5, name


@pytest.mark.parametrize("term", Terms._fields)
def test_a_weight_scales_its_own_term_only(term: str) -> None:
    field, sampler = prepared()
    batch = sampler.batch(1)
    config = ObjectiveConfig(agreement=0.5, smoothness=0.5)
    with torch.no_grad():
        plain = Objective(field, config)(batch)
        doubled = Objective(field, replace(config, **{term: 2 * getattr(config, term)}))(batch)
    assert all(value > 0 for value in plain)
    assert_equal_terms(doubled, plain._replace(**{term: 2 * getattr(plain, term)}))


def test_smoothness_of_a_constant_correction_is_nothing() -> None:
    field, sampler = prepared(perturbed=False)
    assert field.motion is not None
    with torch.no_grad():
        for level in field.motion.levels:
            level.fill_(0.7)
    assert Objective(field, ObjectiveConfig())(sampler.batch(0)).smoothness.abs() < 1e-7


def difference_quotient(
    objective: Objective, batch: Batch, parameter: Tensor, at: tuple[int, ...], step: float
) -> float:
    """The central difference of the total, in one element."""
    values = []
    with torch.no_grad():
        for shift in (step, -step):
            parameter[at] += shift
            values.append(float(objective(batch).total()))
            parameter[at] -= shift
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize(
    ("name", "at", "step"),
    [
        ("decoder.head.bias", (1,), 0.05),
        ("decoder.head.weight", (2, 5), 0.05),
        ("decoder.films.1.affine.bias", (3,), 0.02),
        ("shared.code", (2,), 0.02),
        ("shared.track", (1, 1), 0.05),
        ("latents.levels.0", (2, 1, 1, 2), 0.05),
        ("visibility.network.2.bias", (0,), 0.05),
        ("motion.trust.2.bias", (0,), 0.05),
        ("motion.levels.0", (1, 0, 1, 1), 0.03),
    ],
)
def test_gradients_agree_with_finite_differences(name: str, at: tuple[int, ...], step: float) -> None:
    clip = clip_of(translating(SIZE, 5, (1.3, -0.8)))
    field, _ = prepared(clip)
    config = SamplingConfig(patches=30, patch_size=8, hidden_share=0.5)
    batch = PatchSampler(clip.frames, keyframe_t(clip.pts_seconds), [1, 2, 3], config, 0).batch(0)
    objective = Objective(field, ObjectiveConfig(observed=1.0, hidden=1.0, agreement=1.0, smoothness=1.0))
    parameter = dict(field.named_parameters())[name]
    objective(batch).total().backward()
    assert parameter.grad is not None
    gradient = float(parameter.grad[at])
    assert abs(gradient) > 1e-7
    assert gradient == pytest.approx(difference_quotient(objective, batch, parameter, at, step), rel=0.05, abs=2e-6)


@pytest.mark.parametrize(
    ("config", "trained"),
    [
        (FieldConfig(), True),
        (FieldConfig(motion=MotionConfig(levels=())), False),
        (FieldConfig(motion=MotionConfig(enabled=False)), False),
        (FieldConfig(local=LocalConfig(colours=False)), False),
    ],
)
def test_agreement_trains_corrections_where_there_are_colours_and_motion(config: FieldConfig, trained: bool) -> None:
    field, sampler = prepared(config=config)
    # Only terms at instants between the frames are left.
    terms = Objective(field, ObjectiveConfig(observed=0.0, hidden=0.0, agreement=1.0, smoothness=0.0))(sampler.batch(0))
    assert (terms.agreement > 0) == trained
    if trained:
        terms.total().backward()
        assert field.motion is not None
        assert all(level.grad is not None and level.grad.abs().max() > 0 for level in field.motion.levels)
        assert all(parameter.grad is None or not parameter.grad.any() for parameter in field.decoder.parameters())


def test_a_batch_of_only_hidden_or_only_observed_points_is_legal() -> None:
    field, sampler = prepared()
    batch = sampler.batch(0)
    seen = len(batch.uvt) - batch.hidden
    objective = Objective(field, ObjectiveConfig())
    only_seen = objective(Batch(batch.uvt[:seen], batch.rgb[:seen], batch.between, 0))
    only_hidden = objective(Batch(batch.uvt[seen:], batch.rgb[seen:], batch.between, batch.hidden))
    assert only_seen.hidden == 0
    assert only_hidden.observed == 0
    assert only_hidden.hidden > 0


@pytest.mark.parametrize("clip", [clip_of(translating(SIZE, 1)), clip_of(with_cut(SIZE, 1, 1))])
def test_clips_without_gaps_have_finite_terms_and_gradients(clip: Clip) -> None:
    field, sampler = prepared(clip)
    terms = Objective(field, ObjectiveConfig())(sampler.batch(0))
    assert all(value.isfinite() for value in terms)
    terms.total().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in field.parameters())


def test_negative_weights_are_named() -> None:
    with pytest.raises(UserError, match=r"got \(1.0, -1, 0.02, 0.01\)"):
        ObjectiveConfig(hidden=-1)
