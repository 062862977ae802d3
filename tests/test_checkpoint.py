"""The field file: what is read is what was written, and a file that is not whole says so."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vfield.checkpoint import FIELD_NAME, SavedField, load_field, read_tensors, save_field, write_tensors
from vfield.clip import Clip, ColorInfo
from vfield.errors import UserError
from vfield.field.config import FieldConfig
from vfield.field.latents import GlobalConfig, LocalConfig
from vfield.field.motion import MotionConfig
from vfield.flow import FlowConfig
from vfield.render import render
from vfield.start import start_field
from vfield.video_io import read_clip

CONFIGS = {
    "default": FieldConfig(),
    "no colours": FieldConfig(local=LocalConfig(colours=False, levels=(8,))),
    "no motion": FieldConfig(motion=MotionConfig(enabled=False)),
    "every third": FieldConfig(local=LocalConfig(keyframe_stride=3)),
    "no latents": FieldConfig(shared=GlobalConfig(enabled=False), local=LocalConfig(levels=())),
    "coordinates alone": FieldConfig(local=LocalConfig(colours=False, levels=())),
}


@pytest.fixture(scope="module")
def clip(demo_clip: Path) -> Clip:
    whole = read_clip(demo_clip, max_frames=5, size=(36, 64))
    color = ColorInfo("smpte170m", "pc", "bt470bg", "smpte170m", 8)
    return replace(whole, color=color, pixel_aspect=Fraction(64, 45), frame_rate=Fraction(30000, 1001))


def fitted(clip: Clip, config: FieldConfig) -> SavedField:
    field = start_field(clip, config, FlowConfig(), seed=0).field.eval()
    torch.manual_seed(0)
    for parameter in field.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return SavedField(field, clip.facts)


@pytest.fixture(scope="module")
def saved(clip: Clip) -> SavedField:
    return fitted(clip, FieldConfig())


@pytest.fixture
def file(saved: SavedField, tmp_path: Path) -> Path:
    save_field(tmp_path / FIELD_NAME, *saved)
    return tmp_path / FIELD_NAME


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("deep", [False, True])
def test_a_field_read_back_renders_the_same(name: str, deep: bool, clip: Clip, tmp_path: Path) -> None:
    if deep:
        clip = replace(clip, frames=clip.frames.float() / 255)
    made = fitted(clip, CONFIGS[name])
    save_field(tmp_path / FIELD_NAME, *made)
    again = load_field(tmp_path)
    assert again.facts == made.facts
    assert again.field.config == made.field.config
    assert not again.field.training
    instants = [0.0, 0.013, 0.08, 0.15, 9.0]
    before, after = (list(render(field, (18, 40), instants)) for field in (made.field, again.field))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == [FIELD_NAME]


def test_a_file_can_be_named_itself_and_is_replaced_whole(file: Path, saved: SavedField) -> None:
    save_field(file, *saved)
    assert load_field(str(file)).facts == saved.facts


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def cut_in_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def garble(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[8:40] = bytes(255 - byte for byte in content[8:40])
    file.write_bytes(content)


def boast(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(struct.pack("<Q", 1 << 60) + content[8:])


def pickle_instead(file: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, file)


def foreign(file: Path) -> None:
    save_file({"weights": torch.zeros(3)}, file)


def other_version(file: Path) -> None:
    save_file(load_file(file), file, metadata={"format": "vfield 0", "facts": "{}"})


def no_facts(file: Path) -> None:
    save_file(load_file(file), file, metadata={"format": "vfield 1"})


def missing_tensor(file: Path) -> None:
    tensors, facts = read_tensors(file)
    del tensors["decoder.head.weight"]
    write_tensors(file, tensors, facts)


def wrong_shape(file: Path) -> None:
    tensors, facts = read_tensors(file)
    tensors["decoder.head.weight"] = torch.zeros(3, 1)
    write_tensors(file, tensors, facts)


def unknown_option(file: Path) -> None:
    tensors, facts = read_tensors(file)
    facts["config"]["surprise"] = 1
    write_tensors(file, tensors, facts)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        cut_in_header,
        empty,
        garble,
        boast,
        pickle_instead,
        foreign,
        other_version,
        no_facts,
        missing_tensor,
        wrong_shape,
        unknown_option,
    ],
)
def test_a_damaged_file_says_so_in_one_line(damage: Callable[[Path], None], file: Path) -> None:
    damage(file)
    with pytest.raises(UserError) as told:
        load_field(file)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 400


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shots", [[0, 900]]),
        ("shots", "none"),
        ("t", [0.0]),
        ("t", ["a", "b"]),
        ("clip", {"pts_seconds": ["1/$"]}),
        ("clip", {"pts_seconds": []}),
        ("clip", {"frame_rate": "25/0"}),
        ("clip", {"color": {"surprise": 1}}),
        ("clip", {"height": "tall"}),
        ("clip", None),
        ("config", None),
    ],
)
def test_impossible_facts_say_so(key: str, value: Any, file: Path) -> None:
    tensors, facts = read_tensors(file)
    facts[key] = {**facts[key], **value} if isinstance(value, dict) else value
    write_tensors(file, tensors, facts)
    with pytest.raises(UserError):
        load_field(file)


def test_a_flipped_byte_of_the_header_is_a_user_error_or_harmless(file: Path) -> None:
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    told = 0
    for position in range(0, 8 + length, 23):
        flipped = bytearray(content)
        flipped[position] ^= 0x15
        file.write_bytes(flipped)
        try:
            load_field(file)
        except UserError:
            told += 1
    assert told > 50


def test_missing_files_and_other_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_field(tmp_path / "nowhere")
    with pytest.raises(UserError, match="not a run folder"):
        load_field(tmp_path)
    with pytest.raises(UserError, match="could not write"):
        write_tensors(tmp_path / "no" / "folder.safetensors", {"a": torch.zeros(1)}, {})


def test_facts_are_readable_without_vfield(file: Path, saved: SavedField) -> None:
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    described = json.loads(metadata["facts"])["clip"]
    assert Fraction(described["frame_rate"]) == saved.facts.frame_rate
    assert tuple(map(Fraction, described["pts_seconds"])) == saved.facts.pts_seconds
