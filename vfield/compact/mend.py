"""A small network that mends what quantising did to the frames, its weights kept in 8 bits.

    mended = frame + net(frame) = frame + W3 * relu(W2 * relu(W1 * frame)),        * 3 x 3 convolutions

The last layer starts at zero, so the frames begin as their latents say. It learns, from all observed frames, what the
quantiser of this clip at this step leaves out (the deblocking filters of video coding, learnt for one clip), by Adam on
the squared error of patches. Weights are trained as they will be stored: see `vfield.compact.quantise`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfield.clip import to_float, to_uint8
from vfield.compact.quantise import QuantisedWeight, as_stored, quantise_weight

CHANNELS = 12
_PATCH = 48
_PATCHES = 8
_LEARNING_RATE = 4e-3
_BAND_ROWS = 64
_SCALE = 1 / 16  # of what it adds: colours differ by some grey levels
_REACH = 3  # pixels that its three layers see to each side
_CHECK_PATCHES = 32

Progress = Callable[[Iterable[int], int], Iterable[int]]


class Mender(nn.Module):
    """(n, 3, h, w) colours in [0, 1] -> (n, 3, h - 6, w - 6) what to add to all but a rim."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3) for inputs, outputs in ((3, channels), (channels, channels), (channels, 3))
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, colours: Tensor) -> Tensor:
        x = colours - 0.5
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Conv2d)
            x = F.conv2d(x.relu() if index else x, as_stored(layer.weight), layer.bias)
        return _SCALE * x

    @torch.no_grad()
    def mend(self, frame: Tensor) -> Tensor:
        """A frame (3, h, w) uint8 with what it lacks, uint8, made in bands of rows."""
        padded = F.pad(to_float(frame)[None], [_REACH] * 4, mode="replicate")
        bands = []
        for top in range(0, frame.shape[-2], _BAND_ROWS):
            band = padded[..., top : top + _BAND_ROWS + 2 * _REACH, :]
            bands.append(to_uint8((band[..., _REACH:-_REACH, _REACH:-_REACH] + self(band))[0]))
        return torch.cat(bands, dim=-2)

    def stored(self) -> dict[str, Tensor]:
        """What a file keeps: int8 weights, a scale for each output, biases."""
        kept: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            weight = quantise_weight(layer.weight)
            kept |= {f"{index}.integers": weight.integers, f"{index}.scale": weight.scale}
            kept[f"{index}.bias"] = layer.bias.detach().clone()
        return kept

    @staticmethod
    def of_stored(kept: dict[str, Tensor]) -> Mender:
        """Inverse of `stored`: adds what the stored one adds."""
        mender = Mender(len(kept["0.scale"]))
        with torch.no_grad():
            for index, layer in enumerate(mender.layers):
                assert isinstance(layer, nn.Conv2d)
                assert layer.bias is not None
                layer.weight.copy_(QuantisedWeight(kept[f"{index}.integers"], kept[f"{index}.scale"]).read())
                layer.bias.copy_(kept[f"{index}.bias"])
        return mender


def learn_mender(
    coded: Tensor, frames: Tensor, steps: int, seed: int, progress: Progress = lambda steps, _: steps
) -> Mender | None:
    """Learn to mend.

    Args:
        coded: (n, 3, h, w) uint8, what the latents give.
        frames: (n, 3, h, w), the observed frames.
        steps: of Adam.
        seed: of the patches and of the first weights.
        progress: wraps the loop.

    Returns:
        The network; None where it does not help on patches drawn anew.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mender = Mender()
    optimizer = torch.optim.Adam(mender.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=max(steps, 1))
    for _ in progress(range(steps), steps):
        seen, truth = _patches(coded, frames, _PATCHES, generator)
        loss = F.mse_loss(seen[..., _REACH:-_REACH, _REACH:-_REACH] + mender(seen), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        seen, truth = _patches(coded, frames, _CHECK_PATCHES, generator)
        inner = seen[..., _REACH:-_REACH, _REACH:-_REACH]
        helps = F.mse_loss(inner + mender(seen), truth) < F.mse_loss(inner, truth)
    return mender if bool(helps) else None


def _patches(coded: Tensor, frames: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Patches of what is seen (n, 3, p, p), and of the truth without a rim of `_REACH` pixels."""
    number, _, height, width = frames.shape
    seen, truth = [], []
    rows, columns = min(_PATCH, height), min(_PATCH, width)
    for _ in range(count):
        n, y, x = (
            int(torch.randint(below, (1,), generator=generator))
            for below in (number, height - rows + 1, width - columns + 1)
        )
        seen.append(to_float(coded[n, :, y : y + rows, x : x + columns]))
        truth.append(to_float(frames[n, :, y : y + rows, x : x + columns])[..., _REACH:-_REACH, _REACH:-_REACH])
    return torch.stack(seen), torch.stack(truth)
