"""The objective: its terms add up, vanish at a perfect fit, and have the gradients that differences say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from scenes import clip_of, crossing, perturb, picture, start_of, translating, with_cut
from torch import Tensor

from vfield.clip import Clip
from vfield.coords import keyframe_t
from vfield.enlarging import Enlarging, Patches
from vfield.errors import UserError
from vfield.field.config import FieldConfig
from vfield.field.detail import DetailConfig
from vfield.field.latents import LocalConfig
from vfield.field.motion import MotionConfig
from vfield.field.video_field import VideoField
from vfield.objective import Objective, ObjectiveConfig, Terms
from vfield.sampling import Batch, PatchSampler, SamplingConfig

SIZE = (32, 40)
SAMPLING = SamplingConfig(patches=8, patch_size=8, hidden_share=0.5)
# Corrections of the motion, and the terms that teach them, are off by default.
CORRECTED = FieldConfig(motion=MotionConfig(levels=(16, 64)))
EVERYTHING = ObjectiveConfig(agreement=0.02)


def still() -> Clip:
    return clip_of(picture(SIZE).expand(4, 3, *SIZE).contiguous())


class Prepared(NamedTuple):
    """A field, the one that rehearses, and what they learn from."""

    field: VideoField
    twin: VideoField | None
    sampler: PatchSampler
    enlarging: Enlarging | None

    def patches(self, step: int = 0, rank: int = 0, processes: int = 1) -> Patches:
        assert self.enlarging is not None
        return self.enlarging.patches(0, step, False, rank, processes)

    def objective(self, config: ObjectiveConfig = EVERYTHING) -> Objective:
        return Objective(self.field, self.twin, config)


def prepared(
    clip: Clip | None = None,
    config: FieldConfig = CORRECTED,
    perturbed: bool = True,
    sampling: SamplingConfig = SAMPLING,
) -> Prepared:
    clip = clip or clip_of(translating(SIZE, 5))
    start = start_of(clip, config)
    field, rehearsal = start.field, start.rehearsal
    if perturbed:
        perturb(field, 0.1)
    twin, small, learning = None, clip.frames, list[int]()
    if rehearsal is not None:
        twin, small, learning = rehearsal.field, rehearsal.frames, rehearsal.learning
    sampler = PatchSampler(clip.frames, keyframe_t(clip.pts_seconds), small, learning, sampling, 0)
    return Prepared(field, twin, sampler, start.enlarging)


def assert_equal_terms(found: Iterable[Tensor], expected: Iterable[Tensor], tolerance: float = 1e-6) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=1e-4)


def smooth_size(errors: Tensor) -> Tensor:
    epsilon = 2 / 255
    return (errors.square() + epsilon**2).sqrt() - epsilon


def test_terms_are_what_they_are_written_out() -> None:
    ready = prepared()
    field, twin = ready.field, ready.twin
    batch, patches = ready.sampler.batch(0), ready.patches()
    config = ObjectiveConfig(observed=2.0, hidden=3.0, detail=0.7, agreement=0.5, smoothness=0.25)
    terms = ready.objective(config)(batch, patches)
    seen = len(batch.uvt) - batch.hidden
    assert twin is not None
    observed = field(batch.uvt[:seen]) - batch.rgb[:seen]
    count = 3 * len(batch.uvt)
    torch.testing.assert_close(terms.observed, 2 * observed.square().sum() / count)
    # The views alone, and the decoder on top of them. Small errors count by their square, large ones by their size.
    base, residual = twin.layers(batch.uvt[seen:], hide=True)
    hidden = smooth_size(base - batch.rgb[seen:]) + smooth_size(base + residual - batch.rgb[seen:])
    torch.testing.assert_close(terms.hidden, 3 * hidden.sum() / count)
    assert field.detail is not None
    finer = field.detail(patches.evidence) - patches.residual
    torch.testing.assert_close(terms.detail, 0.7 * ((finer**2 + 0.25).sqrt() - 0.5).mean())
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
    torch.testing.assert_close(terms.total(), sum(terms[:5], torch.zeros(())))
    answers = torch.cat([observed, base + residual - batch.rgb[seen:]])
    torch.testing.assert_close(terms.error, answers.square().sum() / count)


@pytest.mark.parametrize("processes", [2, 4])
def test_the_mean_over_shares_is_the_whole_batch(processes: int) -> None:
    ready = prepared()
    objective, sampler = ready.objective(), ready.sampler
    with torch.no_grad():
        whole = objective(sampler.batch(3), ready.patches(3))
        shares = [
            objective(sampler.batch(3, rank, processes), ready.patches(3, rank, processes)) for rank in range(processes)
        ]
    assert whole.detail > 0
    assert_equal_terms((torch.stack(parts).mean() for parts in zip(*shares, strict=True)), whole)


def test_gradients_of_shares_average_to_that_of_the_whole_batch() -> None:
    ready = prepared()
    field, sampler, objective = ready.field, ready.sampler, ready.objective()

    def gradients(*shares: tuple[Batch, Patches]) -> list[Tensor]:
        field.zero_grad()
        for batch, patches in shares:
            (objective(batch, patches).total() / len(shares)).backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in field.parameters()]

    shared = gradients(*((sampler.batch(3, rank, 2), ready.patches(3, rank, 2)) for rank in range(2)))
    assert_equal_terms(shared, gradients((sampler.batch(3), ready.patches(3))))


def test_a_perfect_fit_of_a_still_clip_costs_nothing() -> None:
    ready = prepared(still(), perturbed=False)
    terms = ready.objective()(ready.sampler.batch(0))
    assert_equal_terms(terms, [torch.zeros(())] * 6, tolerance=1e-7)


def test_a_perfect_fit_of_a_still_clip_is_where_it_stays() -> None:
    ready = prepared(still(), perturbed=False)
    ready.objective()(ready.sampler.batch(0)).total().backward()
    for name, parameter in ready.field.named_parameters():
        assert parameter.grad is None or parameter.grad.abs().max() < 1e-5, name


@pytest.mark.parametrize("term", Terms._fields[:5])
def test_a_weight_scales_its_own_term_only(term: str) -> None:
    ready = prepared()
    batch, patches = ready.sampler.batch(1), ready.patches(1)
    config = ObjectiveConfig(agreement=0.5, smoothness=0.5)
    with torch.no_grad():
        plain = ready.objective(config)(batch, patches)
        doubled = ready.objective(replace(config, **{term: 2 * getattr(config, term)}))(batch, patches)
    assert all(value > 0 for value in plain)
    assert_equal_terms(doubled, plain._replace(**{term: 2 * getattr(plain, term)}))


def test_smoothness_of_a_constant_correction_is_nothing() -> None:
    ready = prepared(perturbed=False)
    assert ready.field.motion is not None
    with torch.no_grad():
        for level in ready.field.motion.levels:
            level.fill_(0.7)
    assert ready.objective()(ready.sampler.batch(0)).smoothness.abs() < 1e-7


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
        ("shared.code", (5,), 0.02),
        ("shared.track", (1, 1), 0.05),
        ("latents.levels.0", (2, 1, 1, 2), 0.05),
        ("motion.levels.0", (1, 0, 1, 1), 0.03),
    ],
)
def test_gradients_agree_with_finite_differences(name: str, at: tuple[int, ...], step: float) -> None:
    ready = prepared(
        clip_of(translating(SIZE, 5, (1.3, -0.8))),
        replace(CORRECTED, detail=DetailConfig(enabled=False)),
        sampling=SamplingConfig(patches=30, patch_size=8, hidden_share=0.5),
    )
    batch = ready.sampler.batch(0)
    objective = ready.objective(ObjectiveConfig(observed=1.0, hidden=1.0, agreement=1.0, smoothness=1.0))
    parameter = dict(ready.field.named_parameters())[name]
    objective(batch).total().backward()
    assert parameter.grad is not None
    gradient = float(parameter.grad[at])
    assert abs(gradient) > 1e-7
    assert gradient == pytest.approx(difference_quotient(objective, batch, parameter, at, step), rel=0.05, abs=2e-6)


@pytest.mark.parametrize(
    ("config", "trained"),
    [
        (CORRECTED, True),
        (FieldConfig(), False),
        (FieldConfig(motion=MotionConfig(enabled=False)), False),
        (FieldConfig(local=LocalConfig(colours=False)), False),
    ],
)
def test_agreement_trains_corrections_where_there_are_colours_and_motion(config: FieldConfig, trained: bool) -> None:
    ready = prepared(config=config)
    field = ready.field
    # Only terms at instants between the frames are left.
    weights = ObjectiveConfig(observed=0.0, hidden=0.0, agreement=1.0, smoothness=0.0)
    terms = ready.objective(weights)(ready.sampler.batch(0))
    assert (terms.agreement > 0) == trained
    if trained:
        terms.total().backward()
        assert field.motion is not None
        assert all(level.grad is not None and level.grad.abs().max() > 0 for level in field.motion.levels)
        assert all(parameter.grad is None or not parameter.grad.any() for parameter in field.decoder.parameters())


def test_a_batch_of_only_hidden_or_only_observed_points_is_legal() -> None:
    ready = prepared()
    batch = ready.sampler.batch(0)
    seen = len(batch.uvt) - batch.hidden
    objective = ready.objective()
    only_seen = objective(Batch(batch.uvt[:seen], batch.rgb[:seen], batch.between, 0))
    only_hidden = objective(Batch(batch.uvt[seen:], batch.rgb[seen:], batch.between, batch.hidden))
    assert only_seen.hidden == 0
    assert only_hidden.observed == 0
    assert only_hidden.hidden > 0


@pytest.mark.parametrize("clip", [clip_of(translating(SIZE, 1)), clip_of(with_cut(SIZE, 1, 1))])
def test_clips_without_gaps_have_finite_terms_and_gradients(clip: Clip) -> None:
    ready = prepared(clip)
    terms = ready.objective()(ready.sampler.batch(0))
    assert all(value.isfinite() for value in terms)
    terms.total().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in ready.field.parameters())


@pytest.mark.parametrize("name", ["network.0.weight", "network.0.bias", "network.2.weight", "network.2.bias"])
def test_views_learn_as_if_there_were_no_decoder(name: str) -> None:
    ready = prepared(clip_of(crossing((32, 64), [4 + 4 * k for k in range(5)], 20, 6)))
    assert ready.twin is not None
    assert ready.field.visibility is not None
    twin, batch = ready.twin, ready.sampler.batch(0)
    seen = len(batch.uvt) - batch.hidden
    ready.objective()(batch).total().backward()
    parameter = ready.field.visibility.get_parameter(name)
    assert parameter.grad is not None
    at = torch.unravel_index(parameter.grad.abs().argmax(), parameter.shape)
    values = []
    with torch.no_grad():
        for step in (0.02, -0.04):
            parameter[at] += step
            base, _ = twin.layers(batch.uvt[seen:], hide=True)
            values.append(smooth_size(base - batch.rgb[seen:]).double().sum() / (3 * len(batch.uvt)))
    assert abs(float(parameter.grad[at])) > 1e-5
    assert float(parameter.grad[at]) == pytest.approx(float(values[0] - values[1]) / 0.04, rel=0.05)


def test_what_is_hidden_teaches_only_what_both_fields_share() -> None:
    ready = prepared()
    ready.objective(ObjectiveConfig(observed=0.0, agreement=0.0))(ready.sampler.batch(0)).total().backward()
    learnt = {name for name, value in ready.field.named_parameters() if value.grad is not None and value.grad.any()}
    assert {"decoder.head.weight", "visibility.network.2.weight", "shared.code"} <= learnt
    assert not any(name.startswith("motion.") for name in learnt)


def test_detail_teaches_its_encoder_alone_and_all_of_it() -> None:
    ready = prepared()
    weights = ObjectiveConfig(observed=0.0, hidden=0.0, agreement=0.0, smoothness=0.0)
    ready.objective(weights)(ready.sampler.batch(0), ready.patches()).total().backward()
    for name, parameter in ready.field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any() == name.startswith("detail."), name


def test_without_patches_detail_costs_nothing() -> None:
    ready = prepared()
    terms = ready.objective()(ready.sampler.batch(0))
    assert terms.detail == 0
    plain = prepared(config=replace(CORRECTED, detail=DetailConfig(enabled=False)))
    assert plain.enlarging is None
    assert plain.objective()(plain.sampler.batch(0)).detail == 0


def test_every_parameter_is_held_once_and_has_a_gradient_at_every_step() -> None:
    ready = prepared()
    objective = ready.objective()
    assert {id(p) for p in objective.parameters()} == {id(p) for p in ready.field.parameters()}
    assert len(list(objective.parameters())) == len(list(ready.field.parameters()))
    batch = ready.sampler.batch(0)
    few = Batch(batch.uvt[:1], batch.rgb[:1], batch.between[:1], 0)
    objective(few).total().backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_negative_weights_are_named() -> None:
    with pytest.raises(UserError, match=r"hidden must be from 0 .* got -1"):
        ObjectiveConfig(hidden=-1)
