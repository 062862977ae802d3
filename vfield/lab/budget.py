"""Decoders of equal parameter count: the width that comes nearest to a budget."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import torch

from vfield.core.errors import UserError
from vfield.field.config import DecoderConfig, FieldConfig
from vfield.field.decoder import Decoder
from vfield.field.fourier import FourierFeatures

_WIDEST = 4096


def decoder_parameters(field: FieldConfig, width: int) -> int:
    """How many numbers the decoder of such a field learns if it is so wide, what steers it included."""
    fourier = FourierFeatures(field.fourier, 1.0, torch.Generator())
    local = field.local.channels * len(field.local.levels) + 6 * field.local.colours
    shared = 2 * field.shared.width * field.shared.enabled
    # Counted from the decoder itself, so that it cannot differ; on no device, so that it costs nothing.
    with torch.device("meta"):
        decoder = Decoder(replace(field.decoder, width=width), fourier.width, shared, 3, local)
    return sum(parameter.numel() for parameter in decoder.parameters())


def within_budget(field: FieldConfig, decoder: DecoderConfig, parameters: int) -> FieldConfig:
    """The field with this decoder, as wide as comes nearest to so many parameters of the decoder.

    Raises:
        UserError: when even the narrowest has more.
    """
    field = replace(field, decoder=decoder)
    widths = range(1, _WIDEST + 1)
    above = bisect_left(widths, parameters, key=lambda width: decoder_parameters(field, width))
    least = decoder_parameters(field, 1)
    if parameters < least:
        raise UserError(f"a decoder of {parameters} parameters is too small: the narrowest has {least}")
    candidates = widths[max(above - 1, 0) : above + 1]
    width = min(candidates, key=lambda width: abs(decoder_parameters(field, width) - parameters))
    return replace(field, decoder=replace(decoder, width=width))
