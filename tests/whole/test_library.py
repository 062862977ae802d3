"""From Python alone: all that the command line makes of a clip, without it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from scenes import picture, translating
from torch import Tensor

import vfield
from vfield.cli import main
from vfield.core.clip import ColorInfo, to_float, to_uint8
from vfield.video_io import VideoWriter

PRESET = Path(__file__).parents[2] / "configs" / "fast.yaml"
SIZE = (40, 56)
COUNT = 6


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "film.mkv"
    lossless: dict[str, Any] = {"color": ColorInfo(), "codec": "ffv1"}
    with VideoWriter(path, height=SIZE[0], width=SIZE[1], frame_rate=Fraction(25), **lossless) as writer:
        for frame in to_uint8(translating(SIZE, COUNT)):
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def run(film: Path) -> Path:
    """The folder of a run that was made from Python, by a plain name."""
    folder = film.parent / "run"
    result = vfield.fit(str(film), vfield.load_config(PRESET), out=str(folder), progress=False)
    assert not result.interrupted
    return folder


def pixels(path: Path) -> Tensor:
    return vfield.read_clip(path).pixels


@pytest.mark.slow
def test_the_command_line_makes_the_same(film: Path, run: Path, tmp_path: Path) -> None:
    report = vfield.export(run, tmp_path / "python.mkv", slowmo=2, codec="ffv1", progress=False)
    assert (report.frames, report.width, report.height) == (2 * COUNT, 56, 40)
    words = ["run", str(film), "--config", str(PRESET), "--run", str(tmp_path / "run"), "--slowmo", "2"]
    assert main([*words, "--codec", "ffv1", "-o", str(tmp_path / "words.mkv")]) == 0
    assert torch.equal(pixels(tmp_path / "python.mkv"), pixels(tmp_path / "words.mkv"))
    by_python, by_words = vfield.load(run).state_dict(), vfield.load(tmp_path / "run").state_dict()
    assert by_python.keys() == by_words.keys()
    assert all(torch.equal(by_python[name], by_words[name]) for name in by_python)


def test_a_field_is_asked_and_rendered(film: Path, run: Path) -> None:
    field = vfield.load(run)
    frames = to_float(pixels(film))
    made = list(vfield.render(field, SIZE, [0.0, 2 / 25, 1.5 / 25]))
    torch.testing.assert_close(made[0], frames[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(made[1], frames[2], atol=1e-5, rtol=0)
    assert float((made[2] - picture(SIZE, (3.0, -1.5))).abs().mean()) < 0.05
    uvt = torch.tensor([[0.5 / 56, 0.5 / 40, 2 / 25]])
    with torch.no_grad():
        torch.testing.assert_close(field(uvt)[0], made[1][:, 0, 0], atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "frames", "rate"),
    [
        ({}, COUNT, 25),
        ({"fps": 50}, 2 * COUNT, 50),
        ({"fps": 12.5}, COUNT // 2, 12.5),
        ({"slowmo": 1.5, "fps": 25}, 9, 25),
        ({"config": vfield.ExportConfig(slowmo=Fraction(4)), "fps": "source"}, 4 * COUNT, 25),
    ],
)
def test_options_are_plain_numbers(run: Path, options: Any, frames: int, rate: float, tmp_path: Path) -> None:
    report = vfield.export(run, tmp_path / "made.mp4", progress=False, **options)
    assert (report.frames, report.frame_rate) == (frames, rate)
    assert len(pixels(tmp_path / "made.mp4")) == frames


def test_a_field_that_was_loaded_is_exported_too(run: Path, tmp_path: Path) -> None:
    saved = vfield.load_field(run)
    for name in ("one.png", "large.mp4"):
        vfield.export(saved, tmp_path / name, scale=2, end=1 / 25, progress=False)
    assert pixels(tmp_path / "one.png").shape == (1, 3, 80, 112)
    assert pixels(tmp_path / "large.mp4").shape == (1, 3, 80, 112)


def test_what_cannot_be_is_told(run: Path, film: Path, tmp_path: Path) -> None:
    with pytest.raises(vfield.UserError, match="not a run folder"):
        vfield.export(tmp_path, tmp_path / "made.mp4")
    with pytest.raises(vfield.UserError, match="clip that the field was fitted to"):
        vfield.export(run, film, overwrite=True)
    with pytest.raises(vfield.UserError, match="fps"):
        vfield.export(run, tmp_path / "made.mp4", fps=-1)
    with pytest.raises(TypeError, match="slow_motion"):
        vfield.export(run, tmp_path / "made.mp4", slow_motion=2)
    moved = film.rename(film.with_name("moved.mkv"))
    try:
        with pytest.raises(vfield.UserError, match="--source"):
            vfield.export(run, tmp_path / "made.mp4")
        assert vfield.export(run, tmp_path / "made.mp4", source=moved, progress=False).frames == COUNT
    finally:
        moved.rename(film)


def test_the_package_says_what_it_offers() -> None:
    for name in vfield.__all__:
        assert callable(getattr(vfield, name))
    assert vfield.__doc__ is not None
    for name in ("fit", "load", "render", "export", "open_clip", "read_clip", "load_config"):
        assert f"vfield.{name}" in vfield.__doc__
