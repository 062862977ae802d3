"""The prior: it is read as it was written, every fit starts from it, and it helps on a clip that it has not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from scenes import DEFAULT, clip_of, crossing, translating

from vfield.core.clip import Clip, to_uint8
from vfield.core.errors import UserError
from vfield.field.config import FieldConfig
from vfield.field.detail import DetailConfig
from vfield.field.latents import LocalConfig
from vfield.learn import Config, TrainingConfig, fit
from vfield.learn.held_out import judge_held_out, split
from vfield.learn.prior import PRIOR_PATH, read_prior, start_from_prior, taught, write_prior
from vfield.learn.start import start_field
from vfield.prepare.config import FlowConfig
from vfield.video_io import read_clip


def started(config: FieldConfig = DEFAULT, *, prior: bool = False) -> dict[str, torch.Tensor]:
    field = start_field(clip_of(translating((32, 48), 4)), config, FlowConfig(), 0, rehearse=False, prior=prior).field
    return taught(field)


def test_a_prior_is_read_as_it_was_written(tmp_path: Path) -> None:
    values = {name: torch.randn(value.shape) for name, value in started().items()}
    write_prior(tmp_path / "prior.safetensors", values, {"steps": 3})
    read, facts = read_prior(tmp_path / "prior.safetensors")
    assert facts == {"steps": 3}
    assert read.keys() == values.keys()
    for name, value in values.items():
        torch.testing.assert_close(read[name], value, rtol=1e-3, atol=1e-3)  # half precision


def test_the_shipped_prior_speaks_for_every_shared_part_of_the_default() -> None:
    shipped, _ = read_prior()
    values = started(prior=True)
    assert shipped.keys() == values.keys()
    assert all(torch.equal(shipped[name], value) for name, value in values.items())
    assert PRIOR_PATH.stat().st_size < 2_000_000
    # It says something: last layers are zero in a field that has learnt nothing.
    for name in ("visibility.network.2.weight", "detail.last.weight"):
        assert bool(values[name].any())
        assert not bool(started()[name].any())


def test_another_network_than_was_taught_is_told() -> None:
    other = replace(DEFAULT, detail=DetailConfig(channels=8))
    with pytest.raises(UserError, match=r"another field\.detail than this; .*--prior none"):
        started(other, prior=True)


def test_a_damaged_prior_is_told(tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    path.write_bytes(PRIOR_PATH.read_bytes()[:1000])
    field = start_field(clip_of(translating((32, 48), 4)), DEFAULT, FlowConfig(), 0, rehearse=False).field
    with pytest.raises(UserError, match="is damaged"):
        start_from_prior(field, path)


def without_steps(prior: Literal["shipped", "none"]) -> Config:
    config = Config()
    return replace(config, training=replace(config.training, steps=0, prior=prior, device="cpu"))


@pytest.mark.slow
def test_where_nothing_can_be_checked_a_prior_speaks_softly() -> None:
    # Two frames, of which none can be hidden, too small to be made smaller.
    clip = clip_of(to_uint8(translating((20, 20), 2)))
    soft = taught(fit(clip, without_steps("shipped"), progress=False).field)
    silent = taught(fit(clip, without_steps("none"), progress=False).field)
    shipped, _ = read_prior()
    last = "visibility.network.2.weight"
    torch.testing.assert_close(soft[last], shipped[last] / 2)
    assert not bool(soft["detail.last.weight"].any())
    assert not any(bool(silent[name].any()) for name in (last, "detail.last.weight"))


@pytest.mark.slow
def test_a_real_clip_is_better_with_it_before_anything_is_learnt_of_the_clip(demo_clip: Path) -> None:
    clip: Clip = read_clip(demo_clip, size=(180, 320), start_seconds=1, end_seconds=2)
    parts = split(clip, 2)
    with_prior, start = (
        judge_held_out(fit(parts.observed, config, progress=False).field, parts.held_out).psnr
        for config in (without_steps("shipped"), without_steps("none"))
    )
    assert with_prior > start + 0.1


@pytest.mark.slow
def test_detail_goes_on_learning_and_visibility_is_the_priors() -> None:
    clip = clip_of(to_uint8(crossing((64, 96), [4 + 4 * k for k in range(8)], 20, 6)))
    config = Config(training=TrainingConfig(steps=4, device="cpu"))
    values = taught(fit(clip, config, progress=False).field)
    shipped, _ = read_prior()
    for name, value in values.items():
        if name.startswith("visibility"):
            forces = (0.0, 0.5, 1.0) if ".2." in name else (1.0,)  # turned down in its last layer, if at all
            assert any(torch.equal(value, force * shipped[name]) for force in forces), name
        else:
            assert not torch.equal(value, shipped[name]), name


def test_what_has_a_prior_learns_for_fewer_steps() -> None:
    alone = Config(training=TrainingConfig(prior="none"))
    textbook = Config(field=FieldConfig(local=LocalConfig(colours=False)))
    assert Config().has_prior
    assert Config().training.steps == 150
    assert not alone.has_prior
    assert not textbook.has_prior
    assert alone.training.steps == textbook.training.steps == 300
    assert Config(training=TrainingConfig(minutes=1)).training.steps is None
