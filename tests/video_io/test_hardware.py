"""Encoders of graphics cards: used where they work, replaced with a word where they do not."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from vfield.core.clip import ColorInfo
from vfield.core.errors import UserError
from vfield.video_io import VideoWriter, inspect_file, read_clip
from vfield.video_io.encode import choose_encoding, quality_of, working_encoder

COLOR = ColorInfo("smpte170m", "tv", "smpte170m", "smpte170m")
# None of these can be opened without the vendor's driver and card; where one can, there is nothing to replace.
ENCODERS = [("h264_nvenc", "h264"), ("h264_qsv", "h264"), ("h264_videotoolbox", "h264"), ("hevc_nvenc", "hevc")]


def works(encoder: str) -> bool:
    return working_encoder(encoder, 144, 192) == encoder


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "coded"), [*ENCODERS, ("hevc_vaapi", "hevc")])
def test_what_does_not_work_is_replaced(
    tmp_path: Path, encoder: str, coded: str, caplog: pytest.LogCaptureFixture
) -> None:
    if works(encoder):
        pytest.skip(f"{encoder} works here")
    caplog.clear()
    caplog.set_level(logging.INFO, logger="vfield")
    frames = torch.randint(0, 255, (5, 3, 144, 192), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "out.mp4"
    with VideoWriter(
        path, height=144, width=192, frame_rate=Fraction(25), color=COLOR, codec=encoder, crf=18
    ) as writer:
        for frame in frames:
            writer.write(frame)
    assert len([line for line in caplog.messages if line.startswith(f"{encoder} cannot be used here (")]) == 1
    assert inspect_file(path).info.codec == coded
    assert len(read_clip(path)) == 5


@pytest.mark.parametrize(("encoder", "coded"), ENCODERS)
def test_what_works_is_used(tmp_path: Path, encoder: str, coded: str) -> None:
    if not works(encoder):
        pytest.skip(f"{encoder} does not work here")
    assert choose_encoding(".mp4", 144, 192, COLOR, codec=encoder, crf=18).encoder == encoder


@pytest.mark.parametrize("name", ["h264_abacus", "nvenc", "abacus_nvenc", "hevc_"])
def test_an_unknown_name_is_an_error(name: str) -> None:
    with pytest.raises(UserError, match=f"unknown codec {name}"):
        choose_encoding(".mp4", 144, 192, COLOR, codec=name)


def test_scales_of_quality() -> None:
    """videotoolbox counts upwards to 100 times 118, and nvenc takes 0 for "automatic"."""
    video_toolbox, nvenc = quality_of("hevc_videotoolbox"), quality_of("h264_nvenc")
    assert video_toolbox is not None
    assert nvenc is not None
    scale = [int(video_toolbox.options(crf)["global_quality"]) for crf in range(video_toolbox.worst + 1)]
    assert scale[0] == 11800
    assert scale == sorted(scale, reverse=True)
    assert scale[-1] >= 118
    assert nvenc.best == 1
    assert nvenc.options(20)["cq"] == "20"
    assert quality_of("prores_ks") is None
