"""Rehearsing: who is hidden, what it scores, and that nothing stays in force that does harm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from scenes import clip_of, moving, perturb, start_of, translating
from torch import Tensor, nn

from vfield.core.clip import to_float
from vfield.core.coords import pixel_uv, uv_to_xy, with_t
from vfield.field.config import FieldConfig
from vfield.field.latents import LocalConfig
from vfield.field.motion import MotionConfig
from vfield.learn import rehearsal as module
from vfield.learn.rehearsal import Rehearsal, apply_forces, divided, find_forces, sample_uv, squared_errors

pytestmark = pytest.mark.slow

SIZE = (48, 64)


def rehearsal_of(frames: Tensor, config: FieldConfig | None = None) -> Rehearsal:
    found = start_of(clip_of(frames), config or FieldConfig()).rehearsal
    assert found is not None
    return found


def accelerating() -> Tensor:
    """Seven frames that each keyframe alone, which knows one velocity only, would lead astray."""
    return moving(SIZE, [((k - 3.0) ** 2, 2.0 * k) for k in range(7)])


def visibility_of(rehearsal: Rehearsal) -> nn.Linear:
    """The last layer of the only part whose force a rehearsal finds."""
    assert rehearsal.field.visibility is not None
    return rehearsal.field.visibility.last


def values_of(layer: nn.Linear) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in layer.parameters()]


def settle(rehearsal: Rehearsal) -> dict[str, float]:
    """Find the force of each part and turn it down to that."""
    forces = find_forces(rehearsal)
    apply_forces(rehearsal.field, forces)
    return forces


def score(rehearsal: Rehearsal) -> float:
    return float(-10 * squared_errors(rehearsal, rehearsal.checking).log10().mean())


# --------------------------------------------------------------------------------------------- who is hidden


@pytest.mark.parametrize("hideable", [[], [1], [4, 7]])
def test_few_are_all_learnt_from(hideable: list[int]) -> None:
    assert divided(hideable) == (hideable, [])


@pytest.mark.parametrize("count", [3, 4, 7, 20, 34, 35, 100, 1000])
def test_every_fourth_is_kept_for_checking_and_never_learnt_from(count: int) -> None:
    hideable = [3 * k + 1 for k in range(count)]
    learning, checking = divided(hideable)
    assert sorted(learning + checking) == hideable
    assert learning == sorted(learning)
    assert 1 <= len(checking) <= min(8, -(-count // 4))
    places = [hideable.index(frame) for frame in checking]
    assert all(place % 4 == 2 for place in places)
    # Spread over the whole of it.
    assert len({b - a for a, b in pairwise(places)}) <= 1
    assert places[-1] >= count / 2 - 1
    assert len(checking) >= 5 or count < 20


# --------------------------------------------------------------------------------------------- squared errors


@pytest.mark.parametrize("size", [SIZE, (33, 47), (17, 10)])
@pytest.mark.parametrize("most", [1 << 20, 40])
def test_squared_errors_are_those_of_a_whole_picture_made_point_by_point(
    size: tuple[int, int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAMPLED_POINTS", most)
    rehearsal = rehearsal_of(moving(size, [(size[1] * (k - 2) ** 2 / 20, 2.0 * k) for k in range(5)]))
    perturb(rehearsal.field)
    height, width = rehearsal.frames.shape[-2:]
    uv = sample_uv(height, width)
    xy = uv_to_xy(uv, height, width)
    column, row = xy.round().long().unbind(dim=-1)
    torch.testing.assert_close(xy, xy.round(), atol=1e-4, rtol=0)
    assert len(uv) == height * width if height * width <= most else most / 2 <= len(uv) <= 4 * most
    found = squared_errors(rehearsal, [3, 1])
    assert found.shape == (2,)
    for error, frame in zip(found, (3, 1), strict=True):
        t = float(rehearsal.t[frame])
        with torch.no_grad():
            made = rehearsal.field(with_t(pixel_uv(height, width), t), hide=True)
        made = made.clamp(0, 1).reshape(height, width, 3)
        truth = to_float(rehearsal.frames[frame]).permute(1, 2, 0)
        expected = (made - truth)[row, column].double().square().mean()
        assert expected > 1e-4
        assert float(error) == pytest.approx(float(expected), rel=1e-4)


def test_the_sample_of_a_large_picture_covers_it_evenly() -> None:
    for size in ((270, 480), (540, 960), (500, 20)):
        xy = uv_to_xy(sample_uv(*size), *size)
        assert 1 << 13 <= len(xy) <= 1 << 16
        assert (xy.amin(dim=0) < 0.5).all()
        assert (xy.amax(dim=0) > torch.tensor([size[1], size[0]]) - 6).all()
        assert (xy.mean(dim=0) - torch.tensor([size[1], size[0]]) / 2).abs().max() < 4


def test_scores_know_no_colours_beyond_white_and_black() -> None:
    rehearsal = rehearsal_of(torch.ones(4, 3, *SIZE), FieldConfig(local=LocalConfig(colours=False)))
    assert rehearsal.field.decoder is not None
    with torch.no_grad():
        rehearsal.field.decoder.head.bias.fill_(1.0)
    assert (squared_errors(rehearsal, [1, 2]) == 0).all()


# --------------------------------------------------------------------------------------------- settling

# PSNR of full force, half and none, and what stays.
FORCES = [
    (30.0, 28.0, 25.0, 1.0),
    (30.0, 30.5, 29.0, 0.5),
    (28.0, 29.0, 30.0, 0.0),
    (30.0, 30.04, 30.0, 1.0),
    (30.0, 30.0, 30.09, 1.0),
    (30.0, 30.0, 30.11, 0.0),
]


def alone_for_ever(visibility: nn.Linear) -> None:
    """Visibility takes every point from each keyframe alone."""
    visibility.bias.copy_(torch.tensor([-30.0, 30.0]))


def never_alone(visibility: nn.Linear) -> None:
    visibility.bias.copy_(torch.tensor([30.0, -30.0]))


@pytest.mark.parametrize(("learn", "force"), [(alone_for_ever, 0.0), (never_alone, 1.0)])
def test_what_helps_stays_in_force_and_what_harms_is_turned_off(
    learn: Callable[[nn.Linear], None], force: float
) -> None:
    rehearsal = rehearsal_of(accelerating())
    visibility = visibility_of(rehearsal)
    start = score(rehearsal)
    with torch.no_grad():
        learn(visibility)
    learnt = values_of(visibility)
    before = score(rehearsal)
    assert settle(rehearsal) == {"visibility": force}
    for value, was in zip(values_of(visibility), learnt, strict=True):
        torch.testing.assert_close(value, force * was)
    # Up to the benefit of the doubt.
    assert score(rehearsal) >= max(start, before) - 0.2
    assert force == 1 or score(rehearsal) > before + 1
    assert force == 0 or score(rehearsal) > start + 0.05


@pytest.mark.parametrize(("full", "half", "none", "force"), FORCES)
def test_the_best_force_stays_and_full_force_has_the_benefit_of_the_doubt(
    full: float, half: float, none: float, force: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a part is worth at each force is told here: PSNR on the frames kept for checking."""
    rehearsal = rehearsal_of(translating(SIZE, 6))
    visibility = visibility_of(rehearsal)
    with torch.no_grad():
        visibility.bias.fill_(2.0)
    told = {2.0: full, 1.0: half, 0.0: none}

    def errors(_: Rehearsal, frames: Sequence[int]) -> Tensor:
        return torch.full((len(frames),), 10 ** (-told[float(visibility.bias[0].detach())] / 10))

    monkeypatch.setattr(module, "squared_errors", errors)
    assert settle(rehearsal) == {"visibility": force}


