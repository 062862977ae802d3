"""What each kind of latent contributes, and where codes come from.

Fourier features of (u, v, t) alone, with the global latent, with the local ones, with both (hybrid); and the hybrid
with codes that an encoder predicts from the keyframes (autoencoder) instead of learnt ones (autodecoder). All decoders
are of one width; how many numbers the codes are is listed beside. Local latents are read along the motion.
"""

from __future__ import annotations

from dataclasses import replace

from vfield.field.config import DecoderConfig, FieldConfig, FourierConfig, GlobalConfig, LocalConfig
from vfield.lab.race import Entry
from vfield.learn import Config, TrainingConfig
from vfield.learn.config import SamplingConfig

_GLOBAL = GlobalConfig(width=8, knots_per_second=15.0)
_LOCAL = LocalConfig(colours=False, levels=(4, 16), channels=8)
_NO_GLOBAL = GlobalConfig(enabled=False)
_NO_LOCAL = LocalConfig(colours=False, levels=())
_KINDS = {
    "none": (_NO_GLOBAL, _NO_LOCAL),
    "global": (_GLOBAL, _NO_LOCAL),
    "local": (_NO_GLOBAL, _LOCAL),
    "hybrid": (_GLOBAL, _LOCAL),
}
_ENCODER_SHARE = 0.5
_FOURIER = FourierConfig(count=48, space_bandwidth=6.0, time_bandwidth=1.0)


def entries(width: int, learning_rate: float, seed: int) -> list[Entry]:
    """Who takes part.

    Args:
        width: units in a hidden layer of each decoder.
        learning_rate: of everything, at the start; half of it where there is an encoder.
        seed: of everything random.

    Raises:
        UserError: when the width is not positive.
    """
    training = TrainingConfig(learning_rate=learning_rate, seed=seed, device="cpu")
    found = []
    for name, (shared, local) in _KINDS.items():
        field = FieldConfig(fourier=_FOURIER, shared=shared, local=local, decoder=DecoderConfig(width, depth=3))
        # Points from everywhere where all of the decoder is shared, patches where memory is local.
        sampling = SamplingConfig(8, 16) if local.levels else SamplingConfig(128, 4)
        found.append(Entry("latents", name, Config(field, sampling=sampling, training=training)))
    hybrid = found[-1].config
    # At the rate of free codes an encoder's output stands still for the first hundred steps.
    slower = replace(training, learning_rate=learning_rate * _ENCODER_SHARE)
    predicted = replace(hybrid, field=replace(hybrid.field, codes="autoencoder"), training=slower)
    return [*found, Entry("latents", "hybrid, predicted", predicted)]
