"""Detail: finer keyframes average to the keyframes, and look where the motion says, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from scenes import DEFAULT, clip_of, field_of, perturb, picture, random_points, translating, with_cut
from torch import Tensor

from vfield.core.coords import Footprint, pixel_uv, with_t
from vfield.core.errors import UserError
from vfield.field import detail as module
from vfield.field import tracks
from vfield.field.detail import Alignment, Alignments, Detail, DetailConfig, Symmetry, align, gather, neighbours
from vfield.field.latents import ColourKeyframes
from vfield.field.motion import Curves
from vfield.field.render import render
from vfield.field.timeline import Gap
from vfield.field.tracks import AskedCurves, FlowStore
from vfield.field.video_field import VideoField
from vfield.learn.start import start_field
from vfield.prepare.config import FlowConfig

SIZE = (24, 32)
FRAMES = 6
STEP = (1.25, -0.5)
PLAIN = replace(DEFAULT, detail=DetailConfig(enabled=False))
UNSEEN = math.log1p(20)
NEIGHBOURS = [-1, 1, -2, 2]


def made(frames: Tensor | None = None, scale: float = 0.1) -> VideoField:
    """A field whose encoder of detail has something to say; nothing else has."""
    field = field_of(clip_of(translating(SIZE, FRAMES, STEP) if frames is None else frames)).eval()
    perturb(detail_of(field), 0.1)
    detail_of(field).scale.fill_(scale)
    return field


def detail_of(field: VideoField) -> Detail:
    assert field.detail is not None
    return field.detail


@torch.no_grad()
def frame_at(field: VideoField, t: float, size: tuple[int, int]) -> Tensor:
    """(3, h, w) at one instant."""
    rgb = field(with_t(pixel_uv(*size), t), Footprint.of_size(*size))
    return rearrange(rgb, "(h w) c -> c h w", h=size[0])


def doubled(field: VideoField, keyframe: int) -> Tensor:
    """A keyframe at twice its size."""
    return frame_at(field, float(field.timeline.t[keyframe]), (2 * field.size[0], 2 * field.size[1]))


def averaged(fine: Tensor) -> Tensor:
    return reduce(fine, "c (h 2) (w 2) -> c h w", "mean")


def seen_of(evidence: Tensor, neighbour: int) -> Tensor:
    """What the evidence says of one neighbour: (12 differences, 2 cosines, 2 sines, a miss)."""
    first = 15 + 17 * neighbour
    return evidence[first : first + 17]


def there_and_nowhere_else(keyframes: int, displacement: Sequence[float], size: tuple[int, int]) -> Alignments:
    """Every keyframe sees all others at one displacement, without a miss."""
    moved = torch.tensor(displacement)[:, None, None].expand(2, *size)

    def alignments(keyframe: int) -> list[Alignment | None]:
        others = [other for other in range(keyframes) if other != keyframe]
        found: list[Alignment | None] = [Alignment(other, moved, torch.zeros(1, *size)) for other in others]
        return found + [None] * (4 - len(others))

    return alignments


# --------------------------------------------------------------------------------------------- the encoder


@pytest.mark.parametrize("wrong", [{"radius": -1}, {"blocks": -1}, {"channels": 0}])
def test_impossible_encoders_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"detail.*{next(iter(wrong.values()))}"):
        DetailConfig(**wrong)


def test_neighbours_are_in_order_of_distance() -> None:
    assert neighbours(5, 2) == [4, 6, 3, 7]
    assert neighbours(0, 0) == []


@pytest.mark.parametrize(
    "config", [DetailConfig(), DetailConfig(radius=0, blocks=0, channels=3), DetailConfig(radius=1)]
)
def test_the_residual_adds_nothing_to_a_pixel(config: DetailConfig) -> None:
    detail = Detail(config)
    mute = detail.is_mute
    assert mute
    seen = len(detail.differences)
    assert seen == 15 + 17 * 2 * config.radius
    evidence = torch.randn(2, seen, 9, 11, generator=torch.Generator().manual_seed(0))
    assert not detail(evidence).any()
    perturb(detail, 0.1)
    mute = detail.is_mute
    assert not mute
    found = detail(evidence)
    assert found.shape == (2, 3, 18, 22)
    assert found.std() > 0.1
    torch.testing.assert_close(F.avg_pool2d(found, 2), torch.zeros(2, 3, 9, 11), atol=1e-5, rtol=0)


def test_the_gradient_reaches_every_parameter() -> None:
    detail = Detail(DetailConfig())
    perturb(detail)
    evidence = torch.randn(1, len(detail.differences), 9, 11, generator=torch.Generator().manual_seed(0))
    detail(evidence).square().sum().backward()
    for name, parameter in detail.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


def test_a_pixel_hears_of_what_is_within_reach_and_of_nothing_further() -> None:
    detail = Detail(DetailConfig(blocks=1))
    perturb(detail)
    evidence = torch.zeros(2, len(detail.differences), 21, 21)
    evidence[1, :, 10, 10] = 1.0
    with torch.no_grad():
        before, after = detail(evidence)
    heard = (F.max_pool2d((after - before).abs(), 2) > 1e-7).any(dim=0)
    away = detail.reach
    assert heard[10 - away : 11 + away, 10 - away : 11 + away].all()
    heard[10 - away : 11 + away, 10 - away : 11 + away] = False
    assert not heard.any()


def test_a_wrong_match_does_not_shout() -> None:
    detail = Detail(DetailConfig())
    perturb(detail)
    detail.scale.fill_(0.01)
    evidence = torch.zeros(1, len(detail.differences), 6, 6)
    found = []
    for level in (0.01, 0.5, 100.0):
        evidence[:, detail.differences] = level
        found.append(detail(evidence))
    assert torch.equal(found[1], found[2])
    assert not torch.equal(found[0], found[1])


# --------------------------------------------------------------------------------------------- what it sees


def smooth(frames: int) -> Tensor:
    """(t, 3, h, w): waves of at least 7 pixels that move by STEP pixels a frame."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]).float(), torch.arange(SIZE[1]).float(), indexing="ij")
    pictures = []
    for k in range(frames):
        across, down = x - k * STEP[0], y - k * STEP[1]
        waves = [(0.7 * across + 0.5 * down + c).cos() + (0.4 * across - 0.8 * down + 2 * c).sin() for c in range(3)]
        pictures.append(0.5 + 0.2 * torch.stack(waves))
    return torch.stack(pictures)


