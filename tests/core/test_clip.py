"""The clip checks itself."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.errors import UserError
from vfield.core.frames import MadeFrames, chosen_frames


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
    assert observed.pixels[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]
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


# --------------------------------------------------------------------------------------------- frames by number


def counted(frames: Tensor) -> tuple[MadeFrames, list[int]]:
    """Frames that are made when they are asked for, and the numbers that were."""
    asked: list[int] = []

    def make(index: int) -> Tensor:
        asked.append(index)
        return frames[index]

    return MadeFrames(tuple(frames.shape), frames.dtype, make), asked


def test_made_frames_are_made_when_they_are_asked_for() -> None:
    frames = clip_of(5).pixels
    made, asked = counted(frames)
    assert made.shape == tuple(frames.shape)
    assert made.dtype == torch.uint8
    assert len(made) == 5
    assert asked == []
    for index in (3, 0, 3):
        assert torch.equal(made[index], frames[index])
    # Whoever makes them decides what is kept.
    assert asked == [3, 0, 3]


@pytest.mark.parametrize("index", [-1, 5, 99])
def test_made_frames_end_where_they_end(index: int) -> None:
    made, asked = counted(clip_of(5).pixels)
    with pytest.raises(IndexError, match=f"frames 0 to 4, got {index}"):
        made[index]
    assert asked == []


def test_made_frames_can_be_gone_through() -> None:
    frames = clip_of(4).pixels
    made, asked = counted(frames)
    assert all(torch.equal(one, other) for one, other in zip(made, frames, strict=True))  # type: ignore[call-overload]
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("chosen", [[0, 2, 4], [4, 1], [], [3, 3]])
def test_chosen_frames_are_numbered_anew(chosen: list[int]) -> None:
    frames = clip_of(5).pixels
    made, asked = counted(frames)
    for some in (chosen_frames(frames, chosen), chosen_frames(made, chosen)):
        assert tuple(some.shape) == (len(chosen), *frames.shape[1:])
        assert some.dtype == frames.dtype
        assert len(some) == len(chosen)
        assert asked == []
        for new, old in enumerate(chosen):
            assert torch.equal(some[new], frames[old])
        with pytest.raises(IndexError):
            some[len(chosen)]
        assert asked in ([], chosen)
        asked.clear()


def test_chosen_frames_are_those_that_were_chosen_whatever_becomes_of_the_list() -> None:
    made, _ = counted(clip_of(5).pixels)
    numbers = [1, 2]
    some = chosen_frames(made, numbers)
    numbers[0] = 4
    assert int(some[0][0, 0, 0]) == 1
    assert int(chosen_frames(some, [1])[0][0, 0, 0]) == 2
