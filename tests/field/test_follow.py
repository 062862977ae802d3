"""Following points: where they are at another instant, in the gap they are in and beyond its keyframes."""

from __future__ import annotations

import pytest
import torch
from scenes import DEFAULT, RATE, clip_of, curves_of, field_of, moving, with_cut
from torch import Tensor

from vfield.core.coords import pixel_uv, with_t
from vfield.core.errors import UserError
from vfield.field.config import FieldConfig
from vfield.field.motion import MotionConfig
from vfield.field.video_field import VideoField

SIZE = (64, 96)
FRAMES = 6
MARGIN = 20  # pixels: as far as anything moves here


def way(frames: float) -> tuple[float, float]:
    """How far the picture has moved after so many frames, in pixels: faster and faster to the right, and up."""
    return 1.5 * frames + 0.15 * frames**2, -0.7 * frames


def seconds(frames: float) -> float:
    return frames / float(RATE)


@pytest.fixture(scope="module")
def field() -> VideoField:
    return field_of(clip_of(moving(SIZE, [way(k) for k in range(FRAMES)])))


@pytest.fixture(scope="module")
def uv() -> Tensor:
    return pixel_uv(*SIZE)[MARGIN:-MARGIN, MARGIN:-MARGIN].reshape(-1, 2)


@torch.no_grad()
def moved(field: VideoField, uv: Tensor, start: float, end: float) -> Tensor:
    """How far points go between two instants, counted in frames: (n, 2) pixels. All must be known."""
    followed = field.follow(uv, seconds(start), seconds(end))
    assert followed.known.all()
    return (followed.uv - uv) * uv.new_tensor([SIZE[1], SIZE[0]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "end"),
    [(1, 2), (3, 2), (2, 2.25), (2.3, 2.9), (2.9, 2.3), (1.5, 2), (1.75, 3.25), (0.5, 4.5), (4.5, 0.5), (0, 5)],
)
def test_a_point_goes_where_the_scene_takes_it(field: VideoField, uv: Tensor, start: float, end: float) -> None:
    truth = torch.tensor(way(end)) - torch.tensor(way(start))
    error = (moved(field, uv, start, end) - truth).norm(dim=-1)
    # What the classical flow gets wrong in each gap adds up.
    passed = max(1.0, abs(end - start))
    assert error.mean() < 0.04 * passed
    assert error.max() < 0.06 * passed


def test_nothing_moves_in_no_time(field: VideoField, uv: Tensor) -> None:
    for at in (0.0, 1.0, 2.4, 5.0, 9.0):
        assert moved(field, uv, at, at).abs().max() < 1e-4


def test_the_way_in_parts_is_the_whole_way_and_back_again_is_home(field: VideoField, uv: Tensor) -> None:
    with torch.no_grad():
        middle = field.follow(uv, seconds(0.7), seconds(1.6)).uv
        end = field.follow(middle, seconds(1.6), seconds(3.4)).uv
        whole = field.follow(uv, seconds(0.7), seconds(3.4)).uv
        home = field.follow(end, seconds(3.4), seconds(0.7)).uv
    assert (end - whole).abs().max() * SIZE[1] < 0.01
    assert (home - uv).abs().max() * SIZE[1] < 0.02


@pytest.mark.slow
def test_a_followed_point_shows_what_it_showed_before(uv: Tensor) -> None:
    # Even where the motion is wrong: both instants read the keyframes at the same place.
    right = field_of(clip_of(moving(SIZE, [way(k) for k in range(FRAMES)])))
    curves = curves_of(right)
    assert right.colours is not None
    field = right.at_size(right.colours.frames, curves._replace(coefficients=1.5 * curves.coefficients + 0.5))
    for start, end in ((2.0, 2.4), (2.3, 3.0), (2.2, 2.4)):
        with torch.no_grad():
            followed = field.follow(uv, seconds(start), seconds(end))
            ends = [
                field.motion.match(2, points, torch.full((len(uv),), at - 2)).left_uv
                for points, at in ((uv, start), (followed.uv, end))
                if field.motion is not None
            ]
        assert (ends[0] - ends[1]).abs().max() * SIZE[1] < 0.02


def test_points_that_leave_the_picture_are_not_known_and_stay_where_they_were(field: VideoField) -> None:
    uv = torch.tensor([[1 - 1 / SIZE[1], 0.5], [0.5, 0.5]])
    with torch.no_grad():
        followed = field.follow(uv, seconds(2), seconds(3))
    assert followed.known.tolist() == [False, True]
    assert torch.equal(followed.uv[0], uv[0])


@pytest.mark.slow
def test_across_a_cut_nothing_is_known_and_beside_it_the_picture_stands_still() -> None:
    field = field_of(clip_of(with_cut(SIZE, 3, 3)))
    uv = pixel_uv(*SIZE)[20:40, 20:40].reshape(-1, 2)
    for start, end in ((2.0, 3.0), (1.5, 3.5), (3.0, 2.0), (2.4, 2.6)):
        followed = field.follow(uv, seconds(start), seconds(end))
        assert not followed.known.any()
        assert torch.equal(followed.uv, uv)
    for start, end in ((2.1, 2.4), (2.6, 3.0)):
        followed = field.follow(uv, seconds(start), seconds(end))
        assert followed.known.all()
        assert torch.equal(followed.uv, uv)
        assert torch.equal(field(with_t(uv, seconds(start))), field(with_t(uv, seconds(end))))


def test_a_field_without_motion_says_so(uv: Tensor) -> None:
    clip = clip_of(moving(SIZE, [way(k) for k in range(3)]))
    field = field_of(clip, FieldConfig(motion=MotionConfig(enabled=False), local=DEFAULT.local))
    with pytest.raises(UserError, match="no motion"):
        field.follow(uv, 0.0, 0.04)
