"""A compact field: its file, its size, its motion, and what happens to damaged ones."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vfield.checkpoint import FIELD_NAME, load_field, read_tensors, write_tensors
from vfield.clip import Clip
from vfield.compact.config import CompressionConfig
from vfield.compact.hierarchy import order_of
from vfield.config import config_from_values, load_config
from vfield.errors import UserError
from vfield.metrics import psnr
from vfield.render import render
from vfield.training import Config, FitResult, fit

PRESET = Path(__file__).parents[2] / "configs" / "compact.yaml"
VELOCITY = (3.0, -1.5)  # pixels a frame


def smooth_picture(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A picture (3, h, w) in [0, 1] as a function of position."""
    waves = [torch.sin(x / (4 + c) + c) * torch.cos(y / (5 + c)) for c in range(3)]
    return torch.stack(waves) / 3 + 0.5


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Six frames that move by `VELOCITY`, a cut, and two others."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(80.0), indexing="ij")
    frames = [smooth_picture(x - VELOCITY[0] * k, y - VELOCITY[1] * k) for k in range(6)]
    frames += [1 - smooth_picture(2 * x + k, 3 * y) for k in range(2)]
    pts = tuple(Fraction(k, 25) for k in range(8))
    return Clip((255 * torch.stack(frames)).round().to(torch.uint8), pts, Fraction(8, 25), Fraction(25))


def config(**changes: Any) -> Config:
    preset = load_config(PRESET)
    given: dict[str, Any] = {"weight_steps": 8, "keyframe_stride": 4, **changes}
    return replace(preset, compression=replace(preset.compression, **given))


@pytest.fixture(scope="module")
def fitted(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> tuple[FitResult, Path]:
    folder = tmp_path_factory.mktemp("run")
    return fit(clip, config(), out=folder, progress=False), folder / FIELD_NAME


def test_every_frame_is_made_once_after_those_it_needs() -> None:
    order = order_of([range(0, 19), range(19, 20), range(20, 22)], stride=8)
    assert sorted(made.frame for made in order) == list(range(22))
    done: set[int] = set()
    for made in order:
        assert {side for side in (made.left, made.right) if side is not None} <= done
        done.add(made.frame)
    assert [made.frame for made in order if made.left is None] == [0, 19, 20]
    # Of two neighbours of a shot, one is made from the other: motion between them is known.
    by_frame = {made.frame: made for made in order}
    for frame in [*range(18), 20]:
        assert by_frame[frame].right == frame + 1 or by_frame[frame + 1].left == frame


def test_a_field_read_back_renders_the_same_bits(fitted: tuple[FitResult, Path], clip: Clip) -> None:
    result, path = fitted
    saved = load_field(path)
    assert saved.facts == clip.facts
    instants = [0.0, 0.04, 0.055, 0.23, 0.28]
    before, after = (list(render(field, (48, 80), instants)) for field in (result.field, saved.field))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert path.stat().st_size < clip.frames.numel() / 4


def test_frames_are_like_those_observed(fitted: tuple[FitResult, Path], clip: Clip) -> None:
    made = torch.stack(list(render(fitted[0].field, (48, 80), [k / 25 for k in range(8)])))
    assert float(psnr(made, clip.frames).min()) > 33


def test_motion_between_frames_is_known(fitted: tuple[FitResult, Path]) -> None:
    field = fitted[0].field
    uv = torch.tensor([[0.4, 0.5], [0.6, 0.6], [0.5, 0.4]])
    for start in range(5):
        followed = field.follow(uv, start / 25, (start + 1) / 25)
        moved = (followed.uv - uv) * torch.tensor([80.0, 48.0])
        torch.testing.assert_close(moved, torch.tensor(VELOCITY).expand(3, 2), atol=0.5, rtol=0)


def test_in_between_frames_move_along(fitted: tuple[FitResult, Path]) -> None:
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(80.0), indexing="ij")
    truth = smooth_picture(x - VELOCITY[0] * 2.5, y - VELOCITY[1] * 2.5)
    made = next(render(fitted[0].field, (48, 80), [0.1]))
    inside = (slice(None), slice(8, 40), slice(12, 68))
    assert float((made - truth)[inside].square().mean().sqrt()) < 0.025


def test_size_falls_and_error_grows_with_the_step(clip: Clip, tmp_path: Path) -> None:
    sizes, errors = [], []
    for step in (4.0, 12.0, 36.0):
        folder = tmp_path / f"{step:g}"
        result = fit(clip.select(range(3)), config(step=step, weight_steps=0), out=folder, progress=False)
        made = torch.stack(list(render(result.field, (48, 80), [k / 25 for k in range(3)])))
        sizes.append((folder / FIELD_NAME).stat().st_size)
        errors.append(-float(psnr(made, clip.frames[:3]).mean()))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    assert errors == sorted(errors)


@pytest.mark.parametrize("damage", ["cut", "bits", "none", "type", "version", "shots", "header"])
def test_a_damaged_file_says_so_in_one_line(damage: str, fitted: tuple[FitResult, Path], tmp_path: Path) -> None:
    path = tmp_path / FIELD_NAME
    tensors, described = read_tensors(fitted[1])
    latents = tensors["latents"]
    if damage == "cut":
        tensors["latents"] = latents[: len(latents) // 8 * 4]
    elif damage == "bits":
        latents[len(latents) // 2] ^= 64
    elif damage == "none":
        del tensors["latents"]
    elif damage == "type":
        tensors["latents"] = latents.float()
    elif damage == "version":
        described["compact"] = 99
    elif damage == "shots":
        described["shots"] = [[0, 99]]
    write_tensors(path, tensors, described)
    if damage == "header":
        path.write_bytes(fitted[1].read_bytes()[:-50])
    with pytest.raises(UserError) as caught:
        load_field(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    save_file({"latents": torch.zeros(8, dtype=torch.uint8)}, tmp_path / FIELD_NAME)
    with pytest.raises(UserError, match="not a field file"):
        load_field(tmp_path)


def test_the_networks_weights_are_bytes(fitted: tuple[FitResult, Path]) -> None:
    kept = {name: value for name, value in load_file(fitted[1]).items() if name.endswith("integers")}
    assert all(value.dtype == torch.int8 for value in kept.values())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"step": 0.0}, "compression.step must be from 0.5 to 256 grey levels, got 0"),
        ({"keyframe_stride": 0}, "compression.keyframe_stride must be from 1 to 64, got 0"),
        ({"motion_cell": 1}, "compression.motion_cell must be from 4 to 64 pixels, got 1"),
        ({"weight_steps": -1}, "compression.weight_steps must not be negative, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        CompressionConfig(**values)


def test_parts_that_are_not_kept_are_refused() -> None:
    with pytest.raises(UserError, match=r"field\.detail\.enabled"):
        config_from_values({"compression": {"enabled": True}})


@pytest.mark.parametrize("size", [(1, 1), (17, 33)])
def test_pictures_of_any_size_and_single_frames(size: tuple[int, int], tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for count in (1, 2):
        clip = Clip(frames[:count], tuple(Fraction(k, 5) for k in range(count)), Fraction(count, 5), Fraction(5))
        fit(clip, config(), out=tmp_path, progress=False)
        assert load_field(tmp_path).field.size == size
