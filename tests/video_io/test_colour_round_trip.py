"""Colour on the whole way: a file is read, a field shows its frames, they are written, and read again."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from PIL import Image
from torch import Tensor

from vfield.core.clip import Clip, ColorInfo, ContentLight, MasteringDisplay, to_float
from vfield.field.checkpoint import SavedField, load_field, save_field
from vfield.field.config import FieldConfig
from vfield.field.decoder import DecoderConfig
from vfield.field.latents import LocalConfig
from vfield.field.motion import MotionConfig
from vfield.learn.start import start_field
from vfield.output.config import ExportConfig
from vfield.output.export import export
from vfield.prepare.denoise import DenoiseConfig, denoise
from vfield.prepare.flow import FlowConfig
from vfield.video_io import VideoWriter, probe, read_clip

STILL = FieldConfig(
    local=LocalConfig(levels=(16,), channels=2),
    motion=MotionConfig(enabled=False),
    decoder=DecoderConfig(width=8, depth=1),
)
SIDE, MARGIN = 24, 9  # of a patch; what subsampled chroma of its neighbours reaches into
# Black, greys and white; dark, skin, foliage, sky; the primaries and what they mix to, not quite saturated.
PATCHES = [
    *([level] * 3 for level in (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.99, 1.0)),
    *([0.06, 0.03, 0.02], [0.76, 0.58, 0.51], [0.34, 0.42, 0.26], [0.38, 0.48, 0.62]),
    *([0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.1, 0.9, 0.9], [0.9, 0.1, 0.9], [0.9, 0.9, 0.1]),
]
CODES = {"bt709": 1, "smpte170m": 6, "bt2020nc": 9, "bt2020": 9, "smpte2084": 16, "arib-std-b67": 18, "tv": 1, "pc": 2}
LUMA = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}
SCREEN = MasteringDisplay(
    red=(0.68, 0.32),
    green=(0.265, 0.69),
    blue=(0.15, 0.06),
    white=(0.3127, 0.329),
    min_luminance=0.005,
    max_luminance=1000.0,
)


def chart() -> np.ndarray:
    """(3, 72, 144): the patches, in three rows of six."""
    colours = np.array(PATCHES).reshape(3, 6, 3)
    return repeat(colours, "rows columns c -> c (rows h) (columns w)", h=SIDE, w=SIDE)


def patch_means(frames: Tensor) -> Tensor:
    """(t, 3, 72, 144) -> (18, 3): the mean of each patch, its border left out."""
    patches = rearrange(to_float(frames), "t c (y h) (x w) -> (y x) t h w c", h=SIDE, w=SIDE)
    return reduce(patches[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN], "n t h w c -> n c", "mean")


def codes_of(rgb: np.ndarray, color: ColorInfo) -> list[np.ndarray]:
    """Y, Cb and Cr codes by the standards' equations, at full resolution."""
    red, blue = LUMA[color.matrix]
    luma = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
    signals = [luma, (rgb[2] - luma) / (2 - 2 * blue), (rgb[0] - luma) / (2 - 2 * red)]
    unit, top = 2 ** (color.bit_depth - 8), 2**color.bit_depth - 1
    spans = [219 * unit, 224 * unit, 224 * unit] if color.range == "tv" else [top] * 3
    offsets = [16 * unit if color.range == "tv" else 0, 128 * unit, 128 * unit]
    return [np.rint(s * w + o).clip(0, top) for s, w, o in zip(signals, spans, offsets, strict=True)]


def store(path: Path, color: ColorInfo, sampling: str, picture: np.ndarray | None = None) -> None:
    """The chart, or another picture, as a lossless file of two frames."""
    planes = codes_of(chart() if picture is None else picture, color)
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = planes[0].shape
        stream.pix_fmt = f"yuv{sampling}p" + ("" if color.bit_depth == 8 else f"{color.bit_depth}le")
        down, across = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}[sampling]
        for index in range(2):
            frame = av.VideoFrame(stream.width, stream.height, stream.pix_fmt)
            targets: tuple[Any, ...] = (stream.codec_context, frame)
            for target in targets:
                target.colorspace, target.color_range = CODES[color.matrix], CODES[color.range]
                target.color_primaries, target.color_trc = CODES[color.primaries], CODES[color.transfer]
            for number, (plane, values) in enumerate(zip(frame.planes, planes, strict=True)):
                kept = values[::down, ::across] if number else values
                rows = np.ascontiguousarray(kept.astype("<u1" if color.bit_depth == 8 else "<u2")).view(np.uint8)
                plane.update(np.pad(rows, ((0, 0), (0, plane.line_size - rows.shape[1]))).tobytes())
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def field_of(clip: Clip) -> SavedField:
    """A field that has learnt nothing."""
    return SavedField(start_field(clip, STILL, FlowConfig(), 0, rehearse=False).field.eval(), clip.facts)


