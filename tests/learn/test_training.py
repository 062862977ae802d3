"""Fitting: what a seed, a bound, a stop, a kill, another process or another precision may and may not change.

Kills and stops happen at a chosen step: a hook on every module's forward counts the calls of the objective.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import ONE_THREAD, ROOT, in_two_processes, kill, wait_until
from scenes import crossing
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from vfield.cli import train_main
from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.coords import keyframe_t
from vfield.core.errors import UserError
from vfield.core.metrics import psnr
from vfield.field.checkpoint import FIELD_NAME, load_field, read_tensors
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.learn import RESUME_NAME, Config, TrainingConfig, fit
from vfield.learn.board import HeldOut
from vfield.learn.config_files import config_from_values, load_config
from vfield.learn.held_out import split
from vfield.learn.objective import Objective
from vfield.learn.sampling import PatchSampler
from vfield.learn.start import start_field
from vfield.prepare.denoise import DenoiseConfig

TINY = load_config(ROOT / "configs" / "tiny.yaml")
# One thread a process: the order of sums, and so their rounding, is then the same in all of them.
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


class Killed(BaseException):
    """Unwinds a fit at once, as a kill would, without any of its saves at the end."""


def moving(count: int, height: int = 48, width: int = 64) -> Tensor:
    """A disc before a texture, moving apart, 2.5 pixels a frame: (count, 3, height, width) uint8."""
    x, y = torch.arange(width).float(), torch.arange(height).float()[:, None]
    phases = torch.tensor([0.0, 1.0, 2.0])[:, None, None]
    pictures = []
    for i in range(count):
        back = 0.5 + 0.2 * torch.sin((x - 1.5 * i) / 4 + phases) + 0.2 * torch.sin(y / 5)
        away = ((x - 45 + 2.5 * i) ** 2 + (y - 24) ** 2).sqrt() - 12
        pictures.append(torch.lerp(back, 0.5 + 0.4 * torch.cos((x + y) / 3 + phases), torch.sigmoid(-2 * away)))
    return to_uint8(torch.stack(pictures))


def clip_of(frames: Tensor, rate: Fraction = Fraction(25)) -> Clip:
    return Clip(frames, tuple(i / rate for i in range(len(frames))), len(frames) / rate, rate)


def trained(**training: Any) -> Config:
    """The tiny preset with another loop."""
    return replace(TINY, training=replace(TINY.training, device="cpu", **training))


def wild(**training: Any) -> Config:
    """One whose values soon are no numbers: steps so long through so many layers."""
    config = trained(learning_rate=10.0, **training)
    field = config.field
    decoder, local = replace(field.decoder, depth=64), replace(field.local, colours=False)
    return replace(config, field=replace(field, decoder=decoder, local=local))


def learnt(field: VideoField) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in field.named_parameters()}


def apart(one: VideoField, other: VideoField, but: str = "-") -> float:
    """The largest difference of any learnt value, but for a part's; infinite where one is not a number."""
    here, there = learnt(one), learnt(other)
    assert here.keys() == there.keys()
    compared = [name for name in here if here[name].numel() and not name.startswith(but)]
    gaps = [float((here[name] - there[name]).abs().max()) for name in compared]
    return max(gap if math.isfinite(gap) else math.inf for gap in gaps)


def hidden_loss(clip: Clip, config: Config, field: VideoField) -> float:
    """The in-between loss of a field on batches that its fit did not draw."""
    start = start_field(clip, config.field, config.flow, seed=0)
    start.field.load_state_dict(field.state_dict())
    assert start.rehearsal is not None
    small, hideable = start.rehearsal.frames, start.rehearsal.learning
    objective = Objective(start.field, start.rehearsal.field, config.objective)
    sampler = PatchSampler(clip.frames, keyframe_t(clip.pts_seconds), small, hideable, config.sampling, seed=999)
    with torch.no_grad():
        return sum(float(objective(sampler.batch(step)).hidden) for step in range(40))


@contextmanager
def at_forward(number: int, act: Callable[[], None]) -> Iterator[None]:
    """Do something after the objective's forward of so many steps, counted from 1."""
    count = 0

    def watch(module: nn.Module, *_: object) -> None:
        nonlocal count
        count += isinstance(module, Objective)
        if isinstance(module, Objective) and count == number:
            act()

    handle = register_module_forward_hook(watch)
    try:
        yield
    finally:
        handle.remove()


