"""Codes between two clips, and codes drawn anew."""

from __future__ import annotations

import pytest
import torch

from vfield.core.errors import UserError
from vfield.field.codes import interpolated, sampled
from vfield.field.config import FieldConfig
from vfield.field.decoder import DecoderConfig
from vfield.field.latents import LocalConfig
from vfield.field.motion import MotionConfig
from vfield.field.video_field import VideoField

CONFIG = FieldConfig(
    local=LocalConfig(colours=False, levels=(4,), channels=3),
    motion=MotionConfig(enabled=False),
    decoder=DecoderConfig(width=8, depth=1),
)


def a_field(
    seed: int, seconds: float = 1.0, size: tuple[int, int] = (16, 24), like: VideoField | None = None
) -> VideoField:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    field = VideoField(
        CONFIG,
        keyframes=torch.zeros(3, 3, *size),
        t=torch.tensor([0.0, 0.5 * seconds, 0.9 * seconds]),
        shots=[range(3)],
        duration_seconds=seconds,
        curves=None,
        generator=generator,
    )
    assert field.decoder is not None
    torch.nn.init.normal_(field.decoder.head.weight)
    assert field.shared is not None
    torch.nn.init.normal_(field.shared.track)
    if like is not None:
        field.adopt(like)
    return field.eval()


def code(field: VideoField) -> torch.Tensor:
    assert field.shared is not None
    return field.shared.code.detach()


def level(field: VideoField) -> torch.Tensor:
    assert field.latents is not None
    return field.latents.levels[0].detach()


UVT = torch.rand(50, 3, generator=torch.Generator().manual_seed(9)) * torch.tensor([1.0, 1.0, 0.9])


def test_the_ends_of_an_interpolation_are_the_two_fields() -> None:
    one = a_field(0)
    other = a_field(1, like=one)
    assert torch.equal(interpolated(one, other, 0.0)(UVT), one(UVT))
    assert torch.allclose(interpolated(one, other, 1.0)(UVT), other(UVT), atol=1e-6)
    middle = interpolated(one, other, 0.5)
    assert torch.allclose(level(middle), (level(one) + level(other)) / 2)
    assert torch.allclose(code(middle), (code(one) + code(other)) / 2)
    assert middle.decoder is one.decoder
    assert not torch.equal(code(one), code(middle))


def test_local_latents_of_another_size_stay() -> None:
    one = a_field(0)
    other = a_field(1, seconds=2.0, size=(20, 24), like=one)
    middle = interpolated(one, other, 0.5)
    assert torch.equal(level(middle), level(one))
    assert torch.allclose(code(middle), (code(one) + code(other)) / 2)
    kept = interpolated(one, a_field(1, like=one), 1.0, local=False)
    assert torch.equal(level(kept), level(one))


def test_a_track_keeps_its_line_when_it_has_more_knots() -> None:
    """A track that rises evenly rises evenly whatever the number of its knots."""
    one, other = a_field(0), a_field(1, seconds=3.0)
    assert one.shared is not None
    assert other.shared is not None
    with torch.no_grad():
        for latent in (one.shared, other.shared):
            latent.track.copy_(torch.linspace(0, 1, len(latent.track))[:, None].expand_as(latent.track))
    made = interpolated(one, other, 0.5).shared
    assert made is not None
    assert torch.allclose(made.track, one.shared.track, atol=1e-6)


@pytest.mark.slow
def test_draws_have_the_mean_and_covariance_of_the_codes() -> None:
    first = a_field(0)
    fields = [first, *(a_field(seed, like=first) for seed in (1, 2, 3))]
    generator = torch.Generator().manual_seed(5)
    drawn = torch.stack([code(sampled(fields, generator, local=False)) for _ in range(600)])
    codes = torch.stack([code(field) for field in fields])
    spread = torch.cov(codes.T)
    assert torch.allclose(drawn.mean(dim=0), codes.mean(dim=0), atol=0.2 * float(spread.diagonal().max().sqrt()))
    assert torch.allclose(torch.cov(drawn.T), spread, atol=0.3 * float(spread.abs().max()))


@pytest.mark.slow
def test_drawn_cells_have_the_covariance_of_the_cells() -> None:
    fields = [a_field(seed, size=(64, 96)) for seed in (0, 1)]
    with torch.no_grad():
        for field in fields:
            assert field.latents is not None
            field.latents.levels[0][:, 1].add_(2 * field.latents.levels[0][:, 0]).add_(1)
    cells, drawn = (
        torch.cat([grid.transpose(0, 1).flatten(1) for grid in grids], dim=1)
        for grids in ([level(field) for field in fields], [level(sampled(fields, torch.Generator().manual_seed(1)))])
    )
    assert torch.allclose(drawn.mean(dim=1), cells.mean(dim=1), atol=3e-3)
    assert torch.allclose(torch.cov(drawn), torch.cov(cells), atol=0.1 * float(torch.cov(cells).abs().max()))


def test_what_cannot_be() -> None:
    one = a_field(0)
    with pytest.raises(UserError, match="two clips or more"):
        sampled([one], torch.Generator())
    other = a_field(1)
    other.config = FieldConfig()
    with pytest.raises(UserError, match="one run"):
        interpolated(one, other, 0.5)
    with pytest.raises(UserError, match="one config"):
        one.adopt(other)
