"""Tangent kernels: against gradients one by one, the kernel of infinite width, and training that really happens."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from einops import rearrange
from torch import Tensor

from vfield.cli import main
from vfield.core.coords import pixel_uv
from vfield.field.decoder import DecoderConfig
from vfield.lab.ntk import (
    TangentField,
    TangentMLP,
    analytic_kernel,
    descend,
    eigenvalues,
    empirical_kernel,
    predicted,
    unexplained_by_difference,
)
from vfield.lab.ntk_run import kernel_of, middle_row
from vfield.lab.spectral import PictureField, map_config


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def line(points: int) -> Tensor:
    return rearrange(pixel_uv(1, points, (0.0, 0.5, 1.0, 0.5)), "h w c -> (h w) c")


def test_the_kernel_is_the_product_of_gradients_taken_one_by_one() -> None:
    field = TangentField(map_config("gaussian", 2.0, 4), 16, 2, 0)
    points = torch.rand(5, 2, generator=generator())
    rows = []
    for point in points:
        gradients = torch.autograd.grad(field(point[None]).sum(), list(field.mlp.parameters()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    jacobian = torch.stack(rows)
    torch.testing.assert_close(empirical_kernel(field, points), jacobian @ jacobian.T)
    torch.testing.assert_close(empirical_kernel(field.mlp, field.encode(points)), jacobian @ jacobian.T)


def test_the_kernel_of_the_packages_own_field() -> None:
    # Features and decoder as a field has them. Its head starts at zero, which mutes every gradient below it: the kernel
    # is then that of the last hidden layer alone, and of the head's bias.
    field = PictureField(map_config("positional", 4.0, 8), DecoderConfig(24, 2, "none"), 0)
    points = torch.rand(6, 2, generator=generator())
    with torch.no_grad():
        hidden = field.encode(points)
        for layer in field.decoder.hidden:
            hidden = layer(hidden).relu()
    torch.testing.assert_close(empirical_kernel(field, points), hidden @ hidden.T + 1)


def test_two_layers_by_the_arc_cosine_kernels() -> None:
    features = torch.randn(7, 3, generator=generator(), dtype=torch.float64)
    lengths = features.norm(dim=-1)
    for i in range(7):
        for j in range(7):
            cosine = float(features[i] @ features[j] / (lengths[i] * lengths[j]))
            angle = math.acos(max(-1.0, min(1.0, cosine)))
            # Cho and Saul's k_0 and k_1; 2 E[relu' relu'] = k_0 and 2 E[relu relu] = k_1.
            order_0 = 1 - angle / math.pi
            order_1 = float(lengths[i] * lengths[j]) * (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / math.pi
            expected = (float(features[i] @ features[j]) * order_0 + order_1) / 3
            assert float(analytic_kernel(features, 1)[i, j]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("depth", "width", "within"), [(1, 16384, 0.03), (2, 1024, 0.1)])
def test_a_wide_network_has_the_kernel_of_infinite_width(depth: int, width: int, within: float) -> None:
    features = torch.randn(10, 3, generator=generator())
    analytic = analytic_kernel(features, depth)

    def apart(width: int) -> float:
        kernel = empirical_kernel(TangentMLP(3, width, depth, generator()), features)
        return float((kernel - analytic).norm() / analytic.norm())

    assert apart(width) < within
    assert apart(width) < apart(width // 64)


def test_a_wide_network_learns_as_the_kernel_foretells() -> None:
    field = TangentField(map_config("gaussian", 1.0, 16), 4096, 1, 0)
    points = line(12)
    features = field.encode(points)
    target = (4 * math.pi * points[:, 0]).sin()
    kernel = empirical_kernel(field.mlp, features)
    rate = 0.1 / float(torch.linalg.eigvalsh(kernel)[-1])
    steps = [0, 1, 3, 10, 30, 100, 200]
    foretold = predicted(kernel, target, rate, steps)
    real = descend(field.mlp, features, target, rate, steps)
    assert not foretold[0].any()
    assert not real[0].any()
    assert (foretold - real).norm(dim=-1).max() < 0.04 * target.norm()
    # The forecast is of something: most of the target has been learnt by then, and little at first.
    left = (real - target).norm(dim=-1) / target.norm()
    assert left[-1] < 0.5
    assert left[1] > 0.9


def test_the_forecast_from_zero_is_the_textbooks() -> None:
    basis = torch.linalg.qr(torch.randn(5, 5, generator=generator(), dtype=torch.float64))[0]
    values = torch.tensor([5.0, 2.0, 1.0, 0.5, 0.1], dtype=torch.float64)
    kernel, target = basis @ torch.diag(values) @ basis.T, torch.randn(5, generator=generator(), dtype=torch.float64)
    made = predicted(kernel, target, 0.1, [7])
    expected = (torch.eye(5) - torch.linalg.matrix_exp(-0.7 * kernel)) @ target
    torch.testing.assert_close(made[0], expected)


def test_stationarity_of_known_kernels() -> None:
    places = torch.arange(8)[:, None]
    differences = places[:, None] - places[None]
    x = torch.arange(8).double()
    stationary = (-(x[:, None] - x).square() / 4).exp()
    assert unexplained_by_difference(stationary, differences) == pytest.approx(0, abs=1e-12)
    # x_i + x_j: on each diagonal the mean is that of all, so the difference explains nothing but by chance of ends.
    sums = x[:, None] + x
    assert unexplained_by_difference(sums, differences) == pytest.approx(1)
    mixed = stationary + 0.1 * (sums - sums.mean())
    assert 0.1 < unexplained_by_difference(mixed, differences) < 0.9


def test_features_make_the_kernel_stationary_and_slow_its_decay() -> None:
    fields = (TangentField(map_config(kind, 4.0, 256), 1024, 1, 0) for kind in ("none", "gaussian"))
    bare, mapped = (kernel_of(field, line(24), (1, 24), 1) for field in fields)
    # In the limit of infinite width it is so exactly; a sampled kernel comes near.
    assert mapped.unexplained_analytic == pytest.approx(0, abs=1e-6)
    assert mapped.unexplained < 0.05
    assert bare.unexplained_analytic > 0.05
    assert mapped.count_above > 4 * bare.count_above
    assert eigenvalues(mapped.analytic)[12] > 100 * eigenvalues(bare.analytic)[12]


def test_the_trace_is_the_mean_of_the_diagonal() -> None:
    kernel = analytic_kernel(torch.randn(9, 4, generator=generator()), 2)
    assert float(eigenvalues(kernel).sum()) == pytest.approx(float(kernel.diagonal().mean()), rel=1e-5)


def test_what_is_learnt_is_the_middle_row() -> None:
    picture = torch.rand(3, 9, 32, generator=generator())
    row = middle_row(picture, 8)
    grey = picture[:, 4].mean(dim=0)
    torch.testing.assert_close(row + grey.mean(), grey.reshape(8, 4).mean(dim=-1))


@pytest.mark.slow
def test_the_command_leaves_figures_and_plots(demo_clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    small = ["--line-points", "12", "--side", "4", "--width", "32", "--steps", "20"]
    assert main(["lab", "ntk", "--image", str(demo_clip), "--out", str(tmp_path / "lab"), *small]) == 0
    assert {path.name for path in (tmp_path / "lab").iterdir()} == {
        *("kernels.png", "eigenvalues.png", "training.png", "figures.json")
    }
    figures = json.loads((tmp_path / "lab" / "figures.json").read_text())
    assert (
        figures["line"]["none"]["unexplained_by_difference"] > figures["line"]["gaussian"]["unexplained_by_difference"]
    )
    assert len(figures["picture"]["basic"]["eigenvalues_over_largest"]) == 16


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--side", "2"], "side must be from 4 to 4096, got 2"),
        (["--width", "20000"], "have more gradients by the weights"),
        (["--sigma", "0"], "sigma must be more than 0"),
    ],
)
def test_bad_input_is_one_line(words: list[str], line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "ntk", *words, "--out", str(tmp_path / "lab")]) == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert line in told
    assert list(tmp_path.iterdir()) == []
