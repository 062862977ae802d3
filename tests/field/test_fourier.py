"""Fourier features: closed forms."""

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from vfield.core.coords import Footprint
from vfield.core.errors import UserError
from vfield.field.fourier import FourierConfig, FourierFeatures

Kind = Literal["none", "basic", "positional", "gaussian"]


def features(kind: Kind, duration: float = 2.0, count: int = 6) -> FourierFeatures:
    config = FourierConfig(kind=kind, count=count, space_bandwidth=8.0, time_bandwidth=3.0)
    return FourierFeatures(config, duration, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["none", "basic", "positional", "gaussian"])
def test_width_is_what_comes_out(kind: Kind) -> None:
    module = features(kind)
    assert module(torch.rand(5, 3), Footprint()).shape == (5, module.width)


def test_basic_features_are_one_wave_an_axis() -> None:
    out = features("basic", duration=2.0)(torch.tensor([[0.25, 0.5, 0.5]]), Footprint())
    torch.testing.assert_close(out, torch.tensor([[0.0, -1.0, 0.0, 1.0, 0.0, 1.0]]), atol=1e-6, rtol=0)


def test_positional_bands_are_log_spaced_up_to_the_bandwidth() -> None:
    bands = features("positional", count=4).matrix[0::3, 0]
    torch.testing.assert_close(bands, torch.tensor([1.0, 2.0, 4.0, 8.0]))


def test_gaussian_bandwidths_are_separate_for_space_and_time() -> None:
    matrix = features("gaussian", count=20_000).matrix
    torch.testing.assert_close(matrix.std(dim=0), torch.tensor([8.0, 8.0, 3.0]), rtol=0.03, atol=0)


def test_the_kernel_of_the_features_is_stationary() -> None:
    module = features("gaussian")
    a, b, shift = torch.rand(4, 3), torch.rand(4, 3), torch.tensor([0.1, -0.2, 0.3])
    here = (module(a, Footprint()) * module(b, Footprint())).sum(dim=-1)
    there = (module(a + shift, Footprint()) * module(b + shift, Footprint())).sum(dim=-1)
    torch.testing.assert_close(here, there, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["basic", "positional", "gaussian"])
def test_damping_is_the_mean_over_the_footprint(kind: Kind) -> None:
    module = features(kind).double()
    centre = torch.tensor([[0.4, 0.6, 0.7]], dtype=torch.float64)
    footprint = Footprint(du=0.11, dv=0.07, dt=0.2)
    steps = (torch.arange(40, dtype=torch.float64) + 0.5) / 40 - 0.5
    box = torch.cartesian_prod(steps * footprint.du, steps * footprint.dv, steps * footprint.dt)
    mean = module(centre + box, Footprint()).mean(dim=0)
    torch.testing.assert_close(module(centre, footprint)[0], mean, atol=2e-3, rtol=0)


def test_one_frame_of_no_duration_is_legal() -> None:
    assert features("gaussian", duration=0.0)(torch.zeros(1, 3), Footprint()).isfinite().all()


def test_a_whole_wave_averages_to_nothing() -> None:
    out = features("basic")(torch.rand(3, 3), Footprint(du=1.0, dv=1.0, dt=2.0))
    torch.testing.assert_close(out, torch.zeros_like(out), atol=1e-6, rtol=0)


def test_bad_values_are_named() -> None:
    with pytest.raises(UserError, match=r"count must be from 1 to .* got 0"):
        FourierConfig(count=0)
    with pytest.raises(UserError, match=r"space_bandwidth must be from 0 .* got -1"):
        FourierConfig(space_bandwidth=-1.0)
    with pytest.raises(UserError, match="fourier bandwidths are all 0"):
        FourierConfig(space_bandwidth=(0.0, 0.0), time_bandwidth=0.0)
    with pytest.raises(UserError, match=r"got -2.0 in \[1.0, -2.0\]"):
        FourierConfig(space_bandwidth=(1.0, -2.0))
    with pytest.raises(UserError, match="kind none has none"):
        FourierConfig(kind="none", learnt=True)