def test_finding_forces_leaves_everything_as_it_was() -> None:
    rehearsal = rehearsal_of(accelerating())
    perturb(rehearsal.field)
    before = {name: value.clone() for name, value in rehearsal.field.state_dict().items()}
    first = find_forces(rehearsal)
    after = rehearsal.field.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert find_forces(rehearsal) == first


@pytest.mark.parametrize(("forces", "force"), [({}, 1.0), ({"visibility": 0.25}, 0.25)])
def test_a_part_without_a_force_keeps_all_of_it(forces: dict[str, float], force: float) -> None:
    rehearsal = rehearsal_of(accelerating())
    perturb(rehearsal.field)
    learnt = values_of(visibility_of(rehearsal))
    apply_forces(rehearsal.field, forces)
    for value, was in zip(values_of(visibility_of(rehearsal)), learnt, strict=True):
        assert torch.equal(value, force * was)


def test_settling_again_changes_nothing() -> None:
    rehearsal = rehearsal_of(accelerating())
    with torch.no_grad():
        alone_for_ever(visibility_of(rehearsal))
    settle(rehearsal)
    settled = score(rehearsal)
    settle(rehearsal)
    assert score(rehearsal) == settled


def test_the_field_itself_is_settled_with_its_rehearsal() -> None:
    start = start_of(clip_of(accelerating()))
    assert start.rehearsal is not None
    assert start.field.visibility is not None
    with torch.no_grad():
        alone_for_ever(visibility_of(start.rehearsal))
    assert start.field.visibility.last.bias.any()
    settle(start.rehearsal)
    assert not start.field.visibility.last.bias.any()


def test_with_nothing_to_check_nothing_is_settled() -> None:
    rehearsal = rehearsal_of(translating(SIZE, 4))
    assert rehearsal.checking == []
    perturb(rehearsal.field)
    learnt = values_of(visibility_of(rehearsal))
    assert settle(rehearsal) == {}
    for value, was in zip(values_of(visibility_of(rehearsal)), learnt, strict=True):
        assert torch.equal(value, was)


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (FieldConfig(), ["visibility"]),
        (FieldConfig(motion=MotionConfig(visibility=False)), []),
        (FieldConfig(motion=MotionConfig(enabled=False)), []),
        # Where the decoder makes everything there is no field without it.
        (FieldConfig(local=LocalConfig(colours=False)), []),
    ],
)
def test_only_what_can_be_done_without_is_settled(config: FieldConfig, parts: Sequence[str]) -> None:
    rehearsal = rehearsal_of(translating(SIZE, 6), config)
    perturb(rehearsal.field)
    assert sorted(settle(rehearsal)) == sorted(parts)
