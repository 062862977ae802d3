"""The benchmark of denoising: what is judged, and what a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from scenes import clip_of, translating

from vfield.cli import benchmark_main
from vfield.core.clip import ColorInfo, to_uint8
from vfield.measure.benchmark.denoising import denoising, with_noise
from vfield.video_io import VideoWriter

SIZE = (64, 80)


def test_noise_is_of_the_level_and_the_same_each_time() -> None:
    grey = torch.full((2, 3, *SIZE), 128, dtype=torch.uint8)
    noisy = with_noise(grey, 20)
    assert noisy.dtype == torch.uint8
    assert float(noisy.float().std()) == pytest.approx(20, rel=0.02)
    assert torch.equal(noisy, with_noise(grey, 20))
    assert torch.equal(with_noise(grey, 0), grey)


def test_methods_are_judged_by_the_clean_frames() -> None:
    clip = clip_of(to_uint8(translating(SIZE, 4)))
    rows = {(row.level, row.name): row for row in denoising({"texture": clip}, [0, 20])}
    assert set(rows) == {
        (0, "noisy"),
        (0, "vfield"),
        (20, "noisy"),
        (20, "vfield"),
        (20, "non-local means"),
    }
    assert rows[0, "vfield"].psnr == 100
    assert rows[20, "noisy"].psnr == pytest.approx(22.1, abs=0.2)
    assert rows[20, "vfield"].psnr > rows[20, "non-local means"].psnr > rows[20, "noisy"].psnr


def test_a_run_leaves_figures_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoWriter(
        "texture.mkv",
        height=SIZE[0],
        width=SIZE[1],
        frame_rate=clip_of(translating(SIZE, 2)).frame_rate,
        color=ColorInfo(),
        codec="ffv1",
    ) as writer:
        for frame in translating(SIZE, 4):
            writer.write(frame)
    words = ["denoising", "--clips", "texture.mkv", "--levels", "0", "20", "--frames", "3", "--out", "bench"]
    assert benchmark_main(words) == 0
    document = json.loads(Path("bench", "results.json").read_text())
    assert [row["name"] for row in document["rows"]] == ["noisy", "vfield", "noisy", "vfield", "non-local means"]
    assert Path("bench", "table.md").read_text() in capfd.readouterr().out
    assert benchmark_main(words) == 2
    assert "--overwrite" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"), [(["--levels", "-1"], "--levels"), (["--frames", "2"], "--frames"), (["--clips", "no"], "no")]
)
def test_words_that_make_no_benchmark(more: list[str], told: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert benchmark_main(["denoising", *more]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert told in error
