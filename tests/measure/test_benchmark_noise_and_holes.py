"""The benchmarks of denoising and of filled holes: what is added or hidden, what is judged, and what a run leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scenes import RATE, clip_of, translating

from vfield.cli import benchmark_main
from vfield.core.clip import ColorInfo, to_uint8
from vfield.measure.benchmark.denoising import denoising, with_noise
from vfield.measure.benchmark.inpainting import visible_with
from vfield.measure.choices import HOLES
from vfield.video_io import VideoWriter

SIZE = (48, 64)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a moving texture in a file, and a preset that learns nothing."""
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs", "mine.yaml").write_text("training:\n  steps: 0\n")
    with VideoWriter(
        "texture.mkv", height=SIZE[0], width=SIZE[1], frame_rate=RATE, color=ColorInfo(), codec="ffv1"
    ) as writer:
        for frame in translating(SIZE, 8, (4.0, -2.0)):
            writer.write(frame)
    return tmp_path


def test_noise_is_of_the_level_and_the_same_each_time() -> None:
    grey = torch.full((2, 3, 64, 80), 128, dtype=torch.uint8)
    noisy = with_noise(grey, 20)
    assert noisy.dtype == torch.uint8
    assert float(noisy.float().std()) == pytest.approx(20, rel=0.02)
    assert torch.equal(noisy, with_noise(grey, 20))
    assert torch.equal(with_noise(grey, 0), grey)


@pytest.mark.slow
def test_methods_are_judged_by_the_clean_frames() -> None:
    clip = clip_of(to_uint8(translating((64, 80), 4)))
    rows = {(row.level, row.name): row for row in denoising({"texture": clip}, [0, 20])}
    twenty = [(20, "noisy"), (20, "vfield"), (20, "non-local means")]
    assert list(rows) == [(0, "noisy"), (0, "vfield"), *twenty]
    assert rows[0, "vfield"].psnr == 100
    assert rows[20, "noisy"].psnr == pytest.approx(22.1, abs=0.2)
    assert rows[20, "vfield"].psnr > rows[20, "non-local means"].psnr > rows[20, "noisy"].psnr


def test_boxes_are_five_squares_of_fifty_pixels_in_the_middle_and_in_those_of_the_quarters() -> None:
    visible = visible_with("boxes", 3, 360, 640)
    assert (~visible).sum(dim=(1, 2)).tolist() == [5 * 50 * 50] * 3
    assert (visible == visible[:1]).all()
    for y, x in [(180, 320), (90, 160), (90, 480), (270, 160), (270, 480)]:
        assert not visible[0, y - 25 : y + 25, x - 25 : x + 25].any()


def test_half_is_half_and_new_in_each_frame() -> None:
    visible = visible_with("half", 4, 90, 100)
    assert float(visible.float().mean()) == pytest.approx(0.5, abs=0.01)
    assert float((visible[0] == visible[1]).float().mean()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("frames", "hidden"), [(25, [5, 15]), (26, [5, 15]), (27, [5, 15, 25])])
def test_every_tenth_frame_is_hidden_but_never_the_last(frames: int, hidden: list[int]) -> None:
    assert (~visible_with("frames", frames, 4, 4)[:, 0, 0]).nonzero()[:, 0].tolist() == hidden


def rows_left(words: list[str], capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The rows that a run leaves beside the table that it has shown; a second one is refused."""
    words = [*words, "--clips", "texture.mkv", "--out", "bench"]
    assert benchmark_main(words) == 0
    assert Path("bench", "table.md").read_text() in capfd.readouterr().out
    assert benchmark_main(words) == 2
    assert "--overwrite" in capfd.readouterr().err
    rows: list[dict[str, Any]] = json.loads(Path("bench", "results.json").read_text())["rows"]
    return rows


@pytest.mark.slow
def test_a_run_of_noise_leaves_figures_and_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    rows = rows_left(["denoising", "--levels", "0", "20", "--frames", "3"], capfd)
    assert [row["name"] for row in rows] == ["noisy", "vfield", "noisy", "vfield", "non-local means"]


@pytest.mark.slow
def test_a_run_of_holes_leaves_figures_a_table_and_pictures(capfd: pytest.CaptureFixture[str]) -> None:
    rows = rows_left(["inpainting", "--preset", "mine", "--frames", "8"], capfd)
    best = {kind: max((row for row in rows if row["holes"] == kind), key=lambda row: row["inside"]) for kind in HOLES}
    assert best["boxes"]["name"] == best["half"]["name"] == "vfield"
    assert [row["name"] for row in rows if row["holes"] == "frames"] == ["vfield", "DIS", "blend"]
    assert all(row["whole"] >= row["inside"] for row in rows)
    assert {path.name for path in Path("bench", "pictures").iterdir()} == {f"texture-{kind}.png" for kind in HOLES}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["denoising", "--levels", "-1"], "--levels"),
        (["denoising", "--frames", "2"], "--frames"),
        (["denoising", "--clips", "no"], "no"),
        (["inpainting", "--holes", "many"], "--holes"),
        (["inpainting", "--frames", "2"], "--frames"),
        (["inpainting", "--preset", "mine", "--clips", "no"], "none of the clips is there: no"),
        (["inpainting", "--x"], "--x"),
    ],
)
def test_words_that_make_no_benchmark(words: list[str], told: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert benchmark_main(words) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert told in error
