"""The field file: what is read is what was written, and a file that is not whole says so."""

from __future__ import annotations

import json
import resource
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vfield.core.clip import Clip, ColorInfo
from vfield.core.errors import UserError
from vfield.field.checkpoint import FIELD_NAME, SavedField, load_field, read_tensors, save_field, write_tensors
from vfield.field.config import FieldConfig
from vfield.field.latents import GlobalConfig, LocalConfig
from vfield.field.motion import MotionConfig
from vfield.field.render import render
from vfield.learn.start import start_field
from vfield.prepare.flow import FlowConfig
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
    save_field(tmp_path / FIELD_NAME, saved.field, saved.facts)
    return tmp_path / FIELD_NAME


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("deep", [False, True])
def test_a_field_read_back_renders_the_same(name: str, deep: bool, clip: Clip, tmp_path: Path) -> None:
    if deep:
        clip = replace(clip, frames=clip.pixels.float() / 255)
    made = fitted(clip, CONFIGS[name])
    save_field(tmp_path / FIELD_NAME, made.field, made.facts)
    again = load_field(tmp_path)
    assert again.facts == made.facts
    assert again.field.config == made.field.config
    assert not again.field.training
    instants = [0.0, 0.013, 0.08, 0.15, 9.0]
    before, after = (list(render(field, (18, 40), instants)) for field in (made.field, again.field))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    # Frames were in memory: they are kept beside the field, unless it makes everything itself.
    kept = set() if name == "coordinates alone" else {"field.frames.mkv"}
    assert {path.name for path in tmp_path.iterdir()} == {FIELD_NAME, *kept}


@pytest.mark.slow
def test_a_file_can_be_named_itself_and_is_replaced_whole(file: Path, saved: SavedField) -> None:
    save_field(file, saved.field, saved.facts)
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
    save_file(load_file(file), file, metadata={"format": "vfield 4"})


def missing_tensor(file: Path) -> None:
    tensors, facts = read_tensors(file)
    del tensors["detail.head.weight"]
    write_tensors(file, tensors, facts)


def wrong_shape(file: Path) -> None:
    tensors, facts = read_tensors(file)
    tensors["detail.head.weight"] = torch.zeros(3, 1)
    write_tensors(file, tensors, facts)


