"""Batches: the same for the same step, shared out exactly, and true to the frames."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from vfield.core.coords import uv_to_xy
from vfield.core.errors import UserError
from vfield.core.frames import MadeFrames
from vfield.learn.sampling import Batch, PatchSampler, SamplingConfig

TIMES = [0.0, 0.04, 0.12, 0.16, 0.2, 0.28]
SIZE = (20, 30)
HALF = (10, 15)
SMALL = SamplingConfig(patches=8, patch_size=5)
ALL_OBSERVED = SamplingConfig(patches=40, patch_size=5, hidden_share=0.0)


def frames(size: tuple[int, int] = SIZE, count: int = len(TIMES), seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def hidden_frames(pictures: Tensor) -> Tensor:
    """The frames at half their size, rounded up, as noise of another kind: a mix-up of the two would be seen."""
    height, width = pictures.shape[-2:]
    return frames((-(-height // 2), -(-width // 2)), len(pictures), seed=1)


def sampler(
    config: SamplingConfig = SMALL,
    hideable: Sequence[int] = (1, 2, 4),
    pictures: Tensor | None = None,
    seed: int = 3,
) -> PatchSampler:
    pictures = frames() if pictures is None else pictures
    times = torch.tensor(TIMES[: len(pictures)])
    return PatchSampler(pictures, times, hidden_frames(pictures), hideable, config, seed)


def rows(*tensors: Tensor) -> list[tuple[float, ...]]:
    """The rows of tensors side by side, sorted: what a batch holds, whatever its order."""
    return sorted(tuple(row) for row in torch.cat(tensors, dim=-1).tolist())


def frame_of(uvt: Tensor) -> Tensor:
    """Which frame each point belongs to; every point must be at a frame's very instant."""
    same = uvt[:, 2:] == torch.tensor(TIMES)
    assert (same.sum(dim=1) == 1).all()
    return same.long().argmax(dim=1)


def assert_pixels(batch: Batch, pictures: Tensor) -> None:
    """Every point lies on the centre of a pixel and has its colour: of the small frames where they are hidden."""
    seen = len(batch.uvt) - batch.hidden
    for part, of in ((slice(seen), pictures), (slice(seen, None), hidden_frames(pictures))):
        uvt, rgb = batch.uvt[part], batch.rgb[part]
        xy = uv_to_xy(uvt[:, :2], *of.shape[-2:])
        pixel = xy.round().long()
        torch.testing.assert_close(xy, pixel.float(), atol=1e-4, rtol=0)
        found = of[frame_of(uvt), :, pixel[:, 1], pixel[:, 0]]
        torch.testing.assert_close(rgb, found / 255 if found.dtype == torch.uint8 else found)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    first, again = sampler(), sampler()
    again.batch(0)  # What was drawn before makes no difference, nor does the global generator.
    torch.manual_seed(1)
    assert torch.equal(first.batch(7).uvt, again.batch(7).uvt)
    assert torch.equal(first.batch(7).rgb, again.batch(7).rgb)
    others = (first.batch(8), sampler(seed=4).batch(7))
    assert all(not torch.equal(first.batch(7).uvt, other.uvt) for other in others)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    sampler().batch(0)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_the_shares_together_are_the_whole_batch(processes: int) -> None:
    whole = sampler().batch(5)
    shares = [sampler().batch(5, rank, processes) for rank in range(processes)]
    assert len({len(share.uvt) for share in shares}) == 1
    assert sum(share.hidden for share in shares) == whole.hidden
    uvt, rgb = torch.cat([share.uvt for share in shares]), torch.cat([share.rgb for share in shares])
    assert rows(uvt, rgb) == rows(whole.uvt, whole.rgb)


def test_shares_hide_about_as_much_each() -> None:
    hidden = [sampler().batch(5, rank, 4).hidden for rank in range(4)]
    assert max(hidden) - min(hidden) <= 25


