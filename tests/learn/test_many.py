"""Runs of several clips, and new clips fitted by their codes alone: what is shared, what is not, and what stays."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import ROOT, in_two_processes
from scenes import perturb
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from vfield.cli import main
from vfield.core.clip import Clip
from vfield.core.errors import UserError
from vfield.field.checkpoint import FIELD_NAME, clip_folders, load_field, read_tensors
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.lab.adapt import FILES
from vfield.learn import RESUME_NAME, Config, adapt, fit, fit_many
from vfield.learn.config_files import load_config
from vfield.learn.members import Member, own_parameters, shared_parameters
from vfield.learn.objective import JointObjective, Objective
from vfield.learn.sampling import turn
from vfield.video_io import VideoWriter

TINY = load_config(ROOT / "configs" / "tiny.yaml")
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


def waves(count: int, height: int, width: int, rate: Fraction, phase: float) -> Clip:
    """Waves that drift, different for each phase."""
    x, y = torch.arange(width).float(), torch.arange(height).float()[:, None]
    colours = torch.tensor([0.0, 1.0, 2.0])[:, None, None] + phase
    frames = [0.5 + 0.2 * torch.sin((x - 1.5 * i) / 4 + colours) + 0.2 * torch.sin(y / 5 + i) for i in range(count)]
    pictures = (255 * torch.stack(frames)).round().to(torch.uint8)
    return Clip(pictures, tuple(i / rate for i in range(count)), count / rate, rate)


def set_up(colours: bool = True, **training: Any) -> Config:
    local = replace(TINY.field.local, colours=colours)
    loop = replace(TINY.training, device="cpu", **{"steps": 6, **training})
    return replace(TINY, field=replace(TINY.field, local=local), training=loop)


def values(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def same_field(one: VideoField, other: VideoField, within: float = 0.0) -> bool:
    here, there = one.state_dict(), other.state_dict()
    return here.keys() == there.keys() and all(
        float((here[name].float() - there[name].float()).abs().max()) <= within for name in here if here[name].numel()
    )


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    """Of three sizes, rates and lengths; the last is a picture."""
    return {
        "long": waves(4, 26, 36, Fraction(25), 0.0),
        "high": waves(3, 32, 26, Fraction(30000, 1001), 1.0),
        "still": waves(1, 16, 20, Fraction(10), 2.0),
    }


@pytest.fixture(scope="module", params=[True, False], ids=["colours", "codes alone"])
def config(request: pytest.FixtureRequest) -> Config:
    return set_up(request.param)


@pytest.fixture(scope="module")
def folder(clips: dict[str, Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the clips, with keyframe colours."""
    out = tmp_path_factory.mktemp("many") / "run"
    fit_many(clips, set_up(), out=out, progress=False)
    return out


# ------------------------------------------------------------------------------------------------ what is shared


@pytest.mark.slow
def test_clips_of_any_size_rate_and_length_share_one_network(clips: dict[str, Clip], folder: Path) -> None:
    fields = {name: load_field(folder / name) for name in clips}
    first = fields["long"].field
    for name, saved in fields.items():
        assert saved.facts == clips[name].facts
        assert equal(values(shared_parameters(saved.field)), values(shared_parameters(first)))
        (picture,) = render(saved.field, saved.field.size, [0.0])
        assert picture.shape[-2:] == (clips[name].height, clips[name].width)
    assert clip_folders(folder) == sorted(folder / name for name in clips)
    assert not (folder / FIELD_NAME).exists()


def test_clips_of_any_length_share_one_decoder_and_have_codes_of_their_own(clips: dict[str, Clip]) -> None:
    fields = {name: result.field for name, result in fit_many(clips, set_up(colours=False), progress=False).items()}
    first = fields["long"]
    codes = []
    for name, field in fields.items():
        assert field.decoder is first.decoder
        assert field.fourier is not None
        assert first.fourier is not None
        assert torch.equal(field.fourier.matrix, first.fourier.matrix)
        assert field.fourier.duration_seconds == pytest.approx(float(clips[name].duration_seconds))
        assert field.shared is not None
        codes.append(field.shared.code)
    assert not torch.equal(codes[0], codes[1])


