"""The decoder and what steers it, against formulas written out by hand."""

from __future__ import annotations

import pytest
import torch
from scenes import perturb
from torch import Tensor, nn

from vfield.core.errors import UserError
from vfield.field.conditioning import (
    BatchNorm,
    Codes,
    Conditioner,
    ConditioningKind,
    FiLM,
    Hypernetwork,
    Layer,
    steered,
)
from vfield.field.decoder import Decoder, DecoderConfig

KINDS: list[ConditioningKind] = ["none", "concatenate", "film", "batchnorm", "hypernetwork"]
STEERED = KINDS[1:]
INPUTS, CONDITION, WIDTH, LOCAL, RANK = 5, 4, 7, 6, 3


def decoder(
    kind: ConditioningKind,
    perturbed: bool = True,
    depth: int = 2,
    local_kind: ConditioningKind = "concatenate",
    local: int = 0,
) -> Decoder:
    """One that answers: its batch norms, with statistics of their own, are those of evaluation."""
    torch.manual_seed(0)
    config = DecoderConfig(width=WIDTH, depth=depth, conditioning=kind, local_conditioning=local_kind, rank=RANK)
    made = Decoder(config, INPUTS, CONDITION, outputs=3, local_width=local)
    if perturbed:
        perturb(made)
        for module in made.modules():
            if isinstance(module, BatchNorm):
                module.running_mean.copy_(numbers(WIDTH, seed=5))
                module.running_var.copy_(0.5 + numbers(WIDTH, seed=6).square())
    return made.eval()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.int64)


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_zero_until_it_has_learnt(kind: ConditioningKind) -> None:
    out = decoder(kind, perturbed=False)(numbers(6, INPUTS), numbers(1, CONDITION), zeros(6))
    assert torch.equal(out, torch.zeros(6, 3))


def by_hand(found: Conditioner, layer: nn.Linear, features: Tensor, code: Tensor) -> Tensor:
    """One point's outputs by the equations of the module."""
    assert isinstance(found, FiLM | Hypernetwork)
    made = found.affine.weight @ code + found.affine.bias
    if isinstance(found, Hypernetwork):
        dense = layer.weight + found.up @ made[: found.rank].diag() @ found.down
        return dense @ features + layer.bias + made[found.rank :]
    hidden = layer.weight @ features + layer.bias
    if isinstance(found, BatchNorm):
        hidden = (hidden - found.running_mean) / (found.running_var + 1e-5).sqrt()
    return (1 + made[:WIDTH]) * hidden + made[WIDTH:]


def parts(made: Decoder) -> tuple[nn.Linear, Conditioner]:
    """The first layer and what steers it."""
    layer, found = made.hidden[0], made.films[0]
    assert isinstance(layer, nn.Linear)
    assert isinstance(found, Conditioner)
    return layer, found


MODULATING: list[ConditioningKind] = ["film", "batchnorm", "hypernetwork"]


@pytest.mark.parametrize("kind", MODULATING)
@pytest.mark.parametrize("index", [[0, 2, 1, 1, 0, 2], [0, 0, 0, 0, 0, 0], None])
def test_a_layer_is_modulated_as_the_equations_say(kind: ConditioningKind, index: list[int] | None) -> None:
    # With a single row this is the folded way.
    layer, found = parts(decoder(kind))
    rows = range(6) if index is None else index
    features, codes = numbers(6, INPUTS), numbers(1 + max(rows), CONDITION, seed=1)
    out = steered(layer, features, [(found, Codes(codes, None if index is None else torch.tensor(index)))])
    expected = [by_hand(found, layer, point, codes[row]) for point, row in zip(features, rows, strict=True)]
    torch.testing.assert_close(out, torch.stack(expected))


def test_what_a_hypernetwork_adds_is_of_its_rank() -> None:
    layer, found = parts(decoder("hypernetwork"))
    made = found.folded(Layer(layer.weight, layer.bias), numbers(1, CONDITION))
    added = torch.linalg.svdvals(made.weight - layer.weight)
    assert int((added > 1e-5).sum()) == RANK


@pytest.mark.parametrize("kind", ["film", "hypernetwork"])
def test_an_empty_condition_is_neutral_at_the_start(kind: ConditioningKind) -> None:
    layer, found = parts(decoder(kind, perturbed=False))
    features = numbers(6, INPUTS)
    for index in (zeros(6), torch.arange(6)):
        out = steered(layer, features, [(found, Codes(torch.zeros(int(index.max()) + 1, CONDITION), index))])
        torch.testing.assert_close(out, layer(features))


def test_batch_norm_normalises_by_the_points_while_it_learns() -> None:
    layer, found = parts(decoder("batchnorm", perturbed=False).train())
    assert isinstance(found, BatchNorm)
    features = 3 * numbers(500, INPUTS) + 1
    for rows in (1, 2):
        codes = Codes(torch.zeros(rows, CONDITION), torch.arange(500) % rows)
        out = steered(layer, features, [(found, codes)])
        torch.testing.assert_close(out.mean(dim=0), torch.zeros(WIDTH), atol=1e-5, rtol=0)
        torch.testing.assert_close(out.var(dim=0, correction=0), torch.ones(WIDTH), atol=1e-3, rtol=0)
    # Running statistics go towards the batch's by a tenth a call.
    hidden = layer(features)
    torch.testing.assert_close(found.running_mean, (1 - 0.9**2) * hidden.mean(dim=0))
    torch.testing.assert_close(found.running_var, 0.9**2 + (1 - 0.9**2) * hidden.var(dim=0))