@pytest.mark.parametrize("deep", [False, True])
def test_points_have_the_colours_of_their_pixels(deep: bool) -> None:
    pictures = frames().float() / 255 if deep else frames()
    for step in range(4):
        batch = sampler(pictures=pictures).batch(step)
        assert batch.uvt.shape == batch.rgb.shape == (8 * 25, 3)
        assert batch.rgb.dtype == torch.float32
        assert_pixels(batch, pictures)


@pytest.mark.slow
def test_points_come_in_square_patches_that_reach_every_pixel() -> None:
    seen = torch.zeros(len(TIMES), *SIZE, dtype=torch.bool)
    draw = sampler(ALL_OBSERVED)
    for step in range(30):
        batch = draw.batch(step)
        xy = uv_to_xy(batch.uvt[:, :2], *SIZE).round().long().reshape(-1, 25, 2)
        assert (xy.amax(dim=1) - xy.amin(dim=1) == 4).all()
        flat = xy.reshape(-1, 2)
        seen[frame_of(batch.uvt), flat[:, 1], flat[:, 0]] = True
    assert seen[:, 4:-4, 4:-4].float().mean() > 0.99
    # Corners are in one patch only of all that could be drawn.
    assert seen[:, 0, 0].any()
    assert seen[:, -1, -1].any()


def test_hidden_points_come_last_and_are_at_hideable_frames() -> None:
    for step in range(10):
        batch = sampler().batch(step)
        assert batch.hidden == 6 * 25
        assert set(frame_of(batch.uvt[-batch.hidden :]).tolist()) <= {1, 2, 4}
    seen = torch.cat([frame_of(sampler().batch(step).uvt[: -6 * 25]) for step in range(40)])
    assert set(seen.tolist()) == set(range(len(TIMES)))


def test_each_frame_is_one_run_of_points_on_each_side() -> None:
    batch = sampler(SamplingConfig(patches=40, patch_size=3)).batch(0)
    for part in (batch.uvt[: -batch.hidden], batch.uvt[-batch.hidden :]):
        runs = torch.unique_consecutive(frame_of(part))
        assert len(runs) == len(runs.unique())


