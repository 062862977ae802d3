"""What a run is told by: figures that are true, a page that shows them, and pictures that cost and change nothing."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vfield.cli import main, train_main
from vfield.core.coords import keyframe_t
from vfield.field.checkpoint import load_field
from vfield.field.render import render
from vfield.learn import Config
from vfield.learn.saves import SUMMARY_NAMES
from vfield.output.config import ExportConfig
from vfield.output.export import ExportReport
from vfield.output.pictures import pictures
from vfield.output.summary import SUMMARY_NAME, add_export, exported_before, read_summary
from vfield.output.summary_page import page

TINY = ["--config", str(Path(__file__).parents[2] / "configs" / "tiny.yaml"), "--device", "cpu"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(demo_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with frames held out. Tests do not change it."""
    folder = tmp_path_factory.mktemp("runs") / "demo"
    words = ["--video", str(demo_clip), "--end", "0.28", "--size", "64x36", "--holdout", "2", "--out", str(folder)]
    assert train_main([*TINY, *words]) == 0
    return folder


def told(run: Path) -> dict[str, Any]:
    summary = read_summary(run)
    assert summary is not None
    return summary


def text_of(page: str) -> str:
    """What a browser would show of a page's words."""
    return unescape(re.sub(r"<[^>]*>", " ", page.partition("<body>")[2]))


@pytest.mark.slow
def test_the_figures_are_those_of_the_run(run: Path) -> None:
    summary, saved = told(run), load_field(run)
    assert summary["status"] == "done"
    assert (summary["clip"]["frames"], summary["clip"]["width"], summary["clip"]["height"]) == (4, 64, 36)
    assert summary["clip"]["part"] == {"end": 0.28, "size": "64x36", "holdout": 2}
    assert (summary["steps"], summary["held_out"]["frames"]) == (12, 3)
    assert saved.expectation is not None
    assert summary["expected"]["psnr"] == pytest.approx(saved.expectation.psnr)
    assert summary["versions"]["torch"] == torch.__version__
    assert summary["peak_megabytes"] > 0
    assert summary["seconds"] > 0
    changed = summary["config"]
    assert (changed["training.steps"], changed["training.device"], changed["field.local.levels"]) == (12, "cpu", [16])
    assert "training.seed" not in changed
    assert Config().training.seed == 0


def test_the_page_shows_figures_curves_and_pictures(run: Path) -> None:
    text = (run / "summary.html").read_text()
    shown = text_of(text)
    held_out = told(run)["held_out"]
    assert f"PSNR {held_out['psnr']:.2f} dB, SSIM {held_out['ssim']:.4f} over 3 frames" in shown
    assert "4 frames of 64x36" in shown
    assert "stopped" not in shown
    sources = re.findall(r'src="([^"]+)"', text)
    assert len(sources) == 6
    for source in sources:
        with Image.open(run / source) as picture:
            assert min(picture.size) > 8
    # Nothing is fetched from elsewhere, and nothing runs.
    assert "http" not in text
    assert "<script" not in text
    assert [path.name for path in run.iterdir() if "partial" in path.name] == []


@pytest.mark.slow
def test_pictures_are_of_the_field_and_change_nothing(run: Path) -> None:
    saved = load_field(run)
    drawn = torch.get_rng_state()
    rows = pictures(saved, "cpu")
    assert torch.equal(torch.get_rng_state(), drawn)
    by_name = {shown.name: shown.picture for row in rows for shown in row}
    first = next(render(saved.field, (36, 64), [0.0]))
    assert torch.equal(by_name["first"], first)
    # Lanczos and the field show the same place: reduced again, both are the frame there.
    small = [torch.nn.functional.avg_pool2d(by_name[name], 4) for name in ("lanczos", "enlarged")]
    assert float((small[0] - small[1]).abs().mean()) < 0.02
    middle = keyframe_t(saved.facts.pts_seconds).tolist()[2]
    frame = next(render(saved.field, (36, 64), [middle]))
    places = [
        frame[:, :, x : x + 36] for x in range(64 - 36 + 1)
    ]  # The region is as high as the picture, so that only its column is open.
    assert min(float((place - small[1]).abs().mean()) for place in places) < 0.02