def members_of(clips: dict[str, Clip], config: Config) -> list[Member]:
    made: list[Member] = []
    for name, clip in clips.items():
        like = made[0].field if made else None
        made.append(Member(name, clip, config, seed=len(made), like=like, says=False, shows=False))
    return made


@pytest.mark.slow
def test_the_shared_parts_are_the_same_parameters_and_nothing_else_is(clips: dict[str, Clip], config: Config) -> None:
    fields = [member.field for member in members_of(clips, config)]
    shared = {id(parameter) for parameter in shared_parameters(fields[0])}
    assert shared
    for field in fields[1:]:
        assert {id(parameter) for parameter in shared_parameters(field)} == shared
        assert not {id(p) for p in own_parameters(field)} & {id(p) for p in own_parameters(fields[0])}
    assert {id(p) for p in own_parameters(fields[0])} | shared == {id(p) for p in fields[0].parameters()}
    assert not {id(buffer) for buffer in fields[1].buffers()} & {
        id(buffer) for name, buffer in fields[0].named_buffers() if not name.startswith("fourier")
    }


def test_one_clips_loss_has_no_gradient_for_anothers_codes(clips: dict[str, Clip], config: Config) -> None:
    members = members_of(clips, config)
    objective = JointObjective([member.objective() for member in members])
    perturb(members[0].field)
    objective(0, members[0].sampler.batch(0)).total().backward()
    assert any(bool(p.grad is not None and p.grad.any()) for p in shared_parameters(members[0].field))
    # Codes are of fields that make everything; those that show their frames have none.
    own = own_parameters(members[0].field)
    assert bool(own) == (members[0].field.colours is None)
    assert not own or any(bool(p.grad is not None and p.grad.any()) for p in own)
    for member in members[1:]:
        # There all the same: processes agree on which gradients there are.
        assert all(p.grad is not None and not p.grad.any() for p in own_parameters(member.field))


def test_a_clip_that_a_step_does_not_see_keeps_its_codes(clips: dict[str, Clip]) -> None:
    """Also once Adam's momentum would move them."""
    config = set_up(colours=False, steps=8)
    seen: list[int] = []
    codes: list[list[list[Tensor]]] = []

    def watch(module: nn.Module, given: tuple[object, ...], _: object) -> None:
        if isinstance(module, JointObjective):
            assert isinstance(given[0], int)
            seen.append(given[0])
            parts = [part.field for part in module.parts if isinstance(part, Objective)]
            codes.append([values(own_parameters(field)) for field in parts])

    handle = register_module_forward_hook(watch)
    try:
        fit_many(clips, config, progress=False)
    finally:
        handle.remove()
    assert seen == [turn(0, number, 3) for number in range(8)]
    for step in range(7):
        changed = {number for number in range(3) if not equal(codes[step][number], codes[step + 1][number])}
        # At the first step of all the decoder is zero, and no code has a say.
        assert changed == ({seen[step]} if step else set())


@pytest.mark.parametrize("members", [1, 3, 4])
def test_each_clip_has_its_turn_once_a_round(members: int) -> None:
    rounds = [[turn(7, members * k + i, members) for i in range(members)] for k in range(20)]
    assert all(sorted(order) == list(range(members)) for order in rounds)
    assert members == 1 or len({tuple(order) for order in rounds}) > 2


def test_several_clips_are_needed(clips: dict[str, Clip]) -> None:
    with pytest.raises(UserError, match="two or more"):
        fit_many({"long": clips["long"]}, set_up(), progress=False)


# ------------------------------------------------------------------------------------------------ stop and go on


