"""The between-pixels task: what is learnt from the clip's own frames at half their size, and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from einops import reduce, repeat
from scenes import DEFAULT, clip_of, perturb, start_of, translating
from torch import Tensor

from vfield.core.clip import to_float, to_uint8
from vfield.core.errors import UserError
from vfield.core.metrics import psnr
from vfield.field.checkpoint import load_field, save_field
from vfield.field.config import FieldConfig
from vfield.field.detail import Detail, DetailConfig, Symmetry
from vfield.field.latents import LocalConfig
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.learn import fit
from vfield.learn.config_files import load_config
from vfield.learn.enlarging import _MOST_BYTES, MOST_FRAMES, Enlarging, _spread, find_detail_force
from vfield.learn.start import Start
from vfield.measure.stability import TrueMotion
from vfield.video_io import resize

TINY = load_config(Path(__file__).parents[2] / "configs" / "tiny.yaml")
SIZE = (32, 48)
SYMMETRIES = [Symmetry(*how) for how in product((False, True), repeat=3)]


def enlarging_of(start: Start) -> Enlarging:
    assert start.enlarging is not None
    return start.enlarging


def numbered(frames: int, size: tuple[int, int] = (50, 70)) -> Enlarging:
    """What is seen are the frame's number, the row and the column; what is wanted are rows and columns of cells."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    shown = torch.stack([torch.stack([torch.full(size, k), y, x]) for k in range(frames)])
    cells = repeat(shown, "n c h w -> n c (h 2) (w 2)")
    # Of a single frame's cells nothing is said.
    evidence = torch.cat([shown, torch.zeros(frames, 12, *size)], dim=1)
    checking = list(range(frames))[2::4]
    learning = [k for k in range(frames) if k not in checking]
    return Enlarging(evidence.half(), cells.half(), 1.0, learning, checking)


# --------------------------------------------------------------------------------------------- what is seen


@pytest.mark.slow
@pytest.mark.parametrize("size", [SIZE, (45, 63)])
@pytest.mark.parametrize("deep", [False, True])
def test_what_is_wanted_is_the_source(size: tuple[int, int], deep: bool) -> None:
    """The spline of a small frame and the residual make the frame itself, less an odd row or column."""
    frames = translating(size, 6)
    frames = frames if deep else to_uint8(frames)
    start = start_of(clip_of(frames))
    seen = enlarging_of(start)
    rows, columns = size[0] // 2, size[1] // 2
    assert seen.evidence.shape == (6, 83, rows, columns)
    assert seen.residual.shape == (6, 3, 2 * rows, 2 * columns)
    assert seen.evidence.dtype == seen.residual.dtype == torch.float16
    assert float(seen.residual.float().square().mean()) == pytest.approx(1, abs=0.01)
    assert start.field.detail is not None
    assert float(start.field.detail.scale) == pytest.approx(seen.scale)
    even = to_float(frames)[..., : 2 * rows, : 2 * columns]
    small = reduce(even, "n c (h 2) (w 2) -> n c h w", "mean")
    # Small frames are bytes.
    torch.testing.assert_close(seen.evidence[:, :3].float(), small - 0.5, atol=3e-3, rtol=0)
    means = reduce(seen.scale * seen.residual.float(), "n c (h 2) (w 2) -> n c h w", "mean")
    torch.testing.assert_close(means, small - to_float(to_uint8(small)), atol=5e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "frames",
    [
        translating((1, 1), 3),
        translating((7, 5), 3),
        translating((15, 40), 3),
        torch.full((3, 3, *SIZE), 0.5),
    ],
    ids=["one pixel", "tiny", "flat", "one colour"],
)
def test_where_there_is_nothing_to_see_nothing_is_learnt(frames: Tensor) -> None:
    clip = clip_of(to_uint8(frames))
    assert start_of(clip).enlarging is None
    field = fit(clip, TINY, progress=False).field
    assert field.detail is not None
    assert field.detail.is_mute
    size = (2 * clip.height, 2 * clip.width)
    assert next(render(field, size, [0.0])).isfinite().all()


@pytest.mark.parametrize(
    "config",
    [FieldConfig(detail=DetailConfig(enabled=False)), FieldConfig(local=LocalConfig(colours=False))],
)
def test_without_the_encoder_nothing_is_seen(config: FieldConfig) -> None:
    start = start_of(clip_of(translating(SIZE, 3)), config)
    assert start.enlarging is None
    assert start.field.detail is None