def unknown_option(file: Path) -> None:
    tensors, facts = read_tensors(file)
    facts["config"]["surprise"] = 1
    write_tensors(file, tensors, facts)


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "an endless fraction": lambda facts: facts["clip"].update(end_seconds="1e99999999"),
    "nothing below the line": lambda facts: facts["clip"].update(frame_rate="25/0"),
    "a number for a fraction": lambda facts: facts["clip"].update(end_seconds=1.5),
    "no end": lambda facts: facts["clip"].update(end_seconds="1" * 5000),
    "a huge picture": lambda facts: facts["clip"].update(width=1 << 20, height=1 << 20),
    "a negative height": lambda facts: facts["clip"].update(height=-1),
    "half a pixel": lambda facts: facts["clip"].update(height=1.5),
    "no times": lambda facts: facts["clip"].update(pts_seconds={}),
    "times one by one": lambda facts: facts["clip"].update(pts_seconds=["0", "1/25"]),
    "time runs back": lambda facts: facts["clip"]["pts_seconds"].update(steps=[[-1, 4]]),
    "time stands still": lambda facts: facts["clip"]["pts_seconds"].update(steps=[[0, 4]]),
    "endless times": lambda facts: facts["clip"]["pts_seconds"].update(steps=[[1, 10**15]]),
    "a clock too fast for its numbers": lambda facts: facts["clip"]["pts_seconds"].update(ticks_a_second=10**400),
    "keyframes run back": lambda facts: facts.update(keyframes=[[4, 1], [-1, 4]]),
    "keyframes repeat": lambda facts: facts.update(keyframes=[[0, 2], [1, 3]]),
    "a keyframe at no time": lambda facts: facts.update(keyframes=[[float("nan"), 1]]),
    "a keyframe too late for floats": lambda facts: facts.update(keyframes=[[0, 1], [10**400, 4]]),
    "too few keyframes": lambda facts: facts.update(keyframes=[[0, 1], [1, 3]]),
    "endless keyframes": lambda facts: facts.update(keyframes=[[0, 10**15]]),
    "fewer frames than keyframes": lambda facts: facts["frames"].update(numbers=[[0, 1], [1, 3]]),
    "frames that are not there": lambda facts: facts["frames"].update(numbers=[[10**9, 5]]),
    "frames of no place": lambda facts: facts["frames"].update(path=["a"]),
    "frames of no plane": lambda facts: facts["frames"].update(plane="depth"),
    "frames made of lines in no way": lambda facts: facts["frames"].update(deinterlace=[]),
    "frames from no time on": lambda facts: facts["frames"].update(start_seconds="1/0"),
    "a list for frames": lambda facts: facts.update(frames=[1]),
    "a list for the flow": lambda facts: facts.update(flow=[1]),
    "endless shots": lambda facts: facts.update(shots=[[0, 10**15]]),
    "shots that overlap": lambda facts: facts.update(shots=[[0, 2], [1, 3]]),
    "no shots": lambda facts: facts.update(shots=[]),
    "a missing frame that is not there": lambda facts: facts["clip"].update(missing=[10**9]),
    "a list for a colour": lambda facts: facts["clip"].update(color=[1]),
    "a source that is no text": lambda facts: facts["clip"].update(source={"a": 1}),
    "levels finer than the file": lambda facts: facts["config"]["local"].update(
        colours=False, levels=[1] * 16, channels=1024
    ),
    "wide detail": lambda facts: facts["config"]["detail"].update(channels=8192, blocks=64),
    "a wide decoder": lambda facts: (
        facts["config"]["local"].update(colours=False),
        facts["config"]["decoder"].update(width=8192, depth=64),
    ),
    "a fast track": lambda facts: (
        facts["config"]["local"].update(colours=False),
        facts["config"]["shared"].update(knots_per_second=1000.0),
        facts["clip"].update(end_seconds="1000000000"),
    ),
    "an expectation of nothing": lambda facts: facts.update(expectation={"shots": [], "doubtful": []}),
    "an expectation in words": lambda facts: facts.update(expectation="good"),
    "a list for the config": lambda facts: facts.update(config=[]),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_facts_take_no_time_or_memory(change: Callable[[dict[str, Any]], object], file: Path) -> None:
    tensors, facts = read_tensors(file)
    change(facts)
    write_tensors(file, tensors, facts)
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as told:
        load_field(file)
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 << 10
    assert file.name in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500 + len(str(file))


def test_deep_facts_are_refused(file: Path) -> None:
    tensors, _ = read_tensors(file)
    save_file(tensors, file, metadata={"format": "vfield 4", "facts": "[" * 20000 + "]" * 20000})
    with pytest.raises(UserError, match="nested too deep"):
        load_field(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(value: float, file: Path) -> None:
    tensors, facts = read_tensors(file)
    tensors["detail.head.weight"][0, 0] = value
    write_tensors(file, tensors, facts)
    with pytest.raises(UserError, match=r"detail\.head\.weight holds values that are no numbers"):
        load_field(file)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("detail.head.weight", lambda tensor: tensor[:, 1:]),
        ("visibility.network.0.weight", lambda tensor: tensor[0]),
        ("detail.last.bias", lambda tensor: tensor[1:]),
    ],
)
def test_tensors_of_another_kind_are_refused(name: str, of: Callable[[torch.Tensor], torch.Tensor], file: Path) -> None:
    tensors, facts = read_tensors(file)
    tensors[name] = of(tensors[name])
    write_tensors(file, tensors, facts)
    with pytest.raises(UserError, match="does not hold a whole field"):
        load_field(file)


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
        ("keyframes", [0.0]),
        ("keyframes", ["a", "b"]),
        ("keyframes", []),
        ("clip", {"pts_seconds": ["1/$"]}),
        ("clip", {"pts_seconds": {"ticks_a_second": 25, "first": 0, "steps": [["a", 4]]}}),
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


@pytest.mark.slow
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
    times = described["pts_seconds"]
    steps = [step for step, count in times["steps"] for _ in range(count)]
    ticks = accumulate([times["first"], *steps])
    assert tuple(Fraction(tick, times["ticks_a_second"]) for tick in ticks) == saved.facts.pts_seconds