class Killed(BaseException):
    """Unwinds a fit at once."""


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_been(clips: dict[str, Clip], folder: Path, tmp_path: Path) -> None:
    config, steps = set_up(), 0

    def die(module: nn.Module, *_: object) -> None:
        nonlocal steps
        steps += isinstance(module, JointObjective)
        if steps == 5:
            raise Killed

    out = tmp_path / "run"
    slow = replace(config, training=replace(config.training, save_seconds=1e-9, picture_seconds=1e9))
    handle = register_module_forward_hook(die)
    try:
        with pytest.raises(Killed):
            fit_many(clips, slow, out=out, progress=False)
    finally:
        handle.remove()
    assert read_tensors(out / RESUME_NAME)[1]["step"] == 4
    results = fit_many(clips, config, out=out, progress=False, resume=True)
    assert {result.steps for result in results.values()} == {6}
    for name in clips:
        assert same_field(load_field(out / name).field, load_field(folder / name).field, 1e-6)


def test_a_save_of_other_clips_is_not_gone_on_with(clips: dict[str, Clip], folder: Path) -> None:
    fewer = {name: clip for name, clip in clips.items() if name != "long"}
    with pytest.raises(UserError, match="another clip or config"):
        fit_many(fewer, set_up(), out=folder, progress=False, resume=True)


@pytest.mark.slow
def test_clips_of_an_earlier_run_are_not_taken_for_this_ones(clips: dict[str, Clip], tmp_path: Path) -> None:
    none = set_up(colours=False, steps=0)
    few = {"a": clips["still"], "b": clips["still"]}
    fit_many(few, none, out=tmp_path, progress=False)
    fit_many({"b": few["b"], "c": few["a"]}, none, out=tmp_path, progress=False)
    assert clip_folders(tmp_path) == [tmp_path / "b", tmp_path / "c"]
    assert not (tmp_path / "a").exists()
    with pytest.raises(UserError, match="2 clips"):
        load_field(tmp_path)
    fit(clips["still"], none, out=tmp_path, progress=False)
    assert clip_folders(tmp_path) == []
    assert load_field(tmp_path).facts == clips["still"].facts


def test_every_clip_is_shown_in_tensorboard(clips: dict[str, Clip], folder: Path) -> None:
    for name in clips:
        (events,) = (folder / name / "tensorboard").glob("events.*")
        content = events.read_bytes()
        assert b"psnr/observed" in content
        assert b"field/4 enlarged" in content


# ------------------------------------------------------------------------------------------------ adapting


@pytest.mark.slow
def test_only_codes_change_where_the_shared_parts_are_held(clips: dict[str, Clip]) -> None:
    shared = fit_many(clips, set_up(colours=False), progress=False)["long"].field
    before = values(shared_parameters(shared))
    new = waves(4, 36, 44, Fraction(12), 3.0)
    start = adapt(shared, new, set_up(colours=False, steps=0), progress=False).field
    held = adapt(shared, new, set_up(colours=False), progress=False).field
    tuned = adapt(shared, new, set_up(colours=False), tune=True, progress=False).field
    for field in (start, held):
        assert equal(values(shared_parameters(field)), before)
    assert not equal(values(own_parameters(held)), values(own_parameters(start)))
    assert not equal(values(own_parameters(tuned)), values(own_parameters(start)))
    moved = [float((a - b).abs().max()) for a, b in zip(values(shared_parameters(tuned)), before, strict=True)]
    assert 0 < max(moved) < 6 * 0.1 * TINY.training.learning_rate * 1.5
    assert equal(values(shared_parameters(shared)), before)