@pytest.mark.slow
@pytest.mark.parametrize(("frames", "checking"), [(3, [2]), (6, [2]), (7, [2, 6]), (12, [2, 6, 10])])
def test_every_fourth_is_kept_for_checking(frames: int, checking: list[int]) -> None:
    seen = enlarging_of(start_of(clip_of(translating((32, 32), frames))))
    assert seen.kept is None
    assert seen.checking == checking
    assert sorted(seen.learning + seen.checking) == list(range(frames))
    assert seen.learning


def test_frames_are_spread_over_the_clip_within_a_bound_of_memory() -> None:
    assert _spread(5, MOST_FRAMES, 1) == [0, 1, 2, 3, 4]
    assert _spread(9, MOST_FRAMES, _MOST_BYTES // 3) == [0, 4, 8]
    assert _spread(9, MOST_FRAMES, 2 * _MOST_BYTES) == [0]
    many = _spread(1000, MOST_FRAMES, 1)
    assert (len(many), many[0], many[-1]) == (48, 0, 999)
    assert {b - a for a, b in pairwise(many)} <= {21, 22}


# --------------------------------------------------------------------------------------------- patches


def test_patches_are_a_pure_function_of_seed_and_step() -> None:
    seen = numbered(7)
    first = seen.patches(3, 5, False)
    torch.rand(4)
    assert all(torch.equal(a, b) for a, b in zip(first[:2], seen.patches(3, 5, False)[:2], strict=True))
    for other in (seen.patches(4, 5, False), seen.patches(3, 6, False)):
        assert not torch.equal(first.evidence, other.evidence)


def test_patches_are_cut_and_turned_alike_from_all_over_the_frames() -> None:
    seen = numbered(3)
    ramps = numbered(1).evidence[0, 1:3, :32, :32].float()
    turned = {symmetry: symmetry.of_picture(ramps) for symmetry in SYMMETRIES}
    corners, turns = [], []
    for step in range(60):
        patches = seen.patches(0, step, False)
        assert patches.evidence.shape == (8, 15, 32, 32)
        assert patches.residual.shape == (8, 3, 64, 64)
        shown = patches.evidence[:, :3]
        assert torch.equal(F.avg_pool2d(patches.residual, 2), shown)
        least = shown[:, 1:].amin(dim=(-2, -1), keepdim=True)
        for ramp in shown[:, 1:] - least:
            turns += [symmetry for symmetry, picture in turned.items() if torch.equal(picture, ramp)]
        corners.append(least[..., 0, 0])
    assert len(turns) == 8 * 60
    assert set(turns) == set(SYMMETRIES)
    found = torch.cat(corners)
    assert found.amin(dim=0).tolist() == [0, 0]
    assert found.amax(dim=0).tolist() == [50 - 32, 70 - 32]


@pytest.mark.parametrize(("checked", "drawn"), [(False, {0, 1, 3, 4, 5}), (True, set(range(7)))])
def test_frames_kept_for_checking_are_drawn_from_only_afterwards(checked: bool, drawn: set[int]) -> None:
    seen = numbered(7)
    found = torch.cat([seen.patches(0, step, checked).evidence[:, 0, 0, 0] for step in range(30)])
    assert {int(k) for k in found} == drawn


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_the_shares_of_processes_are_the_patches_of_one(processes: int) -> None:
    seen = numbered(5)
    whole = seen.patches(0, 9, True)
    shares = [seen.patches(0, 9, True, rank, processes) for rank in range(processes)]
    assert {len(share.evidence) for share in shares} == {8 // processes}
    together = torch.cat([share.evidence for share in shares])
    assert sorted(together.flatten(1).tolist()) == sorted(whole.evidence.flatten(1).tolist())


def test_processes_that_cannot_share_equally_are_refused() -> None:
    with pytest.raises(UserError, match="by 3 processes"):
        numbered(5).patches(0, 0, False, 0, 3)


def test_small_pictures_are_seen_whole() -> None:
    patches = numbered(2, (9, 40)).patches(0, 0, False)
    assert patches.evidence.shape == (8, 15, 9, 32)
    assert patches.residual.shape == (8, 3, 18, 64)


# --------------------------------------------------------------------------------------------- with what force


def told(factor: float, side: int = 24) -> tuple[Detail, Enlarging]:
    """An encoder that always answers with one pattern, and frames for which `factor` times that would be right."""
    detail = Detail(DetailConfig(radius=0))
    pattern = torch.tensor([[1.0, -1.0, 0.5, -0.5], [0.0, 2.0, -1.0, -1.0], [-3.0, 1.0, 1.0, 1.0]])
    assert detail.last.bias is not None
    with torch.no_grad():
        detail.last.bias.copy_(pattern.flatten())
    cells = F.pixel_shuffle(pattern.reshape(1, 12, 1, 1).expand(7, -1, side, side), 2)
    noise = 0.05 * torch.randn(cells.shape, generator=torch.Generator().manual_seed(0))
    evidence = torch.zeros(7, 15, side, side)
    return detail, Enlarging(evidence, factor * cells + noise, 1.0, [0, 1, 3, 4, 5], [2, 6])


@pytest.mark.parametrize(
    ("factor", "force"), [(1.0, 1.0), (1.4, 1.0), (0.8, 1.0), (0.5, 0.5), (0.3, 0.5), (0.2, 0.0), (0.0, 0.0), (-1, 0.0)]
)
def test_the_force_is_what_does_best_on_the_frames_kept(factor: float, force: float) -> None:
    detail, seen = told(factor)
    before = {name: value.clone() for name, value in detail.state_dict().items()}
    assert find_detail_force(detail, seen) == force
    assert all(torch.equal(value, before[name]) for name, value in detail.state_dict().items())
    # Whatever would do best on the others.
    residual = seen.residual.clone()
    residual[seen.learning] = -seen.residual[seen.learning]
    assert find_detail_force(detail, seen._replace(residual=residual)) == force


def test_one_hard_frame_does_not_decide_for_all() -> None:
    detail, seen = told(1.0)
    seen.residual[2] *= -20
    checking = [2, 3, 4, 5, 6]
    assert find_detail_force(detail, seen._replace(checking=checking)) == 1.0


@pytest.mark.parametrize(("side", "force"), [(15, 0.125), (18, 0.5**1.5), (24, 1.0), (40, 1.0)])
def test_very_small_frames_are_believed_less(side: int, force: float) -> None:
    detail, seen = told(1.0, side)
    assert find_detail_force(detail, seen) == force
    assert find_detail_force(detail, seen._replace(checking=[])) == force


def test_with_nothing_kept_it_keeps_its_force() -> None:
    detail, seen = told(-1.0)
    assert find_detail_force(detail, seen._replace(checking=[])) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(40, 64), (64, 40)])