def test_each_axis_has_its_own_bandwidth() -> None:
    generator = torch.Generator().manual_seed(0)
    config = FourierConfig(kind="gaussian", count=20_000, space_bandwidth=(8.0, 2.0), time_bandwidth=0.5)
    matrix = FourierFeatures(config, 1.0, generator).matrix
    torch.testing.assert_close(matrix.std(dim=0), torch.tensor([8.0, 2.0, 0.5]), rtol=0.03, atol=0)
    config = FourierConfig(kind="positional", count=4, space_bandwidth=(8.0, 27.0), time_bandwidth=1.0)
    bands = FourierFeatures(config, 1.0, generator).matrix
    torch.testing.assert_close(bands[0::3, 0], torch.tensor([1.0, 2.0, 4.0, 8.0]))
    torch.testing.assert_close(bands[1::3, 1], torch.tensor([1.0, 3.0, 9.0, 27.0]))
    torch.testing.assert_close(bands[2::3, 2], torch.ones(4))


@pytest.mark.parametrize("kind", ["none", "basic", "positional", "gaussian"])
def test_a_bandwidth_of_zero_leaves_its_axis_out(kind: Kind) -> None:
    config = FourierConfig(kind=kind, count=6, space_bandwidth=(4.0, 0.0), time_bandwidth=0.0)
    module = FourierFeatures(config, 1.0, torch.Generator().manual_seed(0))
    points = torch.rand(5, 3)
    others = torch.cat([points[:, :1], torch.rand(5, 2)], dim=-1)
    torch.testing.assert_close(module(points, Footprint()), module(others, Footprint()))
    assert not torch.allclose(module(points, Footprint()), module(points.flip(0), Footprint()))
    assert module(points, Footprint()).shape == (5, module.width)


def test_the_mean_of_coordinates_over_the_footprint_is_their_own() -> None:
    module = features("none").double()
    centre = torch.tensor([[0.4, 0.6, 0.7]], dtype=torch.float64)
    footprint = Footprint(du=0.11, dv=0.07, dt=0.2)
    steps = (torch.arange(20, dtype=torch.float64) + 0.5) / 20 - 0.5
    box = torch.cartesian_prod(steps * footprint.du, steps * footprint.dv, steps * footprint.dt)
    mean = module(centre + box, Footprint()).mean(dim=0)
    torch.testing.assert_close(module(centre, footprint)[0], mean, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["basic", "positional", "gaussian"])
def test_learnt_frequencies_start_as_the_fixed_ones_and_have_true_gradients(kind: Kind) -> None:
    fixed = FourierConfig(kind=kind, count=4, space_bandwidth=(3.0, 2.0), time_bandwidth=1.0)
    given = FourierFeatures(fixed, 2.0, torch.Generator().manual_seed(0))
    learnt = FourierFeatures(replace(fixed, learnt=True), 2.0, torch.Generator().manual_seed(0)).double()
    assert not list(given.parameters())
    assert [name for name, _ in learnt.named_parameters()] == ["matrix"]
    assert given.state_dict().keys() == learnt.state_dict().keys()
    points = torch.rand(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(learnt(points, Footprint()).float(), given(points.float(), Footprint()))
    footprint = Footprint(du=0.1, dv=0.2, dt=0.3)

    def made(matrix: Tensor) -> Tensor:
        return torch.func.functional_call(learnt, {"matrix": matrix}, (points, footprint))

    assert torch.autograd.gradcheck(made, learnt.matrix.detach().clone().requires_grad_())


def test_learnt_frequencies_find_the_one_wave_of_a_signal() -> None:
    generator = torch.Generator().manual_seed(0)
    config = FourierConfig(kind="basic", space_bandwidth=(1.0, 0.0), time_bandwidth=0.0, learnt=True)
    module = FourierFeatures(config, 1.0, generator)
    points = torch.rand(200, 3, generator=generator)
    target = (2 * math.pi * 1.3 * points[:, 0]).sin()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(100):
        loss = (module(points, Footprint())[:, 1] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert module.matrix[0, 0].item() == pytest.approx(1.3, abs=0.01)