@pytest.mark.slow
def test_a_decoder_that_knows_the_kind_of_clip_is_ahead_of_one_that_knows_nothing() -> None:
    """Both have as many steps; one only has codes to find."""
    clips = {f"{phase}": waves(3, 24, 24, Fraction(25), float(phase)) for phase in range(3)}
    new = waves(3, 24, 24, Fraction(25), 1.5)
    config = set_up(colours=False, learning_rate=0.05)
    parts = replace(config.field, local=replace(config.field.local, levels=(4,), channels=4))
    config = replace(config, field=replace(parts, decoder=replace(parts.decoder, width=16)))
    longer, shorter = (replace(config, training=replace(config.training, steps=steps)) for steps in (60, 15))
    shared = fit_many(clips, longer, progress=False)["0"].field

    def error(field: VideoField) -> float:
        pictures = torch.stack(list(render(field, field.size, [0.0, 0.08])))
        return float((pictures - new.pixels[[0, 2]] / 255).square().mean())

    from_nothing = error(fit(new, shorter, progress=False).field)
    assert error(adapt(shared, new, shorter, progress=False).field) < 0.7 * from_nothing


@pytest.mark.slow
def test_codes_found_from_what_is_visible_complete_the_rest() -> None:
    """A partial clip: what is hidden has no say in its codes, and a decoder that others taught makes it."""
    config = set_up(colours=False, steps=300, learning_rate=0.02)
    parts = replace(config.field, local=replace(config.field.local, levels=()))
    config = replace(config, field=replace(parts, decoder=replace(parts.decoder, width=32, depth=2)))
    shorter = replace(config, training=replace(config.training, steps=60))
    others = {f"{phase}": waves(3, 24, 32, Fraction(25), phase) for phase in (0.0, 0.3, 0.6)}
    shared = fit_many(others, config, progress=False)["0.0"].field
    whole = waves(3, 24, 32, Fraction(25), 0.45)
    visible = torch.ones(3, 24, 32, dtype=torch.bool)
    visible[:, :, 20:] = False

    def partial(value: int) -> Clip:
        hidden = torch.full_like(whole.pixels, value)
        return replace(whole, frames=torch.where(visible[:, None], whole.pixels, hidden), visible=visible)

    def error(field: VideoField) -> float:
        pictures = torch.stack(list(render(field, field.size, [0.0, 0.04, 0.08])))
        return float((pictures - whole.pixels / 255)[..., 20:].square().mean())

    one, other = (adapt(shared, partial(value), shorter, progress=False).field for value in (0, 200))
    assert same_field(one, other)
    assert error(one) < 0.7 * error(fit(partial(0), shorter, progress=False).field)


@pytest.mark.slow
def test_with_keyframe_colours_there_are_no_codes_and_no_steps_to_take(clips: dict[str, Clip]) -> None:
    shared = fit(clips["high"], set_up(), progress=False).field
    before = values(shared_parameters(shared))
    result = adapt(shared, clips["long"], set_up(), progress=False)
    assert result.steps == 0
    assert result.expectation is not None
    assert len(before) == len(shared_parameters(result.field))
    assert adapt(shared, clips["high"], set_up(steps=1), tune=True, progress=False).steps == 1
    assert equal(values(shared_parameters(shared)), before)


def test_a_field_without_codes_cannot_be_adapted(clips: dict[str, Clip]) -> None:
    config = load_config(ROOT / "configs" / "theory" / "plain.yaml")
    field = replace(config.field, shared=replace(config.field.shared, enabled=False))
    bare = replace(config, field=field, training=replace(config.training, steps=0, device="cpu"))
    shared = fit(clips["long"], bare, progress=False).field
    with pytest.raises(UserError, match="--tune"):
        adapt(shared, clips["high"], bare, progress=False)


# ------------------------------------------------------------------------------------------------ the command line


