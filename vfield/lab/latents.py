"""What each kind of latent contributes, and where codes come from.

- latents: Fourier features alone, with the global latent, with the local ones, with both (hybrid). Decoders of one
  parameter count; what the codes are in numbers is listed beside.
- codes: the hybrid's codes learnt (autodecoder) and predicted from the keyframes (autoencoder).
"""

from __future__ import annotations

from dataclasses import replace

from vfield.field.decoder import DecoderConfig
from vfield.field.fourier import FourierConfig
from vfield.field.latents import GlobalConfig, LocalConfig
from vfield.field.video_field import FieldConfig
from vfield.lab.budget import within_budget
from vfield.lab.race import Entry
from vfield.sampling import SamplingConfig
from vfield.training import Config, TrainingConfig

_GLOBAL = GlobalConfig(width=16, knots_per_second=15.0)
_LOCAL = LocalConfig(colours=False, levels=(4, 16), channels=8)
_NO_GLOBAL = GlobalConfig(enabled=False)
_NO_LOCAL = LocalConfig(colours=False, levels=())
_KINDS = {
    "none": (_NO_GLOBAL, _NO_LOCAL),
    "global": (_GLOBAL, _NO_LOCAL),
    "local": (_NO_GLOBAL, _LOCAL),
    "hybrid": (_GLOBAL, _LOCAL),
}
_FOURIER = FourierConfig(count=48, space_bandwidth=6.0, time_bandwidth=1.0)


def entries(parameters: int, learning_rate: float, seed: int) -> list[Entry]:
    """Who takes part, each with a decoder of about so many parameters.

    Args:
        parameters: of each decoder, what steers it included.
        learning_rate: of everything, at the start.
        seed: of everything random.

    Raises:
        UserError: when so few parameters are not enough for one of them.
    """
    training = TrainingConfig(learning_rate=learning_rate, seed=seed, device="cpu")
    found = []
    for name, (shared, local) in _KINDS.items():
        base = FieldConfig(fourier=_FOURIER, shared=shared, local=local)
        field = within_budget(base, DecoderConfig(depth=3), parameters)
        sampling = SamplingConfig(16, 16) if local.levels else SamplingConfig(patches=256, patch_size=4)
        found.append(Entry("latents", name, Config(field, sampling=sampling, training=training)))
    hybrid = found[-1].config
    predicted = replace(hybrid, field=replace(hybrid.field, codes="autoencoder"))
    return [*found, Entry("codes", "autodecoder", hybrid), Entry("codes", "autoencoder", predicted)]
