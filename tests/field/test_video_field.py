"""The whole field: exact at observed instants, pointwise, walled in by cuts, and each part able to be left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import pytest
import torch
from einops import rearrange, reduce, repeat
from scenes import (
    DEFAULT,
    RATE,
    clip_of,
    curves_of,
    field_of,
    moving,
    perturb,
    random_points,
    start_of,
    translating,
    with_cut,
)
from torch import Tensor

from vfield.core.clip import to_float, to_uint8
from vfield.core.coords import Footprint, pixel_uv, with_t
from vfield.core.errors import UserError
from vfield.core.frames import Frames, MadeFrames
from vfield.core.metrics import psnr
from vfield.field.config import FieldConfig
from vfield.field.decoder import DecoderConfig
from vfield.field.detail import DetailConfig
from vfield.field.fourier import FourierConfig
from vfield.field.latents import GlobalConfig, LocalConfig
from vfield.field.motion import COMMON_EVIDENCE, SIDE_EVIDENCE, Curves, MotionConfig
from vfield.field.video_field import VideoField

pytestmark = pytest.mark.slow

SIZE = (48, 64)
FRAMES = 6
STEP = (2.0, -1.0)
SECONDS = FRAMES / float(RATE)

PLAIN = FieldConfig(detail=DetailConfig(enabled=False))
MADE = FieldConfig(local=LocalConfig(colours=False))
CONFIGS = {
    "default": DEFAULT,
    "no detail": PLAIN,
    "no motion": FieldConfig(motion=MotionConfig(enabled=False)),
    "no visibility": FieldConfig(motion=MotionConfig(visibility=False)),
    "straight": FieldConfig(motion=MotionConfig(curved=False)),
    "plain": FieldConfig(motion=MotionConfig(enabled=False), detail=DetailConfig(enabled=False)),
    "no colours": MADE,
    "no colours, no motion": replace(MADE, motion=MotionConfig(enabled=False)),
    "no colours, straight": replace(MADE, motion=MotionConfig(curved=False)),
    "no fourier": replace(MADE, fourier=FourierConfig(kind="none")),
    "no global latent": replace(MADE, shared=GlobalConfig(enabled=False)),
    "nothing local": replace(MADE, local=LocalConfig(colours=False, levels=())),
    "no conditioning": replace(MADE, decoder=DecoderConfig(conditioning="none")),
    "concatenation": replace(MADE, decoder=DecoderConfig(conditioning="concatenate")),
}
WITH_COLOURS = [name for name, config in CONFIGS.items() if config.local.colours]


def made(config: FieldConfig = DEFAULT, frames: Tensor | None = None, perturbed: bool = True) -> VideoField:
    """A field of a translating picture, or of these frames, whose parts all have something to say."""
    field = field_of(clip_of(translating(SIZE, FRAMES, STEP) if frames is None else frames), config)
    if perturbed:
        perturb(field)
    return field


def with_curves(frames: Frames, curves: Curves | None, config: FieldConfig = DEFAULT) -> VideoField:
    """A field of one shot, 25 frames a second, with motion that is given."""
    return VideoField(
        config,
        keyframes=frames,
        t=torch.arange(len(frames)) / 25,
        shots=[range(len(frames))],
        duration_seconds=len(frames) / 25,
        curves=curves,
        generator=torch.Generator().manual_seed(0),
    )


def turning(frames: int = FRAMES) -> Tensor:
    """A picture on a bent path: along the curve and along either keyframe's own motion other things are seen."""
    return moving(SIZE, [((k - 2.5) ** 2, 2.0 * k) for k in range(frames)])


class Fields(NamedTuple):
    """A field, its twin, and the small frames that the twin knows."""

    field: VideoField
    twin: VideoField
    small: Frames


def rehearsing(config: FieldConfig = DEFAULT, frames: Tensor | None = None, perturbed: bool = True) -> Fields:
    """A field and its twin that can hide frames."""
    start = start_of(clip_of(translating(SIZE, FRAMES, STEP) if frames is None else frames), config)
    if perturbed:
        perturb(start.field)
    assert start.rehearsal is not None
    return Fields(start.field, start.rehearsal.field, start.rehearsal.frames)


