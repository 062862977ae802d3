"""Pictures as people have them: turned, mirrored, of oblong pixels, odd, tiny, portrait, interlaced."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from av.filter import Graph
from einops import rearrange, reduce
from torch import Tensor

from vfield.cli import main, render_main, train_main
from vfield.core.clip import ColorInfo, to_float, to_uint8
from vfield.core.errors import UserError
from vfield.video_io import VideoWriter, probe, read_clip

RATE = Fraction(25)
PQ = ColorInfo("bt2020nc", "tv", "bt2020", "smpte2084", 10)
TINY = str(Path(__file__).parents[2] / "configs" / "tiny.yaml")


def slope(height: int, width: int) -> Tensor:
    """(3, height, width) in [0.2, 0.8]: brighter to the right in red, downwards in green."""
    x = ((torch.arange(width) + 0.5) / width).expand(height, width)
    y = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    return 0.2 + 0.6 * torch.stack([x, y, (x + y) / 2])


def write(path: Path, frames: Tensor, **options: Any) -> None:
    options.setdefault("frame_rate", RATE)
    options.setdefault("color", ColorInfo())
    with VideoWriter(path, height=frames.shape[2], width=frames.shape[3], **options) as writer:
        for frame in frames:
            writer.write(frame)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


# ------------------------------------------------------------------------------------------------ orientation


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_all_eight_orientations_are_read_upright(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    stored = slope(48, 64)
    with av.open(tmp_path / "in.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(degrees, hflip=mirrored)
        pixels = np.ascontiguousarray(rearrange(to_uint8(stored).numpy(), "c h w -> h w c"))
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    # "hflip / vflip mirror after it", says PyAV of the rotation.
    upright = torch.rot90(stored, degrees // 90, (1, 2))
    upright = upright.flip(-1) if mirrored else upright
    clip = read_clip(tmp_path / "in.mp4")
    assert clip.frames.shape[1:] == upright.shape
    assert (to_float(clip.frames[0]) - upright).abs().mean() < 0.01
    assert clip.pixel_aspect == (Fraction(3, 4) if degrees % 180 else Fraction(4, 3))
    info = probe(tmp_path / "in.mp4")
    assert (info.height, info.width) == upright.shape[1:]


# ------------------------------------------------------------------------------------------------ oblong pixels


@pytest.mark.parametrize(
    ("size", "aspect"),
    [
        (None, Fraction(16, 15)),  # PAL: 720x576 is shown as 768x576
        ((36, 45), Fraction(16, 15)),
        ((36, 48), Fraction(1)),
        ((72, 45), Fraction(32, 15)),
    ],
)
def test_a_size_of_another_shape_keeps_things_in_shape(
    tmp_path: Path, size: tuple[int, int] | None, aspect: Fraction
) -> None:
    write(tmp_path / "in.mkv", slope(72, 90)[None], pixel_aspect=Fraction(16, 15))
    assert read_clip(tmp_path / "in.mkv", size=size).pixel_aspect == aspect


def test_pictures_of_oblong_pixels_say_so_where_they_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "png", slope(20, 30)[None], pixel_aspect=Fraction(3, 2))
    assert read_clip(tmp_path / "png" / "000000.png").pixel_aspect == Fraction(3, 2)
    assert not caplog.messages
    write(tmp_path / "a.gif", slope(20, 30)[None], pixel_aspect=Fraction(3, 2))
    assert caplog.messages == [
        f"{tmp_path / 'a.gif'}: a GIF's pixels are square, the source's 1.5 times as wide as high; "
        "a size 45 wide is in shape"
    ]


# ------------------------------------------------------------------------------------------------ odd and tiny


@pytest.mark.parametrize(
    ("name", "options", "pixel_format"),
    [
        ("out.mp4", {"color": PQ}, "yuv444p10le"),
        ("out.webm", {"color": PQ}, "yuv420p10le"),
        ("out.webm", {"codec": "av1", "crf": 10}, "yuv420p"),
        ("out.mkv", {"codec": "ffv1", "color": PQ, "pixel_format": "yuv420p10le"}, "yuv420p10le"),
        ("out.mov", {"codec": "prores"}, "yuv444p12le"),
    ],
)
def test_odd_sizes_keep_their_last_row_and_column(
    tmp_path: Path, name: str, options: dict[str, Any], pixel_format: str
) -> None:
    frames = slope(45, 67)[2:].repeat(2, 3, 1, 1)  # grey: chroma is shared with the pixels beside an edge
    frames[..., -1:, :] = frames[..., -1:] = 0.9
    write(tmp_path / name, frames, **options)
    again = to_float(read_clip(tmp_path / name).pixels)
    assert probe(tmp_path / name).pixel_format == pixel_format
    assert again.shape == frames.shape
    for edge in (again[..., -1], again[..., -1, :]):
        assert (edge - 0.9).abs().mean() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv422p"])
@pytest.mark.parametrize("size", [(45, 67), (44, 67), (45, 66)])
def test_an_odd_picture_is_the_even_one_without_its_last_line(
    tmp_path: Path, size: tuple[int, int], pixel_format: str
) -> None:
    """Chroma is that of the picture with its last row or column repeated: not stretched over it, as by swscale."""
    height, width = size
    odd = slope(*size)[None]
    even = F.pad(odd, (0, width % 2, 0, height % 2 if "420" in pixel_format else 0), mode="replicate")
    planes = []
    for name, frames in (("odd.mkv", odd), ("even.mkv", even)):
        write(tmp_path / name, frames, codec="ffv1", pixel_format=pixel_format)
        with av.open(tmp_path / name) as container:
            blue = next(container.decode(video=0)).planes[1]
        wide = 2 if pixel_format.endswith("10le") else 1
        planes.append(np.frombuffer(bytes(blue), np.uint8).reshape(blue.height, -1)[:, : wide * blue.width].copy())
    assert np.array_equal(planes[0], planes[1])
    again, whole = (read_clip(tmp_path / name).pixels for name in ("odd.mkv", "even.mkv"))
    assert torch.equal(again, whole[..., :height, :width])
    small = read_clip(tmp_path / "odd.mkv", size=(15, 22)).pixels
    expected = F.interpolate(to_float(again), size=(15, 22), mode="area")
    assert (to_float(small) - expected).abs().mean() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 7), (33, 1), (16, 16)])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"color": PQ}),
        ("a.webm", {}),
        ("a.mov", {"codec": "prores"}),
        ("a.mkv", {"codec": "ffv1"}),
        ("a.gif", {}),
    ],
)
def test_tiny_pictures_are_written(tmp_path: Path, size: tuple[int, int], name: str, options: dict[str, Any]) -> None:
    frames = torch.stack([torch.full((3, *size), level) for level in (0.2, 0.4, 0.6)])
    write(tmp_path / name, frames, **options)
    again = read_clip(tmp_path / name)
    assert (to_float(again.pixels) - frames).abs().max() < 0.02
    assert again.pts_seconds == (0, Fraction(1, 25), Fraction(2, 25))


def test_what_is_too_small_for_a_codec_is_refused(tmp_path: Path) -> None:
    for name, codec, color, size, message in (
        ("a.mp4", "hevc", ColorInfo(), (8, 64), "libx265 cannot code 64x8, only 16x16 or more; choose codec h264"),
        ("a.webm", None, PQ, (2, 2), "libsvtav1 cannot code 2x2, only 4x4 or more"),
    ):
        with pytest.raises(UserError, match=message):
            VideoWriter(tmp_path / name, height=size[0], width=size[1], frame_rate=RATE, color=color, codec=codec)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_short_hevc_has_its_times(tmp_path: Path, count: int) -> None:
    """x265 gives decoding times from unset memory to videos of fewer than three frames."""
    for attempt in range(4):  # what lay in memory differs
        path = tmp_path / f"{attempt}.mp4"
        write(path, slope(16, 16).repeat(count, 1, 1, 1), codec="hevc")
        with av.open(path) as container:
            times = [
                (packet.pts * packet.time_base, packet.dts * packet.time_base)
                for packet in container.demux(video=0)
                if packet.size and packet.pts is not None and packet.dts is not None
            ]
            assert all(abs(shown - decoded) < 1 for shown, decoded in times)
            assert sorted(shown for shown, _ in times) == [i / RATE for i in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16, 16), (2, 2), (1, 5), (64, 36)], ids=["16x16", "2x2", "5x1", "portrait"])
def test_the_whole_way_at_any_shape(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = torch.stack([0.8 * slope(*size) + 0.02 * step for step in range(4)])
    write(tmp_path / "in.mkv", frames, codec="ffv1")
    assert train_main(["--video", f"{tmp_path}/in.mkv", "--config", TINY, "--out", f"{tmp_path}/run"]) == 0
    assert render_main([f"{tmp_path}/run", "--slowmo", "2", "--pix-fmt", "yuv444p", "-o", f"{tmp_path}/out.mp4"]) == 0
    again = to_float(read_clip(tmp_path / "out.mp4").pixels)
    assert again.shape == (8, 3, *size)
    assert (again[::2] - frames).abs().mean() < 0.02
    assert (reduce(again[:7], "t c h w -> t", "mean").diff() > 0).all()


# ------------------------------------------------------------------------------------------------ interlaced


def moving(instant: float) -> Tensor:
    """(3, 48, 64) a smooth pattern that moves 2 pixels a field."""
    x, y = torch.arange(64).float(), torch.arange(48).float()[:, None]
    return (0.5 + 0.2 * torch.sin((x - 2 * instant) / 4) + 0.15 * torch.sin((y + instant) / 6)).expand(3, -1, -1)


@pytest.fixture(scope="module")
def interlaced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames at 25 a second, top field first: 50 instants a second."""
    path = tmp_path_factory.mktemp("interlaced") / "in.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"flags": "+ildct+ilme", "crf": "4", "g": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        graph = Graph()
        source = graph.add("buffer", video_size="64x48", pix_fmt="yuv420p", time_base="1/25", pixel_aspect="1/1")
        graph.link_nodes(source, graph.add("setfield", "tff"), graph.add("buffersink")).configure()
        for index in range(12):
            woven = moving(2 * index).clone()
            woven[:, 1::2] = moving(2 * index + 1)[:, 1::2]
            pixels = np.ascontiguousarray(rearrange(to_uint8(woven).numpy(), "c h w -> h w c"))
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, 1 / RATE
            graph.push(frame)
            container.mux(stream.encode(graph.vpull()))
        container.mux(stream.encode(None))
    return path