def die() -> None:
    raise Killed


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of(moving(6))


@pytest.fixture(scope="module")
def plain(clip: Clip) -> VideoField:
    """The tiny fit of the clip, undisturbed."""
    return fit(clip, trained(), progress=False).field


# ------------------------------------------------------------------------------------------------ a fit


def test_a_fit_gets_better_at_frames_that_it_may_not_see(clip: Clip) -> None:
    config = trained(steps=60, learning_rate=1e-2)
    before = fit(clip, trained(steps=0), progress=False)
    after = fit(clip, config, progress=False)
    assert (before.steps, after.steps) == (0, 60)
    assert after.is_main
    assert not after.interrupted
    assert hidden_loss(clip, config, after.field) < 0.97 * hidden_loss(clip, config, before.field)


def test_a_fit_learns_which_keyframe_shows_what_a_moving_square_uncovers() -> None:
    """Every second frame is held out; the square has moved 6 pixels, and so has what it covers and uncovers."""
    size, side, top, step = (80, 128), 40, 20, 6
    lefts = [8 + step * k for k in range(11)]
    frames = to_uint8(crossing(size, lefts, side, top))
    observed = clip_of(frames[::2], rate=Fraction(25, 2))

    def psnr_in_the_strips(steps: int) -> float:
        config = Config(training=TrainingConfig(steps=steps, prior="none", device="cpu"))
        field = fit(observed, config, progress=False).field
        apart = []
        for k in range(1, len(frames), 2):
            made = next(render(field, size, [k / 25]))
            difference = (to_float(made) - to_float(frames[k]))[:, top : top + side]
            for edge in (lefts[k] - step, lefts[k] + side):
                apart.append(difference[..., edge : edge + step].square().mean())
        return float(-10 * torch.stack(apart).mean().log10())

    assert psnr_in_the_strips(60) > psnr_in_the_strips(0) + 2


def test_a_fit_keeps_the_observed_frames(clip: Clip, plain: VideoField) -> None:
    instants = keyframe_t(clip.pts_seconds).tolist()
    made = torch.stack(list(render(plain, (clip.height, clip.width), instants)))
    assert float(psnr(made, clip.pixels).min()) >= 40


def test_the_same_seed_gives_the_same_field_to_the_bit(clip: Clip, plain: VideoField) -> None:
    torch.rand(3)  # what happened before in the process is no part of the seed
    assert apart(plain, fit(clip, trained(), progress=False).field) == 0
    assert apart(plain, fit(clip, trained(seed=1), progress=False).field) > 1e-3