def shifted(uv: Tensor, t_from: float, t_to: float) -> tuple[Tensor, Tensor]:
    """The exact motion of a picture that moves by STEP pixels a frame."""
    there = uv + (t_to - t_from) * 25 * torch.tensor(STEP) / torch.tensor([SIZE[1], SIZE[0]])
    return there, ((there >= 0) & (there <= 1)).all(dim=-1)


def test_evidence_of_a_known_translation() -> None:
    t = torch.arange(FRAMES) / 25
    # Held away from black and white, where it would be cut off and have edges.
    colours = ColourKeyframes(smooth(FRAMES))
    alignments = [align(shifted, t, 2, 2 + step, SIZE, torch.device("cpu")) for step in NEIGHBOURS]
    evidence, base = gather(colours, 2, alignments)
    assert evidence.shape == (15 + 4 * 17, *SIZE)
    assert base.shape == (3, 2 * SIZE[0], 2 * SIZE[1])
    torch.testing.assert_close(evidence[:3], colours.frames[2] - 0.5)
    # The spline's four cells of a pixel, less the pixel: their mean is nothing, but they are not.
    own = rearrange(evidence[3:15], "(c cell) h w -> c cell h w", cell=4)
    assert own.abs().max() > 0.01
    torch.testing.assert_close(own.mean(dim=1), torch.zeros(3, *SIZE), atol=2e-4, rtol=0)
    inside = (..., slice(8, -8), slice(8, -8))
    for i, step in enumerate(NEIGHBOURS):
        seen = seen_of(evidence, i)
        assert seen[:12][inside].abs().max() < 0.01
        turn = 2 * math.pi * step * torch.tensor(STEP)
        for phase, expected in ((seen[12:14], turn.cos()), (seen[14:16], turn.sin())):
            torch.testing.assert_close(phase[inside].mean(dim=(1, 2)), expected / 2, atol=1e-4, rtol=0)
            assert phase[inside].std(dim=(1, 2)).max() < 1e-4
        assert seen[16][inside].abs().max() < 1e-4
        # Columns and rows that have left the picture by then.
        lost = seen[16][:, -1 if step > 0 else 0]
        torch.testing.assert_close(lost, torch.full_like(lost, UNSEEN), atol=0.05, rtol=0)


