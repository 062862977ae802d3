"""The benchmark of filled holes: what is hidden, what is judged, and what a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scenes import clip_of, translating

from vfield.cli import benchmark_main
from vfield.core.clip import ColorInfo
from vfield.measure.benchmark.inpainting import visible_with
from vfield.measure.choices import HOLES
from vfield.video_io import VideoWriter

SIZE = (48, 64)


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


def test_every_tenth_frame_is_hidden_but_never_the_last() -> None:
    def hidden(frames: int) -> list[int]:
        return (~visible_with("frames", frames, 4, 4)[:, 0, 0]).nonzero()[:, 0].tolist()

    assert hidden(25) == [5, 15]
    assert hidden(26) == [5, 15]
    assert hidden(27) == [5, 15, 25]


def test_a_run_leaves_figures_a_table_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").write_text("training:\n  steps: 0\n")
    clip = clip_of(translating(SIZE, 8, (4.0, -2.0)))
    with VideoWriter(
        "texture.mkv",
        height=SIZE[0],
        width=SIZE[1],
        frame_rate=clip.frame_rate,
        color=ColorInfo(),
        codec="ffv1",
    ) as writer:
        for frame in clip.pixels:
            writer.write(frame)
    words = ["inpainting", "--clips", "texture.mkv", "--preset", "mine", "--frames", "8", "--out", "bench"]
    assert benchmark_main(words) == 0
    rows = json.loads(Path("bench", "results.json").read_text())["rows"]
    best = {kind: max((row for row in rows if row["holes"] == kind), key=lambda row: row["inside"]) for kind in HOLES}
    assert best["boxes"]["name"] == best["half"]["name"] == "vfield"
    assert [row["name"] for row in rows if row["holes"] == "frames"] == ["vfield", "DIS", "blend"]
    assert all(row["whole"] >= row["inside"] for row in rows)
    assert {path.name for path in Path("bench", "pictures").iterdir()} == {f"texture-{kind}.png" for kind in HOLES}
    assert Path("bench", "table.md").read_text() in capfd.readouterr().out
    assert benchmark_main(words) == 2
    assert "--overwrite" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [(["--holes", "many"], "--holes"), (["--frames", "2"], "--frames"), (["--clips", "no"], "no"), (["--x"], "--x")],
)
def test_words_that_make_no_benchmark(
    more: list[str], told: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert benchmark_main(["inpainting", *more]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert told in error
