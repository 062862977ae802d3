"""Races: who takes part, what is seen, what is measured, and what is written."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scenes import clip_of, translating

from vfield.cli import main
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.lab.entries import conditioning_entries, decoder_parameters, within_budget
from vfield.lab.race import course, marks, race, table

pytestmark = pytest.mark.slow

ENTRIES = {(entry.group, entry.name): entry for entry in conditioning_entries(3000, 4, 5e-3, 0)}


def test_a_course_is_the_middle_of_what_is_seen() -> None:
    clip = clip_of(translating((24, 32), 6))
    on = course("texture", clip, (10, 12), holdout=2)
    assert torch.equal(on.observed.pixels, clip.pixels[[0, 2, 4], :, 7:17, 10:22])
    assert torch.equal(in_memory(on.held_out.frames), clip.pixels[[1, 3], :, 7:17, 10:22])
    assert on.held_out.t == pytest.approx([1 / 25, 3 / 25])
    assert course("texture", clip, (100, 100)).observed.frames.shape == clip.frames.shape
    with pytest.raises(UserError, match="texture has 6 frames"):
        course("texture", clip, (10, 12), holdout=6)


def test_marks_begin_at_nothing_and_end_at_the_end() -> None:
    for steps in (1, 3, 400):
        assert marks(steps) == sorted(set(marks(steps)))
        assert (marks(steps)[0], marks(steps)[-1]) == (0, steps)


@pytest.mark.parametrize("who", [("global", "batchnorm"), ("local", "hypernetwork")], ids="-".join)
def test_racers_learn(who: tuple[str, str]) -> None:
    entry = ENTRIES[who]
    on = course("texture", clip_of(translating((24, 32), 4)), (24, 32))
    curve = race(entry, on, 30)
    assert curve.steps == tuple(marks(30))
    assert list(curve.seconds) == sorted(curve.seconds)
    assert curve.psnr[-1] > curve.psnr[0] + 0.5
    assert all(math.isnan(value) for value in curve.held_out_psnr)
    assert curve.encoder_parameters == 0
    # A code and 7 knots of 8; four frames, each a grid of 6x8 and one of 2x2 with 8 channels.
    assert curve.code_parameters == (8 * 8 if who[0] == "global" else 4 * 8 * (48 + 4))
    assert "dB" in table([curve])


def test_the_command_writes_figures_and_pictures(tmp_path: Path, demo_clip: Path) -> None:
    words = ["lab", "latents", "--clips", str(demo_clip), "--frames", "3", "--middle", "24x16", "--steps", "1"]
    words += ["--width", "8", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    curves = json.loads((tmp_path / "out" / "races.json").read_text())["curves"]
    assert [curve["name"] for curve in curves] == ["none", "global", "local", "hybrid", "hybrid, predicted"]
    assert [curve["code_parameters"] > 0 for curve in curves] == [False, True, True, True, True]
    assert [curve["encoder_parameters"] > 0 for curve in curves] == [False, False, False, False, True]
    assert (tmp_path / "out" / "bigbuckbunny.png").read_bytes().startswith(b"\x89PNG")


def test_bad_words_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["lab"], "name an experiment"),
        (["lab", "conditioning", "--rank", "0"], "--rank must be from 1"),
        (["lab", "conditioning", "--steps", "0"], "--steps must be at least 1"),
        (["lab", "conditioning", "--parameters", "9"], "too small"),
        (["lab", "latents", "--width", "0"], "--width must be from 1"),
    ):
        assert main(words) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("budget", [6000, 12000, 50000])
def test_all_have_the_budget_and_no_other_width_comes_nearer(budget: int) -> None:
    entries = conditioning_entries(budget, 8, 5e-3, 0)
    assert len(entries) == 9
    for _, name, config in entries:
        width = config.field.decoder.width
        off = {w: abs(decoder_parameters(config.field, w) - budget) for w in (width - 1, width, width + 1)}
        assert off[width] == min(off.values()), name
        assert off[width] < 0.03 * budget, name


def test_parameters_are_counted_as_by_hand() -> None:
    film = next(entry for entry in conditioning_entries(12000, 8, 5e-3, 0) if entry[:2] == ("global", "film"))
    # 96 Fourier features; three layers, each steered by a code and a track of 8; three colours.
    width = 20
    layers = (96 * width + width) + 2 * (width * width + width) + 3 * (16 * 2 * width + 2 * width) + (width * 3 + 3)
    assert decoder_parameters(film.config.field, width) == layers


def test_too_small_a_budget_is_refused() -> None:
    field = conditioning_entries(12000, 8, 5e-3, 0)[0].config.field
    with pytest.raises(UserError, match="a decoder of 10 parameters is too small"):
        within_budget(field, replace(field.decoder, conditioning="film"), 10)
