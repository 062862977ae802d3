"""Who takes part in races of fields.

`conditioning_entries`: ways to steer a decoder by codes, at equal parameter count (the equations are in
`vfield.field.conditioning`), in two groups:

- global: a code for every instant, and nothing else that knows the time. The decoder sees Fourier features of (u, v).
- local: a code for every point, read from grids at its frame. The decoder sees Fourier features of (u, v, t).

`latent_entries`: what each kind of latent contributes, and where codes come from. Fourier features of (u, v, t) alone,
with the global latent, with the local ones, with both (hybrid); and the hybrid with codes that an encoder predicts from
the keyframes (autoencoder) instead of learnt ones (autodecoder). All decoders are of one width; how many numbers the
codes are is listed beside. Local latents are read along the motion.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import torch

from vfield.core.errors import UserError
from vfield.field.config import (
    ConditioningKind,
    DecoderConfig,
    FieldConfig,
    FourierConfig,
    GlobalConfig,
    LocalConfig,
    MotionConfig,
)
from vfield.field.decoder import Decoder
from vfield.field.fourier import FourierFeatures
from vfield.lab.race import Entry
from vfield.learn import Config, TrainingConfig
from vfield.learn.config import SamplingConfig

_DEPTH = 3
_WIDEST = 4096
_ENCODER_SHARE = 0.5
_NO_GLOBAL = GlobalConfig(enabled=False)
_NO_LOCAL = LocalConfig(colours=False, levels=())
_LOCAL = LocalConfig(colours=False, levels=(4, 16), channels=8)
_STEERED_EVERYWHERE = FieldConfig(
    fourier=FourierConfig(count=48, space_bandwidth=6.0, time_bandwidth=0.0),
    # More knots than frames a second, so that every frame has a code of its own.
    shared=GlobalConfig(width=8, knots_per_second=30.0),
    local=_NO_LOCAL,
    motion=MotionConfig(enabled=False),
)
_STEERED_IN_PLACES = FieldConfig(
    fourier=FourierConfig(count=16, space_bandwidth=4.0, time_bandwidth=0.5),
    shared=_NO_GLOBAL,
    local=_LOCAL,
    motion=MotionConfig(enabled=False),
)
_KINDS: tuple[ConditioningKind, ...] = ("none", "concatenate", "film", "batchnorm", "hypernetwork")


def conditioning_entries(parameters: int, rank: int, learning_rate: float, seed: int) -> list[Entry]:
    """Every way to steer, each with a decoder of about so many parameters, what steers it included.

    The codes come on top; they are the same for all. `rank` is that of the hypernetwork's weights.

    Raises:
        UserError: when so few parameters are not enough for one of them.
    """
    training = TrainingConfig(learning_rate=learning_rate, seed=seed, device="cpu")
    found = []
    # Where memory is local, codes that steer nothing would say nothing.
    for group, base, kinds in (("global", _STEERED_EVERYWHERE, _KINDS), ("local", _STEERED_IN_PLACES, _KINDS[1:])):
        for kind in kinds:
            decoder = DecoderConfig(depth=_DEPTH, conditioning=kind, local_conditioning=kind, rank=rank)
            field = within_budget(base, decoder, parameters)
            found.append(Entry(group, kind, Config(field, sampling=_sampling(field), training=training)))
    return found


def latent_entries(width: int, learning_rate: float, seed: int) -> list[Entry]:
    """Every kind of latent, with decoders of so many units in a hidden layer.

    Raises:
        UserError: when the width is not positive.
    """
    training = TrainingConfig(learning_rate=learning_rate, seed=seed, device="cpu")
    shared = GlobalConfig(width=8, knots_per_second=15.0)
    plain = FieldConfig(
        fourier=FourierConfig(count=48, space_bandwidth=6.0, time_bandwidth=1.0),
        shared=_NO_GLOBAL,
        local=_NO_LOCAL,
        decoder=DecoderConfig(width, depth=_DEPTH),
    )
    hybrid = replace(plain, shared=shared, local=_LOCAL)
    fields = {
        "none": plain,
        "global": replace(plain, shared=shared),
        "local": replace(plain, local=_LOCAL),
        "hybrid": hybrid,
        "hybrid, predicted": replace(hybrid, codes="autoencoder"),
    }
    found = []
    for name, field in fields.items():
        # At the rate of free codes an encoder's output stands still for the first hundred steps.
        rate = learning_rate * _ENCODER_SHARE if field.codes == "autoencoder" else learning_rate
        config = Config(field, sampling=_sampling(field), training=replace(training, learning_rate=rate))
        found.append(Entry("latents", name, config))
    return found


def _sampling(field: FieldConfig) -> SamplingConfig:
    """Points from everywhere where all of the decoder is shared, patches where memory is local."""
    return SamplingConfig(8, 16) if field.local.levels else SamplingConfig(128, 4)


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
