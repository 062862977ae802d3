"""`vfield info`: what it says of real files, of files made here, and of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from vfield.cli import main
from vfield.core.clip import ColorInfo
from vfield.video_io import VideoWriter, inspect_file

Info = Callable[..., dict[str, Any]]


@pytest.fixture
def info(capfd: pytest.CaptureFixture[str]) -> Info:
    """What the command tells scripts of a file; it must tell people something, too."""

    def ask(path: Path, *words: str) -> dict[str, Any]:
        assert main(["info", str(path), *words]) == 0
        assert str(path) in capfd.readouterr().out
        assert main(["info", "-i", str(path), *words, "--json"]) == 0
        told: dict[str, Any] = json.loads(capfd.readouterr().out)
        return told

    return ask


def test_the_demo_clip(demo_clip: Path, info: Info, capfd: pytest.CaptureFixture[str]) -> None:
    told = info(demo_clip)
    assert (told["frames"], told["declared_frames"], told["frame_rate"], told["duration_seconds"]) == (
        *(132, 132),
        *("25", "132/25"),
    )
    assert (told["width"], told["height"], told["chroma"], told["bit_depth"], told["alpha"]) == (
        *(1280, 720),
        *("4:2:0", 8, False),
    )
    assert told["colour"]["tagged"] == dict.fromkeys(("matrix", "range", "primaries", "transfer"))
    assert told["colour"]["understood"]["matrix"] == "bt709"
    assert [(track["codec"], track["sample_rate"], track["channels"]) for track in told["audio"]] == [
        ("aac", 48000, "5.1")
    ]
    assert main(["info", str(demo_clip)]) == 0
    assert "132 frames of 1280x720" in capfd.readouterr().out


def test_times_that_are_uneven_and_scenes(tmp_path: Path, info: Info) -> None:
    path = tmp_path / "uneven.mkv"
    random = np.random.default_rng(0)
    scenes = random.integers(0, 255, (2, 3, 6, 8), dtype=np.uint8).repeat(8, 2).repeat(8, 3)
    times = [Fraction(tick, 1000) for tick in (0, 40, 80, 120, 200, 240, 280, 320)]
    color = ColorInfo("bt2020nc", "tv", "bt2020", "smpte2084", bit_depth=10)
    with VideoWriter(
        path, height=48, width=64, frame_rate=Fraction(25), color=color, time_base=Fraction(1, 1000)
    ) as writer:
        for index, pts in enumerate(times):
            writer.write(torch.from_numpy(scenes[index // 4]), pts_seconds=pts)
    told = info(path, "--cuts")
    assert (told["frames"], told["uneven_times"]) == (8, True)
    assert (told["shortest_step_seconds"], told["longest_step_seconds"]) == ("1/25", "2/25")
    assert told["cuts_seconds"] == ["1/5"]
    assert (told["bit_depth"], told["colour"]["hdr"]) == (10, True)
    assert told["colour"]["tagged"] == {"matrix": "bt2020nc", "range": "tv", "primaries": "bt2020"} | {
        "transfer": "smpte2084"
    }


@pytest.mark.parametrize(("pixels", "chroma", "alpha"), [((5, 7, 4), "RGB", True), ((5, 7), "grey", False)])
def test_a_picture(tmp_path: Path, info: Info, pixels: tuple[int, ...], chroma: str, alpha: bool) -> None:
    path = tmp_path / "picture.png"
    with av.open(path, "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.height, stream.width, stream.pix_fmt = *pixels[:2], "rgba" if alpha else "gray"
        frame = av.VideoFrame.from_ndarray(np.zeros(pixels, np.uint8), stream.pix_fmt)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    told = info(path)
    assert (told["width"], told["height"], told["frames"]) == (7, 5, 1)
    assert (told["chroma"], told["alpha"], told["codec"]) == (chroma, alpha, "png")


@pytest.mark.parametrize(
    ("pixel_format", "chroma"), [("yuv444p", "4:4:4"), ("yuv422p", "4:2:2"), ("yuv411p", "4:1:1"), ("bgr0", "RGB")]
)
def test_sampling_of_colour_by_its_name(tmp_path: Path, pixel_format: str, chroma: str) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, pixel_format
        frame = av.VideoFrame(16, 16, pixel_format)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert inspect_file(path).chroma == chroma


def test_a_turned_clip_with_its_facts(shared_clip: Callable[[str], Path], info: Info) -> None:
    turned, straight = info(shared_clip("nasa_13013_rotated.mp4")), info(shared_clip("nasa_13013.mp4"))
    assert straight["rotation"] == 0
    assert turned["rotation"] in (90, 270)
    assert (turned["width"], turned["height"]) == (straight["height"], straight["width"])


def test_hdr_is_told(shared_clip: Callable[[str], Path], capfd: pytest.CaptureFixture[str]) -> None:
    path = shared_clip("testsrc2_12bit_hdr.mp4")
    assert main(["info", str(path)]) == 0
    shown = capfd.readouterr().out
    assert "12 bits" in shown
    assert "cd/m2" in shown or "PQ" in shown or "HLG" in shown


@pytest.mark.slow
def test_a_run(demo_clip: Path, tmp_path: Path, info: Info, capfd: pytest.CaptureFixture[str]) -> None:
    preset = str(Path(__file__).parents[2] / "configs" / "tiny.yaml")
    words = ["--config", preset, "--device", "cpu", "--steps", "1", "--end", "0.2", "--size", "48x28"]
    assert main(["train", "-i", str(demo_clip), *words, "--holdout", "2", "-o", str(tmp_path / "run")]) == 0
    capfd.readouterr()
    told = info(tmp_path / "run")
    assert (told["kind"], told["frames"], told["width"], told["height"]) == ("run", 3, 48, 28)
    assert told["source"] == str(demo_clip)
    assert told["made_from"]["holdout"] == 2
    assert told["config_differences"]["training.steps"] == 1
    assert "training.seed" not in told["config_differences"]
    field = tmp_path / "run" / "field.safetensors"
    assert told["file_bytes"] == field.stat().st_size
    assert info(field)["config_differences"] == told["config_differences"]


@pytest.mark.parametrize("name", ["nowhere.mp4", "text.mp4", "empty"])
def test_what_is_no_clip_and_no_run(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("This is not a video.\n" * 50)
    (tmp_path / "empty").mkdir()
    assert main(["info", str(tmp_path / name), "--json"]) == 2
    assert name in json.loads(capfd.readouterr().out)["error"]
