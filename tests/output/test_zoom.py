"""Moving crops: closed forms of the way, and real renders of it beside what they should show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from scenes import clip_of
from torch import Tensor

from vfield.core.clip import ClipFacts, to_uint8
from vfield.core.errors import UserError
from vfield.field.checkpoint import SavedField
from vfield.field.config import FieldConfig
from vfield.field.decoder import DecoderConfig
from vfield.field.motion import MotionConfig
from vfield.field.render import render
from vfield.learn.start import start_field
from vfield.output.config import ExportConfig
from vfield.output.export import export
from vfield.output.zoom import CropAt, ZoomPath, read_path
from vfield.prepare.flow import FlowConfig
from vfield.video_io import read_clip

HEIGHT, WIDTH = 90, 160
Crop = tuple[float, float, float, float]
WHOLE: Crop = (0, 0, WIDTH, HEIGHT)
STILL = FieldConfig(motion=MotionConfig(enabled=False), decoder=DecoderConfig(width=8, depth=1))


def facts(seconds: float = 10.0) -> ClipFacts:
    clip = clip_of(torch.zeros(1, 3, HEIGHT, WIDTH, dtype=torch.uint8))
    return replace(clip.facts, end_seconds=Fraction(seconds))


def crops(*keyframes: tuple[float, Crop]) -> Callable[[float], Crop]:
    """The crop in source pixels at each instant."""
    region = ZoomPath(tuple(CropAt(at, crop) for at, crop in keyframes)).regions(facts())

    def crop(t: float) -> Crop:
        u0, v0, u1, v1 = region(t)
        return u0 * WIDTH, v0 * HEIGHT, (u1 - u0) * WIDTH, (v1 - v0) * HEIGHT

    return crop


def about(x: float, y: float, *widths: float) -> list[Crop]:
    """Crops of the picture's shape, in which one point is always at the same place."""
    share_x, share_y = x / WIDTH, y / HEIGHT
    heights = [width * HEIGHT / WIDTH for width in widths]
    return [(x - share_x * w, y - share_y * h, w, h) for w, h in zip(widths, heights, strict=True)]


def instants(first: float, last: float, count: int = 101) -> list[float]:
    return [first + (last - first) * i / (count - 1) for i in range(count)]


