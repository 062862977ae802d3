"""Conventions of space and time: round trips and closed forms."""

from fractions import Fraction

import pytest
import torch

from vfield.core.coords import Footprint, keyframe_t, pixel_uv, seconds_to_t, uv_to_xy, with_t, xy_to_uv
from vfield.core.errors import UserError


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (241, 321), (4320, 7680)])
def test_xy_and_uv_are_inverse(size: tuple[int, int]) -> None:
    height, width = size
    xy = torch.rand(100, 2) * torch.tensor([width, height])
    torch.testing.assert_close(uv_to_xy(xy_to_uv(xy, height, width), height, width), xy, atol=1e-3, rtol=0)


def test_pixel_centres_are_integers_in_xy() -> None:
    xy = uv_to_xy(pixel_uv(5, 9), 5, 9)
    torch.testing.assert_close(xy[..., 0], torch.arange(9.0).expand(5, 9), atol=1e-5, rtol=0)
    torch.testing.assert_close(xy[..., 1], torch.arange(5.0)[:, None].expand(5, 9), atol=1e-5, rtol=0)


def test_a_region_of_the_picture_has_the_pixels_of_its_crop() -> None:
    whole = pixel_uv(8, 12)
    part = pixel_uv(4, 6, region=(0.25, 0.5, 0.75, 1.0))
    torch.testing.assert_close(part, whole[4:, 3:9])


def test_twice_the_size_puts_pixel_pairs_around_each_centre() -> None:
    small, large = pixel_uv(3, 5), pixel_uv(6, 10)
    torch.testing.assert_close((large[0::2, 0::2] + large[1::2, 1::2]) / 2, small)


def test_uvt_has_time_last() -> None:
    uvt = with_t(pixel_uv(2, 3), 0.5)
    assert uvt.shape == (6, 3)
    assert (uvt[:, 2] == 0.5).all()
    torch.testing.assert_close(uvt[1, :2], torch.tensor([0.5, 0.25]))


def test_equal_instants_stay_equal_in_floating_point() -> None:
    origin = Fraction(1001, 30000)
    pts = [origin + Fraction(1001 * i, 30000) for i in range(10_000)]
    t = keyframe_t(pts)
    for i in (0, 1, 4999, 9999):
        assert t[i] == torch.tensor(seconds_to_t(Fraction(1001 * (i + 1), 30000), origin))
    assert (t[1:] > t[:-1]).all()


def test_the_footprint_of_a_size_tiles_the_picture() -> None:
    footprint = Footprint.of_size(360, 640)
    assert footprint.du * 640 == pytest.approx(1)
    assert footprint.dv * 360 == pytest.approx(1)
    assert footprint.dt == 0


@pytest.mark.slow
def test_times_that_float32_does_not_tell_apart_are_refused() -> None:
    """Frames of 25 a second after a gap of a year were at one instant, and a gap of none was divided by."""
    step, hour = Fraction(1, 25), Fraction(3600)
    for gap in (10 * hour, 24 * hour):
        t = keyframe_t([Fraction(0), step, gap, gap + step])
        assert t.diff().min() > 0.03
    for gap, told in ((160 * hour, "6.7 days"), (365 * 24 * hour, "365.0 days")):
        with pytest.raises(UserError, match=f"over {told}, and frames 2 and 3 are only 40 ms apart"):
            keyframe_t([Fraction(0), step, gap, gap + step])
    assert len(keyframe_t([n * Fraction(1, 240) for n in range(240 * 3600)])) == 240 * 3600
