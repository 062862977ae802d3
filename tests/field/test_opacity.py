"""Alpha in a field: as it was where frames are shown, moving with the colours in between, averaged where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from scenes import clip_of, field_of, perturb, picture, random_points
from torch import Tensor

from vfield.core.clip import Clip, to_uint8
from vfield.core.coords import Footprint, pixel_uv, with_t
from vfield.core.errors import UserError
from vfield.core.facts import facts_from_json, facts_to_json
from vfield.core.frames import in_memory
from vfield.field.checkpoint import load_field, save_field
from vfield.field.config import FieldConfig
from vfield.field.latents import LocalConfig
from vfield.field.motion import MotionConfig
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.learn.start import distinct
from vfield.prepare.scan import scan_frames

SIZE = (40, 56)
STEP = 4.0
pytestmark = pytest.mark.usefixtures("one_thread")


def disc(left: float) -> Tensor:
    """(h, w): a soft-edged disc, its centre so many pixels from the left."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]).float(), torch.arange(SIZE[1]).float(), indexing="ij")
    return ((12 - ((x - left) ** 2 + (y - 20) ** 2).sqrt()) / 3 + 0.5).clamp(0, 1)


def matte_clip(frames: int = 4) -> Clip:
    """A textured disc that moves to the right, before nothing."""
    lefts = [16 + STEP * k for k in range(frames)]
    alpha = torch.stack([disc(left) for left in lefts])
    texture = torch.stack([picture(SIZE, (left, 0.0), seed=2) for left in lefts])
    clip = clip_of(to_uint8(texture * alpha[:, None]))
    return replace(clip, alpha=to_uint8(alpha))


def shown(field: VideoField, t: float, size: tuple[int, int] = SIZE) -> Tensor:
    """(4, h, w), premultiplied."""
    with torch.no_grad():
        asked = field.rgba(with_t(rearrange(pixel_uv(*size), "h w c -> (h w) c"), t), Footprint.of_size(*size))
    return rearrange(asked, "(h w) c -> c h w", h=size[0])


@pytest.fixture(scope="module")
def clip() -> Clip:
    return matte_clip()


@pytest.fixture(scope="module")
def field(clip: Clip) -> VideoField:
    return field_of(clip).eval()


def test_frames_have_the_alpha_of_the_source(clip: Clip, field: VideoField) -> None:
    assert clip.alpha is not None
    for frame, t in enumerate(field.timeline.t.tolist()):
        torch.testing.assert_close(shown(field, t)[3], clip.alpha[frame] / 255, atol=1e-5, rtol=0)


def test_a_matte_moves_between_frames(field: VideoField) -> None:
    # In the middle of the second gap; a fade of both ends has two half-transparent crescents.
    true, fade = disc(16 + 1.5 * STEP), (disc(16 + STEP) + disc(16 + 2 * STEP)) / 2
    made = shown(field, 0.06)[3]
    assert (made - true).abs().mean() < 0.25 * (fade - true).abs().mean()
    assert (made - true).abs().max() < 0.5 * (fade - true).abs().max()


@pytest.mark.slow
def test_alpha_lies_where_colours_lie(clip: Clip) -> None:
    """A white picture over black is its own alpha."""
    assert clip.alpha is not None
    white = replace(clip, frames=in_memory(clip.alpha)[:, None].expand(-1, 3, -1, -1).contiguous())
    field = field_of(white, replace(FieldConfig(), detail=replace(FieldConfig().detail, enabled=False))).eval()
    for t in (0.0, 0.013, 0.06, 0.1):
        for size in (SIZE, (13, 20), (90, 60)):
            rgba = shown(field, t, size)
            torch.testing.assert_close(rgba[:3], rgba[3:].expand(3, -1, -1), atol=1e-5, rtol=0)


def test_a_coarse_footprint_sees_the_mean(clip: Clip, field: VideoField) -> None:
    assert clip.alpha is not None
    small = shown(field, 0.04, (5, 7))[3]
    torch.testing.assert_close(small, F.avg_pool2d(clip.alpha[1][None] / 255, 8)[0], atol=0.01, rtol=0)