@pytest.mark.slow
def test_a_clip_of_one_frame_has_nothing_in_between(demo_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "one"
    words = ["--video", str(demo_clip), "--end", "0.04", "--size", "40x20", "--steps", "0", "--out", str(out)]
    assert train_main([*TINY, *words]) == 0
    assert sorted(path.stem for path in (out / "summary").glob("*.jpg")) == ["enlarged", "first", "lanczos"]


def test_names_are_shown_as_they_are_and_do_nothing(run: Path) -> None:
    name = '<img src=x onerror=alert(1)> & "b".mp4'
    summary = told(run)
    summary["clip"]["source"] = f"/clips/{name}"
    summary["exports"] = [
        {**entry_of(), "path": f"/out/{name}", "href": f"../{name}", "options": {"path": "<script>"}},
    ]
    text = page({**summary, "pictures": [[("a b.jpg", name)]]}, {})
    assert "<img src=x" not in text
    assert "<script" not in text
    assert text_of(text).count(name) == 4  # Title, file, picture and export.
    assert 'href="../%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%20%26%20%22b%22.mp4"' in text
    assert 'src="a%20b.jpg"' in text


def entry_of() -> dict[str, Any]:
    return {
        **{"bytes": 1, "frames": 2, "width": 3, "height": 4, "frame_rate": "25", "seconds": 0.1, "seconds_taken": 1.0},
        "audio": "none",
    }


def test_a_curve_reaches_from_corner_to_corner(run: Path) -> None:
    rising = [(step, 3.0 + step / 10) for step in range(10, 5001, 10)]
    text = page({**told(run), "pictures": []}, {"Rising": rising, "One point": rising[:1]})
    (line,) = re.findall(r'<polyline points="([^"]+)"', text)
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    assert (points[0], points[-1]) == ((0, 200), (640, 0))
    assert len(points) <= 401
    assert all(abs(y - (200 - x * 200 / 640)) < 0.2 for x, y in points)
    assert "steps 10 to 5000" in text
    assert "One point" not in text


def test_exports_are_listed_once_and_known_again(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "summary").symlink_to(run / "summary")
    (folder / SUMMARY_NAME).write_text((run / SUMMARY_NAME).read_text())
    out = tmp_path / "out.mp4"
    out.write_bytes(b"12345")
    report = ExportReport(out, 20, 36, 64, Fraction(30000, 1001), Fraction(2, 3), 1.5, "none")
    config = ExportConfig(slowmo=Fraction(5, 2), crop=(0.5, 1, 2, 3))
    for _ in range(2):
        add_export(folder, report, config)
    (entry,) = told(folder)["exports"]
    assert (entry["bytes"], entry["frame_rate"], entry["options"]["slowmo"]) == (5, "30000/1001", "5/2")
    assert 'href="../out.mp4"' in (folder / "summary.html").read_text()
    assert exported_before(folder, out, ExportConfig(slowmo=Fraction(5, 2), crop=(0.5, 1, 2, 3), overwrite=True))
    assert not exported_before(folder, out, ExportConfig(slowmo=Fraction(2), crop=(0.5, 1, 2, 3)))
    out.write_bytes(b"123")
    assert not exported_before(folder, out, config)


@pytest.mark.slow
def test_a_damaged_summary_is_told(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = json.loads((run / "run.json").read_text())
    for name in ("config.yaml", "run.json", "field.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / SUMMARY_NAME).write_text("{")
    (tmp_path / "run.json").write_text(json.dumps({**words, "holdout": None}))
    command = ["run", words["video"], *TINY, "--end", "0.28", "--fit-size", "64x36", "--run", str(tmp_path)]
    assert main([*command, "-o", str(tmp_path / "out.mp4")]) == 2
    assert "summary.json is damaged" in capfd.readouterr().err


@pytest.mark.slow
def test_a_fit_that_begins_anew_is_not_told_by_the_old_summary(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.yaml").touch()
    for name in SUMMARY_NAMES:
        (out / name).touch()
    video = json.loads((run / "run.json").read_text())["video"]
    words = ["--video", video, "--end", "0.12", "--size", "64x36", "--out", str(out), "--overwrite"]
    # What only shows once the fit has begun: steps so long through so many layers end in no numbers.
    wild = ["--training.learning_rate", "10", "--field.local.colours", "false", "--field.decoder.depth", "64"]
    assert train_main([*TINY, *words, *wild, "--steps", "4"]) == 2
    assert not any((out / name).exists() for name in SUMMARY_NAMES)