@torch.no_grad()
def frame_at(field: VideoField, t: float, size: tuple[int, int] = SIZE, hide: bool = False) -> Tensor:
    """(3, h, w) at one instant."""
    rgb = field(with_t(pixel_uv(*size), t), Footprint.of_size(*size), hide=hide)
    return rearrange(rgb, "(h w) c -> c h w", h=size[0])


def interior(frame: Tensor, margin: int = 10) -> Tensor:
    return frame[..., margin:-margin, margin:-margin]


# --------------------------------------------------------------------------------------------- observed instants


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_COLOURS)
@pytest.mark.parametrize("perturbed", [False, True])
def test_observed_instants_show_their_own_frame(name: str, perturbed: bool) -> None:
    frames = translating(SIZE, FRAMES, STEP)
    field = made(CONFIGS[name], frames, perturbed)
    for frame, t in zip(frames, field.timeline.t.tolist(), strict=True):
        torch.testing.assert_close(frame_at(field, t), frame, atol=1e-5, rtol=0)


def test_frames_of_bytes_are_shown_as_they_are() -> None:
    frames = to_uint8(translating(SIZE, 3, STEP))
    field = made(frames=frames)
    assert all(torch.equal(to_uint8(frame_at(field, k / 25)), frames[k]) for k in range(3))


def test_between_observed_instants_what_is_learnt_has_a_say() -> None:
    neutral, perturbed = made(PLAIN, turning(), perturbed=False), made(PLAIN, turning())
    apart = [(frame_at(perturbed, t) - frame_at(neutral, t)).abs().max() for t in (0.0, 0.001, 0.02)]
    assert apart[0] < 1e-5
    assert apart[0] < apart[1] < apart[2]
    assert apart[2] > 1e-2


def test_a_field_that_makes_everything_shows_what_its_decoder_says() -> None:
    field = made(MADE, perturbed=False)
    # It is mute at the start: all is grey.
    assert all((frame_at(field, t) == 0.5).all() for t in (0.0, 0.03))
    perturb(field)
    assert all(frame_at(field, t).std() > 0.05 for t in (0.0, 0.03))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_field_shows_its_frames_or_makes_everything(name: str) -> None:
    field, shows = made(CONFIGS[name]), CONFIGS[name].local.colours
    makers = {part for part in ("fourier", "shared", "latents", "decoder") if getattr(field, part) is not None}
    lookers = {part for part in ("colours", "visibility", "detail") if getattr(field, part) is not None}
    assert "colours" in lookers if shows else "decoder" in makers
    assert not (makers if shows else lookers)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "no colours"])
def test_what_a_field_holds_is_what_was_learnt(name: str) -> None:
    field = made(CONFIGS[name])
    learnt = {key for key, _ in field.named_parameters()}
    # Beside it, the unit of the clip's own detail, and the frequencies that were drawn.
    assert field.state_dict().keys() - learnt == {"detail.scale" if name == "default" else "fourier.matrix"}
    size = sum(value.numel() for value in field.state_dict().values())
    longer = made(CONFIGS["default"], translating(SIZE, FRAMES + 3))
    assert name != "default" or sum(value.numel() for value in longer.state_dict().values()) == size


@pytest.mark.slow
def test_frames_are_asked_for_by_number_and_only_those_that_are_read() -> None:
    frames, asked = translating(SIZE, FRAMES, STEP), list[int]()

    def read(index: int) -> Tensor:
        asked.append(index)
        return frames[index]

    whole = made(frames=frames, perturbed=False)
    field = with_curves(MadeFrames(tuple(frames.shape), frames.dtype, read), curves_of(whole))
    assert not asked
    uvt = random_points(50, 0.03) + torch.tensor([0.0, 0.0, 0.081])
    with torch.no_grad():
        assert torch.equal(field(uvt), whole(uvt))
        assert set(asked) == {2, 3}
        assert torch.equal(frame_at(field, 0.2), frame_at(whole, 0.2))


