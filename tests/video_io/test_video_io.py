"""Reading and writing video: real files, exact times, exact colours, and nothing half-written left behind."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from einops import reduce
from torch import Tensor

from vfield.core.clip import Clip, ColorInfo, to_float, to_uint8
from vfield.core.errors import UserError
from vfield.core.timing import TimeMap
from vfield.video_io import (
    ACCURATE,
    AudioPlan,
    VideoWriter,
    common_time_base,
    encode_gif,
    filter_frames,
    has_audio,
    probe,
    read_clip,
)
from vfield.video_io.color import rgb_to_yuv16, yuv16_to_rgb

NTSC = Fraction(30000, 1001)
BT709 = ColorInfo()
BT601 = ColorInfo("smpte170m", "tv", "smpte170m", "smpte170m")
PQ = ("bt2020nc", "tv", "bt2020", "smpte2084")
FORMATS = {
    # name: (frames, height, width, frame rate, colour, codec)
    "av1_video.mkv": (125, 360, 640, Fraction(25), BT709, "av1"),
    "bt2020_10bit.mp4": (60, 240, 320, Fraction(30), ColorInfo(*PQ, 10), "hevc"),
    "bt601_limited_range.mp4": (60, 240, 320, Fraction(30), BT601, "h264"),
    "bt709_full_range.mp4": (30, 720, 1280, Fraction(30), ColorInfo("bt709", "pc"), "h264"),
    "nasa_13013.mp4": (390, 270, 480, NTSC, BT709, "h264"),
    "nasa_13013_rotated.mp4": (17, 480, 270, NTSC, BT709, "h264"),
    "test_non_zero_start.mp4": (12, 112, 200, Fraction(30), BT601, "h264"),
    "testsrc2_12bit_hdr.mp4": (60, 180, 320, Fraction(30), ColorInfo(*PQ, 12), "hevc"),
    "testsrc2_odd_height_and_width_444_10bit.mp4": (
        *(25, 241, 321, Fraction(25)),
        ColorInfo("smpte170m", "tv", "smpte170m", "smpte170m", 10),
        "h264",
    ),
    "testsrc2_odd_height_and_width_vp9.mp4": (25, 241, 321, Fraction(25), BT601, "vp9"),
    "testsrc2_vp8.webm": (30, 720, 1280, Fraction(30), BT601, "vp8"),
}
SharedClip = Callable[[str], Path]


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth random colours, (3, height, width) float in [0.05, 0.95]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 3, 5, 6), generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0] * 0.9 + 0.05


def write(path: Path | str, frames: Tensor, **options: Any) -> None:
    """Frames through VideoWriter, at 25 frames a second unless told otherwise."""
    options.setdefault("frame_rate", Fraction(25))
    options.setdefault("color", ColorInfo())
    with VideoWriter(path, height=frames.shape[2], width=frames.shape[3], **options) as writer:
        for frame in frames:
            writer.write(frame)


def clip_of(count: int, height: int = 48, width: int = 64) -> Tensor:
    return torch.stack([to_uint8(picture(height, width, seed)) for seed in range(count)])


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


# ------------------------------------------------------------------------------------------------ reading


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_whole(name: str, shared_clip: SharedClip) -> None:
    count, height, width, rate, color, codec = FORMATS[name]
    path = shared_clip(name)
    clip = read_clip(path)
    assert clip.frames.shape == (count, 3, height, width)
    assert clip.frames.dtype == (torch.uint8 if color.bit_depth == 8 else torch.float32)
    assert (clip.color, clip.frame_rate, clip.source) == (color, rate, str(path))
    # Matroska keeps milliseconds; everything else is exact.
    tolerance = Fraction(1, 1000) if path.suffix in (".mkv", ".webm") else Fraction(0)
    for index, pts in enumerate((*clip.pts_seconds, clip.end_seconds)):
        assert abs(pts - clip.start_seconds - index / rate) <= tolerance
    info = probe(path)
    assert (info.height, info.width, info.color, info.codec) == (height, width, color, codec)
    assert info.frame_rate == rate
    assert info.frame_count in (count, None)


def test_late_start_is_kept_and_ranges_count_from_the_first_frame(shared_clip: SharedClip) -> None:
    path = shared_clip("test_non_zero_start.mp4")
    whole = read_clip(path)
    assert whole.start_seconds == Fraction(127995, 15360)
    assert whole.pixel_aspect == Fraction(224, 225)
    part = read_clip(path, start_seconds=Fraction(2, 30), end_seconds=Fraction(5, 30))
    assert part.pts_seconds == whole.pts_seconds[2:5]
    assert part.end_seconds == whole.pts_seconds[5]
    assert torch.equal(part.pixels, whole.pixels[2:5])


def test_rotation_turns_the_picture_upright(shared_clip: SharedClip) -> None:
    # The rotated file is a cut of the plain one, stored alike: its matrix, x' = y and y' = -x, turns it anticlockwise.
    rotated = read_clip(shared_clip("nasa_13013_rotated.mp4"), max_frames=3)
    plain = read_clip(shared_clip("nasa_13013.mp4"), max_frames=3)
    assert torch.equal(rotated.pixels, torch.rot90(plain.pixels, 1, (2, 3)))
    assert read_clip(shared_clip("nasa_13013_rotated.mp4"), size=(96, 54), max_frames=1).frames.shape == (1, 3, 96, 54)
    assert probe(shared_clip("nasa_13013_rotated.mp4")).rotation == 90


@pytest.mark.slow
def test_a_range_in_the_middle_equals_the_same_frames_of_the_whole(demo_clip: Path) -> None:
    whole = read_clip(demo_clip, size=(36, 64))
    assert len(whole) == 132
    assert whole.end_seconds == Fraction(132, 25)
    part = read_clip(demo_clip, size=(36, 64), start_seconds=3.01, end_seconds=4)
    assert part.pts_seconds == whole.pts_seconds[76:100]
    assert torch.equal(part.pixels, whole.pixels[76:100])
    assert len(read_clip(demo_clip, size=(36, 64), start_seconds=1, max_frames=5)) == 5


@pytest.mark.slow
def test_reducing_averages_areas(demo_clip: Path) -> None:
    full = to_float(read_clip(demo_clip, max_frames=2).pixels)
    small = to_float(read_clip(demo_clip, size=(180, 320), max_frames=2).pixels)
    averaged = reduce(full, "t c (h a) (w b) -> t c h w", "mean", a=4, b=4)
    assert (small - averaged).abs().mean() < 0.5 / 255
    assert (small - averaged).mean().abs() < 0.1 / 255


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("range_name", ["tv", "pc"])
@pytest.mark.parametrize(
    ("matrix", "red", "blue"), [("bt709", 0.2126, 0.0722), ("smpte170m", 0.299, 0.114), ("bt2020nc", 0.2627, 0.0593)]
)
def test_rgb_is_what_the_standards_say(
    tmp_path: Path, matrix: str, red: float, blue: float, range_name: str, bits: int
) -> None:
    """Known YUV codes, stored losslessly, against the matrices written out here."""
    generator = np.random.default_rng(0)
    rgb = generator.random((3, 32, 48))
    luma = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
    ycc = np.stack([luma, (rgb[2] - luma) / (2 - 2 * blue), (rgb[0] - luma) / (2 - 2 * red)])
    unit, top = 2 ** (bits - 8), 2**bits - 1
    spans = np.array([219, 224, 224]) * unit if range_name == "tv" else np.array([top] * 3)
    offsets = np.array([16 if range_name == "tv" else 0, 128, 128]) * unit
    codes = np.rint(ycc * spans[:, None, None] + offsets[:, None, None]).clip(0, top)
    _store_yuv444(tmp_path / "codes.mkv", codes, matrix, range_name, bits)

    luma, cb, cr = (codes - offsets[:, None, None]) / spans[:, None, None]
    expected = np.stack([luma + (2 - 2 * red) * cr, luma, luma + (2 - 2 * blue) * cb])
    expected[1] = (luma - red * expected[0] - blue * expected[2]) / (1 - red - blue)
    clip = read_clip(tmp_path / "codes.mkv")
    assert (clip.color.matrix, clip.color.range, clip.color.bit_depth) == (matrix, range_name, bits)
    error = to_float(clip.pixels)[0].numpy() - expected.clip(0, 1)
    assert np.abs(error).max() < (0.55 if bits == 8 else 0.01) / 255
    assert np.abs(reduce(error, "c h w -> c", "mean")).max() < 0.1 / 255


def _store_yuv444(path: Path, codes: np.ndarray, matrix: str, range_name: str, bits: int) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = codes.shape[1:]
        stream.pix_fmt = "yuv444p" if bits == 8 else "yuv444p10le"
        frame = av.VideoFrame(stream.width, stream.height, stream.pix_fmt)
        for target in (stream.codec_context, frame):
            target.colorspace = {"bt709": 1, "smpte170m": 6, "bt2020nc": 9}[matrix]
            target.color_range = {"tv": 1, "pc": 2}[range_name]
        for plane, values in zip(frame.planes, codes.astype(np.uint8 if bits == 8 else np.uint16), strict=True):
            rows = np.ascontiguousarray(values).view(np.uint8)
            plane.update(np.pad(rows, ((0, 0), (0, plane.line_size - rows.shape[1]))).tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("range_name", ["tv", "pc"])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_yuv_words_round_trip(range_name: str, bits: int) -> None:
    color = ColorInfo("bt709", range_name, bit_depth=bits)
    rgb = picture(16, 24).numpy()
    words = rgb_to_yuv16(rgb, color, bits)
    assert words.shape == (16, 24, 3)
    assert words.dtype == np.uint16
    assert np.abs(yuv16_to_rgb(words, color) - rgb).max() < 1e-4


def test_still_images(tmp_path: Path) -> None:
    image = to_uint8(picture(33, 47))
    write(tmp_path / "images", image[None])
    clip = read_clip(tmp_path / "images" / "000000.png")
    assert torch.equal(clip.frames[0], image)
    assert (clip.color.matrix, clip.color.range) == ("gbr", "pc")
    assert clip.duration_seconds == Fraction(1, 25)
    write(tmp_path / "out.mp4", clip.pixels, color=clip.color)
    written = read_clip(tmp_path / "out.mp4").color
    assert (written.matrix, written.range) == ("bt709", "tv")


@pytest.mark.parametrize("suffix", [".avi", ".h264", ".ts"])
def test_no_frame_is_lost_where_timestamps_are_poor(tmp_path: Path, suffix: str) -> None:
    """AVI keeps no order of presentation, raw H.264 no times at all, and transport streams start late."""
    path = tmp_path / f"poor{suffix}"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=NTSC)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for index in range(30):
            pixels = np.full((48, 64, 3), 20 + 7 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = index, 1 / NTSC
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clip = read_clip(path)
    assert len(clip) == 30
    assert clip.frame_rate == NTSC
    brightness = reduce(clip.pixels.float(), "t c h w -> t", "mean")
    assert (brightness.diff() - 7).abs().max() < 4  # in their order
    steps = [later - earlier for earlier, later in zip(clip.pts_seconds, clip.pts_seconds[1:], strict=False)]
    assert all(abs(step - 1 / NTSC) < Fraction(1, 90000) for step in steps)
    part = read_clip(path, start_seconds=Fraction(1, 3), end_seconds=Fraction(2, 3))
    assert torch.equal(part.pixels, clip.pixels[10:20])
    assert part.pts_seconds == clip.pts_seconds[10:20]


@pytest.mark.slow
def test_bad_input_is_refused_in_one_line(tmp_path: Path, demo_clip: Path) -> None:
    text, empty, cut = tmp_path / "text.mp4", tmp_path / "empty.mp4", tmp_path / "cut.mp4"
    text.write_text("this is no video\n" * 50)
    empty.write_bytes(b"")
    cut.write_bytes(demo_clip.read_bytes()[:500_000])  # its index is at the end, so nothing can be read
    sound = tmp_path / "sound.m4a"
    _write_sound(sound)
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (tmp_path / "none.mp4", {}, "does not exist"),
        (tmp_path, {}, "is a folder"),
        (text, {}, "not a video that FFmpeg can read"),
        (empty, {}, "not a video that FFmpeg can read"),
        (cut, {}, "cut short"),
        (sound, {}, "has no video in it, only audio"),
        (demo_clip, {"start_seconds": 6}, "start_seconds 6 is after the end .* lasts 5.28 s"),
        (demo_clip, {"end_seconds": 9.5}, "end_seconds 9.5 is after the end"),
        (demo_clip, {"start_seconds": -1}, "start_seconds must be zero or more"),
        (demo_clip, {"end_seconds": float("nan")}, "end_seconds must be zero or more"),
        (demo_clip, {"start_seconds": 2, "end_seconds": 2}, "end_seconds must come after start_seconds"),
        (demo_clip, {"start_seconds": 2.01, "end_seconds": 2.02}, "no frame from 2.01 s to 2.02 s"),
        (demo_clip, {"size": (0, 64)}, "size must be"),
        (demo_clip, {"size": (64, 16385)}, "size must be"),
        (demo_clip, {"max_frames": 0}, "max_frames must be at least 1"),
    ]
    for path, options, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            read_clip(path, **options)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_damage_in_the_middle_is_told_and_the_rest_is_read(
    tmp_path: Path, demo_clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytearray(demo_clip.read_bytes())
    for position in range(500_000, 560_000, 7):
        content[position] ^= 0x5A
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    with caplog.at_level(logging.WARNING, "vfield"):
        clip = read_clip(damaged, size=(36, 64))
    assert 100 < len(clip) < 132
    assert [record.message for record in caplog.records if f"read {len(clip)} frames" in record.message]


def test_a_file_cut_short_gives_what_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = tmp_path / "whole.mp4"  # our own files have their index at the front
    noise = torch.randint(0, 256, (20, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write(whole, noise)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with caplog.at_level(logging.WARNING, "vfield"):
        clip = read_clip(cut)
    assert 0 < len(clip) < 20
    assert any("cut.mp4" in record.message and f"{len(clip)} frames" in record.message for record in caplog.records)


# ------------------------------------------------------------------------------------------------ writing


@pytest.mark.slow
@pytest.mark.parametrize("range_name", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("bits", [8, 10])
def test_mean_colours_and_tags_survive(tmp_path: Path, bits: int, matrix: str, range_name: str) -> None:
    primaries = "bt2020" if matrix == "bt2020nc" else matrix
    color = ColorInfo(matrix, range_name, primaries, "smpte2084" if bits == 10 else "bt709", bits)
    source = picture(96, 128) if bits == 10 else to_uint8(picture(96, 128))
    write(tmp_path / "out.mp4", torch.stack([source] * 3), color=color)
    clip = read_clip(tmp_path / "out.mp4")
    assert clip.color == color
    shift = reduce(to_float(clip.pixels) - to_float(source), "t c h w -> c", "mean")
    assert shift.abs().max() < 0.3 / 255


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_colour_edges_do_not_move(tmp_path: Path, pixel_format: str) -> None:
    """A chroma ramp comes back where it was: siting errors would shift it by a fraction of a pixel."""
    ramp = torch.linspace(0.2, 0.8, 64)
    frame = torch.stack([ramp.expand(48, 64), torch.full((48, 64), 0.5), 1 - ramp.expand(48, 64)])
    write(tmp_path / "ramp.mkv", frame[None], codec="ffv1", pixel_format=pixel_format)
    back = to_float(read_clip(tmp_path / "ramp.mkv").pixels)[0]
    slope = 0.6 / 63
    shift = (back - frame)[0, 8:-8, 8:-8].mean() / slope
    assert shift.abs() < 0.06


def test_times_are_exact(tmp_path: Path) -> None:
    for rate in (Fraction(24000, 1001), NTSC, Fraction(25), Fraction(240), Fraction(48000, 1001)):
        write(tmp_path / "out.mp4", clip_of(6), frame_rate=rate, overwrite=True)
        clip = read_clip(tmp_path / "out.mp4")
        assert clip.frame_rate == rate
        assert clip.pts_seconds == tuple(i / rate for i in range(6))
        assert clip.end_seconds == 6 / rate


def test_variable_rates_are_exact_in_mp4(tmp_path: Path) -> None:
    times = [Fraction(0), Fraction(1, 30), Fraction(3, 30), Fraction(1, 7), Fraction(1, 5)]
    assert common_time_base(times) == Fraction(1, 210)
    for name, tolerance in (("out.mp4", Fraction(0)), ("out.mkv", Fraction(1, 2000)), ("out.gif", Fraction(1, 200))):
        options: dict[str, Any] = {"height": 48, "width": 64, "frame_rate": Fraction(25), "color": ColorInfo()}
        with VideoWriter(tmp_path / name, **options, time_base=common_time_base(times)) as writer:
            for frame, pts in zip(clip_of(5), times, strict=True):
                writer.write(frame, pts_seconds=pts)
        written = read_clip(tmp_path / name).pts_seconds
        assert len(written) == 5
        assert all(abs(a - b) <= tolerance for a, b in zip(written, times, strict=True))


@pytest.mark.parametrize(
    ("name", "options", "codec", "pixel_format"),
    [
        ("out.mp4", {}, "h264", "yuv420p"),
        ("out.mov", {"codec": "prores"}, "prores", "yuv422p10le"),
        ("out.mkv", {"codec": "ffv1"}, "ffv1", "yuv444p"),
        ("out.mkv", {"codec": "ffv1", "pixel_format": "bgr0"}, "ffv1", "bgr0"),
        ("out.webm", {}, "vp9", "yuv420p"),
        ("out.webm", {"codec": "av1", "crf": 20}, "av1", "yuv420p"),
        ("out.mp4", {"codec": "h265"}, "hevc", "yuv420p"),
        ("out.mp4", {"color": ColorInfo(bit_depth=10)}, "hevc", "yuv420p10le"),
        ("out.webm", {"color": ColorInfo(bit_depth=12)}, "av1", "yuv420p10le"),
    ],
)
def test_codecs(tmp_path: Path, name: str, options: dict[str, Any], codec: str, pixel_format: str) -> None:
    frames = clip_of(3)
    write(tmp_path / name, frames, **options)
    info = probe(tmp_path / name)
    assert (info.codec, info.pixel_format) == (codec, pixel_format)
    assert (to_float(read_clip(tmp_path / name).pixels) - to_float(frames)).abs().mean() < 4 / 255


@pytest.mark.parametrize(
    ("name", "pixel_format"), [("out.mp4", "yuv444p"), ("out.webm", "yuv420p"), ("out.mkv", "yuv444p")]
)
def test_odd_sizes_keep_their_last_pixels(tmp_path: Path, name: str, pixel_format: str) -> None:
    frames = clip_of(3, 45, 67)
    write(tmp_path / name, frames)
    clip = read_clip(tmp_path / name)
    assert probe(tmp_path / name).pixel_format == pixel_format
    error = (to_float(clip.pixels) - to_float(frames)).abs()
    assert error[..., -1].mean() < 4 / 255
    assert error[..., -1, :].mean() < 4 / 255


def test_pixel_aspect_survives(tmp_path: Path) -> None:
    for name in ("out.mp4", "out.mkv"):
        write(tmp_path / name, clip_of(2), pixel_aspect=Fraction(128, 117))
        assert read_clip(tmp_path / name).pixel_aspect == Fraction(128, 117)


def test_gif(tmp_path: Path) -> None:
    frames = clip_of(6)
    write(tmp_path / "out.gif", frames, frame_rate=Fraction(30))
    clip = read_clip(tmp_path / "out.gif")
    assert len(clip) == 6
    assert all(abs(pts - i / Fraction(30)) <= Fraction(1, 200) for i, pts in enumerate(clip.pts_seconds))
    assert (to_float(clip.pixels) - to_float(frames)).abs().mean() < 8 / 255
    assert encode_gif(to_float(frames), Fraction(30)) == (tmp_path / "out.gif").read_bytes()


def test_png_folder(tmp_path: Path) -> None:
    frames = clip_of(3)
    write(tmp_path / "frames", frames)
    assert sorted(os.listdir(tmp_path / "frames")) == ["000000.png", "000001.png", "000002.png"]
    assert torch.equal(read_clip(tmp_path / "frames" / "000002.png").frames[0], frames[2])
    with pytest.raises(UserError, match="exists; add --overwrite"):
        write(tmp_path / "frames", frames)
    write(f"{tmp_path}/frames/", frames[:2], overwrite=True)
    assert sorted(os.listdir(tmp_path / "frames")) == ["000000.png", "000001.png"]
    (tmp_path / "frames" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files \(notes.txt\)"):
        write(tmp_path / "frames", frames, overwrite=True)
    assert leftovers(tmp_path) == []


def test_wrong_requests_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("out.avi", {}, "unknown suffix .avi; use .mp4, .mov, .mkv, .webm, .gif"),
        ("none/out.mp4", {}, "folder .* does not exist"),
        ("out.mp4", {"codec": "nope"}, "unknown codec nope; choose h264"),
        ("out.mp4", {"codec": "aac"}, "not a video codec"),
        ("out.webm", {"codec": "h264"}, ".webm files cannot hold libx264"),
        ("out.mp4", {"pixel_format": "yuv999"}, "unknown pixel format yuv999"),
        ("out.mp4", {"pixel_format": "bgra"}, "libx264 cannot write pixel format bgra; it can write yuv420p"),
        ("out.mp4", {"pixel_format": "yuv420p", "width": 63}, "63x48 has an odd side"),
        ("out.mp4", {"crf": 52}, "crf of libx264 goes from 0"),
        ("out.mkv", {"codec": "ffv1", "crf": 3}, "ffv1 has no crf"),
        ("out.gif", {"crf": 3}, "not a video file, so crf 3"),
        ("out.gif", {"frame_rate": Fraction(60)}, "a GIF shows at most 50"),
        ("out.mp4", {"frame_rate": Fraction(0)}, "frame rate must be positive"),
        ("out.mp4", {"color": ColorInfo(matrix="ycgco")}, "unknown colour matrix 'ycgco'"),
    ]
    for name, options, message in cases:
        arguments: dict[str, Any] = {"height": 48, "width": 64, "frame_rate": Fraction(25), "color": ColorInfo()}
        with pytest.raises(UserError, match=message):
            VideoWriter(tmp_path / name, **(arguments | options))
    assert os.listdir(tmp_path) == []


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "o.mkv", height=48, width=64, frame_rate=Fraction(25), color=ColorInfo()) as writer:
        with pytest.raises(UserError, match=r"frame must be \(3, 48, 64\), got \(3, 48, 63\)"):
            writer.write(torch.zeros(3, 48, 63))
        with pytest.raises(UserError, match="must be uint8 or float"):
            writer.write(torch.zeros(3, 48, 64, dtype=torch.int64))
        writer.write(torch.zeros(3, 48, 64))
        with pytest.raises(UserError, match="in order of time"):
            writer.write(torch.zeros(3, 48, 64), pts_seconds=Fraction(0))
    assert len(read_clip(tmp_path / "o.mkv")) == 1


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out"])
def test_a_failure_leaves_the_earlier_result(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, clip_of(2))
    before = _contents(tmp_path)
    with pytest.raises(UserError, match="exists; add --overwrite"):
        write(tmp_path / name, clip_of(3))

    def interrupted() -> None:
        with VideoWriter(
            tmp_path / name, height=48, width=64, frame_rate=Fraction(25), color=ColorInfo(), overwrite=True
        ) as writer:
            writer.write(clip_of(1)[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(UserError, match="no frame was written"):
        write(tmp_path / name, torch.zeros(0, 3, 48, 64), overwrite=True)
    assert _contents(tmp_path) == before
    write(tmp_path / name, clip_of(3), overwrite=True)
    assert _contents(tmp_path) != before
    assert leftovers(tmp_path) == []


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.gif", "out"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    # A limit on the file size stands in for a full disk: writes fail with an OSError part of the way.
    program = """