@pytest.mark.slow
def test_colours_and_what_they_teach_know_nothing_of_alpha(clip: Clip) -> None:
    with_alpha, without = field_of(clip), field_of(replace(clip, alpha=None))
    uvt = random_points(500, 0.12)
    for field in (with_alpha, without):
        perturb(field, 0.05)
        field(uvt).square().sum().backward()
    torch.testing.assert_close(with_alpha(uvt), without(uvt), atol=0, rtol=0)
    parameters = dict(without.named_parameters())
    assert parameters.keys() == dict(with_alpha.named_parameters()).keys()
    for name, parameter in with_alpha.named_parameters():
        other = parameters[name].grad
        assert (parameter.grad is None) == (other is None)
        if parameter.grad is not None and other is not None:
            assert torch.equal(parameter.grad, other)
    rgba = with_alpha.rgba(uvt)
    torch.testing.assert_close(rgba[:, :3], with_alpha(uvt), atol=0, rtol=0)
    assert torch.equal(without.rgba(uvt)[:, 3], torch.ones(len(uvt)))
    assert with_alpha.rgba(uvt[:0]).shape == (0, 4)


@pytest.mark.slow
@pytest.mark.parametrize("moving", [True, False])
def test_points_in_any_order_have_one_alpha(clip: Clip, moving: bool) -> None:
    field = field_of(clip, FieldConfig(motion=MotionConfig(enabled=moving))).eval()
    uvt = random_points(300, 0.14)
    with torch.no_grad():
        together, apart = field.rgba(uvt), torch.cat([field.rgba(part) for part in uvt.split(7)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)


def test_rendered_colours_are_those_without_alpha(clip: Clip, field: VideoField) -> None:
    assert clip.alpha is not None
    (picture,) = render(field, SIZE, [0.04], alpha=True, chunk_points=101)
    (over_black,) = render(field, SIZE, [0.04])
    assert picture.shape == (4, *SIZE)
    torch.testing.assert_close(picture[:3] * picture[3:], over_black, atol=1e-5, rtol=0)
    assert bool((picture[:3, picture[3] == 0] == 0).all())
    assert float(picture[:3, clip.alpha[1] > 250].mean()) > 0.4


@pytest.mark.slow
def test_a_file_keeps_alpha(clip: Clip, field: VideoField, tmp_path: Path) -> None:
    save_field(tmp_path / "a.safetensors", field, clip.facts)
    saved = load_field(tmp_path / "a.safetensors")
    assert saved.facts.has_alpha
    assert torch.equal(shown(saved.field, 0.05), shown(field, 0.05))
    # Files of before there was alpha do not say, nor do those of clips without.
    described = facts_to_json(replace(clip.facts, has_alpha=False))
    assert "has_alpha" not in described
    assert not facts_from_json(described).has_alpha
    opaque = field_of(replace(clip, alpha=None))
    save_field(tmp_path / "b.safetensors", opaque, replace(clip, alpha=None).facts)
    assert load_field(tmp_path / "b.safetensors").field.opacity is None


def test_black_that_fades_is_no_repeat(clip: Clip) -> None:
    """Frames whose colours repeat are left out, unless alpha tells them apart."""
    frames = torch.cat([clip.pixels[[0, 0, 1, 1, 2, 2, 3]]])
    assert clip.alpha is not None
    alpha = in_memory(clip.alpha)[[0, 0, 1, 1, 2, 2, 3]]
    held = replace(clip_of(frames), alpha=alpha)
    assert len(distinct(held, True, scan_frames(held.pixels))[0]) == 4
    alpha[3] //= 2
    seen, _ = distinct(replace(held, alpha=alpha), True, scan_frames(held.frames))
    assert len(seen) == 5
    assert seen.alpha is not None
    assert torch.equal(seen.alpha[2], alpha[3])


def test_alpha_needs_keyframe_colours(clip: Clip) -> None:
    assert field_of(clip, FieldConfig(local=LocalConfig(colours=False))).opacity is None


@pytest.mark.parametrize("alpha", [torch.zeros(4, 40, 55, dtype=torch.uint8), torch.zeros(4, *SIZE)])
def test_alpha_must_fit_the_frames(clip: Clip, alpha: Tensor) -> None:
    with pytest.raises(UserError, match="alpha must be of the frames' type"):
        replace(clip, alpha=alpha)
    chosen = clip.select([1, 3])
    assert chosen.alpha is not None
    assert clip.alpha is not None
    assert torch.equal(in_memory(chosen.alpha), in_memory(clip.alpha)[[1, 3]])