def random_path(seed: int) -> list[tuple[float, Crop]]:
    """Crops of many sizes, often at the border or of the whole picture, at uneven times."""
    numbers = torch.rand(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    found, at = [], 0.0
    for pause, size, x, y in numbers:
        at += 0.1 + pause
        width = WIDTH * min(1.0, 0.05 + 1.1 * size)
        height = width * HEIGHT / WIDTH
        to_border = [min(1.0, max(0.0, 1.6 * share - 0.3)) for share in (x, y)]
        found.append((at, (to_border[0] * (WIDTH - width), to_border[1] * (HEIGHT - height), width, height)))
    return found


# ------------------------------------------------------------------------------------------------ the way


def test_a_zoom_has_constant_speed_and_keeps_its_point() -> None:
    x, y = 100.0, 25.0
    crop = crops(*zip((1.0, 4.0), about(x, y, 160.0, 20.0), strict=True))
    for t in instants(1, 4):
        left, top, width, height = crop(t)
        assert math.log(width) == pytest.approx(math.log(160) - (t - 1) / 3 * math.log(8), abs=1e-9)
        assert width * HEIGHT == pytest.approx(height * WIDTH, abs=1e-6)
        assert (x - left) / width == pytest.approx(x / WIDTH, abs=1e-9)
        assert (y - top) / height == pytest.approx(y / HEIGHT, abs=1e-9)


@pytest.mark.parametrize("widths", [(20.0, 60.0, 130.0), (150.0, 30.0, 30.0, 90.0), (160.0, 40.0, 160.0)])
def test_a_zoom_through_many_keyframes_keeps_its_point(widths: Sequence[float]) -> None:
    x, y = 31.0, 77.0
    crop = crops(*zip((0.0, 0.5, 2.0, 2.7), about(x, y, *widths), strict=False))
    for t in instants(0, 2.7):
        left, top, width, height = crop(t)
        assert (x - left) / width == pytest.approx(x / WIDTH, abs=1e-6 / WIDTH)
        assert (y - top) / height == pytest.approx(y / HEIGHT, abs=1e-6 / HEIGHT)


def test_a_pan_is_a_straight_line() -> None:
    crop = crops((0.0, (10, 40, 32, 18)), (2.0, (110, 20, 32, 18)))
    for t in instants(0, 2):
        assert crop(t) == pytest.approx((10 + 50 * t, 40 - 10 * t, 32, 18), abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_keyframes_are_met_and_velocity_is_continuous(seed: int) -> None:
    path = random_path(seed)
    crop = crops(*path)
    step = 1e-7
    for at, expected in path:
        assert crop(at) == pytest.approx(expected, abs=1e-9)
    assert crop(-1) == crop(path[0][0])
    assert crop(path[-1][0] + 9) == crop(path[-1][0])
    for at, _ in path[1:-1]:
        before, here, after = (torch.tensor(crop(at + shift), dtype=torch.float64) for shift in (-step, 0, step))
        # Accelerations reach a hundred thousand pixels a second squared: 0.01 a second over a step.
        torch.testing.assert_close((here - before) / step, (after - here) / step, atol=0.02, rtol=0)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_overshoots(seed: int) -> None:
    path = random_path(seed)
    crop = crops(*path)
    for (start, one), (end, other) in pairwise(path):
        way = torch.tensor([crop(t) for t in instants(start, end)], dtype=torch.float64)
        assert way[:, :2].min() >= -1e-9
        assert (way[:, 0] + way[:, 2]).max() <= WIDTH + 1e-9
        assert (way[:, 1] + way[:, 3]).max() <= HEIGHT + 1e-9
        grows = math.copysign(1, other[2] - one[2])
        assert (grows * way[:, 2].diff()).min() >= -1e-9
        torch.testing.assert_close(way[:, 2] / way[:, 3], torch.full((len(way),), WIDTH / HEIGHT, dtype=torch.float64))


def test_a_pan_slows_down_at_its_turn_and_stops_before_a_zoom() -> None:
    turn = crops((0.0, (0, 0, 32, 18)), (1.0, (100, 0, 32, 18)), (2.0, (0, 0, 32, 18)))
    assert max(turn(t)[0] for t in instants(0, 2)) == pytest.approx(100, abs=1e-9)
    assert (turn(1.0)[0] - turn(1.0 - 1e-4)[0]) / 1e-4 < 0.1
    zoom = crops((0.0, (0, 0, 32, 18)), (1.0, (100, 0, 32, 18)), (2.0, (108, 4.5, 16, 9)))
    for t in instants(1, 2):
        left, _, width, _ = zoom(t)
        assert (116 - left) / width == pytest.approx(0.5, abs=1e-9)


# ------------------------------------------------------------------------------------------------ files


GOOD = "- at: 0\n  crop: [0, 0, 160, 90]\n- {at: 2.5, crop: [60.5, 30, 32, 18]}\n"


def test_a_path_is_read(tmp_path: Path) -> None:
    file = tmp_path / "zoom.yaml"
    file.write_text(GOOD)
    assert read_path(file) == ZoomPath((CropAt(0.0, WHOLE), CropAt(2.5, (60.5, 30, 32, 18))))


def test_rounded_crops_are_of_one_shape() -> None:
    crop = crops((0.0, WHOLE), (1.0, (10, 10, 70, 39)))  # 39.375 would be exact
    assert crop(1.0) == pytest.approx((10, 10, 70, 39))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "list of keyframes"),
        ("at: 0", "list of keyframes"),
        ("- [", "is not YAML"),
        ("\x00", "is not YAML"),
        ("- 1\n- 2", "keyframe 1 must have the keys at and crop"),
        (GOOD + "- {at: 3, crop: [0, 0, 16, 9], speed: 2}", "keyframe 3 must have .*speed"),
        (GOOD + "- {at: 3}", "keyframe 3 must have"),
        ("- {at: 0, crop: [0, 0, 16, 9]}", "two keyframes or more, got 1"),
        (GOOD + "- {at: 2.5, crop: [0, 0, 16, 9]}", "keyframe 3: times must increase, got 2.5 s after 2.5 s"),
        (GOOD + "- {at: soon, crop: [0, 0, 16, 9]}", "number of seconds, got 'soon'"),
        (GOOD + "- {at: true, crop: [0, 0, 16, 9]}", "got True"),
        (GOOD + "- {at: .nan, crop: [0, 0, 16, 9]}", "number of seconds, got nan"),
        (GOOD + "- {at: -1, crop: [0, 0, 16, 9]}", "at must be from 0 .* got -1"),
        (GOOD + f"- {{at: 1{'0' * 400}, crop: [0, 0, 16, 9]}}", "too long for a number"),
        (GOOD + "- {at: 3, crop: [0, 0, 16]}", r"\[x, y, width, height\] .* got \[0, 0, 16\]"),
        (GOOD + "- {at: 3, crop: 0 0 16 9}", "got '0 0 16 9'"),
        (GOOD + "- {at: 3, crop: [0, 0, 16, .inf]}", "crop must be .* got .*inf"),
        (GOOD + "- {at: 3, crop: [-1, 0, 16, 9]}", "crop must be from 0 .* got -1"),
        (GOOD + "- {at: 3, crop: [0, 0, 0, 9]}", "positive size"),
        (GOOD + "- {at: 3, crop: [0, 0, 16, 16]}", "16x16 is not the shape of the first, 160x90; .* 16x9"),
    ],
)
def test_files_that_are_no_path(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "zoom.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=told) as error:
        read_path(file)
    assert "zoom.yaml" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "gone.yaml", "does not exist"), (tmp_path, "not a file but a folder")):
        with pytest.raises(UserError, match=why):
            read_path(path)


