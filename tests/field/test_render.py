"""Rendering: exact times, and the same values however the field is asked."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import reduce
from scenes import perturb
from torch import Tensor

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.coords import Footprint, pixel_uv, seconds_to_t, with_t
from vfield.core.errors import UserError
from vfield.field.config import FieldConfig
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.learn.start import start_field
from vfield.prepare.flow import FlowConfig
from vfield.video_io import read_clip

HEIGHT, WIDTH = 90, 160


@pytest.fixture(scope="module")
def clip(demo_clip: Path) -> Clip:
    return read_clip(demo_clip, max_frames=6, size=(HEIGHT, WIDTH))


@pytest.fixture(scope="module")
def field(clip: Clip) -> VideoField:
    """A field whose visibility and detail have something to say between the frames."""
    made = start_field(clip, FieldConfig(), FlowConfig(), seed=0).field.eval()
    perturb(made, 0.1)
    return made


# ------------------------------------------------------------------------------------------------ pictures


@pytest.mark.slow
def test_the_source_size_gives_the_source_frames_back(field: VideoField, clip: Clip) -> None:
    instants = [seconds_to_t(pts, clip.start_seconds) for pts in clip.pts_seconds]
    for made, frame in zip(render(field, (HEIGHT, WIDTH), instants), clip.pixels, strict=True):
        assert torch.equal(to_uint8(made), frame)


def test_before_the_first_and_after_the_last_frame_they_are_held(field: VideoField, clip: Clip) -> None:
    outside = list(render(field, (HEIGHT, WIDTH), [-1.0, 5 / 25 + 0.039, 100.0]))
    assert torch.equal(to_uint8(outside[0]), clip.frames[0])
    assert torch.equal(to_uint8(outside[1]), clip.frames[-1])
    assert torch.equal(to_uint8(outside[2]), clip.frames[-1])


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [7, 1000, WIDTH])
def test_chunks_do_not_show(field: VideoField, chunk: int) -> None:
    size = (20, 31)  # neither a multiple of a chunk nor of the source
    (whole,) = render(field, size, [0.05])
    (parts,) = render(field, size, [0.05], chunk_points=chunk)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_one_pixel_asked_alone_is_that_pixel_of_the_frame(field: VideoField) -> None:
    (frame,) = render(field, (HEIGHT, WIDTH), [0.05])
    for y, x in ((0, 0), (44, 81), (HEIGHT - 1, WIDTH - 1)):
        point = with_t(pixel_uv(HEIGHT, WIDTH)[y, x][None], 0.05)
        with torch.no_grad():
            (alone,) = field(point, Footprint.of_size(HEIGHT, WIDTH)).clamp(0, 1)
        torch.testing.assert_close(alone, frame[:, y, x], atol=1e-6, rtol=0)


@pytest.mark.slow
def test_a_region_is_the_crop_of_the_whole(field: VideoField) -> None:
    x, y, width, height = 37, 11, 65, 42
    region = (x / WIDTH, y / HEIGHT, (x + width) / WIDTH, (y + height) / HEIGHT)
    for t in (0.04, 0.05):
        (whole,) = render(field, (HEIGHT, WIDTH), [t])
        (part,) = render(field, (height, width), [t], region=region)
        torch.testing.assert_close(part, whole[:, y : y + height, x : x + width], atol=2e-5, rtol=0)
        (doubled,) = render(field, (2 * HEIGHT, 2 * WIDTH), [t])
        (part,) = render(field, (2 * height, 2 * width), [t], region=region)
        crop = doubled[:, 2 * y : 2 * (y + height), 2 * x : 2 * (x + width)]
        torch.testing.assert_close(part, crop, atol=2e-5, rtol=0)


def test_a_third_of_the_size_is_the_mean_of_three_by_three_pixels(field: VideoField, clip: Clip) -> None:
    columns = WIDTH // 3 * 3
    (small,) = render(field, (HEIGHT // 3, WIDTH // 3), [0.04], region=(0, 0, columns / WIDTH, 1))
    mean = reduce(to_float(clip.frames[1][..., :columns]), "c (h y) (w x) -> c h w", "mean", y=3, x=3)
    torch.testing.assert_close(small, mean, atol=1e-4, rtol=0)


def test_frames_come_one_by_one(field: VideoField) -> None:
    """Instants are asked for when their frame is due, and past frames are let go of."""
    asked = 0

    def instants() -> Iterator[float]:
        nonlocal asked
        for i in count():
            asked += 1
            yield i / 100

    seen: list[weakref.ref[Tensor]] = []
    for number, frame in enumerate(islice(render(field, (9, 16), instants()), 40), start=1):
        seen.append(weakref.ref(frame))
        assert asked == number
        assert sum(ref() is not None for ref in seen) <= 2
        assert torch.is_grad_enabled()
        assert not frame.requires_grad
        assert frame.shape == (3, 9, 16)
        assert frame.min() >= 0
        assert frame.max() <= 1


def test_impossible_requests_are_refused_at_once(field: VideoField) -> None:
    wrong: list[tuple[tuple[int, int], dict[str, Any]]] = [
        ((0, 4), {}),
        ((4, 0), {}),
        ((4, 4), {"region": (0.5, 0.0, 0.5, 1.0)}),
        ((4, 4), {"chunk_points": 0}),
    ]
    for size, options in wrong:
        with pytest.raises(UserError):
            render(field, size, [0.0], **options)
