"""Pictures on their way through a codec: as many, nearly the same, worse the worse the quality, and each time alike."""

from __future__ import annotations

import torch

from vfield.video_io import through_codec


def test_pictures_come_back_worse_and_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 12, 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bicubic").clamp(0, 1)
    pictures = (255 * (smooth + 0.02 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)).to(torch.uint8)
    fine, rough = through_codec(pictures, 16), through_codec(pictures, 36)
    assert fine.shape == rough.shape == pictures.shape
    assert fine.dtype == torch.uint8
    errors = [float((some.float() - pictures.float()).square().mean()) for some in (fine, rough)]
    assert 0 < errors[0] < errors[1] < 1000
    assert torch.equal(fine, through_codec(pictures, 16))