import resource, sys, torch
from fractions import Fraction
from vfield.core.clip import ColorInfo
from vfield.core.errors import UserError
from vfield.video_io import VideoWriter
torch.manual_seed(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    with VideoWriter(sys.argv[1], height=128, width=128, frame_rate=Fraction(25), color=ColorInfo()) as writer:
        for _ in range(30):
            writer.write(torch.rand(3, 128, 128))
except UserError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert result.stdout == f"could not write {tmp_path / name}: File too large\n"
    assert os.listdir(tmp_path) == []


# -------------------------------------------------------------------------------------------------- sound


def _write_sound(path: Path, *, at_seconds: float = 1.0, seconds: float = 2.0, rate: int = 48000) -> None:
    """A short swell of a tone, with its middle at `at_seconds`, in silence."""
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        instants = np.arange(int(seconds * rate)) / rate
        swell = 0.5 * np.exp(-(((instants - at_seconds) / 0.1) ** 2))
        tone = swell * np.sin(2 * np.pi * 440 * instants)
        frame = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _packets(path: Path) -> list[list[tuple[Fraction, bytes]]]:
    """(pts seconds, content) of the packets of each sound track."""
    with av.open(path) as container:
        tracks: dict[int, list[tuple[Fraction, bytes]]] = {s.index: [] for s in container.streams.audio}
        for packet in container.demux(container.streams.audio):
            if packet.size and packet.pts is not None:
                tracks[packet.stream_index].append((packet.pts * packet.time_base, bytes(packet)))
        return list(tracks.values())


def _sound(path: Path) -> tuple[np.ndarray, int]:
    with av.open(path) as container:
        stream = container.streams.audio[0]
        pieces = [frame.to_ndarray()[0] for frame in container.decode(stream)]
        return np.concatenate(pieces), stream.rate


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("name", ["bigbuckbunny.mp4", "nasa_13013.mp4"])
def test_copied_sound_is_bit_identical(tmp_path: Path, shared_clip: SharedClip, name: str, suffix: str) -> None:
    source, start, end = shared_clip(name), Fraction(2), Fraction(4)
    out = tmp_path / f"out{suffix}"
    write(out, clip_of(50), audio=AudioPlan(str(source), TimeMap.uniform(start, end), "copy"))
    originals, copies = _packets(source), _packets(out)
    assert len(copies) == len(originals) == (2 if name.startswith("nasa") else 1)
    for original, copy in zip(originals, copies, strict=True):
        kept = [(pts, content) for pts, content in original if start <= pts < end]
        if suffix != ".mkv":
            # What sounds at the start began before it, and needs the packet before to be decoded right.
            first = original.index(kept[0])
            kept = original[first - 2 : first] + kept
        assert [content for _, content in copy] == [content for _, content in kept]
        tolerance = Fraction(1, 1000) if suffix == ".mkv" else Fraction(1, 8000)
        assert all(abs(a - start - b) <= tolerance for (a, _), (b, _) in zip(kept, copy, strict=True))
    assert has_audio(out)
    assert read_clip(out).pts_seconds[:2] == (Fraction(0), Fraction(1, 25))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stretch", "suffix"), [(Fraction(2), ".mp4"), (Fraction(8), ".mkv"), (Fraction(1, 3), ".mov")]
)
def test_stretched_sound_lasts_as_long(tmp_path: Path, demo_clip: Path, stretch: Fraction, suffix: str) -> None:
    plan = AudioPlan(str(demo_clip), TimeMap.uniform(Fraction(1), Fraction(3), slowmo=stretch), "stretch")
    write(tmp_path / f"out{suffix}", clip_of(5), audio=plan)
    samples, rate = _sound(tmp_path / f"out{suffix}")
    assert abs(len(samples) / rate - 2 * stretch) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