def test_batch_norm_in_evaluation_is_an_affine_map_that_knows_no_other_points() -> None:
    made = decoder("batchnorm")
    layer, found = parts(made)
    assert isinstance(found, BatchNorm)
    before = found.running_mean.clone()
    a, b, condition = numbers(6, INPUTS), numbers(6, INPUTS, seed=2), numbers(1, CONDITION, seed=1)

    def out(features: Tensor) -> Tensor:
        return steered(layer, features, [(found, Codes(condition, zeros(len(features))))])

    torch.testing.assert_close(out(0.3 * a + 0.7 * b), 0.3 * out(a) + 0.7 * out(b))
    torch.testing.assert_close(made(torch.cat([a, 100 * b]), condition, zeros(12))[:6], made(a, condition, zeros(6)))
    assert torch.equal(found.running_mean, before)


def test_a_single_point_can_be_learnt_from_with_batch_norm() -> None:
    made = decoder("batchnorm").train()
    assert made(numbers(1, INPUTS), numbers(1, CONDITION), zeros(1)).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("local_kind", KINDS)
def test_the_network_is_layers_with_relu_between(kind: ConditioningKind, local_kind: ConditioningKind) -> None:
    made = decoder(kind, local_kind=local_kind, local=LOCAL)
    features, condition, local = numbers(1, INPUTS), numbers(1, CONDITION, seed=1), numbers(1, LOCAL, seed=2)
    hidden = torch.cat([features[0], *([local[0]] if local_kind == "concatenate" else [])])
    hidden = torch.cat([hidden, *([condition[0]] if kind == "concatenate" else [])])
    for i, layer in enumerate(made.hidden):
        assert isinstance(layer, nn.Linear)
        inputs, hidden = hidden, layer.weight @ hidden + layer.bias
        for steering, code in ((made.films, condition[0]), (made.local_conditioners, local[0])):
            if len(steering):
                found = steering[i]
                assert isinstance(found, Conditioner)
                # The layer before it has already been applied: the identity, or nothing but what is added.
                if isinstance(found, Hypernetwork):
                    hidden = hidden + by_hand(found, _nothing(layer), inputs, code)
                else:
                    hidden = by_hand(found, _identity(), hidden, code)
        hidden = hidden.clamp(min=0)
    expected = made.head.weight @ hidden + made.head.bias
    torch.testing.assert_close(made(features, condition, zeros(1), local)[0], expected)


def _identity() -> nn.Linear:
    same = nn.Linear(WIDTH, WIDTH)
    nn.init.eye_(same.weight)
    nn.init.zeros_(same.bias)
    return same


def _nothing(like: nn.Linear) -> nn.Linear:
    none = nn.Linear(like.in_features, like.out_features)
    nn.init.zeros_(none.weight)
    nn.init.zeros_(none.bias)
    return none


@pytest.mark.parametrize("kind", STEERED)
def test_one_row_for_all_is_the_same_as_that_row_for_each(kind: ConditioningKind) -> None:
    made = decoder(kind)
    features, condition = numbers(6, INPUTS), numbers(1, CONDITION, seed=1)
    repeated = made(features, condition.expand(6, -1), torch.arange(6))
    torch.testing.assert_close(made(features, condition, zeros(6)), repeated)


@pytest.mark.parametrize("kind", STEERED)
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


@pytest.mark.parametrize("kind", STEERED)
def test_gradients_reach_the_condition(kind: ConditioningKind) -> None:
    made = decoder(kind).double()
    features, index = numbers(6, INPUTS).double(), torch.tensor([0, 1, 0, 1, 0, 0])
    condition = numbers(2, CONDITION, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: made(features, c, index), (condition,))
    made(features, condition, index).square().sum().backward()
    assert condition.grad is not None
    assert condition.grad.abs().amin(dim=1).min() > 0


def test_bad_sizes_are_named() -> None:
    with pytest.raises(UserError, match=r"width must be from 1 to .* got 0"):
        DecoderConfig(width=0)
    with pytest.raises(UserError, match=r"depth must be from 1 to .* got 0"):
        DecoderConfig(depth=0)
    with pytest.raises(UserError, match=r"rank must be from 1 to .* got 0"):
        DecoderConfig(rank=0)


@pytest.mark.parametrize("kind", STEERED)
def test_gradients_reach_the_codes_of_points(kind: ConditioningKind) -> None:
    made = decoder("film", local_kind=kind, local=LOCAL).double()
    features, condition = numbers(5, INPUTS).double(), numbers(1, CONDITION, seed=1).double()
    local = numbers(5, LOCAL, seed=2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda codes: made(features, condition, zeros(5), codes), (local,))
    made(features, condition, zeros(5), local).square().sum().backward()
    assert local.grad is not None
    assert local.grad.abs().amin(dim=1).min() > 0


@pytest.mark.parametrize("kind", STEERED)
def test_gradients_reach_the_codes_from_the_first_steps(kind: ConditioningKind) -> None:
    # A decoder begins at zero: after one step of its last layer its codes must learn, too.
    made = decoder("none", perturbed=False, local_kind=kind, local=LOCAL).train()
    nn.init.normal_(made.head.weight, std=1e-3)
    local = numbers(8, LOCAL, seed=2).requires_grad_()
    made(numbers(8, INPUTS), torch.zeros(1, CONDITION), zeros(8), local).sum().backward()
    assert local.grad is not None
    assert local.grad.abs().max() > 1e-6


def test_local_codes_can_be_left_out() -> None:
    made, features, condition = (
        decoder("film", local_kind="none", local=LOCAL),
        numbers(6, INPUTS),
        numbers(1, CONDITION),
    )
    outs = [made(features, condition, zeros(6), numbers(6, LOCAL, seed=seed)) for seed in (1, 2)]
    assert torch.equal(*outs)
