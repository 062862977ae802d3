"""Which keyframes surround an instant."""

import torch

from vfield.field.timeline import Gap, Timeline, gaps_between, gaps_hiding


def test_gaps_stay_within_shots() -> None:
    assert gaps_between([range(0, 3), range(3, 4), range(4, 6)]) == [
        Gap(0, 1, None, 2),
        Gap(1, 2, 0, None),
        Gap(4, 5, None, None),
    ]


def test_hiding_opens_gaps_of_two_and_reads_past_them_by_twos() -> None:
    gaps = gaps_hiding([range(0, 6), range(6, 8)])
    assert gaps == {1: Gap(0, 2, None, 4), 2: Gap(1, 3, None, 5), 3: Gap(2, 4, 0, None), 4: Gap(3, 5, 1, None)}


def timeline() -> Timeline:
    return Timeline(torch.tensor([0.0, 1.0, 2.0, 4.0, 5.0]), [range(0, 3), range(3, 5)])


def found(t: float) -> tuple[int, int, int | None, float]:
    line = timeline()
    segment = line.segments[int(line.find(torch.tensor([t])))]
    return segment.left, segment.right, segment.gap, float(line.alpha(segment, torch.tensor([t])))


def test_a_keyframe_is_the_start_of_its_gap() -> None:
    assert found(0.0) == (0, 1, 0, 0.0)
    assert found(1.0) == (1, 2, 1, 0.0)


def test_between_keyframes_alpha_is_the_share_of_the_way() -> None:
    assert found(1.25) == (1, 2, 1, 0.25)
    assert found(4.75) == (3, 4, 2, 0.75)


def test_across_a_cut_the_nearer_keyframe_is_held_and_the_earlier_at_the_very_middle() -> None:
    assert found(2.9)[:3] == (2, 2, None)
    assert found(3.0)[:3] == (2, 2, None)
    assert found(3.1)[:3] == (3, 3, None)


def test_outside_the_clip_its_ends_are_held() -> None:
    assert found(-1.0) == (0, 1, 0, 0.0)
    assert found(9.0)[:3] == (4, 4, None)


def test_one_keyframe_is_always_held() -> None:
    line = Timeline(torch.tensor([0.0]), [range(0, 1)])
    assert [s.gap for s in line.segments] == [None]
    assert line.find(torch.tensor([-1.0, 0.0, 5.0])).tolist() == [0, 0, 0]
