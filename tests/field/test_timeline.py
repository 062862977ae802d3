"""Which keyframes surround an instant."""

import torch

from vfield.field.timeline import Gap, Passage, Timeline, gaps_between, gaps_hiding


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
    return segment.left, segment.right, segment.gap, float(line.fraction(segment, torch.tensor([t])))


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


def test_a_route_passes_every_gap_on_the_way_in_either_direction() -> None:
    line = Timeline(torch.tensor([0.0, 1.0, 2.0, 4.0]), [range(0, 4)])
    assert line.route(0.25, 3.0) == [Passage(0, 0.25, 1.0), Passage(1, 0.0, 1.0), Passage(2, 0.0, 0.5)]
    assert line.route(3.0, 0.25) == [Passage(2, 0.5, 0.0), Passage(1, 1.0, 0.0), Passage(0, 1.0, 0.25)]
    assert line.route(1.25, 1.5) == [Passage(1, 0.25, 0.5)]


def test_a_route_from_keyframe_to_keyframe_is_one_whole_gap() -> None:
    assert timeline().route(0.0, 1.0) == [Passage(0, 0.0, 1.0)]
    assert timeline().route(5.0, 4.0) == [Passage(2, 1.0, 0.0)]
    assert timeline().route(1.0, 1.0) == []


def test_no_route_crosses_a_cut_and_nothing_moves_while_a_keyframe_is_held() -> None:
    line = timeline()
    assert line.route(2.0, 4.0) is None
    assert line.route(4.5, 1.5) is None
    assert line.route(3.0, 3.1) is None
    assert line.route(2.1, 2.9) == line.route(3.1, 4.0) == []
    assert line.route(1.5, 2.5) == [Passage(1, 0.5, 1.0)]
    assert line.route(4.5, 9.0) == [Passage(2, 0.5, 1.0)]
    # A shot of one keyframe is held on both sides of it.
    alone = Timeline(torch.tensor([0.0, 1.0, 2.0]), [range(0, 1), range(1, 2), range(2, 3)])
    assert alone.route(0.6, 1.4) == []
    assert alone.route(0.4, 0.6) is None