def test_few_frames_keep_a_part_of_themselves(height: int, width: int, frames: int) -> None:
    seen = enlarging_of(start_of(clip_of(translating((2 * height, 2 * width), frames))))
    assert seen.learning == seen.checking == list(range(frames))
    assert seen.kept is not None
    longer = 1 if width > height else 0
    assert seen.kept.float().mean() == 0.25
    assert seen.kept.any(dim=1 - longer).nonzero().flatten().tolist() == list(range(64, 96))
    before, after = ([seen.patches(0, step, checked) for step in range(20)] for checked in (False, True))
    assert all(torch.equal(a.residual, b.residual) for a, b in zip(before, after, strict=True))
    assert all(patches.visible is None for patches in after)
    assert min(float(patches.visible.float().mean()) for patches in before if patches.visible is not None) < 1
    # What is learnt from is never of the part that is kept.
    marked = seen._replace(residual=seen.kept.expand_as(seen.residual).half())
    for step in range(20):
        patches = marked.patches(0, step, checked=False)
        assert patches.visible is not None
        assert not patches.residual[patches.visible.expand_as(patches.residual)].any()


@pytest.mark.parametrize(
    ("factor", "force"), [(1.0, 0.5), (0.5, 0.5), (0.3, 0.25), (0.125, 0.25), (0.05, 0.0), (-0.2, 0.0)]
)
def test_the_force_of_one_frame_is_what_does_best_on_its_part(factor: float, force: float) -> None:
    detail, seen = told(factor)
    kept = torch.zeros(48, 48, dtype=torch.bool)
    kept[:, 24:36] = True
    # Elsewhere another would be right.
    residual = torch.where(kept, seen.residual, -seen.residual)
    few = seen._replace(residual=residual, learning=[0], checking=[0], kept=kept)
    assert find_detail_force(detail, few) == force
    many = few._replace(evidence=torch.zeros(300, 15, 24, 24))
    assert find_detail_force(detail, many) == {1.0: 1.0, 0.5: 0.5, 0.3: 0.5}.get(factor, 0.0)


