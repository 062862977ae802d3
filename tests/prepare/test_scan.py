"""One look through a clip finds what its cuts, flashes and repeats are, however the clip comes in pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from scenes import moving, translating, with_cut
from test_repeats import find_repeats
from torch import Tensor

from vfield.core.clip import to_uint8
from vfield.core.errors import UserError
from vfield.core.frames import MadeFrames
from vfield.prepare.scan import Scan, scan_batches, scan_frames
from vfield.prepare.shots import ShotSearch, find_shots

SIZE = (24, 32)


def on_twos(count: int, step: float = 3.0) -> Tensor:
    """A moving picture each frame of which is shown twice."""
    return moving(SIZE, [(step * (k // 2), -(k // 2)) for k in range(count)])


def flashing(frames: Tensor, *flashes: int) -> Tensor:
    """Frames of which these are much brighter."""
    frames = frames.clone()
    for flash in flashes:
        frames[flash] = (frames[flash] * 0.5 + 0.5).clamp(0, 1)
    return frames


def cut_and_flash() -> Tensor:
    """A cut after 9 frames, and flashes of one and of two frames on either side of it."""
    return flashing(with_cut(SIZE, 9, 12), 3, 14, 15)


def everything() -> Tensor:
    """A shot on twos, a cut, a shot with a flash, a cut, and a still."""
    tail = translating(SIZE, 1).flip(-1).expand(4, -1, -1, -1) * 0.2
    return torch.cat([on_twos(11), flashing(1 - translating(SIZE, 10, (1.0, 2.0)), 5), tail])


CLIPS = {
    "plain": lambda: translating(SIZE, 8),
    "one frame": lambda: translating(SIZE, 1),
    "two frames": lambda: translating(SIZE, 2),
    "a cut": lambda: with_cut(SIZE, 7, 6),
    "cuts at once": lambda: with_cut(SIZE, 1, 1),
    "repeats": lambda: on_twos(15),
    "flash": lambda: flashing(translating(SIZE, 12), 5),
    "flash of two": lambda: flashing(translating(SIZE, 12), 5, 6),
    "flash at the end": lambda: flashing(translating(SIZE, 9), 8),
    "cut and flash": cut_and_flash,
    "everything": everything,
}


def flashes_apart(frames: Tensor, shots: Sequence[range]) -> list[range]:
    search = ShotSearch()
    search.add(frames)
    return search.flashes_apart(shots)


def found_apart(frames: Tensor) -> Scan:
    """What each search finds on its own."""
    shots = flashes_apart(frames, find_shots(frames))
    return Scan(shots, find_repeats(frames, shots))


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("bytes_", [False, True])
def test_one_look_finds_what_each_search_finds(name: str, bytes_: bool) -> None:
    frames = to_uint8(CLIPS[name]()) if bytes_ else CLIPS[name]()
    expected = found_apart(frames)
    assert scan_frames(frames) == expected
    for size in (1, 2, 3, 5, len(frames)):
        assert scan_batches(frames.split(size)) == expected, size


def test_uneven_pieces_make_no_difference() -> None:
    frames = everything()
    assert scan_batches(frames.split([1, 4, 2, 9, 1, 8])) == found_apart(frames)


def test_what_is_found_is_what_is_there() -> None:
    assert scan_frames(cut_and_flash()).shots == [
        *[range(3), range(3, 4), range(4, 9), range(9, 14), range(14, 16), range(16, 21)]
    ]
    scan = scan_frames(everything())
    assert scan.shots == [range(11), range(11, 16), range(16, 17), range(17, 21), range(21, 25)]
    assert scan.repeats == [1, 3, 5, 7, 9]


def test_a_cut_beside_a_flash_is_no_flicker_around_it() -> None:
    """Only changes within a flash's own shot say how much its film flickers."""
    frames = flashing(translating(SIZE, 6), 3)
    after = torch.zeros(4, 3, *SIZE)
    alone, joined = scan_frames(frames), scan_frames(torch.cat([frames, after]))
    assert alone.shots == [range(3), range(3, 4), range(4, 6)]
    assert joined.shots[:3] == alone.shots


def test_frames_are_asked_for_once_and_in_order() -> None:
    frames, asked = everything(), list[int]()

    def read(index: int) -> Tensor:
        asked.append(index)
        return frames[index]

    assert scan_frames(MadeFrames(tuple(frames.shape), frames.dtype, read)) == found_apart(frames)
    assert asked == list(range(len(frames)))


@pytest.mark.parametrize("look", [lambda: scan_batches([]), lambda: scan_frames(torch.zeros(0, 3, *SIZE))])
def test_a_clip_without_frames_is_refused(look: Callable[[], Scan]) -> None:
    with pytest.raises(UserError, match="without frames"):
        look()
