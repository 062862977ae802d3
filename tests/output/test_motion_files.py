"""Motion as files: displacements that are right, in formats that others read, and nothing half written."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scenes import DEFAULT, RATE, clip_of, field_of, moving, translating, with_cut
from torch import Tensor

from vfield.cli import main
from vfield.core.drawing import motion_colours
from vfield.core.errors import UserError
from vfield.field.checkpoint import FIELD_NAME, SavedField, save_field
from vfield.field.config import FieldConfig
from vfield.field.motion import MotionConfig
from vfield.output.motion_files import MotionFilesConfig, displacement, displacements, write_motion

SIZE = (48, 80)
FRAMES = 5
STEP = (2.0, -1.0)
MARGIN = 12


def saved_of(frames: Tensor, config: FieldConfig = DEFAULT) -> SavedField:
    clip = clip_of(frames)
    return SavedField(field_of(clip, config), clip.facts)


def way(frames: float) -> tuple[float, float]:
    """A curved way: how far the picture has moved after so many frames, in pixels."""
    return STEP[0] * frames, STEP[1] * frames + 0.2 * frames**2


@pytest.fixture(scope="module")
def saved() -> SavedField:
    return saved_of(translating(SIZE, FRAMES, STEP))


@pytest.fixture(scope="module")
def curved() -> SavedField:
    return saved_of(moving(SIZE, [way(k) for k in range(FRAMES)]))


@pytest.fixture(scope="module")
def cut() -> SavedField:
    return saved_of(with_cut(SIZE, 3, 3))


def written(saved: SavedField, folder: Path, **options: Any) -> list[dict[str, np.ndarray]]:
    """The .npz files of a new folder, in order."""
    write_motion(saved, folder, MotionFilesConfig(formats=("npz",), **options), progress=False)
    return [dict(np.load(path)) for path in sorted(folder.iterdir())]


def interior(flow: np.ndarray, margin: int = MARGIN) -> np.ndarray:
    return flow[margin:-margin, margin:-margin]


# ------------------------------------------------------------------------------------------------ the motion


@pytest.mark.slow
@pytest.mark.parametrize("slowmo", [1, 3])
def test_flow_is_the_way_of_the_scene_to_the_next_instant(curved: SavedField, tmp_path: Path, slowmo: int) -> None:
    steps = written(curved, tmp_path / "flow", slowmo=Fraction(slowmo))
    # After the last frame, which is held, come instants of slow motion at which nothing moves.
    moving_steps = (FRAMES - 1) * slowmo
    assert len(steps) == FRAMES * slowmo - 1
    for i, step in enumerate(steps[:moving_steps]):
        truth = np.subtract(way((i + 1) / slowmo), way(i / slowmo))
        assert np.abs(interior(step["flow"]) - truth).max() < 0.12
        assert interior(step["valid"]).all()
    assert all(not step["flow"].any() and step["valid"].all() for step in steps[moving_steps:])


@pytest.mark.slow
def test_half_the_step_is_half_the_flow_and_twice_the_size_twice(saved: SavedField, tmp_path: Path) -> None:
    whole = written(saved, tmp_path / "whole")
    halves = written(saved, tmp_path / "halves", fps=2 * RATE)
    large = written(saved, tmp_path / "large", size=(2 * SIZE[0], 2 * SIZE[1]))
    assert np.abs(interior(whole[1]["flow"]) - STEP).max() < 0.1
    assert np.abs(interior(halves[3]["flow"]) - interior(whole[1]["flow"]) / 2).max() < 0.05
    assert large[1]["flow"].shape == (2 * SIZE[0], 2 * SIZE[1], 2)
    twice = large[1]["flow"].reshape(SIZE[0], 2, SIZE[1], 2, 2).mean(axis=(1, 3))
    assert np.abs(interior(twice) - 2 * interior(whole[1]["flow"])).max() < 0.02


def test_backward_is_the_way_to_the_instant_before(curved: SavedField, tmp_path: Path) -> None:
    steps = written(curved, tmp_path / "flow", direction="backward")
    assert sorted(path.name for path in (tmp_path / "flow").iterdir()) == [f"{i:06d}.npz" for i in range(1, FRAMES)]
    for i, step in enumerate(steps, start=1):
        assert np.abs(interior(step["flow"]) - np.subtract(way(i - 1), way(i))).max() < 0.12
        assert step["to_seconds"] < step["t_seconds"]


def test_forward_and_then_backward_returns(curved: SavedField) -> None:
    t, to = 1.3 / float(RATE), 2.6 / float(RATE)
    there = displacement(curved.field, SIZE, t, to).flow.numpy()
    back = displacement(curved.field, SIZE, to, t).flow.numpy()
    rows, columns = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]), indexing="ij")
    x, y = columns.astype(np.float32) + there[..., 0], rows.astype(np.float32) + there[..., 1]
    carried = cv2.remap(back, x, y, cv2.INTER_LINEAR)
    assert np.abs(interior(there + carried)).max() < 0.02


def test_any_split_into_rows_gives_the_same(curved: SavedField) -> None:
    together = displacement(curved.field, SIZE, 0.01, 0.07)
    apart = list(displacements(curved.field, SIZE, 0.01, 0.07, chunk_points=SIZE[1] * 5))
    torch.testing.assert_close(together.flow, torch.cat([band.flow for band in apart]), atol=1e-4, rtol=0)
    assert torch.equal(together.valid, torch.cat([band.valid for band in apart]))


def test_instants_by_hand_are_those_asked_for(saved: SavedField, tmp_path: Path) -> None:
    # 0.0402 s, typed in milliseconds or so, means the frame at 1/25 s.
    steps = written(saved, tmp_path / "flow", at=(Fraction("0.0402"), Fraction("0.06"), Fraction("0.12")))
    assert [float(step["t_seconds"]) for step in steps] == [0.04, 0.06]
    assert [float(step["to_seconds"]) for step in steps] == [0.06, 0.12]
    assert np.abs(interior(steps[0]["flow"]) - np.multiply(STEP, 0.5)).max() < 0.1
    assert np.abs(interior(steps[1]["flow"]) - np.multiply(STEP, 1.5)).max() < 0.1
    assert "pixels" in str(steps[0]["units"])


# ------------------------------------------------------------------------------------------------ the unknown


@pytest.mark.slow
def test_across_a_cut_the_motion_is_unknown(cut: SavedField, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    report = write_motion(cut, folder, MotionFilesConfig(formats=("flo", "npz", "png")), progress=False)
    assert report.steps == 5
    across = np.load(folder / "000002.npz")
    assert not across["valid"].any()
    assert not across["flow"].any()
    assert (cv2.readOpticalFlow(str(folder / "000002.flo")) > 1e9).all()
    assert not np.asarray(Image.open(folder / "000002.png")).any()
    assert all(interior(np.load(folder / f"00000{i}.npz")["valid"]).all() for i in (0, 1, 3, 4))
    assert 0.2 < report.unknown_share < 0.3


def test_where_a_point_leaves_the_picture_its_motion_is_unknown(saved: SavedField, tmp_path: Path) -> None:
    step = written(saved, tmp_path / "flow")[1]
    # To the right by two and up by one.
    assert not step["valid"][:, -1].any()
    assert not step["valid"][0, :].any()
    assert step["valid"][4:, :-4].all()
    assert not step["flow"][~step["valid"]].any()


# ------------------------------------------------------------------------------------------------ the files


def test_flo_is_what_opencv_reads_and_equals_the_arrays(curved: SavedField, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    size = (50, 70)
    config = MotionFilesConfig(size=size, formats=("flo", "npz", "png"))
    report = write_motion(curved, folder, config, progress=False)
    assert (report.steps, report.height, report.width) == (4, *size)
    names = {f"{i:06d}.{suffix}" for i in range(4) for suffix in ("flo", "npz", "png")}
    assert {path.name for path in folder.iterdir()} == names
    for i in range(4):
        read = cv2.readOpticalFlow(str(folder / f"{i:06d}.flo"))
        arrays = np.load(folder / f"{i:06d}.npz")
        assert (folder / f"{i:06d}.flo").read_bytes()[:4] == b"PIEH"
        assert arrays["flow"].dtype == np.float32
        assert np.array_equal(read[arrays["valid"]], arrays["flow"][arrays["valid"]])
        assert (read[~arrays["valid"]] > 1e9).all()
        with Image.open(folder / f"{i:06d}.png") as picture:
            assert picture.size == (size[1], size[0])


def test_colours_are_on_one_scale(curved: SavedField, tmp_path: Path) -> None:
    report = write_motion(curved, tmp_path / "flow", MotionFilesConfig(formats=("png",)), progress=False)
    lengths = [float(np.hypot(*np.subtract(way(k + 1), way(k)))) for k in range(4)]
    assert report.full_colour_pixels == pytest.approx(max(lengths), abs=0.15)
    for i, length in enumerate(lengths):
        # The saturation of the middle pixel is the length of the way, as a share of the longest.
        pixel = np.asarray(Image.open(tmp_path / "flow" / f"{i:06d}.png"))[SIZE[0] // 2, SIZE[1] // 2] / 255
        assert 1 - pixel.min() == pytest.approx(length / max(lengths), abs=0.06)


def test_stillness_is_white_and_wild_points_are_as_full_as_the_fastest() -> None:
    flow = torch.zeros(2, 3, 4)
    flow[0, 0, 0], flow[0, 1, 1] = 2.0, 50.0
    colours = motion_colours(flow, 2.0)
    assert colours.shape == (3, 3, 4)
    assert (colours[:, 2] == 255).all()
    assert torch.equal(colours[:, 0, 0], colours[:, 1, 1])
    assert (motion_colours(torch.zeros(2, 3, 4), 0.0) == 255).all()


def test_only_its_own_folders_are_replaced(saved: SavedField, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    first = MotionFilesConfig(at=(Fraction(0), Fraction("0.04")), formats=("npz",))
    write_motion(saved, folder, first, progress=False)
    with pytest.raises(UserError, match="add --overwrite"):
        write_motion(saved, folder, first, progress=False)
    write_motion(saved, folder, MotionFilesConfig(formats=("flo",), overwrite=True), progress=False)
    assert {path.suffix for path in folder.iterdir()} == {".flo"}
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        write_motion(saved, folder, MotionFilesConfig(overwrite=True), progress=False)
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["flow"]


def test_what_fails_half_way_leaves_the_earlier_folder(
    saved: SavedField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "flow"
    write_motion(saved, folder, MotionFilesConfig(formats=("flo",)), progress=False)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match=r"could not write .*No space left"):
        write_motion(saved, folder, MotionFilesConfig(formats=("flo", "npz"), overwrite=True), progress=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["flow"]


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 8)}, "cannot be made"),
        ({"fps": Fraction(0)}, "fps must be from 1/1000"),
        ({"slowmo": Fraction(-1)}, "slowmo must be from 1/1000"),
        ({"at": (Fraction(0), Fraction(1)), "fps": Fraction(10)}, "contradict"),
        ({"direction": "sideways"}, "direction must be one of"),
        ({"formats": ("flo", "exr")}, "exr"),
        ({"formats": ()}, "formats must be some of"),
    ],
)
def test_impossible_configs_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MotionFilesConfig(**options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("flow", {"at": (Fraction(0),)}, "at least two"),
        ("flow", {"at": (Fraction("0.1"), Fraction("0.05"))}, "must increase"),
        ("flow", {"at": (Fraction(0), Fraction(7))}, "within the clip, 0 to 0.2 s"),
        ("flow.flo", {}, "motion goes to a folder"),
        ("missing/flow", {}, "create it first"),
    ],
)
def test_impossible_requests_write_nothing(
    saved: SavedField, tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        write_motion(saved, tmp_path / name, MotionFilesConfig(**options), progress=False)
    assert not list(tmp_path.iterdir())


def test_a_field_without_motion_has_none_to_write(tmp_path: Path) -> None:
    still = saved_of(translating(SIZE, 3, STEP), FieldConfig(motion=MotionConfig(enabled=False)))
    with pytest.raises(UserError, match="no motion"):
        write_motion(still, tmp_path / "flow", MotionFilesConfig(formats=("flo",)), progress=False)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def run(saved: SavedField, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_field(folder / FIELD_NAME, saved.field, saved.facts)
    return folder


@pytest.mark.slow
def test_the_command_writes_flo_and_colours(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "flow"
    assert main(["flow", str(run), "--slowmo", "2", "--size", "40x24", "-o", str(folder)]) == 0
    assert capfd.readouterr().out.startswith(f"{folder}: 9 steps of 40x24, ")
    assert len(list(folder.glob("*.flo"))) == len(list(folder.glob("*.png"))) == 9
    words = ["--at", "0", "1/25", "0.1", "--format", "npz", "--direction", "backward", "--overwrite"]
    assert main(["flow", str(run), "-o", str(folder), *words]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["000001.npz", "000002.npz"]


@pytest.mark.parametrize(
    "words",
    [["--at", "now", "0.1"], ["--slowmo", "4/00"], ["--format", "exr"], ["--size", "4by3"], ["--direction", "up"]],
)
def test_the_command_refuses_in_one_line(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    assert main(["flow", str(run), "-o", str(tmp_path / "flow"), *words]) == 2
    told = capfd.readouterr()
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