@pytest.mark.parametrize("stretch", [Fraction(1, 2), Fraction(2), Fraction(8)])
def test_stretched_sound_stays_beside_its_picture(tmp_path: Path, name: str, stretch: Fraction) -> None:
    _write_sound(tmp_path / "swell.m4a", at_seconds=1.2)
    plan = AudioPlan(
        str(tmp_path / "swell.m4a"), TimeMap.uniform(Fraction(1, 2), Fraction(19, 10), slowmo=stretch), "stretch"
    )
    write(tmp_path / name, clip_of(3), audio=plan)
    samples, rate = _sound(tmp_path / name)
    power = samples.astype(float) ** 2
    heard = (power * np.arange(len(power))).sum() / power.sum() / rate
    assert abs(heard - 0.7 * stretch) < 0.03


def test_sound_that_does_not_fit_is_coded_again_or_left_out_with_a_word(
    tmp_path: Path, demo_clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = AudioPlan(str(demo_clip), TimeMap.uniform(Fraction(0), Fraction(1)), "copy")
    with caplog.at_level(logging.WARNING, "vfield"):
        write(tmp_path / "out.webm", clip_of(2), audio=plan)
        write(tmp_path / "out.gif", clip_of(2), audio=plan)
    assert has_audio(tmp_path / "out.webm")
    mixed, coded, left_out = [record.message for record in caplog.records]
    assert coded.startswith(f"{demo_clip}: sound track 1 is coded again as Opus")
    assert mixed.startswith(f"{demo_clip}: sound track 1 of 6 channels is mixed down to stereo")
    assert left_out == f"{tmp_path / 'out.gif'} cannot hold sound; it is left out"
    with pytest.raises(UserError, match="cannot be copied at another speed"):
        AudioPlan(str(demo_clip), TimeMap.uniform(Fraction(0), Fraction(1), slowmo=Fraction(2)), "copy")


def test_sound_is_muxed_along_with_the_picture(tmp_path: Path, demo_clip: Path) -> None:
    """Sound of a second lies no further than a second's worth of picture away from it in the file."""
    write(
        tmp_path / "out.mkv",
        clip_of(100),
        audio=AudioPlan(str(demo_clip), TimeMap.uniform(Fraction(0), Fraction(4)), "copy"),
    )
    with av.open(tmp_path / "out.mkv") as container:
        latest = {"video": 0.0, "audio": 0.0}
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                latest[packet.stream.type] = float(packet.pts * packet.time_base)
                assert abs(latest["video"] - latest["audio"]) < 1
    assert min(latest.values()) > 3.8


# ------------------------------------------------------------------------------------------------ filters


@pytest.mark.slow
def test_minterpolate_doubles_the_rate_and_drops_the_last_frame(demo_clip: Path) -> None:
    clip = read_clip(demo_clip, size=(54, 96), max_frames=49)
    doubled = ("minterpolate", "fps=50:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1")
    frames, times = filter_frames(clip.pixels, clip.frame_rate, [doubled])
    # It never shows the last frame, nor the one in front of it: 2 * 49 - 3 frames.
    assert frames.shape == (95, 3, 54, 96)
    assert times == [Fraction(i, 50) for i in range(95)]
    error = (frames[::2].float() - clip.pixels[:48].float()).abs()
    assert error.mean() < 0.5  # source instants come back as they were, but for the way to YUV and back
    assert error.mean() < (frames[1::2].float() - clip.pixels[:47].float()).abs().mean() / 2


def test_scaling_filters(demo_clip: Path) -> None:
    clip = read_clip(demo_clip, size=(54, 96), max_frames=3)
    frames, times = filter_frames(clip.pixels, clip.frame_rate, [("scale", f"w=192:h=108:flags=lanczos+{ACCURATE}")])
    assert frames.shape == (3, 3, 108, 192)
    assert tuple(times) == clip.pts_seconds
    back = reduce(frames.float(), "t c (h a) (w b) -> t c h w", "mean", a=2, b=2)
    assert (back - clip.pixels.float()).abs().mean() < 3
    same, _ = filter_frames(clip.pixels, clip.frame_rate, [("null", "")])
    assert torch.equal(same, clip.pixels)


def test_bad_filters_are_refused(demo_clip: Path) -> None:
    frames = clip_of(2)
    for filters, message in [([("nofilter", "")], "filter nofilter"), ([("scale", "w=foo")], "filter scale=w=foo")]:
        with pytest.raises(UserError, match=message):
            filter_frames(frames, Fraction(25), filters)
    with pytest.raises(UserError, match="gave no frames back"):
        filter_frames(frames[:1], Fraction(25), [("minterpolate", "fps=50")])


def test_the_whole_way_round_keeps_the_clip(tmp_path: Path, demo_clip: Path) -> None:
    clip = read_clip(demo_clip, size=(90, 160), max_frames=10)
    write(tmp_path / "out.mp4", clip.pixels, frame_rate=clip.frame_rate, color=clip.color)
    back = read_clip(tmp_path / "out.mp4")
    assert isinstance(back, Clip)
    assert (back.pts_seconds, back.end_seconds, back.color) == (clip.pts_seconds, clip.end_seconds, clip.color)
    assert (to_float(back.pixels) - to_float(clip.pixels)).abs().mean() < 4 / 255
