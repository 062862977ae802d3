"""Fits to clips of which something is hidden: what is hidden has no say, and what is missing is made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from scenes import clip_of, picture, start_of, translating
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms.functional import to_pil_image

from vfield.cli import render_main, train_main
from vfield.core.clip import Clip, ColorInfo, to_uint8
from vfield.core.coords import keyframe_t
from vfield.core.errors import UserError
from vfield.core.metrics import psnr, psnr_within
from vfield.field.checkpoint import load_field
from vfield.field.fourier import FourierConfig
from vfield.field.latents import LocalConfig
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.learn import Config, fit
from vfield.learn.board import Board
from vfield.learn.config_files import load_config
from vfield.learn.objective import Objective, ObjectiveConfig
from vfield.learn.rehearsal import squared_errors
from vfield.learn.sampling import PatchSampler, SamplingConfig
from vfield.learn.sources import RUN_NAME
from vfield.learn.start import _halved_visible
from vfield.prepare.fill import fill
from vfield.video_io import VideoWriter, read_clip

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = load_config(CONFIGS / "tiny.yaml")
TINY = replace(TINY, training=replace(TINY.training, steps=2))
SIZE = (48, 64)
FRAMES = to_uint8(translating(SIZE, 6, (3.0, -2.0)))


def box() -> Tensor:
    visible = torch.ones(6, *SIZE, dtype=torch.bool)
    visible[:, 16:27, 20:32] = False
    return visible


def holed(visible: Tensor, value: int = 0) -> Clip:
    return replace(clip_of(torch.where(visible[:, None], FRAMES, value)), visible=visible)


def fitted(clip: Clip, config: Config = TINY) -> VideoField:
    config = replace(config, training=replace(config.training, device="cpu"))
    return fit(clip, config, progress=False).field


def same(one: VideoField, other: VideoField) -> bool:
    here, there = one.state_dict(), other.state_dict()
    return here.keys() == there.keys() and all(torch.equal(here[name], there[name]) for name in here)


def frames_of(field: VideoField, t: list[float]) -> Tensor:
    return torch.stack(list(render(field, SIZE, t)))


NEVER = LocalConfig(colours=False, levels=(8,), channels=4)


@pytest.mark.parametrize("local", [TINY.field.local, NEVER], ids=["colours", "latents"])
def test_what_is_hidden_has_no_say_in_a_fit(local: LocalConfig) -> None:
    config = replace(TINY, field=replace(TINY.field, local=local))
    one, two = (fitted(holed(box(), value), config) for value in (0, 255))
    assert same(one, two)


def test_a_field_shows_what_the_hole_hid() -> None:
    field = fitted(holed(box()))
    made = frames_of(field, (torch.arange(6) / 25).tolist())
    assert float(psnr_within(made, FRAMES, ~box()).min()) > 35


def test_a_field_without_colours_learns_from_what_is_visible_and_decodes_the_rest() -> None:
    # A network over smooth features: what it makes in the hole is what fits around it.
    field = replace(
        TINY.field,
        local=LocalConfig(colours=False, levels=()),
        motion=replace(TINY.field.motion, enabled=False),
        fourier=FourierConfig(count=16, space_bandwidth=1.0, time_bandwidth=0.5),
        decoder=replace(TINY.field.decoder, width=32, depth=2),
    )
    config = replace(
        TINY,
        field=field,
        sampling=SamplingConfig(patches=64, patch_size=4),
        training=replace(TINY.training, steps=60, learning_rate=0.02),
    )
    visible = box()
    smooth = F.interpolate(picture((6, 8))[None], size=SIZE, mode="bicubic", align_corners=True)
    still = to_uint8(smooth).expand(6, -1, -1, -1)
    white = replace(clip_of(torch.where(visible[:, None], still, 255)), visible=visible)
    t = [0.08]
    masked = frames_of(fitted(white, config), t)
    fooled = frames_of(fitted(replace(white, visible=None), config), t)
    hole = ~visible[:1]
    assert float(psnr_within(masked, still[:1], ~hole)) > 20
    assert float(psnr_within(masked, still[:1], hole)) > float(psnr_within(fooled, still[:1], hole)) + 4


def test_a_mask_of_nothing_changes_nothing() -> None:
    assert same(fitted(clip_of(FRAMES)), fitted(holed(torch.ones(6, *SIZE, dtype=torch.bool))))


def test_a_missing_frame_is_a_frame_left_out() -> None:
    visible = torch.ones(6, *SIZE, dtype=torch.bool)
    visible[3] = False
    field = fitted(holed(visible))
    left_out = fitted(clip_of(FRAMES).select([0, 1, 2, 4, 5]))
    assert same(field, left_out)
    assert torch.equal(field.timeline.t, left_out.timeline.t)
    assert float(psnr(frames_of(field, [3 / 25]), FRAMES[3:4])) > 28


def test_time_does_not_shift_where_the_first_frame_is_missing() -> None:
    visible = torch.ones(6, *SIZE, dtype=torch.bool)
    visible[0] = False
    field = fitted(holed(visible))
    made = frames_of(field, (torch.arange(6) / 25).tolist())
    assert torch.equal(to_uint8(made), FRAMES[[1, 1, 2, 3, 4, 5]])
    assert field.timeline.shots == [range(1), range(1, 6)]


def test_everything_hidden_is_no_clip() -> None:
    with pytest.raises(UserError, match=r"every pixel of the clip is hidden"):
        holed(torch.zeros(6, *SIZE, dtype=torch.bool))
    with pytest.raises(UserError, match=r"visible must be bool and of the frames' \(6, 48, 64\), got \(6, 48, 63\)"):
        replace(clip_of(FRAMES), visible=box()[:, :, 1:])
    with pytest.raises(UserError, match=r"got \(6, 48, 64\) torch.uint8"):
        replace(clip_of(FRAMES), visible=box().byte())


def test_samples_say_what_is_the_truth() -> None:
    visible = box()
    small = _halved_visible(visible)
    # Rows 16 to 26 and columns 20 to 31 touch these of the halved frames.
    assert torch.equal((~small[0]).nonzero().amin(0), torch.tensor([8, 10]))
    assert torch.equal((~small[0]).nonzero().amax(0), torch.tensor([13, 15]))
    halved = FRAMES[..., ::2, ::2]
    t = keyframe_t(clip_of(FRAMES).pts_seconds)
    config = SamplingConfig(patches=8, patch_size=12)

    def coded(shown: Tensor) -> Tensor:
        return torch.where(shown[:, None], 0, 255).to(torch.uint8).expand(-1, 3, -1, -1)

    # Frames that are white where they are hidden: the batch must say so of each point.
    marked = PatchSampler(coded(visible), t, coded(small), [1, 2, 3], config, 0, visible, small)
    plain = PatchSampler(FRAMES, t, halved, [1, 2, 3], config, 0)
    for step in range(4):
        batch = marked.batch(step)
        assert batch.visible is not None
        assert torch.equal(batch.visible, batch.rgb[:, 0] == 0)
        assert not batch.visible.all()
        assert torch.equal(batch.uvt, plain.batch(step).uvt)
        assert plain.batch(step).visible is None


def test_losses_and_checks_leave_out_what_is_no_truth() -> None:
    visible = box()
    start = start_of(replace(clip_of(FRAMES), visible=visible))
    rehearsal, enlarging = start.rehearsal, start.enlarging
    assert rehearsal is not None
    assert enlarging is not None
    sampler = PatchSampler(
        FRAMES,
        rehearsal.t,
        rehearsal.frames,
        rehearsal.learning,
        SamplingConfig(patches=8, patch_size=16),
        0,
        visible,
        rehearsal.visible,
    )
    batch, patches = sampler.batch(0), enlarging.patches(0, 0, False)
    assert batch.visible is not None
    assert patches.visible is not None
    objective = Objective(start.field, rehearsal.field, ObjectiveConfig())
    with torch.no_grad():
        terms = objective(batch, patches)
        wrong = batch._replace(rgb=torch.where(batch.visible[:, None], batch.rgb, 9.0))
        residual = torch.where(patches.visible, patches.residual, 9.0)
        assert torch.equal(torch.stack(objective(wrong, patches._replace(residual=residual))), torch.stack(terms))
        blind = objective(wrong._replace(visible=None), patches._replace(residual=residual, visible=None))
    assert blind.observed > terms.observed
    assert blind.hidden > terms.hidden
    assert blind.detail > terms.detail
    assert rehearsal.visible is not None
    seen = torch.stack([rehearsal.frames[k] for k in range(len(rehearsal.frames))])
    white = seen.where(rehearsal.visible[:, None], 255)
    found = squared_errors(rehearsal, [1, 2])
    assert torch.equal(squared_errors(rehearsal._replace(frames=white), [1, 2]), found)
    none = rehearsal.visible.clone()
    none[1] = False
    assert torch.equal(squared_errors(rehearsal._replace(visible=none), [1, 2]), found[1].expand(2))


def test_the_board_shows_and_judges_what_is_seen(tmp_path: Path) -> None:
    visible = box()
    clip = fill(holed(visible))
    field = fitted(clip_of(FRAMES))
    wrong = replace(clip, frames=torch.where(visible[:, None], clip.pixels, 0))
    with SummaryWriter(str(tmp_path)) as writer:
        board = Board(writer, wrong, None, "cpu")
        # The field has its frames, and what it makes of the hole is not held against it.
        assert board.quality(field, 0)["psnr/observed"] == 100
        label, picture = board._observed(field)[0]
    assert label.startswith("seen at")
    assert torch.equal(picture[:, 20, 25], torch.tensor([0.9, 0.1, 0.7]))
    assert torch.equal(to_uint8(picture)[:, visible[0]], FRAMES[3][:, visible[0]])


def test_from_a_mask_to_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lossless = {"height": SIZE[0], "width": SIZE[1], "frame_rate": clip_of(FRAMES).frame_rate, "codec": "ffv1"}
    visible = box()
    visible[2] = False
    with VideoWriter("clip.mkv", color=ColorInfo(), **lossless) as writer:  # type: ignore[arg-type]
        for frame, seen in zip(FRAMES, visible, strict=True):
            writer.write(torch.where(seen, frame, 255))
    with VideoWriter("mask.mkv", color=ColorInfo(), **lossless) as writer:  # type: ignore[arg-type]
        for seen in visible:
            writer.write((255 * ~seen).to(torch.uint8).expand(3, -1, -1))
    tiny = ["--config", str(CONFIGS / "tiny.yaml"), "--device", "cpu"]
    assert train_main([*tiny, "--steps", "1", "--video", "clip.mkv", "--mask", "mask.mkv", "--out", "run"]) == 0
    assert json.loads(Path("run", RUN_NAME).read_text())["mask"] == "mask.mkv"
    assert load_field("run").facts.missing == (2,)
    # The frame that nobody saw is made, not held.
    assert render_main(["run", "-o", "whole.mkv", "--codec", "ffv1"]) == 0
    whole = read_clip("whole.mkv").pixels
    assert float(psnr_within(whole, FRAMES, ~visible)[[0, 1, 3, 4, 5]].min()) > 32
    assert float(psnr(whole[2:3], FRAMES[2:3])) > float(psnr(whole[1:2], FRAMES[2:3])) + 6
    # Going on needs the same mask, which the run knows.
    assert train_main([*tiny, "--resume", "--out", "run", "--mask", "other.mkv"]) == 2
    assert "--mask other.mkv differs from the run's mask.mkv" in capfd.readouterr().err
    Path("mask.mkv").rename("other.mkv")
    assert train_main([*tiny, "--resume", "--out", "run"]) == 2
    assert "mask.mkv does not exist" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--mask", "nowhere.png"], "nowhere.png does not exist"),
        (["--mask", "white.png"], "hides every pixel"),
        (["--mask", "narrow.png"], "is of 10x48"),
        (["--mask", "text.png"], "text.png"),
        (["--mask", "black.png", "--holdout", "2"], "--mask and --holdout"),
    ],
)
def test_masks_that_make_no_fit(
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    demo_clip: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value, width in (("white", 255, 85), ("black", 0, 85), ("narrow", 0, 10)):
        to_pil_image(torch.full((1, 48, width), value, dtype=torch.uint8)).save(f"{name}.png")
    Path("text.png").write_text("no picture")
    assert train_main(["--video", str(demo_clip), "--end", "0.2", "--size", "96x54", "--out", "run", *words]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert told in error
    assert not Path("run").exists()
