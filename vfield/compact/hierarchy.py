"""In which order frames are made, and from which others.

The first frame of a shot stands alone. Every k-th one after it is predicted from the keyframe before; what lies between
two keyframes is halved again and again, each middle frame predicted from both ends (hierarchical B pictures: Schwarz,
Marpe and Wiegand 2006). Errors of a frame are inherited by those made from it, so the early ones are quantised more
finely.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple


class Made(NamedTuple):
    """A frame, and what it is made from.

    Attributes:
        frame: index.
        left, right: frames that predict it, before and after; None where there is none.
        level: 0 for keyframes, 1 for the middle between two, and so on.
    """

    frame: int
    left: int | None
    right: int | None
    level: int


def order_of(shots: Sequence[range], stride: int) -> list[Made]:
    """All frames, each after those that it is made from.

    Args:
        shots: runs of frames that have something in common.
        stride: frames from one keyframe to the next.
    """
    found = []
    for shot in shots:
        keys = sorted({*shot[::stride], shot[-1]})
        found.append(Made(keys[0], None, None, 0))
        for left, right in itertools.pairwise(keys):
            found.append(Made(right, left, None, 0))
            found += _between(left, right, 1)
    return found


def _between(left: int, right: int, level: int) -> list[Made]:
    if right - left < 2:
        return []
    middle = (left + right) // 2
    return [
        Made(middle, left, right, level),
        *_between(left, middle, level + 1),
        *_between(middle, right, level + 1),
    ]
