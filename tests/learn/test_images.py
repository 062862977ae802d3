"""Pictures: read as clips of one frame, fitted as f(u, v), asked for at any size, written as one file."""

from __future__ import annotations

import math
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange, reduce
from PIL import Image
from scenes import clip_of, translating
from torch import Tensor

from vfield.cli import main
from vfield.core.clip import ColorInfo, to_float
from vfield.core.coords import pixel_uv
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.field.checkpoint import SavedField
from vfield.field.config import FieldConfig
from vfield.learn.start import start_field
from vfield.output.config import ExportConfig
from vfield.output.export import export
from vfield.prepare.flow import FlowConfig
from vfield.video_io import VideoWriter, read_clip

CONFIG = str(Path(__file__).parents[2] / "configs" / "theory" / "image.yaml")
SMALL = ["--steps", "200", "--field.decoder.width", "48", "--field.fourier.count", "48", "--sampling.patches", "4"]
SMALL += ["--field.fourier.space_bandwidth", "2", "--training.learning_rate", "0.01"]
SIZE = (24, 32)
GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6  # colour types of PNG


def scene(height: int, width: int) -> Tensor:
    """A smooth picture that is known at every size: (3, height, width) in [0, 1]."""
    u, v = pixel_uv(height, width).unbind(dim=-1)
    waves = [(2 * math.pi * (2 * u + v)).sin(), (2 * math.pi * (u - 2 * v)).cos(), (6 * math.pi * u * v).sin()]
    return torch.stack(waves) * 0.4 + 0.5


def write_png(path: Path, pixels: np.ndarray, kind: int) -> None:
    """A PNG file by hand (RFC 2083): (h, w, c) uint8 or uint16, unfiltered."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(data)


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


@pytest.mark.parametrize("most", [255, 65535])
@pytest.mark.parametrize("kind", [GREY, RGB, GREY_ALPHA, RGBA])
@pytest.mark.parametrize("opaque", [True, False])
def test_every_kind_of_png_is_read_right(
    kind: int, most: int, opaque: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    colours = scene(*SIZE) if kind in (RGB, RGBA) else scene(*SIZE)[:1]
    alpha = torch.full((1, *SIZE), 1.0 if opaque else 0.25)
    stored = torch.cat([colours, alpha]) if kind in (GREY_ALPHA, RGBA) else colours
    pixels = rearrange((stored * most).round().numpy(), "c h w -> h w c")
    write_png(tmp_path / "a.png", pixels.astype(np.uint8 if most == 255 else np.uint16), kind)
    clip = read_clip(tmp_path / "a.png")
    # What is transparent is seen over black.
    shown = colours * alpha if kind in (GREY_ALPHA, RGBA) else colours
    torch.testing.assert_close(to_float(clip.pixels)[0], shown.expand(3, *SIZE), atol=1.01 / most, rtol=0)
    assert clip.color.bit_depth == (8 if most == 255 else 16)
    assert caplog.messages == []
    if opaque or kind in (GREY, RGB):
        assert clip.alpha is None
    else:
        assert clip.alpha is not None
        torch.testing.assert_close(to_float(in_memory(clip.alpha)), alpha, atol=0.51 / most, rtol=0)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_read_in_its_own_colours(mode: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture = Image.fromarray(rearrange((scene(*SIZE) * 255).round().byte(), "c h w -> h w c").numpy()).convert(mode)
    picture.save(tmp_path / "a.jpg", quality=98, subsampling=0)
    known = torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255
    frame = to_float(read_clip(tmp_path / "a.jpg").pixels)[0]
    torch.testing.assert_close(frame, rearrange(known, "h w c -> c h w"), atol=8 / 255, rtol=0)
    assert caplog.messages == []


@pytest.mark.slow
def test_a_picture_file_becomes_a_function_of_u_and_v(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = rearrange((scene(*SIZE) * 255).round().byte().numpy(), "c h w -> h w c")
    write_png(tmp_path / "photo.png", pixels, RGB)
    assert main(["train", "--config", CONFIG, *SMALL, "--video", "photo.png", "--device", "cpu"]) == 0
    assert "vfield render runs/photo --scale 2 -o large.png" in capfd.readouterr().out
    for width, height in ((32, 24), (80, 60), (16, 12)):
        assert main(["render", "runs/photo", "--size", f"{width}x{height}", "-o", f"{width}.png"]) == 0
        assert f"{width}.png: {width}x{height}, made in" in capfd.readouterr().out
        written = torch.from_numpy(np.array(Image.open(f"{width}.png"))).float() / 255
        # A pixel is the mean over its footprint.
        true = reduce(scene(8 * height, 8 * width), "c (h a) (w b) -> h w c", "mean", a=8, b=8)
        assert psnr(written, true) > 30
    assert not list(tmp_path.glob(".*"))


def test_a_deep_picture_comes_back_as_deep(tmp_path: Path) -> None:
    pixels = rearrange((scene(*SIZE) * 65535).round().numpy(), "c h w -> h w c").astype(np.uint16)
    write_png(tmp_path / "deep.png", pixels, RGB)
    clip = read_clip(tmp_path / "deep.png")
    saved = SavedField(start_field(clip, FieldConfig(), FlowConfig(), seed=0).field.eval(), clip.facts)
    export(saved, tmp_path / "again.png", ExportConfig(), progress=False)
    again = read_clip(tmp_path / "again.png")
    assert again.color.bit_depth == 16
    # Far finer than a step of 8 bits; what is left is that of the field's own sums in float32.
    torch.testing.assert_close(again.frames, clip.frames, atol=4 / 65535, rtol=0)


def test_a_picture_file_holds_one_picture(tmp_path: Path) -> None:
    clip = clip_of(translating(SIZE, 3))
    saved = SavedField(start_field(clip, FieldConfig(), FlowConfig(), seed=0).field.eval(), clip.facts)
    with pytest.raises(UserError, match=r"out\.png holds one picture, and 3 frames were asked for; choose one"):
        export(saved, tmp_path / "out.png", ExportConfig(), progress=False)
    export(saved, tmp_path / "out.png", ExportConfig(start=0.04, end=0.08), progress=False)
    written = to_float(read_clip(tmp_path / "out.png").pixels)[0]
    torch.testing.assert_close(written, to_float(clip.pixels)[1], atol=1.01 / 255, rtol=0)
    with pytest.raises(UserError, match="exists; add --overwrite"):
        export(saved, tmp_path / "out.png", ExportConfig(start=0.04, end=0.08), progress=False)
    with pytest.raises(UserError, match="crf 10 means nothing"):
        export(saved, tmp_path / "new.png", ExportConfig(start=0.04, end=0.08, crf=10), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_second_picture_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    def write_two() -> None:
        with VideoWriter(
            tmp_path / "two.png", height=24, width=32, frame_rate=Fraction(25), color=ColorInfo()
        ) as writer:
            writer.write(scene(*SIZE))
            writer.write(scene(*SIZE))

    with pytest.raises(UserError, match="holds one picture"):
        write_two()
    assert list(tmp_path.iterdir()) == []
