"""Changed frames in a run's folder: those of an earlier fit stay until there is another field, and nothing is left."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from processes import ROOT
from scenes import translating

from vfield.cli import main
from vfield.core.clip import ColorInfo
from vfield.field.checkpoint import load_field
from vfield.learn.kept import is_kept_name
from vfield.learn.run import Run
from vfield.video_io import VideoWriter

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command that takes the noise out of a clip and learns nothing."""
    monkeypatch.chdir(tmp_path)
    noise = torch.randn(4, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    frames = (translating((32, 48), 4) + 25 / 255 * noise).clamp(0, 1)
    config = ColorInfo("gbr", "pc")
    with VideoWriter("clip.mkv", height=32, width=48, frame_rate=Fraction(25), color=config, codec="ffv1") as writer:
        for frame in frames:
            writer.write(frame)
    plain = ["--config", str(ROOT / "configs" / "fast.yaml"), "--device", "cpu", "--denoise", "25"]
    return ["train", *plain, "--video", "clip.mkv", "--out", "run"]


def kept() -> list[Path]:
    return [path for path in Path("run").iterdir() if is_kept_name(path.name)]


def stopped(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop a command between the first frames it keeps and its first save."""

    def stop(run: Run) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Run, "_groups", stop)
        assert main(words) == 130


def test_a_fit_that_is_stopped_before_its_first_save_is_begun_again(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(words, monkeypatch)
    assert len(kept()) == 1
    assert main(words) == 0
    assert len(kept()) == 1


def test_a_field_reads_its_frames_until_another_takes_its_place(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(words) == 0
    first = load_field("run").field.frames[0]
    stopped([*words, "--overwrite", "--denoise", "10"], monkeypatch)
    assert torch.equal(load_field("run").field.frames[0], first)
    assert main([*words, "--overwrite", "--denoise", "10"]) == 0
    assert len(kept()) == 1
    assert not torch.equal(load_field("run").field.frames[0], first)
    assert main([*words, "--overwrite", "--denoise", "off"]) == 0
    assert kept() == []