def through_its_file(saved: SavedField, folder: Path) -> SavedField:
    save_field(folder / "field.safetensors", saved.field, saved.facts)
    return load_field(folder / "field.safetensors")


def written(saved: SavedField, path: Path, **config: Any) -> Clip:
    export(saved, path, ExportConfig(**config), progress=False)
    return read_clip(path)


def shifts(one: Tensor, other: Tensor) -> tuple[float, float]:
    """How far the means of the pictures, and of the worst patch, are apart: levels of 255, the worst of R, G, B."""
    whole = reduce(to_float(one) - to_float(other), "t c h w -> c", "mean").abs().max()
    return 255 * float(whole), 255 * float((patch_means(one) - patch_means(other)).abs().max())


def ramp(bits: int, **facts: Any) -> Clip:
    """Two grey frames in which every code of a depth comes once, full range."""
    levels = torch.arange(2**bits, dtype=torch.float32) / (2**bits - 1)
    frames = repeat(levels, "(h w) -> t c h w", t=2, c=3, h=2 ** (bits // 2))
    color = ColorInfo(bit_depth=bits, **facts)
    return Clip(frames.contiguous(), (Fraction(0), Fraction(1, 25)), Fraction(2, 25), Fraction(25), color)


# ------------------------------------------------------------------------------------------------ the whole way


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("range_name", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("sampling", ["420", "422", "444"])
def test_no_colour_shifts_on_the_whole_way(
    tmp_path: Path, sampling: str, matrix: str, range_name: str, bits: int
) -> None:
    primaries, transfer = ("bt2020", "smpte2084") if matrix == "bt2020nc" else (matrix, matrix)
    color = ColorInfo(matrix, range_name, primaries, transfer, bits)
    store(tmp_path / "in.mkv", color, sampling)
    clip = read_clip(tmp_path / "in.mkv")
    assert clip.color == color
    # What is read is the chart, but for the rounding of its codes.
    code = 1 / (219 * 2 ** (bits - 8))
    assert (patch_means(clip.pixels) - torch.tensor(PATCHES)).abs().max() < 1.5 * code

    name = f"yuv{sampling}p" + ("" if bits == 8 else f"{bits}le")
    again = written(field_of(clip), tmp_path / "out.mkv", codec="ffv1", pixel_format=name)
    assert again.color == color
    mean, patch = shifts(again.pixels, clip.pixels)
    # What the edges between patches lose where RGB ends; chroma on the even columns is not symmetric about them.
    assert mean < 0.1
    # Deep codes come back as they were. Those of 8 bits go by way of RGB in bytes.
    assert patch < (0.5 if bits == 8 else 0.001)


def coloured_wave() -> Tensor:
    """(3, 16, 96): colours that change along rows only, smoothly."""
    angle = torch.arange(96) * (2 * math.pi / 16)
    rows = torch.stack([0.5 + 0.2 * angle.sin(), torch.full((96,), 0.5), 0.5 - 0.2 * angle.sin()])
    return repeat(rows, "c w -> c h w", h=16)


def inner(picture: Tensor) -> Tensor:
    """Without the columns at whose sides samples of chroma are missing."""
    return picture[..., 6:-6]


@pytest.mark.parametrize("sampling", ["420", "422"])
def test_chroma_lies_on_the_even_columns(tmp_path: Path, sampling: str) -> None:
    color = ColorInfo("bt709", "tv", "bt709", "bt709", 8)
    store(tmp_path / "in.mkv", color, sampling, coloured_wave().numpy())
    # Half a pixel off would be 10 levels.
    read = to_float(read_clip(tmp_path / "in.mkv").pixels)[0]
    torch.testing.assert_close(inner(read), inner(coloured_wave()), atol=2 / 255, rtol=0)
    clip = Clip(coloured_wave()[None], (Fraction(0),), Fraction(1, 25), Fraction(25), color)
    export(field_of(clip), tmp_path / "out.mkv", ExportConfig(codec="ffv1", pixel_format=f"yuv{sampling}p"))
    with av.open(tmp_path / "out.mkv") as container:
        frame = next(container.decode(video=0))
    blue = np.asarray(memoryview(frame.planes[1])).reshape(frame.planes[1].height, -1)[:, :48].astype(int)
    assert np.abs(blue - codes_of(coloured_wave().numpy(), color)[1][: len(blue), ::2]).max() <= 2


def test_chroma_of_a_jpeg_lies_between_columns(tmp_path: Path) -> None:
    picture = Image.fromarray(rearrange((coloured_wave() * 255).round().byte(), "c h w -> h w c").numpy())
    picture.save(tmp_path / "a.jpg", quality=100, subsampling="4:2:0")
    read = to_float(read_clip(tmp_path / "a.jpg").pixels)[0]
    torch.testing.assert_close(inner(read), inner(coloured_wave()), atol=3 / 255, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (("smpte170m", "tv", "smpte170m", "smpte170m"), "out.mp4"),
        (("bt709", "pc", "bt709", "bt709"), "out.mp4"),
        (("bt709", "tv", "bt709", "bt709"), "out.webm"),
        (("bt2020nc", "tv", "bt2020", "smpte2084"), "out.mp4"),
        (("bt2020nc", "tv", "bt2020", "arib-std-b67"), "out.mp4"),
        (("bt2020nc", "tv", "bt2020", "smpte2084"), "out.webm"),
    ],
)
def test_no_colour_shifts_by_the_default_codec(
    tmp_path: Path, facts: tuple[str, str, str, str], name: str, bits: int
) -> None:
    store(tmp_path / "in.mkv", ColorInfo(*facts, bits), "420")
    clip = read_clip(tmp_path / "in.mkv")
    again = written(field_of(clip), tmp_path / name)
    deep = bits > 8 or clip.color.is_hdr
    assert again.color == replace(clip.color, bit_depth=10 if deep else 8)
    info = probe(tmp_path / name)
    expected = {"out.mp4": ("h264", "hevc"), "out.webm": ("vp9", "av1")}[name][deep]
    assert info.codec == expected
    assert info.pixel_format.replace("yuvj", "yuv") == ("yuv420p10le" if deep else "yuv420p")
    mean, patch = shifts(again.pixels, clip.pixels)
    assert mean < 0.25
    assert patch < 2.5  # what the codec itself does at its default quality


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "bt601_limited_range.mp4",
        "bt709_full_range.mp4",
        "bt2020_10bit.mp4",
        "testsrc2_12bit_hdr.mp4",
        "testsrc2_odd_height_and_width_444_10bit.mp4",
        "testsrc2_odd_height_and_width_vp9.mp4",
    ],
)
def test_no_colour_shifts_in_files_of_others(tmp_path: Path, shared_clip: Callable[[str], Path], name: str) -> None:
    clip = read_clip(shared_clip(name), max_frames=1)
    saved = field_of(clip)
    exact = to_float(written(saved, tmp_path / "full.mkv", codec="ffv1").pixels) - to_float(clip.pixels)
    patches = F.avg_pool2d(exact[0], 16).abs()
    assert 255 * patches.max() < (1.1 if clip.color.bit_depth == 8 else 0.1)
    # One-pixel edges of test patterns do not come through 4:2:0 twice.
    again = written(saved, tmp_path / "out.mp4")
    assert replace(again.color, bit_depth=clip.color.bit_depth) == clip.color
    error = to_float(again.pixels) - to_float(clip.pixels)
    assert 255 * reduce(error, "t c h w -> c", "mean").abs().max() < 0.4
    assert 255 * F.avg_pool2d(error[0], 16).abs().mean() < 0.8


