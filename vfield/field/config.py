"""Which parts a field has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vfield.errors import UserError
from vfield.field.decoder import DecoderConfig
from vfield.field.detail import DetailConfig
from vfield.field.encoder import EncoderConfig
from vfield.field.fourier import FourierConfig
from vfield.field.latents import GlobalConfig, LocalConfig
from vfield.field.motion import MotionConfig


@dataclass(frozen=True)
class FieldConfig:
    """The parts of a field.

    Attributes:
        fourier: features of (u, v, t).
        shared: the global latent.
        local: the local latents.
        motion: the motion field.
        decoder: the MLP.
        detail: the encoder of a level finer than the keyframes.
        codes: where the global and the learnt local latents come from: they are learnt themselves ("autodecoder"), or
            an encoder that is learnt predicts them from the keyframes ("autoencoder").
        encoder: that encoder.
    """

    fourier: FourierConfig = FourierConfig()
    shared: GlobalConfig = GlobalConfig()
    local: LocalConfig = LocalConfig()
    motion: MotionConfig = MotionConfig()
    decoder: DecoderConfig = DecoderConfig()
    detail: DetailConfig = DetailConfig()
    codes: Literal["autodecoder", "autoencoder"] = "autodecoder"
    encoder: EncoderConfig = EncoderConfig()

    def __post_init__(self) -> None:
        if self.codes == "autoencoder" and not self.shared.enabled and not self.local.levels:
            raise UserError("field.codes autoencoder needs something to predict: shared.enabled or local.levels")

    @property
    def has_local(self) -> bool:
        """Whether anything is read at keyframes."""
        return self.local.colours or bool(self.local.levels)