@pytest.mark.parametrize(
    ("keyframe", "told"),
    [
        (CropAt(2.0, (129, 0, 32, 18)), r"keyframe 2: crop 129,0,32,18 reaches outside the picture, which is 160x90"),
        (CropAt(2.0, (0, 73, 32, 18)), "outside"),
        (CropAt(11.0, (0, 0, 32, 18)), "keyframe 2: 11 s is after the end of the clip, which lasts 10 s"),
    ],
)
def test_paths_that_do_not_fit_the_clip(keyframe: CropAt, told: str) -> None:
    with pytest.raises(UserError, match=told):
        ZoomPath((CropAt(0.0, WHOLE), keyframe)).regions(facts())


# ------------------------------------------------------------------------------------------------ renders


def waves(left: Tensor, right: Tensor, frequency: float, phase: float) -> Tensor:
    """Means of a cosine between pixel edges, in closed form."""
    angles = (frequency * right + phase).sin() - (frequency * left + phase).sin()
    return angles / (frequency * (right - left))


def pattern(crop: Crop, size: tuple[int, int]) -> Tensor:
    """What an exact camera shows of a smooth pattern: (3, h, w), each pixel the mean over its own area."""
    x, y, width, height = crop
    across = x + torch.arange(size[1] + 1, dtype=torch.float64) / size[1] * width
    down = y + torch.arange(size[0] + 1, dtype=torch.float64) / size[0] * height
    channels = []
    for frequency, phase in ((0.31, 0.0), (0.43, 1.0), (0.72, 2.0)):
        rows = waves(down[:-1], down[1:], 0.8 * frequency, phase)
        columns = waves(across[:-1], across[1:], frequency, 2 * phase)
        channels.append(0.5 + 0.4 * rows[:, None] * columns)
    return torch.stack(channels).float()


def still(picture: Tensor, frames: int = 2) -> SavedField:
    """A field that has learnt nothing, of one picture shown again and again."""
    clip = clip_of(picture.expand(frames, -1, -1, -1).contiguous())
    return SavedField(start_field(clip, STILL, FlowConfig(), seed=0).field.eval(), clip.facts)