# --------------------------------------------------------------------------------------------- fits


def shapes(frames: int, height: int, width: int) -> Tensor:
    """Discs and boxes with hard edges that move by fractions of a pixel: (frames, 3, height, width), area averages."""
    generator = torch.Generator().manual_seed(3)
    fine = 2
    y, x = torch.meshgrid(torch.arange(height * fine) / fine, torch.arange(width * fine) / fine, indexing="ij")
    kinds = [
        (torch.rand(2, generator=generator) * 1.4 - 0.2, 2 + 8 * torch.rand(2, generator=generator), k % 2)
        for k in range(60)
    ]
    colours = torch.rand(60, 3, 1, 1, generator=generator)
    made = []
    for k in range(frames):
        picture = torch.full((3, height * fine, width * fine), 0.5)
        for (place, half, is_disc), colour in zip(kinds, colours, strict=True):
            across = (x - float(place[0]) * width - 1.25 * k) / float(half[0])
            down = (y - float(place[1]) * height - 0.75 * k) / float(half[1])
            inside = across**2 + down**2 < 1 if is_disc else torch.maximum(across.abs(), down.abs()) < 1
            picture = torch.where(inside, colour, picture)
        made.append(F.avg_pool2d(picture, fine))
    return torch.stack(made)


@torch.no_grad()
def doubled(field: VideoField, frames: int) -> Tensor:
    """The first frames at twice their size, as bytes."""
    size = (2 * field.size[0], 2 * field.size[1])
    return to_uint8(torch.stack(list(render(field, size, [k / 25 for k in range(frames)]))))


@pytest.mark.slow
def test_a_short_fit_enlarges_better_than_lanczos_and_no_less_steadily() -> None:
    truth = to_uint8(shapes(9, 96, 128))
    clip = clip_of(to_uint8(reduce(to_float(truth), "n c (h 2) (w 2) -> n c h w", "mean")))
    config = replace(TINY, field=replace(TINY.field, detail=DetailConfig()))
    config = replace(config, training=replace(config.training, steps=50, learning_rate=4e-3))
    learnt = fit(clip, config, progress=False).field
    untaught = fit(clip, replace(config, training=replace(config.training, steps=0)), progress=False).field
    lanczos = resize(clip.pixels, 96, 128, "lanczos")
    made = [doubled(learnt, 9), doubled(untaught, 9), lanczos]
    quality = [float(psnr(frames, truth).mean()) for frames in made]
    motion = TrueMotion(truth)
    steadiness = [motion.stability(frames) or 0.0 for frames in made]
    assert quality[0] > quality[1] + 1
    assert quality[0] > quality[2] + 1
    assert steadiness[0] >= steadiness[2]


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1, 2])
def test_a_picture_and_two_frames_learn_their_detail(frames: int, tmp_path: Path) -> None:
    clip = clip_of(to_uint8(shapes(frames, 45, 63)))
    field = fit(clip, TINY, progress=False).field
    assert field.detail is not None
    assert not field.detail.is_mute
    made = torch.stack(
        list(
            render(
                field,
                (90, 126),
                [k / 25 for k in range(frames)],
            )
        )
    )
    means = reduce(made, "n c (h 2) (w 2) -> n c h w", "mean")
    # Rendered colours are held within black and white.
    inside = reduce(((made > 0) & (made < 1)).float(), "n c (h 2) (w 2) -> n c h w", "min") > 0
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(means[inside], to_float(clip.pixels)[inside], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_saved_field_is_as_fine_as_the_one_that_was_saved(tmp_path: Path) -> None:
    clip = clip_of(to_uint8(shapes(4, *SIZE)))
    field = start_of(clip, DEFAULT).field.eval()
    assert field.detail is not None
    perturb(field.detail, 0.1)
    save_field(tmp_path / "field.safetensors", field, clip.facts)
    loaded = load_field(tmp_path / "field.safetensors").field
    assert loaded.detail is not None
    assert torch.equal(loaded.detail.scale, field.detail.scale)
    assert float(field.detail.scale) < 0.5
    for t in (0.0, 0.05):
        made, again = (next(render(f, (64, 96), [t])) for f in (field, loaded))
        assert torch.equal(made, again)
