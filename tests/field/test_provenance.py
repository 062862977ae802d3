"""A run and the clip that it reads: moved, replaced, touched, kept beside the field."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from scenes import clip_of, translating
from torch import Tensor

from vfield.core.clip import Clip, ColorInfo, to_uint8
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.field.checkpoint import load_field, save_field
from vfield.field.render import render
from vfield.learn import Config, fit
from vfield.learn.config_files import load_config
from vfield.learn.kept import is_kept_name
from vfield.prepare.opening import open_clip
from vfield.video_io import VideoWriter

pytestmark = pytest.mark.slow

FAST = load_config(Path(__file__).parents[2] / "configs" / "fast.yaml")
SIZE = (40, 56)
COUNT = 6


def film(path: Path, *, step: float = 2.0, noise: float = 0.0) -> Path:
    """A moving picture in a file, exactly."""
    frames = translating(SIZE, COUNT, (step, -1.0))
    frames = frames + noise * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    write(path, to_uint8(frames))
    return path


def write(path: Path, frames: Tensor) -> None:
    lossless: dict[str, Any] = {"color": ColorInfo(), "codec": "ffv1", "overwrite": True}
    with VideoWriter(path, height=SIZE[0], width=SIZE[1], frame_rate=Fraction(25), **lossless) as writer:
        for frame in frames:
            writer.write(frame)


def fitted(source: Path | Clip, run: Path, config: Config = FAST) -> list[Tensor]:
    """Fit, and give what the field shows of two instants."""
    return shown(fit(source, config, out=run, progress=False).field)


def shown(field: torch.nn.Module) -> list[Tensor]:
    return list(render(field, SIZE, [0.0, 0.05]))


def check_shown(run: Path, before: list[Tensor], source: Path | None = None) -> None:
    for made, was in zip(shown(load_field(run, source=source).field), before, strict=True):
        torch.testing.assert_close(made, was, atol=1e-6, rtol=0)


def test_a_source_that_moved_is_found_where_it_is_now(tmp_path: Path) -> None:
    path, run = film(tmp_path / "film.mkv"), tmp_path / "run"
    before = fitted(path, run)
    check_shown(run, before)
    moved = path.rename(tmp_path / "moved.mkv")
    with pytest.raises(UserError, match=r"film\.mkv, from which .* not there; add --source PATH") as caught:
        load_field(run)
    assert "\n" not in str(caught.value)
    check_shown(run, before, moved)
    with pytest.raises(UserError, match=r"nowhere\.mkv, from which"):
        load_field(run, source=tmp_path / "nowhere.mkv")


def test_a_run_goes_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its source is named by its whole path, also where it was fitted by a short one."""
    film(tmp_path / "film.mkv")
    monkeypatch.chdir(tmp_path)
    before = fitted(Path("film.mkv"), Path("run"))
    (tmp_path / "elsewhere").mkdir()
    shutil.move("run", tmp_path / "elsewhere" / "run")
    monkeypatch.chdir(tmp_path / "elsewhere")
    check_shown(Path("run"), before)


def test_another_file_of_the_same_name_is_refused(tmp_path: Path) -> None:
    path, run = film(tmp_path / "film.mkv"), tmp_path / "run"
    before = fitted(path, run)
    own = path.rename(tmp_path / "own.mkv")
    film(path, step=3.0)
    with pytest.raises(UserError, match=r"film\.mkv is not the file that the field was fitted to"):
        load_field(run)
    # As long as its own, and other bytes.
    content = bytearray(own.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"film\.mkv is not the file .* holds something else; add --source"):
        load_field(run)
    with pytest.raises(UserError, match=r"other\.mkv is not the file"):
        load_field(run, source=film(tmp_path / "other.mkv", step=3.0))
    check_shown(run, before, own)


def test_a_source_that_was_only_touched_or_copied_is_taken(tmp_path: Path) -> None:
    path, run = film(tmp_path / "film.mkv"), tmp_path / "run"
    before = fitted(path, run)
    os.utime(path, ns=(1, 1))
    check_shown(run, before)
    shutil.copy(path, tmp_path / "copy.mkv")
    path.unlink()
    check_shown(run, before, tmp_path / "copy.mkv")


@pytest.mark.parametrize("place", ["run", "run/clips"])
def test_a_source_in_the_folder_of_the_run_is_a_source(place: str, tmp_path: Path) -> None:
    folder, run = tmp_path / place, tmp_path / "run"
    folder.mkdir(parents=True)
    path = film(folder / "film.mkv")
    before = fitted(path, run)
    check_shown(run, before)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"film\.mkv is not the file"):
        load_field(run)


def test_a_noisy_clip_is_kept_clean_and_needs_no_source(tmp_path: Path) -> None:
    path, run = film(tmp_path / "film.mkv", noise=0.04), tmp_path / "run"
    before = fitted(path, run, Config(denoising=Config().denoising, field=FAST.field, training=FAST.training))
    assert any(is_kept_name(entry.name) for entry in run.iterdir())
    path.unlink()
    moved = run.rename(tmp_path / "moved")
    check_shown(moved, before)


def test_a_masked_clip_is_kept_filled_and_needs_no_source(tmp_path: Path) -> None:
    path, run = film(tmp_path / "film.mkv"), tmp_path / "run"
    clip = open_clip(path).clip
    visible = torch.ones(COUNT, *SIZE, dtype=torch.bool)
    visible[:, 10:16, 20:26] = False
    masked = Clip(clip.frames, clip.pts_seconds, clip.end_seconds, clip.frame_rate, source=str(path), visible=visible)
    before = fitted(masked, run)
    path.unlink()
    check_shown(run.rename(tmp_path / "moved"), before)


@pytest.mark.parametrize("deep", [False, True])
def test_a_clip_in_memory_is_kept_beside_its_field(deep: bool, tmp_path: Path) -> None:
    frames = translating(SIZE, COUNT)
    frames = (frames * 65535).round() / 65535 if deep else to_uint8(frames)
    before = fitted(clip_of(frames), tmp_path / "run")
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    check_shown(moved, before)
    field = load_field(moved).field
    assert torch.equal(in_memory(field.frames), frames)
    # Saved again elsewhere, it reads what lies there on; what it is lost with is named.
    (tmp_path / "again").mkdir()
    save_field(tmp_path / "again" / "field.safetensors", field, load_field(moved).facts)
    check_shown(tmp_path / "again", before)
    (moved / "field.frames.mkv").unlink()
    with pytest.raises(UserError, match=r"field\.frames\.mkv, from which .* fit again"):
        load_field(moved)


def test_a_part_at_another_size_is_read_again(tmp_path: Path) -> None:
    path, run = film(tmp_path / "film.mkv"), tmp_path / "run"
    clip = open_clip(path, start_seconds=0.04, end_seconds=0.2, size=(20, 28)).clip
    fit(clip.select([0, 2, 3]), FAST, out=run, progress=False)
    field = load_field(run).field
    assert torch.equal(in_memory(field.frames), in_memory(clip.frames)[[0, 2, 3]])