@pytest.mark.parametrize("symmetry", [Symmetry(*how) for how in product((False, True), repeat=3)])
def test_evidence_of_a_scene_in_a_mirror(symmetry: Symmetry) -> None:
    """Looking at a mirrored or turned scene sees what the symmetry makes of what was seen."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(3, 3, *SIZE, generator=generator)
    displacement = 3 * torch.randn(2, 2, *SIZE, generator=generator)
    miss = torch.rand(2, 1, *SIZE, generator=generator)
    sign = torch.tensor([-1.0 if symmetry.across else 1.0, -1.0 if symmetry.down else 1.0])[:, None, None]
    order = [1, 0] if symmetry.swapped else [0, 1]

    def turned(alignment: Alignment) -> Alignment:
        moved = symmetry.of_picture(sign * alignment.displacement)[order]
        return Alignment(alignment.keyframe, moved, symmetry.of_picture(alignment.miss))

    alignments = [Alignment(other, *seen) for other, *seen in zip((0, 2), displacement, miss, strict=True)]
    straight, base = gather(ColourKeyframes(frames), 1, alignments)
    mirrored, mirrored_base = gather(ColourKeyframes(symmetry.of_picture(frames)), 1, [turned(s) for s in alignments])
    torch.testing.assert_close(mirrored, symmetry.of_evidence(straight), atol=1e-4, rtol=0)
    torch.testing.assert_close(mirrored_base, symmetry.of_picture(base), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_evidence_of_a_translation_that_was_found() -> None:
    field = made()
    evidence, _ = field.detail_evidence(2)
    for i, step in enumerate(NEIGHBOURS):
        seen = seen_of(evidence, i)[..., 6:-6, 6:-6]
        assert seen[:12].abs().mean() < 0.02
        turn = 2 * math.pi * step * torch.tensor(STEP)
        for phase, expected in ((seen[12:14], turn.cos()), (seen[14:16], turn.sin())):
            torch.testing.assert_close(phase.mean(dim=(1, 2)), expected / 2, atol=0.15, rtol=0)
        assert seen[16].mean() < 0.2


def test_the_way_there_and_back_is_missed_by_what_it_is_missed() -> None:
    def drifting(uv: Tensor, t_from: float, t_to: float) -> tuple[Tensor, Tensor]:
        # Three pixels right on the way there, two left on the way back.
        step = 3 if t_to > t_from else -2
        return uv + torch.tensor([step / SIZE[1], 0.0]), torch.ones(len(uv), dtype=torch.bool)

    found = align(drifting, torch.tensor([0.0, 1.0]), 0, 1, SIZE, torch.device("cpu"))
    assert found.keyframe == 1
    torch.testing.assert_close(found.miss, torch.ones_like(found.miss), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.displacement[0], torch.full_like(found.displacement[0], 3.0), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_neighbours_beyond_the_clip_or_a_cut_are_marked() -> None:
    field = made(with_cut(SIZE, 3, 3))
    assert field.timeline.shots == [range(3), range(3, 6)]
    for keyframe in range(6):
        evidence, _ = field.detail_evidence(keyframe)
        for i, step in enumerate(NEIGHBOURS):
            seen = seen_of(evidence, i)
            if 0 <= keyframe + step < 6 and (keyframe < 3) == (keyframe + step < 3):
                assert seen[12:16].abs().max() > 0.1
            else:
                assert not seen[:16].any()
                assert (seen[16] == evidence.new_tensor(UNSEEN)).all()


@pytest.mark.slow
def test_what_is_beyond_a_cut_is_never_read() -> None:
    frames = with_cut(SIZE, 3, 3)
    changed = frames.clone()
    changed[3:] = changed[3:].flip(-1)
    one, two = made(frames), made(changed)
    assert one.timeline.shots == two.timeline.shots == [range(3), range(3, 6)]
    for keyframe in range(3):
        assert torch.equal(doubled(one, keyframe), doubled(two, keyframe))
    assert not torch.equal(doubled(one, 3), doubled(two, 3))


def test_a_field_without_motion_sees_each_frame_alone() -> None:
    config = replace(DEFAULT, motion=replace(DEFAULT.motion, enabled=False))
    field = field_of(clip_of(translating(SIZE, 3, STEP)), config)
    evidence, _ = field.detail_evidence(1)
    for i in range(4):
        assert not seen_of(evidence, i)[:16].any()


# --------------------------------------------------------------------------------------------- finer keyframes


@pytest.mark.slow
@pytest.mark.parametrize("size", [SIZE, (21, 31), (7, 5), (2, 3), (1, 1)])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_finer_keyframe_averages_to_the_keyframe(size: tuple[int, int], frames: int) -> None:
    pictures = translating(size, frames, STEP)
    # Detail of ordinary size: with colours in the dozens, rounding alone would exceed the bounds.
    field = made(pictures, scale=0.02 if size == SIZE else 0.1)
    for keyframe in range(frames):
        fine = doubled(field, keyframe)
        torch.testing.assert_close(averaged(fine), pictures[keyframe], atol=1e-5, rtol=0)
        torch.testing.assert_close(frame_at(field, keyframe / 25, size), pictures[keyframe], atol=1e-5, rtol=0)
    mute = field_of(clip_of(pictures), PLAIN)
    assert (fine - doubled(mute, frames - 1)).abs().max() > 0.01


@pytest.mark.slow
def test_its_detail_is_shown_at_any_size_above_the_source() -> None:
    field, mute = made(), field_of(clip_of(translating(SIZE, FRAMES, STEP)), PLAIN)
    for size, shown in (((25, 33), True), ((72, 96), True), ((24, 64), True), (SIZE, False), ((12, 20), False)):
        apart = (frame_at(field, 0.08, size) - frame_at(mute, 0.08, size)).abs().max()
        assert (apart > 1e-3) == shown, size
    # Between keyframes pixels are cut, so that it is read at the source's size, too.
    assert (frame_at(field, 0.1, SIZE) - frame_at(mute, 0.1, SIZE)).abs().max() > 1e-3


@pytest.mark.slow
def test_three_times_the_size_averages_to_nearly_the_source() -> None:
    pictures = translating(SIZE, FRAMES, STEP)
    field = made(pictures, scale=0.02)
    fine = frame_at(field, 0.08, (3 * SIZE[0], 3 * SIZE[1]))
    error = reduce(fine, "c (h 3) (w 3) -> c h w", "mean") - pictures[2]
    detail = doubled(field, 2) - pictures[2].repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    assert error.square().mean().sqrt() < 0.2 * detail.square().mean().sqrt()


def test_an_encoder_that_has_learnt_nothing_changes_nothing() -> None:
    clip = clip_of(translating(SIZE, 3, STEP))
    field, plain = field_of(clip).eval(), field_of(clip, PLAIN).eval()
    assert detail_of(field).is_mute
    assert plain.detail is None
    for t in (0.0, 0.03):
        for size in (SIZE, (2 * SIZE[0], 2 * SIZE[1])):
            assert torch.equal(frame_at(field, t, size), frame_at(plain, t, size))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [2, 10])
def test_bands_are_not_seen(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = doubled(made(), 2)
    monkeypatch.setattr(module, "_BAND_PIXELS", rows * SIZE[1] + 1)
    torch.testing.assert_close(doubled(made(), 2), whole, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("instant", [0.08, 0.1])
def test_points_are_independent(instant: float) -> None:
    field = made()
    perturb(field)
    uvt = random_points(600, 1.0)
    uvt[:, 2] = instant
    uvt[::3, 2] = 0.04
    half = Footprint.of_size(2 * SIZE[0], 2 * SIZE[1])
    order = torch.randperm(len(uvt), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = field(uvt, half)
        parts = torch.cat([field(part, half) for part in uvt[order].split([1, 250, 349])])
    torch.testing.assert_close(parts, whole[order], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_what_is_kept_follows_what_is_learnt() -> None:
    field = made()
    before = doubled(field, 2)
    assert torch.equal(doubled(field, 2), before)
    optimizer = torch.optim.Adam(detail_of(field).parameters(), lr=0.1)
    evidence, _ = field.detail_evidence(2)
    detail_of(field)(evidence[None]).square().sum().backward()
    optimizer.step()
    learnt = doubled(field, 2)
    assert (learnt - before).abs().max() > 1e-3
    with torch.no_grad():
        for parameter in detail_of(field).last.parameters():
            parameter.zero_()
    mute = field_of(clip_of(translating(SIZE, FRAMES, STEP)), PLAIN).eval()
    assert torch.equal(doubled(field, 2), doubled(mute, 2))


@pytest.mark.slow
def test_a_field_whose_detail_was_read_in_inference_mode_can_still_learn() -> None:
    field = field_of(clip_of(translating(SIZE, 4, STEP)))
    perturb(detail_of(field), 0.1)
    uvt, half = random_points(50, 3 / 25), Footprint.of_size(2 * SIZE[0], 2 * SIZE[1])
    with torch.inference_mode():
        expected = field(uvt, half)
    found = field(uvt, half)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    found.square().sum().backward()
    assert field.visibility is not None
    assert field.visibility.last.weight.grad is not None
    assert field.visibility.last.weight.grad.any()


# --------------------------------------------------------------------------------------------- averages over time


class Told(Detail):
    """Makes of each keyframe what it is told to."""

    def __init__(self, fine: Tensor) -> None:
        super().__init__(DetailConfig())
        self.fine = fine

    def _encoded(self, colours: ColourKeyframes, keyframe: int, alignments: Sequence[Alignment | None]) -> Tensor:
        return self.fine[keyframe]


def within_pixels(seed: int) -> Tensor:
    """(3, 2 h, 2 w) whose mean over each pixel's four cells is zero."""
    values = torch.randn(3, 2 * SIZE[0], 2 * SIZE[1], generator=torch.Generator().manual_seed(seed))
    return values - averaged(values).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