def test_interlaced_video_is_said_and_taken_as_it_is(interlaced: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = read_clip(interlaced)
    assert warned(caplog) == [
        f"{interlaced} is interlaced: what moves is combed; --deinterlace frame, or field for twice the rate, mends it"
    ]
    assert (to_float(clip.pixels[5, :, ::2]) - moving(10)[:, ::2]).abs().mean() < 0.01
    assert (to_float(clip.pixels[5, :, 1::2]) - moving(10)[:, 1::2]).abs().mean() > 0.03


@pytest.mark.parametrize(("mode", "per_frame"), [("frame", 1), ("field", 2)])
def test_deinterlaced_frames_show_one_instant(
    interlaced: Path, caplog: pytest.LogCaptureFixture, mode: Any, per_frame: int
) -> None:
    clip = read_clip(interlaced, deinterlace=mode)
    assert not warned(caplog)
    assert clip.frame_rate == per_frame * RATE
    assert clip.pts_seconds == tuple(i / (per_frame * RATE) for i in range(12 * per_frame))
    assert clip.end_seconds == Fraction(12, 25)
    for index in range(2, len(clip) - 2):
        error = (to_float(clip.frames[index]) - moving(index * 2 / per_frame)).abs()
        assert error[:, 4:-4].mean() < 0.012

    # From a keyframe, where decoding could begin without the frame before.
    part = read_clip(interlaced, deinterlace=mode, start_seconds=Fraction(4, 25), end_seconds=Fraction(9, 25))
    assert part.pts_seconds == clip.pts_seconds[4 * per_frame : 9 * per_frame]
    assert torch.equal(part.pixels, clip.pixels[4 * per_frame : 9 * per_frame])


@pytest.mark.slow
def test_deinterlace_on_the_command_line(interlaced: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--video", str(interlaced), "--config", TINY, "--steps", "1", "--out", f"{tmp_path}/run"]
    assert main([*words, "--deinterlace", "field", "--end", "0.2"]) == 0
    assert main(["render", f"{tmp_path}/run", "-o", f"{tmp_path}/out.mkv"]) == 0
    assert len(read_clip(tmp_path / "out.mkv")) == 10
    capsys.readouterr()
    assert main([*words, "--deinterlace", "both", "--overwrite"]) == 2
    assert "deinterlace must be frame or field, got 'both'" in capsys.readouterr().err


def test_what_is_too_small_to_deinterlace_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "in.mkv", slope(4, 64)[None], codec="ffv1")
    with pytest.raises(UserError, match="64x4 are too small to be deinterlaced"):
        read_clip(tmp_path / "in.mkv", deinterlace="frame")
