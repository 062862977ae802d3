"""Judging: figures that anybody can compute again."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from scenes import clip_of
from torch import Tensor

from vfield.core.clip import to_uint8
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.core.metrics import IDENTICAL_PSNR, Scores, score
from vfield.learn import Config
from vfield.learn.config_files import load_config
from vfield.learn.held_out import split, whole
from vfield.measure.evaluation import Row, as_json, evaluate, judge_fit, judge_peer, reduced, table
from vfield.measure.peers import blend_frames, reduce_frames
from vfield.video_io import read_clip, resize

TINY = load_config(Path(__file__).parents[2] / "configs" / "tiny.yaml")


def moving(count: int, height: int = 48, width: int = 64) -> Tensor:
    """A smooth texture that moves 1.5 pixels a frame: (count, 3, height, width) uint8."""
    x, y = torch.arange(width).float(), torch.arange(height).float()[:, None]
    phases = torch.tensor([0.0, 1.0, 2.0])[:, None, None]
    pictures = [0.5 + 0.2 * torch.sin((x - 1.5 * i) / 4 + phases) + 0.2 * torch.sin(y / 5) for i in range(count)]
    return to_uint8(torch.stack(pictures))


def with_steps(steps: int) -> Config:
    return replace(TINY, training=replace(TINY.training, steps=steps))


# ------------------------------------------------------------------------------------------------ frames in between


@pytest.fixture(scope="module")
def between() -> list[Row]:
    return evaluate(split(clip_of(moving(10)), 2), TINY)


@pytest.mark.slow
def test_the_rows_are_the_field_and_its_peers(between: list[Row]) -> None:
    assert [row.name for row in between] == ["vfield", "repeat", "blend", "minterpolate", "DIS"]
    for row in between:
        assert row.observed is not None
        assert row.held_out is not None
        assert (row.observed.frames, row.held_out.frames) == (5, 4)
        assert row.render_seconds > 0
        assert row.peak_megabytes >= 0
    assert [row.fit_seconds > 0 for row in between] == [True, False, False, False, False]


def test_the_figures_are_those_of_metrics(between: list[Row]) -> None:
    frames = moving(10)
    made = blend_frames(frames[0:9:2], Fraction(25, 2), 2)
    assert between[2].held_out == score(made[1::2], frames[1:9:2])
    assert between[2].observed == score(made[::2], frames[0:9:2])
    for row in between:
        assert row.held_out is not None
        assert row.held_out.psnr == pytest.approx(sum(row.psnr_each) / len(row.psnr_each), abs=1e-4)


def test_observed_frames_come_back(between: list[Row]) -> None:
    assert between[0].observed is not None
    assert between[0].observed.psnr >= 40
    for row in between[1:]:
        assert row.observed is not None
        assert row.observed.psnr >= 40


def test_smooth_motion_is_followed(between: list[Row]) -> None:
    psnr = {row.name: row.held_out.psnr for row in between if row.held_out is not None}
    assert psnr["vfield"] > psnr["blend"] + 3
    assert psnr["vfield"] > psnr["repeat"] + 3


# ------------------------------------------------------------------------------------------------ larger pictures


@pytest.mark.slow
def test_enlarging_is_no_worse_than_lanczos(demo_clip: Path) -> None:
    clip = read_clip(demo_clip, max_frames=3, size=(180, 320))
    rows = evaluate(reduced(whole(clip), 2), with_steps(8))
    assert [row.name for row in rows] == ["vfield", "bicubic", "Lanczos"]
    psnr = [row.held_out.psnr for row in rows if row.held_out is not None]
    assert psnr[0] >= psnr[2]
    assert rows[0].observed is not None
    assert rows[0].observed.psnr >= 40
    assert [row.observed for row in rows[1:]] == [None, None]
    truth = to_uint8(clip.pixels)
    assert rows[2].held_out == score(resize(resize(truth, 90, 160, "area"), 180, 320, "lanczos"), truth)


@pytest.mark.slow
def test_frames_that_were_held_are_judged_as_they_are_shown() -> None:
    clip = clip_of(moving(4).repeat_interleave(2, dim=0))
    row, frames, fitted = judge_fit("vfield", reduced(whole(clip), 2), with_steps(0))
    assert len(fitted.field.timeline.t) == 4
    assert torch.equal(frames[::2], frames[1::2])
    assert row.observed is not None
    assert row.observed.psnr == IDENTICAL_PSNR


@pytest.mark.slow
def test_a_picture_whose_sides_do_not_divide_can_be_judged() -> None:
    rows = evaluate(reduced(whole(clip_of(moving(2, 37, 61))), 1.7), with_steps(0))
    assert all(row.held_out is not None and row.held_out.psnr > 20 for row in rows)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0, -2.0, float("nan"), float("inf"), 1e9])
def test_scales_that_enlarge_nothing_are_refused(scale: float) -> None:
    with pytest.raises(UserError, match="scale"):
        reduced(whole(clip_of(moving(2))), scale)


def test_frames_given_are_small_and_those_asked_for_are_not() -> None:
    clip = clip_of(moving(3, 45, 61), [10 + Fraction(i, 25) for i in range(3)])
    parts = reduced(whole(clip), 2, "bicubic")
    assert torch.equal(parts.observed.pixels, reduce_frames(clip.pixels, 22, 30, "bicubic"))
    assert torch.equal(in_memory(parts.everything), clip.pixels)
    assert (parts.observed.pts_seconds, parts.size, parts.enlarges) == (clip.pts_seconds, (45, 61), True)
    assert (parts.hidden_indices, parts.judged_indices) == ([], [0, 1, 2])
    assert not whole(clip).enlarges


def test_both_at_once_hide_frames_and_size() -> None:
    clip = clip_of(moving(6))
    parts = reduced(split(clip, 2), 1.5)
    assert torch.equal(parts.observed.pixels, reduce_frames(clip.pixels[0:5:2], 32, 43, "area"))
    assert torch.equal(in_memory(parts.everything), clip.pixels[:5])
    assert (parts.observed.frame_rate, parts.judged_indices) == (Fraction(25, 2), [1, 3])


@pytest.mark.slow
def test_peers_interpolate_the_small_frames_and_enlarge_what_comes_of_it() -> None:
    clip = clip_of(moving(5))
    parts = reduced(split(clip, 2), 2)
    row, frames = judge_peer("blend", parts)
    small = blend_frames(reduce_frames(clip.pixels[::2], 24, 32, "area"), Fraction(25, 2), 2)
    assert torch.equal(frames, resize(small, 48, 64, "lanczos"))
    assert row.held_out == score(frames[1::2], clip.pixels[1::2])
    assert row.observed == score(frames[::2], clip.pixels[::2])


# ------------------------------------------------------------------------------------------------ what is shown


ROWS = [
    Row("vfield", Scores(51.234, 0.99, 0.999, 3), Scores(33.3, 0.9, 0.95, 2), 61.04, 0.5, 812.4),
    Row("a longer name", None, Scores(7.0, float("nan"), float("nan"), 2), 0.0, 12.0, 0.0),
]


def test_the_table_is_aligned() -> None:
    lines = table(ROWS).splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split()[:3] == ["vfield", "51.23", "0.9900"]
    assert lines[2].startswith("a longer name")
    assert lines[2].split()[3:6] == ["-", "-", "-"]
    for word in ("observed dB", "held out dB", "fit s", "render s", "peak MB"):
        end = lines[0].index(word) + len(word)
        assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in lines)


def test_the_document_holds_every_figure(between: list[Row]) -> None:
    rows = json.loads(json.dumps(as_json(between)))
    assert [row["name"] for row in rows] == [row.name for row in between]
    assert between[0].held_out is not None
    assert rows[0]["held_out"]["psnr"] == between[0].held_out.psnr
    assert {"observed", "held_out", "fit_seconds", "render_seconds", "peak_megabytes"} < rows[0].keys()


def test_the_document_is_json_where_a_picture_has_no_ssim() -> None:
    """JSON knows no nan, and a reader other than Python's refuses the file."""
    rows = json.loads(json.dumps(as_json(ROWS), allow_nan=False))
    assert rows[1]["held_out"]["ssim"] is None


@pytest.mark.slow
def test_peers_that_cannot_work_on_small_pictures_are_left_out() -> None:
    rows = evaluate(split(clip_of(moving(5, 16, 24)), 2), TINY)
    assert [row.name for row in rows] == ["vfield", "repeat", "blend", "DIS"]
    assert json.loads(json.dumps(as_json(rows)))[0]["held_out"]["ms_ssim"] is not None