def test_a_fit_leaves_the_random_numbers_of_the_process_alone(clip: Clip) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(clip, trained(steps=1), progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_no_steps_give_the_start(clip: Clip) -> None:
    result = fit(clip, trained(steps=0), progress=False)
    start = start_field(clip, TINY.field, TINY.flow, seed=0).field
    assert result.steps == 0
    assert apart(result.field, start) == 0


def test_a_single_picture_and_two_frames_can_be_fitted(clip: Clip) -> None:
    for count in (1, 2):
        few = clip.select(range(count))
        field = fit(few, trained(steps=2), progress=False).field
        frame = next(render(field, (clip.height, clip.width), [0.0]))
        assert float(psnr(frame[None], clip.pixels[:1])) >= 40


def test_nothing_but_the_field_remains_of_a_fit_in_memory(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    field = fit(clip, trained(steps=1), progress=False).field
    assert not list(tmp_path.iterdir())
    assert not field.hidden_rows
    assert not field.training
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


# ------------------------------------------------------------------------------------------------ bounds


def test_minutes_bound_the_time(clip: Clip) -> None:
    fit(clip, trained(steps=0), progress=False)  # libraries are loaded by now
    began = time.monotonic()
    result = fit(clip, trained(steps=None, minutes=1.5 / 60), progress=False)
    taken = time.monotonic() - began
    assert 1.2 < taken < 3.5
    assert abs(result.seconds - taken) < 0.5
    assert result.steps > 5
    assert not result.interrupted


def test_the_first_of_steps_and_minutes_ends_a_fit(clip: Clip) -> None:
    assert fit(clip, trained(steps=3, minutes=5.0), progress=False).steps == 3
    assert fit(clip, trained(steps=10**6, minutes=0.5 / 60), progress=False).steps < 10**4


# ------------------------------------------------------------------------------------------------ stop and go on


@pytest.mark.parametrize("step", [2, 12])
def test_a_killed_fit_goes_on_from_its_last_save_as_if_nothing_had_been(
    tmp_path: Path, clip: Clip, plain: VideoField, step: int
) -> None:
    config = trained(save_seconds=1e-9)  # after every step
    with pytest.raises(Killed), at_forward(step, die):
        fit(clip, config, out=tmp_path, progress=False)
    _, facts = read_tensors(tmp_path / RESUME_NAME)
    assert facts["step"] == step - 1
    assert load_field(tmp_path).facts == clip.facts
    result = fit(clip, config, out=tmp_path, resume=True, progress=False)
    assert result.steps == 12
    assert apart(result.field, plain) < 1e-6
    assert apart(load_field(tmp_path).field, result.field) == 0


@pytest.mark.parametrize(
    "values",
    [
        {"decoder": {"conditioning": "batchnorm", "local_conditioning": "batchnorm"}, "local": {"colours": False}},
        {"codes": "autoencoder", "local": {"levels": [8], "channels": 2, "colours": False}},
    ],
    ids=["batch norm", "autoencoder"],
)
def test_what_a_fit_keeps_besides_weights_is_gone_on_with(tmp_path: Path, clip: Clip, values: dict[str, Any]) -> None:
    config = replace(config_from_values({"field": {**values, "motion": {"enabled": False}}}), sampling=TINY.sampling)
    config = replace(config, training=replace(config.training, steps=6, device="cpu", save_seconds=1e-9))
    whole = fit(clip, config, progress=False).field
    with pytest.raises(Killed), at_forward(4, die):
        fit(clip, config, out=tmp_path, progress=False)
    gone_on = fit(clip, config, out=tmp_path, resume=True, progress=False).field
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(gone_on.state_dict()[name], value, atol=1e-6, rtol=0, msg=name)


def test_a_run_killed_twice_goes_on_twice(tmp_path: Path, clip: Clip, plain: VideoField) -> None:
    config = trained(save_seconds=1e-9)
    for forward in (5, 4):
        with pytest.raises(Killed), at_forward(forward, die):
            fit(clip, config, out=tmp_path, resume=forward == 4, progress=False)
    assert read_tensors(tmp_path / RESUME_NAME)[1]["step"] == 7
    assert apart(fit(clip, config, out=tmp_path, resume=True, progress=False).field, plain) < 1e-6


def test_a_run_killed_between_the_two_files_of_a_save_goes_on(tmp_path: Path, clip: Clip, plain: VideoField) -> None:
    config = trained(save_seconds=1e-9)
    early = tmp_path / "early"
    early.mkdir()
    with pytest.raises(Killed), at_forward(4, die):
        fit(clip, config, out=early, progress=False)
    shutil.copytree(early, tmp_path / "run")
    with pytest.raises(Killed), at_forward(1, die):
        fit(clip, config, out=early, resume=True, progress=False)
    shutil.copy(early / FIELD_NAME, tmp_path / "run" / FIELD_NAME)  # the field of a later step than the rest
    (tmp_path / "run" / f".{RESUME_NAME}.partial-1").write_bytes(b"half")
    assert apart(fit(clip, config, out=tmp_path / "run", resume=True, progress=False).field, plain) < 1e-6


def test_a_finished_run_resumed_stays_as_it_is(tmp_path: Path, clip: Clip, plain: VideoField) -> None:
    fit(clip, trained(), out=tmp_path, progress=False)
    result = fit(clip, trained(), out=tmp_path, resume=True, progress=False)
    assert (result.steps, apart(result.field, plain)) == (12, 0)


def test_time_before_a_resume_counts(tmp_path: Path, clip: Clip) -> None:
    before = fit(clip, trained(steps=3, minutes=5.0), out=tmp_path, progress=False)
    time.sleep(0.5)
    after = fit(clip, trained(steps=3, minutes=5.0), out=tmp_path, resume=True, progress=False)
    assert before.seconds < after.seconds < before.seconds + 5


def test_ctrl_c_ends_the_step_and_keeps_a_field(tmp_path: Path, clip: Clip, plain: VideoField) -> None:
    with at_forward(5, ctrl_c):
        result = fit(clip, trained(), out=tmp_path, progress=False)
    assert result.interrupted
    assert result.steps == 5
    assert apart(load_field(tmp_path).field, result.field) == 0
    again = fit(clip, trained(), out=tmp_path, resume=True, progress=False)
    assert not again.interrupted
    assert apart(again.field, plain) < 1e-6


def test_a_save_of_another_clip_or_config_is_not_gone_on_with(tmp_path: Path, clip: Clip) -> None:
    fit(clip, trained(steps=1), out=tmp_path, progress=False)
    # What is learnt has the same shape for any of these clips, and with cells of any size.
    longer, larger, slower = clip_of(moving(8)), clip_of(moving(6, 50)), clip_of(moving(6), Fraction(24))
    wider = replace(trained(), field=replace(TINY.field, detail=replace(TINY.field.detail, channels=16)))
    finer = replace(trained(), field=replace(TINY.field, motion=replace(TINY.field.motion, cell=4)))
    for other, config in (
        *((other, trained()) for other in (longer, larger, slower)),
        *((clip, config) for config in (wider, finer)),
    ):
        with pytest.raises(UserError, match="another clip or config"):
            fit(other, config, out=tmp_path, resume=True, progress=False)
    # The same clip, from a file that was moved, is.
    assert (
        fit(replace(clip, source="moved.mp4"), trained(steps=2), out=tmp_path, resume=True, progress=False).steps == 2
    )
    (tmp_path / RESUME_NAME).write_bytes((tmp_path / RESUME_NAME).read_bytes()[:-50])
    with pytest.raises(UserError, match="damaged"):
        fit(clip, trained(), out=tmp_path, resume=True, progress=False)
    (tmp_path / RESUME_NAME).unlink()
    with pytest.raises(UserError, match="nothing to resume"):
        fit(clip, trained(), out=tmp_path, resume=True, progress=False)


# ------------------------------------------------------------------------------------------------ real processes


@pytest.fixture(scope="module")
def fitting(demo_clip: Path) -> list[str]:
    """The command line of a tiny fit to a few real frames, without its folder."""
    preset = str(ROOT / "configs" / "tiny.yaml")
    part = ["--video", str(demo_clip), "--end", "0.2", "--size", "96x54"]
    # Where frames are shown as they are, the hidden three quarters of a batch are all of it: two processes share those.
    return ["--config", preset, *part, "--device", "cpu", "--sampling.patches", "8"]


@pytest.fixture(scope="module")
def undisturbed(fitting: list[str], tmp_path_factory: pytest.TempPathFactory) -> VideoField:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert train_main([*fitting, "--out", str(folder)]) == 0
    return load_field(folder).field


def started(fitting: list[str], folder: Path, *words: str) -> subprocess.Popen[str]:
    script = [sys.executable, str(ROOT / "scripts" / "train.py")]
    return subprocess.Popen(
        [*script, *fitting, "--out", str(folder), *words],
        env=ONE_THREAD,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_run_killed_by_the_system_is_resumed(
    tmp_path: Path, fitting: list[str], undisturbed: VideoField, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    process = started(fitting, folder, "--training.save_seconds", "1e-9", "--training.picture_seconds", "1e-9")
    wait_until((folder / RESUME_NAME).is_file, process)
    kill(process)
    assert read_tensors(folder / RESUME_NAME)[1]["step"] < 12, "the fit was over before it was killed"
    assert train_main(["--resume", "--out", str(folder)]) == 0
    assert "done after 12 steps" in capfd.readouterr().out
    assert apart(load_field(folder).field, undisturbed) < 1e-5


def test_ctrl_c_stops_cleanly_and_keeps_a_usable_field(tmp_path: Path, fitting: list[str]) -> None:
    folder = tmp_path / "run"
    process = started(fitting, folder, "--steps", "1000000", "--training.save_seconds", "1e-9")
    wait_until((folder / RESUME_NAME).is_file, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped after" in out
    assert f"go on:  vfield train --resume --out {folder}\n" in out
    assert "Traceback" not in err
    assert "warn" not in err.lower()
    saved = load_field(folder)
    assert next(render(saved.field, (54, 96), [0.05])).isfinite().all()
    assert not [path.name for path in folder.iterdir() if "partial" in path.name]


NORMALISED = """
import os, sys
import torch
from vfield.core.clip import Clip
from vfield.learn.config_files import config_from_values
from vfield.field.conditioning import running_statistics
from vfield.learn import fit
from fractions import Fraction
frames = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
clip = Clip(frames, tuple(Fraction(i, 25) for i in range(3)), Fraction(3, 25), Fraction(25))
field = {"motion": {"enabled": False}, "decoder": {"conditioning": "batchnorm"}, "local": {"colours": False}}
training = {"steps": 3, "device": "cpu"}
result = fit(clip, config_from_values({"field": field, "training": training}), progress=False)
torch.save(running_statistics(result.field), f"{sys.argv[1]}/{os.environ['RANK']}.pt")
"""


def test_two_processes_hold_the_same_running_statistics(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(NORMALISED)
    in_two_processes([str(tmp_path / "script.py"), str(tmp_path)])
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert len(one) == 4
    for name, value in one.items():
        assert torch.equal(value, other[name])
        assert not torch.equal(value, torch.full_like(value, float(name.endswith("var"))))


def test_two_processes_give_the_field_of_one(tmp_path: Path, fitting: list[str], undisturbed: VideoField) -> None:
    ended = in_two_processes([str(ROOT / "scripts" / "train.py"), *fitting, "--out", str(tmp_path / "run")])
    assert ended.stdout.count("done after 12 steps") == 1
    field = load_field(tmp_path / "run").field
    assert apart(field, undisturbed, but="detail.") < 1e-5
    # Where the gradient of a weight nearly cancels out, it is rounding, which differs with the order of sums, and Adam
    # makes steps of usual size of it. What counts of an encoder is the whole: its last layer begins at zero.
    one, other = (learnt(f)["detail.last.weight"] for f in (field, undisturbed))
    assert float((one - other).norm()) < 0.01 * float(other.norm())
    assert "warning" not in ended.stderr.lower()


def test_the_shares_of_two_processes_are_the_batch_of_one(clip: Clip) -> None:
    """Every process's share of a batch is disjoint, and together they are the batch of one process."""
    times, small = keyframe_t(clip.pts_seconds), clip.pixels[..., ::2, ::2]
    sampler = PatchSampler(clip.frames, times, small, [1, 2, 3, 4], TINY.sampling, seed=3)
    whole = sampler.batch(5)
    shares = [sampler.batch(5, rank, 2) for rank in (0, 1)]
    assert sum(share.hidden for share in shares) == whole.hidden
    points = torch.cat([torch.cat([share.uvt, share.rgb], dim=-1) for share in shares])
    expected = torch.cat([whole.uvt, whole.rgb], dim=-1)
    assert torch.equal(torch.unique(points, dim=0), torch.unique(expected, dim=0))


# ------------------------------------------------------------------------------------------------ precision and parts


def test_bf16_stays_close_and_fits_of_different_precision_follow_one_another(clip: Clip, plain: VideoField) -> None:
    half = fit(clip, trained(mixed_precision="bf16"), progress=False).field
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in learnt(half).values())
    shown = [torch.stack(list(render(field, (48, 64), [0.02, 0.06, 0.1]))) for field in (half, plain)]
    assert float((shown[0] - shown[1]).abs().max()) < 0.02
    assert apart(half, plain) > 0
    assert apart(fit(clip, trained(mixed_precision="no"), progress=False).field, plain) == 0
    assert apart(fit(clip, trained(mixed_precision="bf16"), progress=False).field, half) == 0


def test_noise_is_taken_out_before_the_field_is_started(clip: Clip) -> None:
    noise = 15 * torch.randn(clip.frames.shape, generator=torch.Generator().manual_seed(0))
    noisy = replace(clip, frames=(clip.pixels + noise).round().clamp(0, 255).to(torch.uint8))
    config = replace(TINY, training=replace(TINY.training, steps=0))
    config = replace(config, field=replace(config.field, local=replace(config.field.local, keyframe_stride=1)))
    kept, cleaned = (
        fit(noisy, replace(config, denoising=DenoiseConfig(strength)), progress=False).field for strength in (0, 15)
    )
    scores = [
        psnr(torch.stack(list(render(field, field.size, keyframe_t(clip.pts_seconds).tolist()))), clip.pixels).mean()
        for field in (kept, cleaned)
    ]
    assert scores[1] > scores[0] + 5


def test_batches_are_accumulated(clip: Clip, plain: VideoField) -> None:
    """Two batches a step: twice the points are seen, and the step is that of their mean gradient."""
    forwards: list[int] = []

    def count(module: nn.Module, *_: object) -> None:
        if isinstance(module, Objective):
            forwards.append(1)

    handle = register_module_forward_hook(count)
    try:
        result = fit(clip, trained(accumulation=2), progress=False)
    finally:
        handle.remove()
    assert (result.steps, len(forwards)) == (12, 24)
    assert apart(result.field, plain) > 0
    # With a single patch to choose from, every batch is the same, and so is the mean of two.
    small = replace(clip.select(range(3)), frames=clip.pixels[:3, :, 16:32, 16:32])
    sampling = replace(TINY.sampling, hidden_share=1.0)
    loops: list[dict[str, Any]] = [{"steps": 0}, {}, {"accumulation": 2}]
    start, one, two = (fit(small, replace(trained(**loop), sampling=sampling), progress=False).field for loop in loops)
    assert apart(one, two) < 1e-5 < apart(one, start)


# ------------------------------------------------------------------------------------------------ what cannot be


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(clip: Clip, tmp_path: Path) -> None:
    config = replace(TINY, training=replace(TINY.training, device="cuda"))
    with pytest.raises(UserError, match=r"device cuda .* --device auto") as told:
        fit(clip, config, out=tmp_path, progress=False)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_ends_the_fit_with_a_word(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at step \d+; lower training.learning_rate") as told:
        fit(clip, wild(), out=tmp_path, progress=False)
    assert "\n" not in str(told.value)
    assert all(value.isfinite().all() for value in learnt(load_field(tmp_path).field).values())
    assert fit(clip, trained(steps=1), progress=False).steps == 1  # and the next fit works


def test_a_save_that_is_no_number_never_replaces_one_that_is(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        fit(clip, wild(save_seconds=1e-9), out=tmp_path, progress=False)
    if (tmp_path / FIELD_NAME).exists():
        assert all(value.isfinite().all() for value in learnt(load_field(tmp_path).field).values())


# ------------------------------------------------------------------------------------------------ TensorBoard


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> EventAccumulator:
    folder = tmp_path_factory.mktemp("board")
    parts = split(clip_of(moving(7)), 2)
    held_out: HeldOut = parts.held_out
    fit(
        parts.observed,
        trained(steps=20),
        out=folder,
        records={"config.yaml": "seed: 0"},
        held_out=held_out,
        progress=False,
    )
    (file,) = folder.rglob("events.*")
    return EventAccumulator(str(file.parent)).Reload()


def test_the_loss_the_rates_and_the_scores_are_logged(events: EventAccumulator) -> None:
    tags = set(events.Tags()["scalars"])
    assert {f"loss/{name}" for name in ("total", "observed", "hidden", "detail")} <= tags
    assert {"psnr/batch", "psnr/observed", "ssim/observed", "psnr/held out", "ssim/held out"} <= tags
    assert {"training/learning rate, networks", "psnr/expected on unseen frames"} <= tags
    assert "training/points per second" in tags


def test_what_is_logged_is_plausible(events: EventAccumulator) -> None:
    def values(tag: str) -> list[float]:
        return [event.value for event in events.Scalars(tag)]

    assert [event.step for event in events.Scalars("loss/total")] == [10, 20]
    assert [event.step for event in events.Scalars("psnr/held out")] == [0, 20]
    parts = [values(f"loss/{name}") for name in ("observed", "hidden", "detail")]
    assert values("loss/total") == pytest.approx([sum(terms) for terms in zip(*parts, strict=True)])
    first, last = values("training/learning rate, networks")
    assert 0 <= last < first < TINY.training.learning_rate
    assert min(values("training/points per second")) > 0
    assert min(values("psnr/observed")) >= 40


def test_pictures_and_the_settings_are_there(events: EventAccumulator) -> None:
    pictures = set(events.Tags()["images"])
    for number, name in enumerate(("observed", "in between", "held out", "enlarged", "motion", "slow motion"), start=1):
        assert any(tag.startswith(f"field/{number} {name}") for tag in pictures), (name, pictures)
    assert {"about/clip/text_summary", "about/settings/text_summary"} <= set(events.Tags()["tensors"])
