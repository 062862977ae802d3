"""Ways to steer a decoder by codes, compared at equal parameter count.

Two races (the equations are in `vfield.field.conditioning`):

- global: a code for every instant, and nothing else that knows the time. The decoder sees Fourier features of (u, v).
- local: a code for every point, read from grids at its frame. The decoder sees Fourier features of (u, v, t).
"""

from __future__ import annotations

from vfield.field.config import (
    ConditioningKind,
    DecoderConfig,
    FieldConfig,
    FourierConfig,
    GlobalConfig,
    LocalConfig,
    MotionConfig,
)
from vfield.lab.budget import within_budget
from vfield.lab.race import Entry
from vfield.learn import Config, TrainingConfig
from vfield.learn.config import SamplingConfig

_GLOBAL: tuple[ConditioningKind, ...] = ("none", "concatenate", "film", "batchnorm", "hypernetwork")
_LOCAL: tuple[ConditioningKind, ...] = ("concatenate", "film", "batchnorm", "hypernetwork")

_STILL = MotionConfig(enabled=False)
_SHARED = FieldConfig(
    fourier=FourierConfig(count=48, space_bandwidth=6.0, time_bandwidth=0.0),
    # More knots than frames a second, so that every frame has a code of its own.
    shared=GlobalConfig(width=8, knots_per_second=30.0),
    local=LocalConfig(colours=False, levels=()),
    motion=_STILL,
)
_PLACED = FieldConfig(
    fourier=FourierConfig(count=16, space_bandwidth=4.0, time_bandwidth=0.5),
    shared=GlobalConfig(enabled=False),
    local=LocalConfig(colours=False, levels=(4, 16), channels=8),
    motion=_STILL,
)
_DEPTH = 3


def entries(parameters: int, rank: int, learning_rate: float, seed: int) -> list[Entry]:
    """Who takes part, each with a decoder of about so many parameters.

    Args:
        parameters: of each decoder, what steers it included. The codes come on top; they are the same for all.
        rank: of the hypernetwork's weights.
        learning_rate: of everything, at the start.
        seed: of everything random.

    Raises:
        UserError: when so few parameters are not enough for one of them.
    """
    found = []
    for group, base, kinds in (("global", _SHARED, _GLOBAL), ("local", _PLACED, _LOCAL)):
        for kind in kinds:
            decoder = DecoderConfig(depth=_DEPTH, conditioning=kind, local_conditioning=kind, rank=rank)
            field = within_budget(base, decoder, parameters)
            # Points from everywhere where all of the decoder is shared, patches where memory is local.
            sampling = SamplingConfig(128, 4) if group == "global" else SamplingConfig(8, 16)
            training = TrainingConfig(learning_rate=learning_rate, seed=seed, device="cpu")
            found.append(Entry(group, kind, Config(field, sampling=sampling, training=training)))
    return found
