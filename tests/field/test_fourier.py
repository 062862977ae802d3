"""Fourier features: closed forms."""

from typing import Literal

import pytest
import torch

from vfield.coords import Footprint
from vfield.errors import UserError
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
    with pytest.raises(UserError, match="count must be at least 1, got 0"):
        FourierConfig(count=0)
    with pytest.raises(UserError, match="space_bandwidth=-1"):
        FourierConfig(space_bandwidth=-1.0)
