"""Teaching a prior: one command on a folder of clips, judged by clips that it has not seen, and gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from processes import ROOT

from vfield.cli import main
from vfield.core.clip import Clip
from vfield.core.errors import UserError
from vfield.learn import Config, teach
from vfield.learn.config import TeachingConfig
from vfield.learn.config_files import load_config
from vfield.learn.prior import read_prior
from vfield.learn.teaching import PRIOR_NAME
from vfield.video_io import VideoWriter, read_clip

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


@pytest.fixture(scope="module")
def films(demo_clip: Path) -> dict[str, Clip]:
    """Three parts of the demo clip, as if they were clips."""
    parts = {"first": (0, 0.5), "second": (2, 2.5), "third": (4, 4.5)}
    return {
        name: read_clip(demo_clip, size=(216, 384), start_seconds=start, end_seconds=end)
        for name, (start, end) in parts.items()
    }


def set_up(**teaching: object) -> Config:
    config = load_config(ROOT / "configs" / "prior.yaml")
    few = replace(config.sampling, patches=4)
    told = TeachingConfig(**{"pieces": 1, "frames": 4, "judged": ("third",), "judgements": 2, **teaching})  # type: ignore[arg-type]
    return replace(config, sampling=few, teaching=told, training=replace(config.training, steps=4, device="cpu"))


def test_what_is_kept_is_what_was_best_on_clips_not_learnt_from(films: dict[str, Clip], tmp_path: Path) -> None:
    taught = teach(films, set_up(), out=tmp_path / "run", progress=False)
    values, facts = read_prior(tmp_path / "run" / PRIOR_NAME)
    assert taught.path == tmp_path / "run" / PRIOR_NAME
    assert (taught.steps, taught.interrupted) == (4, False)
    assert facts["gain"] == pytest.approx(taught.gain._asdict())
    # It is no worse than the start, which is what it is if nothing was better.
    assert min(taught.gain) >= 0
    assert any(bool(value.any()) for value in values.values())
    assert not list((tmp_path / "run").glob("*/field.safetensors"))


def test_a_run_that_was_gone_on_with_gives_what_an_uninterrupted_one_does(
    films: dict[str, Clip], tmp_path: Path
) -> None:
    config = set_up(judged=())
    whole = teach(films, config, out=tmp_path / "whole", progress=False)
    teach(films, config, out=tmp_path / "parts", progress=False)
    again = teach(films, config, out=tmp_path / "parts", resume=True, progress=False)
    assert again.steps == whole.steps
    one, other = (read_prior(tmp_path / name / PRIOR_NAME)[0] for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_clip_to_judge_by_that_is_not_there_is_told(films: dict[str, Clip], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"teaching\.judged names fourth, which is none of the clips first, second"):
        teach(films, set_up(judged=("fourth",)), out=tmp_path / "run", progress=False)
    with pytest.raises(UserError, match="no clip is left to teach a prior with"):
        teach(films, set_up(judged=tuple(films)), out=tmp_path / "run", progress=False)


def test_the_ordinary_command_teaches(
    films: dict[str, Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, clip in films.items():
        with VideoWriter(
            folder / f"{name}.mp4", height=216, width=384, frame_rate=clip.frame_rate, color=clip.color, crf=18
        ) as writer:
            for frame in clip.pixels:
                writer.write(frame)
    words = ["--config", str(ROOT / "configs" / "prior.yaml"), "--video", str(folder), "--out", str(tmp_path / "run")]
    words += ["--teaching.pieces", "1", "--teaching.frames", "4", "--teaching.judged", "[third]", "--steps", "2"]
    assert main(["train", *words]) == 0
    said = capsys.readouterr().out
    assert "done after 2 steps" in said
    assert "gain on clips not learnt from" in said
    assert (tmp_path / "run" / PRIOR_NAME).is_file()
