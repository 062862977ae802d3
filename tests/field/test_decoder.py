"""The decoder and what steers it, against formulas written out by hand."""

from __future__ import annotations

import pytest
import torch
from scenes import perturb
from torch import Tensor, nn

from vfield.errors import UserError
from vfield.field.conditioning import ConditioningKind, FiLM
from vfield.field.decoder import Decoder, DecoderConfig

KINDS: list[ConditioningKind] = ["none", "concatenate", "film"]
INPUTS, CONDITION, WIDTH = 5, 4, 7


def decoder(kind: ConditioningKind, perturbed: bool = True, depth: int = 2) -> Decoder:
    torch.manual_seed(0)
    made = Decoder(DecoderConfig(width=WIDTH, depth=depth, conditioning=kind), INPUTS, CONDITION, outputs=3)
    if perturbed:
        perturb(made)
    return made


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.int64)


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_zero_until_it_has_learnt(kind: ConditioningKind) -> None:
    out = decoder(kind, perturbed=False)(numbers(6, INPUTS), numbers(1, CONDITION), zeros(6))
    assert torch.equal(out, torch.zeros(6, 3))


def film_and_layer() -> tuple[FiLM, nn.Linear]:
    torch.manual_seed(0)
    return FiLM(CONDITION, WIDTH), nn.Linear(INPUTS, WIDTH)


def by_hand(film: FiLM, layer: nn.Linear, features: Tensor, condition: Tensor) -> Tensor:
    """(1 + gamma(z)) h + beta(z) with h = W x + b, for one point."""
    affine = film.affine.weight @ condition + film.affine.bias
    return (1 + affine[:WIDTH]) * (layer.weight @ features + layer.bias) + affine[WIDTH:]


@pytest.mark.parametrize("index", [[0, 2, 1, 1, 0, 2], [0, 0, 0, 0, 0, 0]])
def test_film_scales_and_shifts_by_affine_functions_of_the_condition(index: list[int]) -> None:
    film, layer = film_and_layer()
    perturb(film)
    features, condition = numbers(6, INPUTS), numbers(1 + max(index), CONDITION, seed=1)
    out = film(layer, features, condition, torch.tensor(index))
    expected = [by_hand(film, layer, point, condition[row]) for point, row in zip(features, index, strict=True)]
    torch.testing.assert_close(out, torch.stack(expected))


def test_film_of_an_empty_condition_is_neutral_at_the_start() -> None:
    film, layer = film_and_layer()
    features = numbers(6, INPUTS)
    torch.testing.assert_close(film(layer, features, torch.zeros(1, CONDITION), zeros(6)), layer(features))


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_layers_with_relu_between(kind: ConditioningKind) -> None:
    made = decoder(kind)
    features, condition = numbers(1, INPUTS), numbers(1, CONDITION, seed=1)
    hidden = torch.cat([features[0], condition[0]]) if kind == "concatenate" else features[0]
    for i, layer in enumerate(made.hidden):
        assert isinstance(layer, nn.Linear)
        if kind == "film":
            film = made.films[i]
            assert isinstance(film, FiLM)
            hidden = by_hand(film, layer, hidden, condition[0])
        else:
            hidden = layer.weight @ hidden + layer.bias
        hidden = hidden.clamp(min=0)
    expected = made.head.weight @ hidden + made.head.bias
    torch.testing.assert_close(made(features, condition, zeros(1))[0], expected)


@pytest.mark.parametrize("kind", ["concatenate", "film"])
def test_one_row_for_all_is_the_same_as_that_row_for_each(kind: ConditioningKind) -> None:
    made = decoder(kind)
    features, condition = numbers(6, INPUTS), numbers(1, CONDITION, seed=1)
    repeated = made(features, condition.expand(6, -1), torch.arange(6))
    torch.testing.assert_close(made(features, condition, zeros(6)), repeated)


@pytest.mark.parametrize("kind", ["concatenate", "film"])
def test_each_point_uses_the_row_that_its_index_names(kind: ConditioningKind) -> None:
    made = decoder(kind)
    features, conditions, index = numbers(6, INPUTS), numbers(2, CONDITION, seed=1), torch.tensor([1, 0, 0, 1, 1, 0])
    together = made(features, conditions, index)
    for i, row in enumerate(index.tolist()):
        alone = made(features[i : i + 1], conditions[row : row + 1], zeros(1))
        torch.testing.assert_close(together[i : i + 1], alone)
    assert not torch.allclose(together, made(features, conditions, 1 - index))


def test_without_conditioning_the_condition_is_ignored() -> None:
    made, features = decoder("none"), numbers(6, INPUTS)
    outs = [made(features, numbers(1, CONDITION, seed=seed), zeros(6)) for seed in (1, 2)]
    assert torch.equal(*outs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_of_no_width_is_no_condition(kind: ConditioningKind) -> None:
    made = Decoder(DecoderConfig(conditioning=kind), INPUTS, condition_width=0, outputs=3)
    assert made.kind == "none"
    assert made(numbers(6, INPUTS), torch.zeros(1, 0), zeros(6)).shape == (6, 3)


@pytest.mark.parametrize("kind", ["concatenate", "film"])
def test_gradients_reach_the_condition(kind: ConditioningKind) -> None:
    made = decoder(kind).double()
    features, index = numbers(6, INPUTS).double(), torch.tensor([0, 1, 0, 1, 0, 0])
    condition = numbers(2, CONDITION, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: made(features, c, index), (condition,))
    made(features, condition, index).square().sum().backward()
    assert condition.grad is not None
    assert condition.grad.abs().amin(dim=1).min() > 0


def test_bad_sizes_are_named() -> None:
    with pytest.raises(UserError, match="got 0 and 2"):
        DecoderConfig(width=0)
    with pytest.raises(UserError, match="got 32 and 0"):
        DecoderConfig(depth=0)
