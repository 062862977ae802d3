"""The benchmark of small files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vfield.benchmark.compact import PUBLISHED, cropped
from vfield.cli import main
from vfield.video_io import read_clip

CONFIG = str(Path(__file__).parents[2] / "configs" / "compact.yaml")


def test_published_figures_lie_at_eight_bits_a_parameter() -> None:
    assert [round(each.bits_per_pixel, 3) for each in PUBLISHED] == [0.222] * 3 + [0.111] * 3


def test_crops_are_the_middle(demo_clip: Path) -> None:
    clip = read_clip(demo_clip, max_frames=1)
    assert (cropped(clip, 640, 1280).frames == clip.frames[:, :, 40:680]).all()
    assert cropped(clip, 9999, 1280).height == 720


def test_a_small_run_leaves_figures_table_and_plot(demo_clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out, quick = tmp_path / "out", tmp_path / "quick.yaml"
    quick.write_text(Path(CONFIG).read_text() + "  weight_steps: 2\n")
    words = [
        "benchmark",
        "compact",
        "--clip",
        str(demo_clip),
        "--middle",
        "64x48",
        "--frames",
        "2",
        "--config",
        str(quick),
    ]
    assert main([*words, "--quantiser-steps", "30", "--peers", "x264", "--crfs", "30", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["rate.png", "results.json", "table.md"]
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [(row["name"], row["setting"]) for row in rows] == [("vfield", "step 30"), ("x264", "crf 30")]
    for row in rows:
        assert row["bits_per_pixel"] == pytest.approx(8 * row["file_bytes"] / (2 * 48 * 64))
        assert 25 < row["psnr"] < 60


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--peers", "x266"], "--peers knows x264, x265, got 'x266'"),
        (["--config", CONFIG.replace("compact.yaml", "fast.yaml")], "does not compress"),
        (["--middle", "big"], "size must be WIDTHxHEIGHT"),
        (["--clip", "none.mp4"], "none.mp4"),
    ],
)
def test_bad_words_get_one_line(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["benchmark", "compact", "--config", CONFIG, "--out", str(tmp_path / "o"), *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "o").exists()
