"""Decoders of equal parameter count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vfield.core.errors import UserError
from vfield.lab.entries import conditioning_entries, decoder_parameters, within_budget


@pytest.mark.parametrize("budget", [6000, 12000, 50000])
def test_all_have_the_budget_and_no_other_width_comes_nearer(budget: int) -> None:
    entries = conditioning_entries(budget, 8, 5e-3, 0)
    assert len(entries) == 9
    for _, name, config in entries:
        width = config.field.decoder.width
        off = {w: abs(decoder_parameters(config.field, w) - budget) for w in (width - 1, width, width + 1)}
        assert off[width] == min(off.values()), name
        assert off[width] < 0.03 * budget, name


def test_parameters_are_counted_as_by_hand() -> None:
    film = next(entry for entry in conditioning_entries(12000, 8, 5e-3, 0) if entry[:2] == ("global", "film"))
    # 96 Fourier features; three layers, each steered by a code and a track of 8; three colours.
    width = 20
    layers = (96 * width + width) + 2 * (width * width + width) + 3 * (16 * 2 * width + 2 * width) + (width * 3 + 3)
    assert decoder_parameters(film.config.field, width) == layers


def test_too_small_a_budget_is_refused() -> None:
    field = conditioning_entries(12000, 8, 5e-3, 0)[0].config.field
    with pytest.raises(UserError, match="a decoder of 10 parameters is too small"):
        within_budget(field, replace(field.decoder, conditioning="film"), 10)