# ------------------------------------------------------------------------------------------------ what is not said


@pytest.mark.parametrize(
    ("size", "matrix"),
    [((704, 1264), "smpte170m"), ((16, 1280), "bt709"), ((720, 16), "bt709"), ((718, 16), "smpte170m")],
)
def test_colours_that_a_file_leaves_open_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: tuple[int, int], matrix: str
) -> None:
    with av.open(tmp_path / "in.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(size[1], size[0], "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([90]) * plane.buffer_size)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with caplog.at_level(logging.INFO, "vfield"):
        clip = read_clip(tmp_path / "in.mkv")
    assert clip.color == ColorInfo(matrix, "tv", matrix, matrix)
    (line,) = caplog.messages
    assert (
        f"does not say its colour matrix, range, primaries, transfer: taken as {matrix}, tv, {matrix}, {matrix}" in line
    )


# ------------------------------------------------------------------------------------------------ HDR


@pytest.mark.slow
@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
def test_hdr_metadata_goes_all_the_way(tmp_path: Path, name: str, transfer: str) -> None:
    color = ColorInfo("bt2020nc", "tv", "bt2020", transfer, 10, SCREEN, ContentLight(1000, 400))
    saved = through_its_file(field_of(replace(ramp(10), color=color)), tmp_path)
    assert saved.facts.color == color
    again = written(saved, tmp_path / name).color
    assert probe(tmp_path / name).color == again
    assert again.content_light == ContentLight(1000, 400)
    if name == "out.mp4":
        assert again == color
    else:  # AV1 counts chromaticity in steps of 1/65536
        assert again.mastering_display is not None
        for field, value in vars(SCREEN).items():
            assert getattr(again.mastering_display, field) == pytest.approx(value, rel=1e-2 if "min" in field else 1e-4)