def test_the_field_is_continuous_in_time_at_a_keyframe() -> None:
    field = made(PLAIN)
    for t in (0.04, 0.12):
        before, here, after = (frame_at(field, t + shift) for shift in (-1e-6, 0.0, 1e-6))
        torch.testing.assert_close(before, here, atol=5e-3, rtol=0)
        torch.testing.assert_close(after, here, atol=5e-3, rtol=0)


@pytest.mark.slow
def test_beside_a_keyframe_detail_is_averaged_away_but_for_a_little() -> None:
    """Between keyframes pixels are read from the finer level: a mean over four cells, nearly the pixel itself."""
    field = made(perturbed=False)
    assert field.detail is not None
    perturb(field.detail, 0.1)
    field.detail.scale.fill_(0.02)
    here = frame_at(field, 0.08)
    detail = frame_at(field, 0.08, (2 * SIZE[0], 2 * SIZE[1])) - repeat(here, "c h w -> c (h 2) (w 2)")
    for shift in (-1e-6, 1e-6):
        change = frame_at(field, 0.08 + shift) - here
        assert change.square().mean().sqrt() < 0.1 * detail.square().mean().sqrt()


# --------------------------------------------------------------------------------------------- points alone


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_points_are_independent(name: str) -> None:
    field = made(CONFIGS[name], perturbed=False)
    # Moved less than elsewhere: with colours in the dozens, rounding alone would exceed the bounds.
    perturb(field, 0.2)
    uvt = random_points(120, SECONDS)
    uvt[::7, 2] = field.timeline.t[2]
    with torch.no_grad():
        together = field(uvt)
        assert together.isfinite().all()
        order = torch.randperm(len(uvt), generator=torch.Generator().manual_seed(0))
        split = torch.cat([field(chunk) for chunk in uvt.split(17)])
        alone = torch.cat([field(point[None]) for point in uvt[:25]])
        torch.testing.assert_close(field(uvt[order]), together[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(split, together, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone, together[:25], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_hidden_points_are_independent() -> None:
    twin = rehearsing().twin
    keyframes = torch.tensor([3, 1, 4, 1, 2, 2])
    uvt = torch.cat([random_points(6, 0.0)[:, :2], twin.timeline.t[keyframes, None]], dim=-1)
    with torch.no_grad():
        alone = torch.cat([twin(point[None], hide=True) for point in uvt])
        torch.testing.assert_close(twin(uvt, hide=True), alone, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_inspection_keeps_the_order_of_the_points() -> None:
    field = made()
    uvt = random_points(40, SECONDS)
    together = field.inspect(uvt)
    alone = [field.inspect(point[None]) for point in uvt]
    torch.testing.assert_close(together.velocity, torch.cat([a.velocity for a in alone]), atol=1e-2, rtol=0)
    torch.testing.assert_close(together.right_share, torch.cat([a.right_share for a in alone]), atol=1e-5, rtol=0)


def test_no_points_are_legal() -> None:
    assert made()(torch.zeros(0, 3)).shape == (0, 3)


def test_points_without_time_are_refused() -> None:
    field = made()
    with pytest.raises(UserError, match=r"uvt must be \(n, 3\), got \(5, 2\); did you drop t"):
        field(torch.rand(5, 2))
    with pytest.raises(UserError, match=r"got \(2, 5, 3\)"):
        field(torch.rand(2, 5, 3))


# --------------------------------------------------------------------------------------------- walls


BEFORE, AFTER = 4, 4


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["before", "after"])
def test_nothing_reads_across_a_cut(changed: str) -> None:
    frames = with_cut(SIZE, BEFORE, AFTER)
    other = frames.clone()
    side = slice(BEFORE) if changed == "before" else slice(BEFORE, None)
    other[side] = other[side].flip(-1)
    both = [rehearsing(frames=pictures) for pictures in (frames, other)]
    fields = [one.field for one in both]
    for field in fields:
        # The unit of detail is the whole clip's: a sum, which rounds differently in another order.
        assert field.detail is not None
        field.detail.scale.fill_(1e-3)
    assert all(field.timeline.shots == [range(BEFORE), range(BEFORE, BEFORE + AFTER)] for field in fields)
    cut = (BEFORE - 0.5) / 25
    for t in (0.0, 0.03, 0.1, 0.13, cut - 0.001, cut + 0.001, 0.15, 0.17, 0.27, 0.3):
        one, two = (frame_at(field, t) for field in fields)
        if (t < cut) == (changed == "before"):
            assert (one - two).abs().mean() > 1e-2
        else:
            assert torch.equal(one, two)
    uvt = with_t(pixel_uv(*SIZE), (BEFORE - 2 if changed == "after" else BEFORE + 1) / 25)
    with torch.no_grad():
        assert torch.equal(*(one.twin(uvt, hide=True) for one in both))


def test_gradients_stay_on_their_side_of_a_cut() -> None:
    field = made(MADE, with_cut(SIZE, BEFORE, AFTER))
    uvt = random_points(300, (BEFORE - 0.5) / 25 - 1e-4)
    field(uvt).square().sum().backward()
    assert field.latents is not None
    for level in field.latents.levels:
        assert level.grad is not None
        assert (level.grad[:BEFORE].flatten(1).abs().amax(dim=1) > 0).all()
        assert (level.grad[BEFORE:] == 0).all()


def test_around_a_cut_the_nearer_frame_is_held() -> None:
    frames = with_cut(SIZE, BEFORE, AFTER)
    field = made(frames=frames)
    torch.testing.assert_close(frame_at(field, 0.139), frames[BEFORE - 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(frame_at(field, 0.141), frames[BEFORE], atol=1e-5, rtol=0)
    uvt = with_t(pixel_uv(*SIZE), 0.139)
    with torch.no_grad():
        assert (field.inspect(uvt).velocity == 0).all()
        assert (field.disagreement(uvt) == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("count", [1, 2])
def test_clips_of_one_and_two_frames_are_legal(name: str, count: int) -> None:
    frames = translating(SIZE, count, STEP)
    field = made(CONFIGS[name], frames)
    for t in (-1.0, 0.0, 0.013, 0.04, 0.07, 5.0):
        assert frame_at(field, t).isfinite().all()
    if name in WITH_COLOURS:
        torch.testing.assert_close(frame_at(field, 0.0), frames[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(frame_at(field, (count - 1) / 25), frames[-1], atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "no motion", "plain"])
def test_times_outside_the_clip_hold_its_ends(name: str) -> None:
    frames = translating(SIZE, FRAMES, STEP)
    field = made(CONFIGS[name], frames)
    for t, frame in ((-3.0, frames[0]), (-1e-3, frames[0]), (SECONDS - 1e-3, frames[-1]), (60.0, frames[-1])):
        torch.testing.assert_close(frame_at(field, t), frame, atol=1e-5, rtol=0)


# --------------------------------------------------------------------------------------------- what parts are for


def held_out(path: Callable[[float], tuple[float, float]], config: FieldConfig) -> float:
    """PSNR in the interior of frames never shown to a field that has learnt nothing: every second one of eleven."""
    offsets = [path(float(k)) for k in range(11)]
    frames = moving(SIZE, offsets)
    field = made(config, frames[::2], perturbed=False)
    # Away from the ends of the clip, where a path has no outer frame to show its bend.
    scores = [
        psnr(interior(frame_at(field, k / 50)[None].clamp(0, 1), 14), interior(frames[k : k + 1], 14))
        for k in (3, 5, 7)
    ]
    return float(torch.stack(scores).mean())


@pytest.mark.slow
def test_motion_is_worth_its_while_on_a_moving_picture() -> None:
    def path(k: float) -> tuple[float, float]:
        return 1.5 * k, -k

    still, moved = (held_out(path, CONFIGS[name]) for name in ("no motion", "default"))
    assert moved > still + 12
    assert moved > 36


@pytest.mark.slow
def test_curves_are_worth_their_while_on_accelerated_motion() -> None:
    def path(k: float) -> tuple[float, float]:
        return 0.2 * k**2, 0.5 * k

    straight, curved = (held_out(path, CONFIGS[name]) for name in ("straight", "default"))
    assert curved > straight + 4


def choosing(frames: Tensor, view: int) -> VideoField:
    """A field whose visibility chooses one of the four views, by evidence that only one side has."""
    found = curves_of(made(frames=frames, perturbed=False))
    evidence = torch.zeros_like(found.evidence)
    evidence[:, COMMON_EVIDENCE + view % 2 * SIDE_EVIDENCE] = 1
    # Wrong motion, so that no two views are alike.
    lone = torch.tensor([9.0, 4.0, -5.0, 8.0])[:, None, None].expand_as(found.lone)
    field = with_curves(frames, Curves(torch.zeros_like(found.coefficients), lone, evidence))
    assert field.visibility is not None
    first, last = field.visibility.network[0], field.visibility.last
    assert isinstance(first, torch.nn.Linear)
    with torch.no_grad():
        for parameter in field.visibility.parameters():
            parameter.zero_()
        # The first clue of the side in question, and that it is for the curve or for the side alone.
        first.weight[0, COMMON_EVIDENCE + 2] = 1
        last.weight[:, 0] = torch.tensor([60.0, 0.0] if view < 2 else [0.0, 60.0])
        last.bias[:] = -30
    return field


@pytest.mark.slow
@pytest.mark.parametrize("view", range(4))
def test_visibility_can_choose_any_view(view: int) -> None:
    frames = translating(SIZE, FRAMES, STEP)
    field = choosing(frames, view)
    assert field.motion is not None
    assert field.colours is not None
    # Away from the border, beyond which a point was not seen whatever the network says.
    uvt = 0.2 + 0.6 * random_points(60, 0.0) * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([0.0, 0.0, -0.15])
    alpha = torch.full((60,), 0.25)
    with torch.no_grad():
        match = field.motion.match(1, uvt[:, :2], alpha)
        views = [field.colours(1 + side % 2, uv, Footprint.of_size(*SIZE)) for side, uv in enumerate(match[:4])]
        torch.testing.assert_close(field(uvt), views[view], atol=0.01, rtol=0)
        assert all((views[view] - other).abs().max() > 0.02 for i, other in enumerate(views) if i != view)
        # In the words of the odds: near in time, bounded, and a keyframe alone is the exception.
        odds = torch.tensor([0.75, 0.25] * 2).log() + torch.tensor([0.0, 0.0, -3.0, -3.0]) - 6
        odds[view] += 12
        share = torch.softmax(odds, dim=0)[[1, 3]].sum()
        torch.testing.assert_close(field.inspect(uvt).right_share, share.expand(60), atol=1e-3, rtol=0)
    # But no say is strong enough to change an observed instant.
    for frame, t in zip(frames, field.timeline.t.tolist(), strict=True):
        torch.testing.assert_close(frame_at(field, t), frame, atol=1e-5, rtol=0)


def test_without_visibility_the_share_is_nearness_in_time() -> None:
    uvt = random_points(60, SECONDS - 1 / 25)
    field = made(CONFIGS["no visibility"])
    torch.testing.assert_close(field.inspect(uvt).right_share, (uvt[:, 2] * 25) % 1, atol=1e-4, rtol=0)


def test_the_global_latent_changes_the_whole_picture_unless_conditioning_is_off() -> None:
    for name, heard in (("no colours", True), ("concatenation", True), ("no conditioning", False)):
        field = made(CONFIGS[name])
        before = frame_at(field, 0.06)
        assert field.shared is not None
        perturb(field.shared, 1.0, seed=5)
        assert (not torch.equal(frame_at(field, 0.06), before)) == heard


def test_motion_and_visibility_are_left_out_where_nothing_is_read() -> None:
    assert made(CONFIGS["nothing local"]).motion is None
    without = made(CONFIGS["no colours"])
    assert without.motion is not None
    assert without.visibility is None


def test_motion_without_curves_is_refused() -> None:
    with pytest.raises(UserError, match="needs starting curves"):
        with_curves(torch.zeros(1, 3, 8, 8), None)


@pytest.mark.parametrize("config", [PLAIN, MADE])
def test_everything_learnt_is_heard_between_keyframes(config: FieldConfig) -> None:
    field = made(config)
    field(random_points(200, SECONDS)).square().sum().backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_source_times_are_shown_with_held_frames_held() -> None:
    field = field_of(clip_of(translating(SIZE, 4), [Fraction(k, 25) for k in (0, 1, 4, 5)]))
    instants = [0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, -0.04]
    assert field.held(instants) == pytest.approx([0.0, 0.04, 0.04, 0.04, 0.16, 0.2, 0.2, 0.0])
    strided = field_of(clip_of(translating(SIZE, 5)), FieldConfig(local=LocalConfig(keyframe_stride=2)))
    assert strided.held([0.0, 0.04, 0.08]) == [0.0, 0.04, 0.08]


# --------------------------------------------------------------------------------------------- hiding


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_twin_holds_the_very_same_learnt_parts(name: str) -> None:
    if not CONFIGS[name].has_local:
        assert start_of(clip_of(translating(SIZE, FRAMES)), CONFIGS[name]).rehearsal is None
        return
    field, twin, _ = rehearsing(CONFIGS[name])
    own = dict(field.named_parameters())
    shared = dict(twin.named_parameters())
    assert own.keys() == shared.keys()
    assert all(shared[key] is value for key, value in own.items())
    assert field.size == SIZE
    assert not field.hidden_rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "last"), [("default", "visibility.network.2.weight"), ("no colours", "decoder.head.weight")]
)
def test_what_one_learns_the_other_knows(name: str, last: str) -> None:
    field, twin, _ = rehearsing(CONFIGS[name], turning())
    uvt = with_t(pixel_uv(24, 32), float(field.timeline.t[2]))
    between = random_points(100, SECONDS - 1 / 25)
    with torch.no_grad():
        hidden, shown = twin(uvt, hide=True), field(between)
        perturb(field, seed=4)
        assert (twin(uvt, hide=True) - hidden).abs().max() > 1e-2
        perturb(twin, seed=5)
        assert (field(between) - shown).abs().max() > 1e-2
    twin(uvt, hide=True).sum().backward()
    gradient = field.get_parameter(last).grad
    assert gradient is not None
    assert gradient.abs().max() > 0


@pytest.mark.slow
def test_making_a_twin_leaves_the_field_as_it_was() -> None:
    frames = translating(SIZE, FRAMES, STEP)
    field = made(frames=frames)
    uvt = random_points(100, SECONDS)
    curves = Curves(*(grid[:2] for grid in curves_of(field)))
    parts, before, random = dict(field.named_modules()), field(uvt), torch.random.get_rng_state()
    field.rehearsal(frames[..., ::2, ::2], curves, [1, 2])
    assert torch.equal(torch.random.get_rng_state(), random)
    assert dict(field.named_modules()) == parts
    assert torch.equal(field(uvt), before)
    assert field.size == SIZE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "no motion", "no colours", "no visibility", "straight"])
def test_a_hidden_frame_is_not_looked_at(name: str) -> None:
    frames = translating(SIZE, FRAMES, STEP)
    changed = frames.clone()
    # As bright as before, or it would be a flash.
    noise = torch.rand(changed[3].shape, generator=torch.Generator().manual_seed(0)) - 0.5
    changed[3] = (changed[3] + 0.3 * noise).clamp(0, 1)
    one, two = (rehearsing(CONFIGS[name], pictures) for pictures in (frames, changed))
    assert len(two.field.timeline.shots) == 1
    assert not torch.equal(one.small[3], two.small[3])
    uvt = with_t(pixel_uv(*SIZE), float(one.field.timeline.t[3]))
    with torch.no_grad():
        assert torch.equal(one.twin(uvt, hide=True), two.twin(uvt, hide=True))
        # The frames beside it do look at frame 3.
        beside = with_t(pixel_uv(*SIZE), float(one.field.timeline.t[2]))
        assert (one.twin(beside, hide=True) - two.twin(beside, hide=True)).abs().max() > 1e-3


def test_a_hidden_frame_of_a_translation_is_found_again() -> None:
    field, twin, small = rehearsing(frames=translating(SIZE, FRAMES, (2 * STEP[0], 2 * STEP[1])), perturbed=False)
    half = (SIZE[0] // 2, SIZE[1] // 2)
    assert twin.size == half
    for k in range(1, FRAMES - 1):
        found = frame_at(twin, float(field.timeline.t[k]), half, hide=True)
        assert psnr(interior(found[None].clamp(0, 1), 6), interior(to_float(small[k])[None], 6)) > 30


@pytest.mark.slow
def test_only_hideable_keyframes_have_curves_across_them() -> None:
    field, twin, _ = rehearsing(frames=with_cut(SIZE, BEFORE, AFTER))
    assert not field.hidden_rows
    assert list(twin.hidden_rows) == [1, 2, BEFORE + 1, BEFORE + 2]
    assert twin.motion is not None
    assert all(len(grid) == 4 for grid in curves_of(twin))
    with pytest.raises(IndexError):
        twin.motion.curves(4)
    with torch.no_grad():
        for k, t in enumerate(twin.timeline.t.tolist()):
            uvt = with_t(pixel_uv(4, 4), t)
            if k in twin.hidden_rows:
                assert twin(uvt, hide=True).isfinite().all()
            else:
                with pytest.raises(UserError, match=f"the keyframe at {t:g} s cannot be hidden"):
                    twin(uvt, hide=True)


def test_hidden_and_observed_disagree_alike_along_the_motion() -> None:
    field, twin, _ = rehearsing(frames=translating(SIZE, FRAMES, (2 * STEP[0], 2 * STEP[1])), perturbed=False)
    uv = 0.2 + 0.6 * random_points(200, 0.0)[:, :2]
    hidden = twin.disagreement(with_t(uv, float(field.timeline.t[2])), hide=True)
    assert hidden.shape == (200, 3)
    assert 0 < hidden.abs().mean() < 0.03


def test_an_instant_that_cannot_be_hidden_is_named() -> None:
    field, twin, _ = rehearsing(perturbed=False)
    for asked in (field, twin):
        with pytest.raises(UserError, match="the keyframe at 0 s cannot be hidden"):
            asked(random_points(3, 0.0), hide=True)
    # Only the twin knows how to go without a frame.
    with pytest.raises(UserError, match=r"the keyframe at 0.08 s cannot be hidden"):
        field(with_t(random_points(3, 0.0)[:, :2], float(field.timeline.t[2])), hide=True)


# --------------------------------------------------------------------------------------------- where it lives


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no detail", "no colours"])
def test_everything_follows_the_field_into_another_precision(name: str) -> None:
    field = made(CONFIGS[name])
    single = field(random_points(60, SECONDS))
    field.double()
    assert field.motion is not None
    curves = field.motion.curves(0)
    assert curves.coefficients.dtype == curves.lone.dtype == torch.float64
    assert (
        field.motion.match(0, torch.rand(5, 2).double(), torch.full((5,), 0.3).double()).evidence.dtype == torch.float64
    )
    assert field.colours is None or not field.colours._cache
    double = field(random_points(60, SECONDS).double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_a_field_read_in_inference_mode_can_still_learn() -> None:
    field = made(perturbed=False)
    uvt = random_points(20, 0.1)
    with torch.inference_mode():
        field(uvt)
    field(uvt).sum().backward()


@pytest.mark.parametrize("name", ["no colours", "nothing local"])
def test_made_up_instants_outside_the_clip_hold_its_ends_too(name: str) -> None:
    field = made(CONFIGS[name])
    uv = random_points(20, 0.0)[:, :2]
    first, last = field.timeline.t[0].item(), field.timeline.t[-1].item()
    for outside, end in ((-1.0, first), (last + 4, last)):
        torch.testing.assert_close(field(with_t(uv, outside)), field(with_t(uv, end)))


# --------------------------------------------------------------------------------------------- what it thinks


@pytest.mark.slow
def test_inspection_tells_the_velocity_of_a_translation_in_pixels_a_second() -> None:
    field = made(perturbed=False)
    uvt = random_points(200, SECONDS - 1 / 25, margin=0.2)
    expected = torch.tensor(STEP) * float(RATE)
    velocity = field.inspect(uvt).velocity
    torch.testing.assert_close(velocity, expected.expand(len(uvt), 2), atol=0.15 * 25, rtol=0)
    torch.testing.assert_close(velocity.mean(dim=0), expected, atol=0.04 * 25, rtol=0)


@pytest.mark.slow
def test_the_velocity_of_uneven_frames_is_the_same() -> None:
    pts = [Fraction(p, 100) for p in (0, 4, 12, 14, 20, 24)]
    frames = moving(SIZE, [(50 * float(p), -25 * float(p)) for p in pts])
    field = field_of(clip_of(frames, pts))
    uvt = random_points(200, 0.24, margin=0.2)
    velocity = field.inspect(uvt).velocity
    torch.testing.assert_close(velocity.mean(dim=0), torch.tensor([50.0, -25.0]), atol=1.5, rtol=0)


@pytest.mark.slow
def test_the_sides_agree_on_a_translation() -> None:
    uvt = random_points(300, SECONDS - 1 / 25, margin=0.2)
    moved, still = made(perturbed=False), made(CONFIGS["no motion"], perturbed=False)
    assert moved.disagreement(uvt).abs().mean() < 0.01
    assert moved.disagreement(uvt).abs().mean() < still.disagreement(uvt).abs().mean() / 8


# --------------------------------------------------------------------------------------------- footprints


@pytest.mark.slow
@pytest.mark.parametrize("t", [0.0, 0.08, 0.06])
def test_half_the_size_is_the_mean_over_areas(t: float) -> None:
    field = made(perturbed=False)
    half = frame_at(field, t, (SIZE[0] // 2, SIZE[1] // 2))
    area = reduce(frame_at(field, t), "c (h 2) (w 2) -> c h w", "mean")
    assert interior(half - area, 4).abs().max() < 4e-3
    # A point sample of the full-size picture is much further off.
    point = torch.nn.functional.interpolate(frame_at(field, t)[None], size=half.shape[-2:], mode="nearest")[0]
    assert interior(half - area, 4).abs().mean() < interior(point - area, 4).abs().mean() / 10


@pytest.mark.slow
def test_a_field_without_a_footprint_is_asked_for_source_pixels() -> None:
    field = made()
    uvt = random_points(50, SECONDS)
    with torch.no_grad():
        assert torch.equal(field(uvt), field(uvt, Footprint.of_size(*SIZE)))


def test_a_keyframe_stride_leaves_frames_between_keyframes_to_the_field() -> None:
    frames = translating(SIZE, 6, STEP)
    field = made(replace(DEFAULT, local=LocalConfig(keyframe_stride=2)), frames, perturbed=False)
    assert len(field.timeline.t) == 4
    for k in (0, 2, 4, 5):
        torch.testing.assert_close(frame_at(field, float(torch.tensor(k / 25))), frames[k], atol=1e-4, rtol=0)
    assert psnr(interior(frame_at(field, 3 / 25)[None].clamp(0, 1)), interior(frames[3:4])) > 34