def test_predictions_that_agree_are_averaged() -> None:
    base = picture((2 * SIZE[0], 2 * SIZE[1]))
    fine = torch.stack([base + 0.05 * within_pixels(seed) for seed in range(3)])
    detail = Told(fine)
    detail.scale.fill_(1e4)
    colours = ColourKeyframes(averaged(base).expand(3, -1, -1, -1))
    found = detail.finer(colours, 1, there_and_nowhere_else(3, (0.0, 0.0), SIZE))
    torch.testing.assert_close(found, fine.mean(dim=0), atol=1e-5, rtol=0)


def test_predictions_are_averaged_along_the_motion() -> None:
    # Fine frames that move by 2.5 pixels, five cells; each has an error of its own.
    size = (2 * SIZE[0], 2 * SIZE[1])
    truth = torch.stack([picture(size), picture(size, (5.0, 0.0))])
    told = truth + 0.01 * torch.stack([within_pixels(seed) for seed in range(2)])
    colours = ColourKeyframes(torch.stack([averaged(frame) for frame in truth]))
    found = []
    for x in (2.5, 0.0, -2.5):
        detail = Told(told)
        detail.scale.fill_(1e4)
        found.append(detail.finer(colours, 0, there_and_nowhere_else(2, (x, 0.0), SIZE)))
    error = [float((fine - truth[0])[..., 8:-16].square().mean()) for fine in found]
    alone = float((told[0] - truth[0])[..., 8:-16].square().mean())
    # Half the variance, but for what splines take of noise that fine; without the way there it is worse than alone.
    assert error[0] < 0.6 * alone
    assert min(error[1:]) > alone
    torch.testing.assert_close(averaged(found[0]), averaged(told[0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("scale", "miss"), [(1e-4, 0.0), (1e4, 6.0)])
def test_a_neighbour_that_differs_or_misses_has_no_say(scale: float, miss: float) -> None:
    fine = torch.stack([0.5 + 0.05 * within_pixels(seed) for seed in range(2)])
    detail = Told(fine)
    detail.scale.fill_(scale)
    colours = ColourKeyframes(torch.full((2, 3, *SIZE), 0.5))
    alignments: list[Alignment | None] = [Alignment(1, torch.zeros(2, *SIZE), torch.full((1, *SIZE), miss))]
    torch.testing.assert_close(detail.finer(colours, 0, lambda _: alignments), fine[0], atol=1e-6, rtol=0)


def test_a_neighbour_that_shows_another_thing_with_as_little_detail_has_no_say() -> None:
    # What was behind the thing that moved away: its detail is no further off than that of the thing itself.
    fine = torch.stack([level + 0.05 * within_pixels(seed) for seed, level in enumerate((0.3, 0.7))])
    detail = Told(fine)
    detail.scale.fill_(0.05)
    colours = ColourKeyframes(averaged(fine[0]).expand(2, -1, -1, -1))
    found = detail.finer(colours, 0, there_and_nowhere_else(2, (0.0, 0.0), SIZE))
    torch.testing.assert_close(found, fine[0], atol=1e-5, rtol=0)
    # Of the same brightness, it has one.
    detail = Told(torch.stack([fine[0], fine[1] - 0.4]))
    detail.scale.fill_(0.05)
    found = detail.finer(colours, 0, there_and_nowhere_else(2, (0.0, 0.0), SIZE))
    assert (found - fine[0]).square().mean().sqrt() > 0.01


def test_a_neighbour_has_no_say_where_its_motion_tears() -> None:
    fine = torch.stack([0.5 + 0.05 * within_pixels(seed) for seed in range(2)])
    detail = Told(fine)
    detail.scale.fill_(1e4)
    colours = ColourKeyframes(torch.full((2, 3, *SIZE), 0.5))
    torn = torch.zeros(2, *SIZE)
    torn[:, :, SIZE[1] // 2 :] = 20.0
    alignments: list[Alignment | None] = [Alignment(1, torn, torch.zeros(1, *SIZE))]
    change = (detail.finer(colours, 0, lambda _: alignments) - fine[0]).abs().mean(dim=(0, 1))
    tear = SIZE[1]  # in cells
    assert change[tear - 2 : tear + 2].max() < 1e-5
    assert change[: tear - 8].min() > 0.005


def test_of_frames_that_are_alike_the_average_is_the_prediction() -> None:
    colours = ColourKeyframes(picture(SIZE).expand(5, -1, -1, -1))
    detail = Detail(DetailConfig())
    perturb(detail, 0.1)
    detail.scale.fill_(0.1)
    alignments = there_and_nowhere_else(5, (0.0, 0.0), SIZE)
    alone = detail._encoded(colours, 2, alignments(2)).detach()
    torch.testing.assert_close(detail.finer(colours, 2, alignments), alone, atol=5e-5, rtol=0)


def test_frames_in_order_make_each_keyframes_detail_and_each_gaps_motion_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little memory caches are given: where the picture is large each holds only what it must."""
    frames = 12
    field = start_field(clip_of(translating((32, 48), frames)), DEFAULT, FlowConfig(), 0, rehearse=False).field
    perturb(field, 0.1)
    assert field.colours is not None
    assert field.motion is not None
    assert isinstance(field.motion.source, AskedCurves)
    field.colours.cache_bytes = 0
    field.motion.source._room = field.config.gaps_beside
    detail, gaps = [], []
    finer, curves = Detail.finer, tracks._gap_curves

    def counted_finer(self: Detail, colours: ColourKeyframes, keyframe: int, alignments: Alignments) -> Tensor:
        detail.append(keyframe)
        return finer(self, colours, keyframe, alignments)

    def counted_curves(store: FlowStore, t: Tensor, gap: Gap, cell: int, views: bool) -> Curves:
        gaps.append(gap.left)
        return curves(store, t, gap, cell, views)

    monkeypatch.setattr(Detail, "finer", counted_finer)
    monkeypatch.setattr(tracks, "_gap_curves", counted_curves)
    t = field.timeline.t
    for _ in render(field, field.size, ((t[1:] + t[:-1]) / 2).tolist()):
        pass
    assert sorted(detail) == list(range(frames))
    assert sorted(gaps) == list(range(frames - 1))
