"""Codes that an encoder predicts: what they are, that they are learnt, and that a field file needs no encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import clip_of, field_of, perturb, random_points, translating

from vfield.core.clip import Clip
from vfield.core.errors import UserError
from vfield.field.checkpoint import load_field, save_field
from vfield.field.config import FieldConfig
from vfield.field.encoder import EncodedGlobal, EncodedGrids, EncoderConfig, GridEncoder, linear_weights
from vfield.field.latents import GlobalConfig, LocalConfig
from vfield.field.motion import MotionConfig
from vfield.field.video_field import VideoField

CONFIG = FieldConfig(
    local=LocalConfig(colours=False, levels=(4, 8), channels=3),
    motion=MotionConfig(enabled=False),
    codes="autoencoder",
    encoder=EncoderConfig(channels=8, blocks=1),
)


@pytest.fixture
def clip() -> Clip:
    # Of a size that no cell divides.
    return clip_of(translating((22, 30), 4))


@pytest.fixture
def field(clip: Clip) -> VideoField:
    made = field_of(clip, CONFIG)
    perturb(made, 0.1)
    return made


def encoded(field: VideoField) -> tuple[EncodedGlobal, EncodedGrids]:
    assert isinstance(field.shared, EncodedGlobal)
    assert isinstance(field.latents, EncodedGrids)
    return field.shared, field.latents


@torch.no_grad()
def test_evaluation_keeps_what_learning_sees(field: VideoField) -> None:
    uvt = random_points(50, 0.12)
    learning = field.train()(uvt)
    torch.testing.assert_close(field.eval()(uvt), learning, atol=1e-5, rtol=0)
    # And again after the encoder has learnt something else.
    perturb(field.train(), 0.1, seed=2)
    later = field(uvt)
    assert (later - learning).abs().max() > 0.01
    torch.testing.assert_close(field.eval()(uvt), later, atol=1e-5, rtol=0)


def test_the_encoder_learns_and_the_codes_are_no_parameters_of_their_own(field: VideoField) -> None:
    field.train()(random_points(50, 0.12)).square().sum().backward()
    for part in encoded(field):
        for name, parameter in part.named_parameters():
            if name.startswith("encoder."):
                assert parameter.grad is not None
                assert parameter.grad.abs().max() > 0, name
            else:
                assert parameter.grad is None
                assert not parameter.requires_grad


def test_codes_have_the_shapes_of_learnt_ones(clip: Clip, field: VideoField) -> None:
    learnt = field_of(clip, FieldConfig(local=CONFIG.local, motion=CONFIG.motion)).state_dict()
    config, values = field.standalone()
    assert config.codes == "autodecoder"
    assert {name: value.shape for name, value in values.items()} == {
        name: value.shape for name, value in learnt.items()
    }


@torch.no_grad()
def test_a_file_renders_without_encoder(clip: Clip, field: VideoField, tmp_path: Path) -> None:
    # Saved in the middle of learning, as a fit does.
    save_field(tmp_path / "field.safetensors", field.train(), clip.facts)
    loaded = load_field(tmp_path / "field.safetensors").field
    uvt = random_points(50, 0.12)
    assert torch.equal(loaded(uvt), field.eval()(uvt))
    assert not any("encoder" in name for name in loaded.state_dict())
    assert loaded.config.codes == "autodecoder"


@torch.no_grad()
def test_the_global_code_does_not_know_the_order_of_keyframes() -> None:
    frames = translating((24, 32), 5)
    codes = []
    for shown in (frames, frames.flip(0)):
        torch.manual_seed(0)
        made = EncodedGlobal(
            GlobalConfig(), EncoderConfig(), shown, torch.arange(5) / 25, 0.2, torch.Generator().manual_seed(0)
        ).eval()
        made.predict()
        codes.append((made.code.clone(), made.track.clone()))
    torch.testing.assert_close(codes[0][0], codes[1][0])
    assert (codes[0][1] - codes[1][1]).abs().max() > 1e-3


@torch.no_grad()
def test_a_picture_moved_by_a_cell_has_its_codes_moved_by_a_cell() -> None:
    torch.manual_seed(0)
    encoder = GridEncoder(EncoderConfig(channels=8, blocks=2), LocalConfig(levels=(4,), channels=3))
    picture = torch.rand(1, 3, 32, 48)
    here, moved = encoder(picture)[0], encoder(picture.roll(4, dims=3))[0]
    torch.testing.assert_close(moved[..., 4:-3], here[..., 3:-4])


def test_the_track_is_linear_between_keyframes() -> None:
    known, asked = torch.tensor([0.1, 0.2, 0.5, 0.9]), torch.tensor([0.0, 0.1, 0.17, 0.2, 0.6, 0.9, 1.3])
    values = torch.tensor([[3.0, 0.0], [1.0, 2.0], [-2.0, 5.0], [4.0, 4.0]])
    expected = np.stack([np.interp(asked, known, column) for column in values.T.numpy()], axis=-1)
    torch.testing.assert_close(linear_weights(known, asked) @ values, torch.from_numpy(expected).float())
    assert torch.equal(linear_weights(known[:1], asked), torch.ones(7, 1))


def test_what_cannot_be_predicted_is_named() -> None:
    with pytest.raises(UserError, match=r"shared\.enabled or local\.levels"):
        FieldConfig(codes="autoencoder", shared=GlobalConfig(enabled=False), local=LocalConfig(levels=()))
    with pytest.raises(UserError, match=r"channels must be from 1 to .* got 0"):
        EncoderConfig(channels=0)