@pytest.mark.parametrize(("share", "hidden"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_the_hidden_share_is_kept(share: float, hidden: int) -> None:
    config = SamplingConfig(patches=8, patch_size=5, hidden_share=share)
    assert sampler(config).batch(0).hidden == hidden * 25


def test_nothing_is_hidden_where_nothing_can_be() -> None:
    batch = sampler(hideable=()).batch(0)
    assert batch.hidden == 0
    assert len(batch.uvt) == 8 * 25
    assert_pixels(batch, frames())


@pytest.mark.slow
def test_hidden_patches_reach_every_pixel_of_the_small_frames() -> None:
    seen = torch.zeros(len(TIMES), *HALF, dtype=torch.bool)
    draw = sampler(SamplingConfig(patches=40, patch_size=5, hidden_share=1.0))
    for step in range(20):
        batch = draw.batch(step)
        assert batch.hidden == len(batch.uvt) == 40 * 25
        xy = uv_to_xy(batch.uvt[:, :2], *HALF).round().long()
        patches = xy.reshape(-1, 25, 2)
        assert (patches.amax(dim=1) - patches.amin(dim=1) == 4).all()
        seen[frame_of(batch.uvt), xy[:, 1], xy[:, 0]] = True
    assert seen[[1, 2, 4]].float().mean() > 0.97
    assert not seen[[0, 3, 5]].any()


@pytest.mark.parametrize("size", [(21, 31), (33, 17), (7, 9)])
def test_odd_sizes_have_small_frames_rounded_up(size: tuple[int, int]) -> None:
    pictures = frames(size)
    for step in range(4):
        batch = sampler(pictures=pictures).batch(step)
        assert_pixels(batch, pictures)
        assert batch.hidden > 0


@pytest.mark.parametrize("size", [(3, 30), (20, 2), (8, 8), (1, 1)])
def test_pictures_smaller_than_a_patch_are_taken_whole(size: tuple[int, int]) -> None:
    pictures = frames(size)
    batch = sampler(pictures=pictures).batch(0)
    seen, hidden = (min(rows, 5) * min(columns, 5) for rows, columns in (size, hidden_frames(pictures).shape[-2:]))
    assert len(batch.uvt) == 2 * seen + 6 * hidden
    assert batch.hidden == 6 * hidden
    assert_pixels(batch, pictures)


def test_a_clip_of_one_frame_is_all_observed() -> None:
    batch = sampler(hideable=(), pictures=frames(count=1)).batch(0)
    assert batch.hidden == 0
    assert (batch.uvt[:, 2] == 0).all()


def without_observed(hideable: Sequence[int] = (1, 2, 4), config: SamplingConfig = SMALL) -> PatchSampler:
    """Of a field that has nothing to learn from its frames as they are."""
    small = hidden_frames(frames())
    return PatchSampler(None, torch.tensor(TIMES), small, hideable, config, 3)


@pytest.mark.parametrize(("share", "patches"), [(0.75, 6), (0.25, 2), (1.0, 8), (0.0, 0)])
def test_without_observed_frames_the_hidden_share_is_all_there_is(share: float, patches: int) -> None:
    batch = without_observed(config=SamplingConfig(patches=8, patch_size=5, hidden_share=share)).batch(0)
    assert batch.hidden == len(batch.uvt) == len(batch.rgb) == patches * 25
    assert_pixels(batch, frames())


@pytest.mark.parametrize("processes", [2, 3])
def test_without_observed_frames_shares_are_of_what_there_is(processes: int) -> None:
    draw = without_observed()
    whole, shares = draw.batch(5), [draw.batch(5, rank, processes) for rank in range(processes)]
    assert {len(share.uvt) for share in shares} == {6 * 25 // processes}
    assert rows(*(torch.cat([share.uvt, share.rgb], dim=-1) for share in [whole])) == rows(
        torch.cat([torch.cat([share.uvt, share.rgb], dim=-1) for share in shares])
    )
    with pytest.raises(UserError, match="a batch of 6 patches cannot be shared equally by 4 processes"):
        draw.batch(0, 0, 4)


def test_with_nothing_to_learn_from_a_batch_is_empty() -> None:
    batch = without_observed(hideable=()).batch(0, 1, 2)
    assert batch.uvt.shape == batch.rgb.shape == (0, 3)
    assert batch.hidden == 0


def test_frames_that_are_made_are_drawn_from_like_any_others() -> None:
    """Frames may come from elsewhere by their number, and only those that are drawn are asked for."""
    pictures, asked = frames(), set[int]()
    small = hidden_frames(pictures)

    def made(of: Tensor) -> MadeFrames:
        def read(index: int) -> Tensor:
            asked.add(index)
            return of[index]

        return MadeFrames(tuple(of.shape), of.dtype, read)

    drawn = PatchSampler(made(pictures), torch.tensor(TIMES), made(small), [1, 2, 4], SMALL, 3).batch(7)
    expected = sampler().batch(7)
    assert torch.equal(drawn.uvt, expected.uvt)
    assert torch.equal(drawn.rgb, expected.rgb)
    assert asked == set(frame_of(drawn.uvt).tolist())


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"patches": 0}, "patches must be from 1 to .*, got 0"),
        ({"patch_size": 0}, "patch_size must be from 1 to .*, got 0"),
        ({"hidden_share": 1.5}, r"hidden_share must be from 0 to 1, got 1.5"),
        ({"hidden_share": -0.1}, r"hidden_share must be from 0 to 1, got -0.1"),
    ],
)
def test_bad_values_are_named(values: dict[str, float], named: str) -> None:
    with pytest.raises(UserError, match=named):
        SamplingConfig(**values)  # type: ignore[arg-type]
