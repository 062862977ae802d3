"""The clip checks itself."""

from fractions import Fraction

import pytest
import torch

from vfield.clip import Clip, to_float, to_uint8
from vfield.errors import UserError


def clip_of(count: int, rate: int = 25) -> Clip:
    frames = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 3, 4, 6).contiguous()
    return Clip(frames, tuple(Fraction(i, rate) for i in range(count)), Fraction(count, rate), Fraction(rate))


def test_bytes_survive_the_way_through_floats() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert (to_uint8(to_float(every)) == every).all()


def test_bytes_are_rounded_and_clamped() -> None:
    values = torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 254.5001 / 255, 1.5])
    assert to_uint8(values).tolist() == [0, 0, 1, 255, 255]


def test_selected_frames_keep_their_times() -> None:
    observed = clip_of(9).select(range(0, 9, 2))
    assert observed.frames[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]
    assert observed.pts_seconds == tuple(Fraction(2 * i, 25) for i in range(5))
    assert observed.frame_rate == Fraction(25, 2)
    assert observed.end_seconds == Fraction(9, 25)


def test_a_selection_ends_where_the_next_frame_began() -> None:
    assert clip_of(9).select(range(3)).end_seconds == Fraction(3, 25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": torch.zeros(2, 4, 6)}, r"\(t, 3, h, w\), got \(2, 4, 6\)"),
        ({"frames": torch.zeros(2, 3, 4, 6, dtype=torch.float64)}, "float64"),
        ({"frames": torch.zeros(2, 3, 0, 6)}, "one pixel"),
        ({"pts_seconds": (Fraction(0),)}, "2 frames but 1 timestamps"),
        ({"pts_seconds": (Fraction(1), Fraction(1))}, "must increase"),
        ({"end_seconds": Fraction(0)}, "must increase"),
        ({"frame_rate": Fraction(0)}, "positive"),
    ],
)
def test_contradictions_are_named(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {
        "frames": torch.zeros(2, 3, 4, 6),
        "pts_seconds": (Fraction(0), Fraction(1, 25)),
        "end_seconds": Fraction(2, 25),
        "frame_rate": Fraction(25),
    }
    with pytest.raises(UserError, match=message):
        Clip(**{**good, **change})  # type: ignore[arg-type]
