"""An autoencoder's codes: small convolutional networks predict the latents from the keyframes.

An autodecoder learns a code for everything, D(z_i) = x_i with z_i free (Bojanowski et al., "Optimizing the latent space
of generative networks", 2018; Park et al., "DeepSDF", 2019, equation 9). An autoencoder learns a function that makes
it, D(E(x_i)) = x_i (Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006): a
step that looks at one keyframe moves the codes of all.

While training, codes are predicted anew wherever they are read, with gradients: local ones from the keyframe that is
read, global ones from small copies of all keyframes. For evaluation they are predicted once and kept as values of the
same names and shapes as an autodecoder's. A field file holds those values and no encoder, so it renders like any other.
"""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfield.core.clip import to_float
from vfield.core.frames import Frames
from vfield.core.splines import area_averages
from vfield.field.config import EncoderConfig, GlobalConfig, LocalConfig
from vfield.field.latents import GlobalLatent, LatentGrids

# Most rows and columns of the copies of keyframes that global codes are predicted from.
_SMALL = (24, 32)


class _Trunk(nn.Module):
    """(k, 3, h, w) pictures to (k, channels, h / cell, w / cell): one layer over each cell, then residual blocks."""

    def __init__(self, config: EncoderConfig, cell: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, config.channels, cell, stride=cell)
        self.blocks = nn.ModuleList(
            nn.Conv2d(config.channels, config.channels, 3, padding=1, padding_mode="replicate")
            for _ in range(config.blocks)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        hidden = self.stem(pictures - 0.5)
        for block in self.blocks:
            hidden = hidden + block(hidden.relu())
        return hidden.relu()


class GridEncoder(nn.Module):
    """Pictures (k, 3, h, w), uint8 or float in [0, 1], to the levels (k, channels, rows, columns) of local latents."""

    def __init__(self, config: EncoderConfig, local: LocalConfig) -> None:
        super().__init__()
        self.cells = local.levels
        self.trunk = _Trunk(config, min(local.levels))
        self.heads = nn.ModuleList(nn.Conv2d(config.channels, local.channels, 1) for _ in local.levels)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Predict every level."""
        height, width = pictures.shape[-2:]
        finest = min(self.cells)
        whole = (-(-height // finest) * finest, -(-width // finest) * finest)
        pixels = to_float(pictures)
        if whole != (height, width):
            # Cells are laid evenly over the picture, so the last row of them is never cut.
            pixels = F.interpolate(pixels, size=whole, mode="bilinear", align_corners=False)
        seen = self.trunk(pixels)
        return [
            head(F.adaptive_avg_pool2d(seen, (-(-height // cell), -(-width // cell)))).float()
            for cell, head in zip(self.cells, self.heads, strict=True)
        ]


class Predicted(nn.Module):
    """Codes that an encoder predicts: anew while training, as kept afterwards."""

    def predict(self) -> None:
        """Keep what the encoder predicts now."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        """Learn on, or go over to what is predicted by now."""
        if self.training and not mode:
            self.predict()
        return super().train(mode)


class EncodedGrids(Predicted, LatentGrids):
    """Local latents that are predicted from the keyframes."""

    def __init__(self, local: LocalConfig, config: EncoderConfig, frames: Frames, generator: torch.Generator) -> None:
        """Build the encoder of k keyframes of (3, h, w)."""
        super().__init__(local, len(frames), int(frames.shape[-2]), int(frames.shape[-1]), generator)
        self.levels.requires_grad_(False)
        self.encoder = GridEncoder(config, local)
        self.frames = frames

    def grids(self, keyframe: int) -> list[Tensor]:
        """See `LatentGrids`."""
        if not self.training:
            return super().grids(keyframe)
        return [level[0] for level in self.encoder(self._picture(keyframe))]

    def _picture(self, keyframe: int) -> Tensor:
        return self.frames[keyframe][None].to(self.levels[0].device)

    @torch.no_grad()
    def predict(self) -> None:
        """See `Predicted`."""
        for keyframe in range(len(self.frames)):
            for level, predicted in zip(self.levels, self.encoder(self._picture(keyframe)), strict=True):
                level[keyframe] = predicted[0]


class EncodedGlobal(Predicted, GlobalLatent):
    """A global latent that is predicted from all keyframes.

    The clip's code is the mean over keyframes of what each says (a function of a set: Zaheer et al., "Deep sets",
    2017); the track goes linearly from what one keyframe says to what the next does.
    """

    small: Tensor
    weights: Tensor

    def __init__(
        self,
        config: GlobalConfig,
        encoder: EncoderConfig,
        frames: Frames,
        t: Tensor,
        duration_seconds: float,
        generator: torch.Generator,
    ) -> None:
        """Build the encoder of k keyframes of (3, h, w) at instants t (k,)."""
        super().__init__(config, duration_seconds, generator)
        self.code.requires_grad_(False)
        self.track.requires_grad_(False)
        rows, columns = (min(most, size) for most, size in zip(_SMALL, frames.shape[-2:], strict=True))
        small = torch.stack([area_averages(frames[k], rows, columns) for k in range(len(frames))])
        self.register_buffer("small", small, persistent=False)
        knots = torch.linspace(0, self.duration_seconds, len(self.track))
        self.register_buffer("weights", linear_weights(t, knots), persistent=False)
        self.encoder = nn.Sequential(
            _Trunk(encoder, min(4, rows, columns)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(encoder.channels, self.width),
        )

    def codes(self) -> tuple[Tensor, Tensor]:
        """See `GlobalLatent`."""
        return self._predicted() if self.training else super().codes()

    def _predicted(self) -> tuple[Tensor, Tensor]:
        code, track = self.encoder(self.small).float().chunk(2, dim=-1)
        return code.mean(dim=0), self.weights @ track

    @torch.no_grad()
    def predict(self) -> None:
        """See `Predicted`."""
        code, track = self._predicted()
        self.code.copy_(code)
        self.track.copy_(track)


def linear_weights(known: Tensor, asked: Tensor) -> Tensor:
    """Weights (n, k) that take values at increasing positions (k,) linearly to positions (n,), held beyond the ends."""
    if len(known) == 1:
        return asked.new_ones(len(asked), 1)
    right = torch.searchsorted(known, asked.contiguous()).clamp(1, len(known) - 1)
    share = ((asked - known[right - 1]) / (known[right] - known[right - 1])).clamp(0, 1)
    weights = asked.new_zeros(len(asked), len(known))
    weights.scatter_(1, right[:, None], share[:, None])
    return weights.scatter_(1, right[:, None] - 1, 1 - share[:, None])