def test_what_hdr_loses_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    color = ColorInfo("bt2020nc", "tv", "bt2020", "smpte2084", 12, SCREEN, ContentLight(1000, 400))
    options: dict[str, Any] = {"height": 64, "width": 64, "frame_rate": Fraction(25), "color": color}
    VideoWriter(tmp_path / "a.mp4", **options)
    VideoWriter(tmp_path / "a.mp4", pixel_format="yuv420p", codec="h264", **options)
    VideoWriter(tmp_path / "a.webm", codec="vp9", **options)
    VideoWriter(tmp_path / "a.gif", **options)
    path = tmp_path / "a"
    assert caplog.messages == [
        f"{path}.mp4: a source of 12 bits in HDR is written with 10 (yuv420p10le); another pixel format may keep more",
        f"{path}.mp4: a source of 12 bits in HDR is written with 8 (yuv420p); another pixel format may keep more",
        f"{path}.webm: a source of 12 bits in HDR is written with 8 (yuv420p); another pixel format may keep more",
        f"{path}.webm: mastering display and light levels are left out, libvpx-vp9 cannot write them; hevc and av1 can",
        f"{path}.gif: a GIF cannot hold HDR, so it will look flat",
    ]


# ------------------------------------------------------------------------------------------------ depth


@pytest.mark.slow
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_every_code_of_a_deep_source_survives(tmp_path: Path, bits: int) -> None:
    clip = ramp(bits, range="pc")
    again = written(through_its_file(field_of(clip), tmp_path), tmp_path / "out.mkv", codec="ffv1")
    assert again.color.bit_depth == bits
    assert float((again.pixels - clip.pixels).abs().max()) < 0.5 / 2**bits
    assert len(again.pixels[0, 0].unique()) == 2**bits


def test_deep_frames_as_pictures(tmp_path: Path) -> None:
    clip = ramp(12)
    hdr = replace(clip, color=replace(clip.color, primaries="bt2020", transfer="smpte2084"))
    for name, source in {"sdr": clip, "hdr": hdr}.items():
        export(field_of(source), f"{tmp_path}/{name}/", ExportConfig(), progress=False)
        again = read_clip(tmp_path / name / "000001.png")
        assert float((again.pixels - clip.pixels[:1]).abs().max()) < 1 / 65535
        assert again.color.bit_depth == 16
        assert again.color.is_hdr == (name == "hdr")


@pytest.mark.slow
def test_deep_frames_stay_deep_without_their_noise_and_at_half_their_size() -> None:
    smooth = F.interpolate(ramp(10).pixels[:1], size=(32, 32), mode="bilinear")
    noise = torch.randn((4, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    noisy = (smooth + 0.06 * noise).clamp(0, 1)
    times = tuple(Fraction(i, 25) for i in range(4))
    clip = Clip(noisy, times, Fraction(4, 25), Fraction(25), ColorInfo(bit_depth=10))
    cleaned = denoise(clip, DenoiseConfig(strength=15.0)).clip
    rehearsal = start_field(cleaned, FieldConfig(), FlowConfig(), 0).rehearsal
    assert rehearsal is not None
    for frames in (cleaned.pixels, torch.stack([rehearsal.frames[k] for k in range(4)])):
        assert ((255 * frames) - (255 * frames).round()).abs().mean() > 0.2  # a quarter where bytes have no say


def test_a_deep_format_gets_more_than_bytes(tmp_path: Path) -> None:
    """A source of 8 bits shown at half its size has values between bytes, and ProRes has 10 bits."""
    columns = 100 + torch.arange(128) % 2
    frames = columns.to(torch.uint8).expand(2, 3, 64, 128).contiguous()
    clip = Clip(frames, (Fraction(0), Fraction(1, 25)), Fraction(2, 25), Fraction(25))
    again = written(field_of(clip), tmp_path / "out.mov", codec="prores", size=(32, 64))
    assert (255 * again.pixels - 100.5).abs()[..., 4:-4].max() < 0.25