@pytest.fixture(scope="module")
def files(clips: dict[str, Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips and a file that is none."""
    place = tmp_path_factory.mktemp("clips")
    for name in ("long", "high"):
        clip = clips[name]
        facts: dict[str, Any] = {"frame_rate": clip.frame_rate, "color": clip.color}
        with VideoWriter(place / f"{name}.mkv", height=clip.height, width=clip.width, **facts) as to:
            for frame in clip.pixels:
                to.write(frame)
    (place / "notes.txt").write_text("no clip")
    return place


@pytest.fixture(scope="module")
def words() -> list[str]:
    # Patches that fit the frames at half their size, too: processes then have equal shares of the points.
    preset = ["--config", str(ROOT / "configs" / "tiny.yaml"), "--sampling.patch-size", "8"]
    return [*preset, "--device", "cpu", "--steps", "4"]


@pytest.fixture(scope="module")
def trained(files: Path, words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the folder, without colours."""
    out = tmp_path_factory.mktemp("command") / "run"
    assert main(["train", *words, "--field.local.colours", "false", "--video", str(files), "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_a_folder_of_clips_is_trained_adapted_and_rendered(
    files: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert {path.name for path in trained.iterdir()} == {
        *("config.yaml", "run.json", RESUME_NAME, "tensorboard"),
        *("high", "long"),
    }
    assert main(["render", str(trained / "high"), "-o", str(tmp_path / "high.mkv")]) == 0
    assert main(["train", "--resume", "--out", str(trained)]) == 0
    new, out = str(files / "long.mkv#t=0.04,0.16"), tmp_path / "new"
    assert main(["adapt", str(trained), "--video", new, "--device", "cpu", "--out", str(out), "--holdout", "2"]) == 0
    told = capfd.readouterr().out
    assert "done after 4 steps" in told
    assert "done after 2 steps" in told  # half as many for one of two
    assert "frames never seen: PSNR" in told
    adapted = load_field(out).field
    assert equal(values(shared_parameters(adapted)), values(shared_parameters(load_field(trained / "long").field)))
    assert json.loads((out / "run.json").read_text())["adapted"] == str(trained)
    assert main(["train", "--resume", "--out", str(out)]) == 2
    assert (
        main(["adapt", str(trained), "--video", new, "--field.decoder.width", "9", "--out", str(tmp_path / "no")]) == 2
    )
    told = capfd.readouterr().err
    assert "not resumed" in told
    assert "leave out --config" in told
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_fits_are_compared(files: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["lab", "adapt", str(trained), "--video", str(files / "long.mkv"), "--holdout", "2", "--device", "cpu"]
    assert main([*words, "--steps", "4", "--look-every", "2", "--out", str(tmp_path / "lab")]) == 0
    assert {path.name for path in (tmp_path / "lab").iterdir()} == set(FILES)
    courses = json.loads((tmp_path / "lab" / "adapt.json").read_text())
    assert list(courses) == ["nothing", "codes", "tuned"]
    for course in courses.values():
        assert course["steps"] == [1, 2, 4]
        assert len(course["held_out"]) == 3
        assert course["seconds"] == sorted(course["seconds"])
    assert f"{courses['codes']['observed'][-1]:.2f} dB" in capfd.readouterr().out


@pytest.mark.slow
def test_clips_of_one_name_and_parts_of_one_clip_are_told_apart(files: Path, words: list[str], tmp_path: Path) -> None:
    long = str(files / "long.mkv")
    out = tmp_path / "run"
    parts = [f"{long}#t=,0.08", f"{long}#t=0.08"]
    assert main(["train", *words, "--video", *parts, "--steps", "1", "--out", str(out)]) == 0
    assert len(load_field(out / "long").facts.pts_seconds) == 2
    assert len(load_field(out / "long-2").facts.pts_seconds) == 2
    assert main(["train", *words, "--video", parts[0], "--start", "0", "--out", str(tmp_path / "no")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["train", *words, "--video", str(tmp_path / "empty"), "--out", str(tmp_path / "no")]) == 2


@pytest.mark.slow
def test_two_processes_give_the_fields_of_one(files: Path, words: list[str], trained: Path, tmp_path: Path) -> None:
    script = [str(ROOT / "scripts" / "train.py"), *words, "--field.local.colours", "false", "--video", str(files)]
    ended = in_two_processes([*script, "--out", str(tmp_path / "run")])
    assert ended.stdout.count("done after 4 steps") == 1
    for name in ("long", "high"):
        assert same_field(load_field(tmp_path / "run" / name).field, load_field(trained / name).field, 1e-5)
