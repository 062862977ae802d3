"""The objective: its terms add up, vanish at a perfect fit, and have the gradients that differences say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from scenes import clip_of, crossing, field_of, perturb, picture, start_of, translating, with_cut
from torch import Tensor

from vfield.core.clip import Clip
from vfield.core.coords import Footprint, keyframe_t, pixel_uv, with_t
from vfield.core.errors import UserError
from vfield.core.frames import Frames
from vfield.field.config import FieldConfig
from vfield.field.detail import DetailConfig
from vfield.field.latents import LocalConfig
from vfield.field.video_field import VideoField
from vfield.learn import Config, TrainingConfig
from vfield.learn.enlarging import Enlarging, Patches
from vfield.learn.members import Member
from vfield.learn.objective import Objective, ObjectiveConfig, Terms
from vfield.learn.sampling import Batch, PatchSampler, SamplingConfig

pytestmark = pytest.mark.slow

SIZE = (32, 40)
SAMPLING = SamplingConfig(patches=8, patch_size=8, hidden_share=0.5)
DEFAULT = FieldConfig()
# A field that makes everything, and so learns from what it observes, too.
MADE = FieldConfig(local=LocalConfig(colours=False))
EVERYTHING = ObjectiveConfig()
BOTH = pytest.mark.parametrize("config", [DEFAULT, MADE], ids=["shows", "makes"])


def still(config: FieldConfig) -> Clip:
    """A clip that a field at its start fits perfectly: one that makes everything makes grey."""
    frame = picture(SIZE) if config.local.colours else torch.full((3, *SIZE), 0.5)
    return clip_of(frame.expand(4, 3, *SIZE).contiguous())


class Prepared(NamedTuple):
    """A field, the one that rehearses, and what they learn from."""

    field: VideoField
    twin: VideoField | None
    sampler: PatchSampler
    enlarging: Enlarging | None

    def patches(self, step: int = 0, rank: int = 0, processes: int = 1) -> Patches | None:
        return None if self.enlarging is None else self.enlarging.patches(0, step, False, rank, processes)

    def objective(self, config: ObjectiveConfig = EVERYTHING) -> Objective:
        return Objective(self.field, self.twin, config)


def prepared(
    clip: Clip | None = None,
    config: FieldConfig = DEFAULT,
    perturbed: bool = True,
    sampling: SamplingConfig = SAMPLING,
) -> Prepared:
    clip = clip or clip_of(translating(SIZE, 5))
    start = start_of(clip, config)
    field, rehearsal = start.field, start.rehearsal
    if perturbed:
        perturb(field, 0.1)
    twin: VideoField | None = None
    small: Frames = clip.frames
    learning: list[int] = []
    if rehearsal is not None:
        twin, small, learning = rehearsal.field, rehearsal.frames, rehearsal.learning
    observed = None if field.colours is not None else clip.frames
    sampler = PatchSampler(observed, keyframe_t(clip.pts_seconds), small, learning, sampling, 0)
    return Prepared(field, twin, sampler, start.enlarging)


def assert_equal_terms(found: Iterable[Tensor], expected: Iterable[Tensor], tolerance: float = 1e-6) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=1e-4)


def smooth_size(errors: Tensor) -> Tensor:
    epsilon = 2 / 255
    return (errors.square() + epsilon**2).sqrt() - epsilon


@pytest.mark.slow
@BOTH
def test_terms_are_what_they_are_written_out(config: FieldConfig) -> None:
    ready = prepared(config=config)
    field, twin = ready.field, ready.twin
    batch, patches = ready.sampler.batch(0), ready.patches()
    terms = ready.objective(ObjectiveConfig(observed=2.0, hidden=3.0, detail=0.7))(batch, patches)
    seen = len(batch.uvt) - batch.hidden
    assert (seen > 0) == (field.colours is None)
    assert twin is not None
    count = 3 * len(batch.uvt)
    observed = field(batch.uvt[:seen]) - batch.rgb[:seen]
    torch.testing.assert_close(terms.observed, 2 * observed.square().sum() / count)
    # Small errors count by their square, large ones by their size.
    hidden = twin(batch.uvt[seen:], hide=True) - batch.rgb[seen:]
    torch.testing.assert_close(terms.hidden, 3 * smooth_size(hidden).sum() / count)
    detail = torch.zeros(())
    if patches is not None:
        assert field.detail is not None
        finer = field.detail(patches.evidence) - patches.residual
        detail = 0.7 * ((finer**2 + 0.25).sqrt() - 0.5).mean()
    assert (detail > 0) == (field.colours is not None)
    torch.testing.assert_close(terms.detail, detail)
    torch.testing.assert_close(terms.total(), terms.observed + terms.hidden + terms.detail)
    torch.testing.assert_close(terms.error, torch.cat([observed, hidden]).square().sum() / count)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("processes", [2, 4])
def test_the_mean_over_shares_is_the_whole_batch(processes: int, config: FieldConfig) -> None:
    ready = prepared(config=config)
    objective, sampler = ready.objective(), ready.sampler
    with torch.no_grad():
        whole = objective(sampler.batch(3), ready.patches(3))
        shares = [
            objective(sampler.batch(3, rank, processes), ready.patches(3, rank, processes)) for rank in range(processes)
        ]
    assert whole.hidden > 0
    assert (whole.detail > 0) == (config is DEFAULT) == (whole.observed == 0)
    assert_equal_terms((torch.stack(parts).mean() for parts in zip(*shares, strict=True)), whole)


@BOTH
def test_gradients_of_shares_average_to_that_of_the_whole_batch(config: FieldConfig) -> None:
    ready = prepared(config=config)
    field, sampler, objective = ready.field, ready.sampler, ready.objective()

    def gradients(*shares: tuple[Batch, Patches | None]) -> list[Tensor]:
        field.zero_grad()
        for batch, patches in shares:
            (objective(batch, patches).total() / len(shares)).backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in field.parameters()]

    shared = gradients(*((sampler.batch(3, rank, 2), ready.patches(3, rank, 2)) for rank in range(2)))
    assert_equal_terms(shared, gradients((sampler.batch(3), ready.patches(3))))


@BOTH
def test_a_perfect_fit_of_a_still_clip_costs_nothing(config: FieldConfig) -> None:
    ready = prepared(still(config), config, perturbed=False)
    terms = ready.objective()(ready.sampler.batch(0))
    assert_equal_terms(terms, [torch.zeros(())] * 4, tolerance=1e-7)


@BOTH
def test_a_perfect_fit_of_a_still_clip_is_where_it_stays(config: FieldConfig) -> None:
    ready = prepared(still(config), config, perturbed=False)
    ready.objective()(ready.sampler.batch(0)).total().backward()
    for name, parameter in ready.field.named_parameters():
        assert parameter.grad is None or parameter.grad.abs().max() < 1e-5, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "term"), [(MADE, "observed"), (MADE, "hidden"), (DEFAULT, "hidden"), (DEFAULT, "detail")]
)
def test_a_weight_scales_its_own_term_only(config: FieldConfig, term: str) -> None:
    ready = prepared(config=config)
    batch, patches = ready.sampler.batch(1), ready.patches(1)
    weights = ObjectiveConfig(observed=0.5, hidden=0.5, detail=0.5)
    with torch.no_grad():
        plain: Terms = ready.objective(weights)(batch, patches)
        doubled = ready.objective(replace(weights, **{term: 2 * getattr(weights, term)}))(batch, patches)
    assert getattr(plain, term) > 0
    assert_equal_terms(doubled, plain._replace(**{term: 2 * getattr(plain, term)}))


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "at", "step"),
    [
        ("decoder.head.bias", (1,), 0.05),
        ("decoder.head.weight", (2, 5), 0.05),
        ("decoder.films.1.affine.bias", (3,), 0.02),
        ("shared.code", (5,), 0.02),
        ("shared.track", (1, 1), 0.05),
        ("latents.levels.0", (2, 1, 1, 2), 0.05),
    ],
)
def test_gradients_agree_with_finite_differences(name: str, at: tuple[int, ...], step: float) -> None:
    ready = prepared(
        clip_of(translating(SIZE, 5, (1.3, -0.8))),
        MADE,
        sampling=SamplingConfig(patches=30, patch_size=8, hidden_share=0.5),
    )
    batch = ready.sampler.batch(0)
    objective = ready.objective()
    parameter = dict(ready.field.named_parameters())[name]
    objective(batch).total().backward()
    assert parameter.grad is not None
    gradient = float(parameter.grad[at])
    assert abs(gradient) > 1e-7
    assert gradient == pytest.approx(difference_quotient(objective, batch, parameter, at, step), rel=0.05, abs=2e-6)


def test_a_batch_of_only_hidden_or_only_observed_points_is_legal() -> None:
    ready = prepared(config=MADE)
    batch = ready.sampler.batch(0)
    seen = len(batch.uvt) - batch.hidden
    objective = ready.objective()
    only_seen = objective(Batch(batch.uvt[:seen], batch.rgb[:seen], 0))
    only_hidden = objective(Batch(batch.uvt[seen:], batch.rgb[seen:], batch.hidden))
    assert only_seen.hidden == 0
    assert only_seen.observed > 0
    assert only_hidden.observed == 0
    assert only_hidden.hidden > 0


@BOTH
@pytest.mark.parametrize("clip", [clip_of(translating(SIZE, 1)), clip_of(with_cut(SIZE, 1, 1))])
def test_clips_without_gaps_have_finite_terms_and_gradients(clip: Clip, config: FieldConfig) -> None:
    ready = prepared(clip, config)
    batch = ready.sampler.batch(0)
    # What shows its frames has nothing to learn where none can be hidden.
    assert (len(batch.uvt) == 0) == (config is DEFAULT)
    terms = ready.objective()(batch, ready.patches())
    assert all(value.isfinite() for value in terms)
    terms.total().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in ready.field.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["network.0.weight", "network.0.bias", "network.2.weight", "network.2.bias"])
def test_gradients_of_views_agree_with_finite_differences(name: str) -> None:
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
        for step in (0.002, -0.004):
            parameter[at] += step
            made = twin(batch.uvt[seen:], hide=True)
            values.append(smooth_size(made - batch.rgb[seen:]).double().sum() / (3 * len(batch.uvt)))
    assert abs(float(parameter.grad[at])) > 1e-5
    assert float(parameter.grad[at]) == pytest.approx(float(values[0] - values[1]) / 0.004, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("config", "parts"), [(DEFAULT, {"visibility"}), (MADE, {"decoder", "shared", "latents"})])
def test_what_is_hidden_teaches_all_that_is_read_between_and_nothing_else(config: FieldConfig, parts: set[str]) -> None:
    ready = prepared(config=config)
    ready.objective(ObjectiveConfig(observed=0.0))(ready.sampler.batch(0), None).total().backward()
    for name, parameter in ready.field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any() == (name.split(".")[0] in parts), name


def test_detail_teaches_its_encoder_alone_and_all_of_it() -> None:
    ready = prepared()
    weights = ObjectiveConfig(observed=0.0, hidden=0.0)
    ready.objective(weights)(ready.sampler.batch(0), ready.patches()).total().backward()
    for name, parameter in ready.field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any() == name.startswith("detail."), name


def test_without_patches_detail_costs_nothing() -> None:
    ready = prepared()
    terms = ready.objective()(ready.sampler.batch(0))
    assert terms.detail == 0
    plain = prepared(config=replace(DEFAULT, detail=DetailConfig(enabled=False)))
    assert plain.enlarging is None
    assert plain.objective()(plain.sampler.batch(0)).detail == 0


@BOTH
def test_every_parameter_is_held_once_and_has_a_gradient_at_every_step(config: FieldConfig) -> None:
    ready = prepared(config=config)
    objective = ready.objective()
    assert {id(p) for p in objective.parameters()} == {id(p) for p in ready.field.parameters()}
    assert len(list(objective.parameters())) == len(list(ready.field.parameters()))
    batch = ready.sampler.batch(0)
    for few in (Batch(batch.uvt[:1], batch.rgb[:1], 0), Batch(batch.uvt[:0], batch.rgb[:0], 0)):
        objective.zero_grad()
        objective(few).total().backward()
        assert all(parameter.grad is not None for parameter in objective.parameters())


def test_from_nothing_everything_learns_from_the_first_steps_on() -> None:
    clip = clip_of(crossing((32, 64), [4 + 4 * k for k in range(6)], 20, 6))
    alone = Config(training=TrainingConfig(prior="none"))
    member = Member("", clip, alone, seed=0, like=None, says=False, shows=False)
    objective, optimizer = member.objective(), torch.optim.Adam(member.field.parameters(), lr=1e-3)
    assert member.enlarging is not None
    for step in range(2):
        optimizer.zero_grad(set_to_none=True)
        objective(member.sampler.batch(step), member.enlarging.patches(0, step, False)).total().backward()
        # The last layers begin at nothing, and let nothing through until they have taken a step.
        for name, parameter in member.field.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any() or (step == 0 and ".last." not in name), name
        optimizer.step()


@pytest.mark.slow
def test_by_default_every_parameter_changes_what_is_made() -> None:
    """Nothing is learnt that nobody sees: it tells in a frame in between, or in an enlarged one."""
    size = (12, 16)
    field = field_of(clip_of(crossing(size, [1 + 2 * k for k in range(3)], 8, 2)))
    perturb(field, 0.1)
    sizes = (size, (2 * size[0], 2 * size[1]))

    @torch.no_grad()
    def made() -> list[Tensor]:
        views = zip(sizes, (0.06, 0.04), strict=True)
        return [field(with_t(pixel_uv(*of), t).reshape(-1, 3), Footprint.of_size(*of)) for of, t in views]

    before = made()
    assert len(list(field.parameters())) > 10
    for seed, (name, parameter) in enumerate(field.named_parameters()):
        kept, generator = parameter.detach().clone(), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        changes = [float((now - was).abs().max()) for now, was in zip(made(), before, strict=True)]
        assert max(changes) > 1e-3, name
        with torch.no_grad():
            parameter.copy_(kept)


def test_negative_weights_are_named() -> None:
    with pytest.raises(UserError, match=r"hidden must be from 0 .* got -1"):
        ObjectiveConfig(hidden=-1)
