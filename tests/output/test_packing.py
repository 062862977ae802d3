"""Runs that stand alone: their clip, or the part of it that is used, lies in their folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from films import every, middle_of_sound, write_film

from vfield.core.clip import ColorInfo
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.core.metrics import psnr
from vfield.field.checkpoint import SavedField, load_field
from vfield.learn import Config, fit
from vfield.output.export import export
from vfield.output.packing import pack
from vfield.prepare.opening import open_clip
from vfield.video_io import VideoWriter, inspect_file

pytestmark = pytest.mark.slow

QUICK = replace(Config(), training=replace(Config().training, steps=0, device="cpu"))


def film(path: Path, **options: str) -> Path:
    """Two seconds at 25 frames a second with a key frame every half second, a tone and a swell at 1.2 s."""
    write_film(path, every(50, 25), mark_seconds=1.2, options={"g": "12", "bf": "2", **options})
    return path


def fitted(source: Path, run: Path, start: float | None = None, end: float | None = None) -> SavedField:
    fit(open_clip(source, start_seconds=start, end_seconds=end).clip, QUICK, out=run, progress=False)
    return load_field(run)


def alone(run: Path, source: Path) -> Path:
    """The run after its source was removed and its folder moved."""
    source.unlink()
    return Path(shutil.move(run, run.with_name("moved")))


def check_same(run: Path, before: SavedField, frames: torch.Tensor) -> None:
    after = load_field(run)
    assert after.facts == replace(before.facts, source=after.facts.source)
    assert torch.equal(in_memory(after.field.frames), frames)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_part_is_cut_out_and_stays_exact(tmp_path: Path, suffix: str) -> None:
    source, run = film(tmp_path / f"film{suffix}"), tmp_path / "run"
    before = fitted(source, run, start=1.1, end=1.6)
    frames, size = in_memory(before.field.frames), source.stat().st_size
    (packed,) = pack(run)
    assert packed == run / f"field.source{suffix}"
    assert packed.stat().st_size < size * 0.8
    moved = alone(run, source)
    check_same(moved, before, frames)
    export(moved, tmp_path / "out.mp4", audio="copy", progress=False)
    assert middle_of_sound(tmp_path / "out.mp4") == pytest.approx(1.2 - 1.12, abs=0.03)


def test_a_whole_clip_is_copied_as_it_is(tmp_path: Path) -> None:
    source, run = film(tmp_path / "film.mp4"), tmp_path / "run"
    before = fitted(source, run)
    frames, held = in_memory(before.field.frames), source.read_bytes()
    (packed,) = pack(run)
    assert packed.read_bytes() == held
    check_same(alone(run, source), before, frames)


def test_a_container_that_cannot_be_cut_is_copied_whole(tmp_path: Path) -> None:
    source, run = film(tmp_path / "film.ts"), tmp_path / "run"
    before = fitted(source, run, start=1.0, end=1.4)
    frames, held = in_memory(before.field.frames), source.read_bytes()
    (packed,) = pack(run)
    assert packed.read_bytes() == held
    check_same(alone(run, source), before, frames)


def test_frames_coded_anew_are_smaller_and_near(tmp_path: Path) -> None:
    source, run = tmp_path / "noise.mkv", tmp_path / "run"
    generator = torch.Generator().manual_seed(0)
    still = torch.rand(1, 6, 8, generator=generator).expand(3, 6, 8).repeat_interleave(8, 1).repeat_interleave(8, 2)
    with VideoWriter(
        source, height=48, width=64, frame_rate=Fraction(30000, 1001), color=ColorInfo(), codec="ffv1"
    ) as writer:
        for number in range(12):
            writer.write((255 * still.roll(number, -1)).to(torch.uint8))
    before = fitted(source, run, start=0.1)
    frames, first = in_memory(before.field.frames), before.facts.pts_seconds[0]
    (packed,) = pack(run, crf=20)
    assert packed.stat().st_size < source.stat().st_size / 3
    after = load_field(alone(run, source))
    assert after.facts.pts_seconds == tuple(pts - first for pts in before.facts.pts_seconds)
    assert psnr(in_memory(after.field.frames), frames).mean() > 30


def test_packing_again_replaces_what_was_packed(tmp_path: Path) -> None:
    source, run = film(tmp_path / "film.mkv"), tmp_path / "run"
    fitted(source, run, start=1.1, end=1.6)
    pack(run)
    source.unlink()
    assert pack(run) == [run / "field.source.mkv"]  # where it lies already
    assert pack(run, crf=30) == [run / "field.source.1.mp4"]
    assert not (run / "field.source.mkv").exists()
    told = inspect_file(run / "field.source.1.mp4")
    assert (told.info.frame_count, [track.codec for track in told.audio]) == (12, ["aac"])


def test_what_cannot_be_packed_is_told(tmp_path: Path) -> None:
    source, run = film(tmp_path / "film.mp4"), tmp_path / "run"
    saved = fitted(source, run)
    (tmp_path / "other.mp4").write_bytes(source.read_bytes())
    source.rename(tmp_path / "gone.mp4")
    with pytest.raises(UserError, match="is not there"):
        pack(run)
    assert saved.facts.source == str(source)
    assert not list(run.glob("field.source.*"))
