"""The network that mends frames: it learns what a quantiser leaves out, and is read as it was trained."""

from __future__ import annotations

import torch

from vfield.clip import to_float
from vfield.compact.mend import Mender, learn_mender


def error(made: torch.Tensor, truth: torch.Tensor) -> float:
    return float((to_float(made) - to_float(truth)).square().mean())


def test_it_starts_by_adding_nothing() -> None:
    frame = torch.randint(0, 256, (3, 70, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Mender().mend(frame), frame)


def test_bands_are_not_seen() -> None:
    mender = Mender()
    last = mender.layers[-1]
    assert isinstance(last, torch.nn.Conv2d)
    torch.nn.init.normal_(last.weight, generator=torch.Generator().manual_seed(0))
    frame = torch.randint(0, 256, (3, 150, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    lower = mender.mend(frame[:, 41:])
    assert int((mender.mend(frame)[:, 44:].int() - lower[:, 3:].int()).abs().max()) <= 1


def test_it_learns_a_cast_and_is_read_back_as_it_was_trained() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(40, 200, (2, 3, 40, 40), dtype=torch.uint8, generator=generator)
    coded = (truth.int() + torch.tensor([6, -4, 5])[:, None, None]).to(torch.uint8)
    mender = learn_mender(coded, truth, steps=60, seed=0)
    assert mender is not None
    mended = torch.stack([mender.mend(frame) for frame in coded])
    assert error(mended, truth) < 0.2 * error(coded, truth)
    again = Mender.of_stored(mender.stored())
    assert torch.stack([again.mend(frame) for frame in coded]).int().sub(mended.int()).abs().max() <= 1


def test_where_nothing_is_wrong_there_is_no_network() -> None:
    frames = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert learn_mender(frames, frames, steps=3, seed=0) is None