def test_a_render_is_what_a_zooming_camera_sees() -> None:
    saved = still(pattern(WHOLE, (HEIGHT, WIDTH)))
    # From twice as small to five times as large; away from the border, beyond which the pattern is not known.
    path = ZoomPath((CropAt(0.0, (8, 4.5, 144, 81)), CropAt(0.05, (70, 30, 14.4, 8.1)), CropAt(0.08, (40, 50, 32, 18))))
    region = path.regions(saved.facts)
    size = (41, 72)
    times = instants(0, 0.08, 13)
    for t, frame in zip(times, render(saved.field, size, times, region=region), strict=True):
        u0, v0, u1, v1 = region(t)
        seen = (u0 * WIDTH, v0 * HEIGHT, (u1 - u0) * WIDTH, (v1 - v0) * HEIGHT)
        assert (frame - pattern(seen, size)).abs().max() < 2e-3
        # One pixel of the output beside it is clearly not it.
        off = (seen[0] + seen[2] / size[1], *seen[1:])
        assert (frame - pattern(off, size)).abs().max() > 0.03


def test_movement_has_no_steps() -> None:
    """A blob in a slow pan moves by the same part of a pixel from each frame to the next."""
    x, y = torch.arange(WIDTH) + 0.5, torch.arange(HEIGHT)[:, None] + 0.5
    blob = torch.exp(-((x - 80) ** 2 + (y - 45) ** 2) / 50).expand(3, -1, -1)
    saved = still(blob.contiguous())
    path = ZoomPath((CropAt(0.0, (40, 24, 64, 36)), CropAt(0.08, (43, 23, 64, 36))))
    size = (36, 64)
    centres = []
    for frame in render(saved.field, size, instants(0, 0.08, 33), region=path.regions(saved.facts)):
        weights = frame[0] / frame[0].sum()
        centres.append([float((weights.sum(0) * x[:64]).sum()), float((weights.sum(1) * y[:36, 0]).sum())])
    steps = torch.tensor(centres).diff(dim=0)
    torch.testing.assert_close(steps, torch.tensor([[-3 / 32, 1 / 32]]).expand(32, 2), atol=1e-3, rtol=0)


@pytest.mark.slow
def test_an_export_follows_its_path(tmp_path: Path) -> None:
    saved = still(to_uint8(pattern(WHOLE, (HEIGHT, WIDTH))), frames=5)
    path = ZoomPath((CropAt(0.04, (40, 20, 80, 45)), CropAt(0.2, (100, 60, 40, 22.5))))
    config: dict[str, Any] = {"path": path, "slowmo": Fraction(2), "codec": "ffv1"}
    report = export(saved, tmp_path / "zoom.mkv", ExportConfig(**config, scale=0.5), progress=False)
    # The first crop's size counts, rounded; and the crop stands still before the path begins.
    assert (report.frames, report.width, report.height) == (10, 40, 23)
    frames = read_clip(tmp_path / "zoom.mkv").pixels
    assert torch.equal(frames[0], frames[2])
    assert not torch.equal(frames[2], frames[3])
    region = path.regions(saved.facts)
    wanted = render(saved.field, (23, 40), [i / 50 for i in range(10)], region=region)
    for frame, made in zip(frames, wanted, strict=True):
        assert (frame.int() - to_uint8(made).int()).abs().max() <= 2  # codes of limited range
    report = export(saved, tmp_path / "sized.mkv", ExportConfig(**config, size=(18, 32)), progress=False)
    assert (report.width, report.height) == (32, 18)


def test_a_path_and_a_crop_contradict() -> None:
    path = ZoomPath((CropAt(0.0, WHOLE), CropAt(1.0, (0, 0, 16, 9))))
    with pytest.raises(UserError, match="contradict"):
        ExportConfig(path=path, crop=(0, 0, 16, 9))


def test_a_path_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    saved = still(pattern(WHOLE, (HEIGHT, WIDTH)))
    path = ZoomPath((CropAt(0.0, WHOLE), CropAt(1.0, (0, 0, 16, 9))))
    with pytest.raises(UserError, match=r"after the end of the clip, which lasts 0\.08 s"):
        export(saved, tmp_path / "out.mp4", ExportConfig(path=path), progress=False)
    assert not list(tmp_path.iterdir())


def test_a_region_that_is_empty_is_refused_when_due() -> None:
    saved = still(pattern(WHOLE, (HEIGHT, WIDTH)))
    frames = render(saved.field, (4, 4), [0.0, 1.0], region=lambda t: (0.0, 0.0, 1.0 - t, 1.0))
    next(frames)
    with pytest.raises(UserError, match="region"):
        next(frames)
