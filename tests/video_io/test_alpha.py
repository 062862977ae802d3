"""Alpha on the whole way: files are read, fields keep it, results are written with it, and read again."""

from __future__ import annotations

import logging
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from einops import rearrange, reduce, repeat
from processes import ROOT
from torch import Tensor

from vfield.cli import main, render_main, train_main
from vfield.core.clip import Clip, ColorInfo, to_float
from vfield.core.frames import in_memory
from vfield.field.checkpoint import load_field
from vfield.prepare.fill import fill
from vfield.video_io import FilePart, VideoWriter, inspect_file, probe, read_clip, scan_clip
from vfield.video_io.mux import extend_colours

SIZE = (48, 96)
SOLID = torch.tensor([0.8, 0.4, 0.6])
FAST = ["--config", str(ROOT / "configs" / "fast.yaml"), "--device", "cpu"]
# Alpha of patches of 24x24, and their colours.
SIDE, MARGIN = 24, 6
SHARES = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0, 1.0, 0.5, 1.0])
COLOURS = torch.tensor(
    [
        *([0.5, 0.5, 0.5], [0.76, 0.58, 0.51], [0.34, 0.42, 0.26], [0.9, 0.1, 0.1]),
        *([0.0, 0.0, 0.0], [0.1, 0.9, 0.1], [0.2, 0.2, 0.8], [1.0, 1.0, 1.0]),
    ]
)
pytestmark = pytest.mark.usefixtures("one_thread")


def ramp() -> Tensor:
    """(h, w): alpha from nothing on the left to all on the right."""
    return torch.linspace(0, 1, SIZE[1]).expand(SIZE)


def store(
    path: Path,
    encoder: str,
    pixel_format: str,
    picture: Tensor,
    *,
    degrees: int = 0,
    tags: dict[str, str] | None = None,
) -> Path:
    """A file of one frame, (4, h, w) RGB and alpha, as FFmpeg makes it."""
    words = np.ascontiguousarray(rearrange((65535 * picture).round().numpy(), "c h w -> h w c")).astype(np.uint16)
    with av.open(path, "w", format="image2" if encoder == "png" else None) as container:
        stream = container.add_stream(encoder, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[1:], pixel_format
        if degrees:
            stream.set_display_rotation(degrees)
        stream.metadata.update(tags or {})
        frame = av.VideoFrame.from_ndarray(words, "rgba64le").reformat(format=pixel_format)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def solid(alpha: Tensor) -> Tensor:
    """(4, h, w): one colour with this alpha."""
    return torch.cat([repeat(SOLID, "c -> c h w", h=alpha.shape[0], w=alpha.shape[1]), alpha[None]])


def alpha_of(clip: Clip) -> Tensor:
    assert clip.alpha is not None
    return to_float(in_memory(clip.alpha))


def chart() -> Tensor:
    """(4, 48, 96): the patches in two rows of four, colours as they are without alpha."""
    patches = torch.cat([COLOURS, SHARES[:, None]], dim=1).reshape(2, 4, 4)
    return repeat(patches, "rows columns c -> c (rows h) (columns w)", h=SIDE, w=SIDE)


def patch_means(pictures: Tensor) -> Tensor:
    """(t, c, 48, 96) -> (8, c): the mean of each patch, its border left out."""
    patches = rearrange(pictures, "t c (y h) (x w) -> (y x) t h w c", h=SIDE, w=SIDE)
    return reduce(patches[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN], "n t h w c -> n c", "mean")


def straight(clip: Clip) -> Tensor:
    """(t, 3, h, w): colours as they are without alpha; black where nothing is seen."""
    alpha = alpha_of(clip)[:, None]
    return torch.where(alpha > 0, to_float(clip.pixels) / alpha.clamp(min=1e-6), 0).clamp(max=1)


def shifts(clip: Clip, source: Clip) -> tuple[float, float, float, float]:
    """How far alpha and straight colours are from the source's, levels of 255: the means, and the worst patch."""
    found = []
    for one, other in ((alpha_of(clip)[:, None], alpha_of(source)[:, None]), (straight(clip), straight(source))):
        whole = (one.mean(dim=(0, 2, 3)) - other.mean(dim=(0, 2, 3))).abs().max()
        found += [255 * float(whole), 255 * float((patch_means(one) - patch_means(other)).abs().max())]
    return found[0], found[1], found[2], found[3]


# ------------------------------------------------------------------------------------------------ reading

# The formats of files, and by how many levels of 255 FFmpeg's own way into them is off.
KINDS = [
    ("in.webm", "libvpx-vp9", "yuva420p", 2.0),
    ("in.mkv", "libvpx-vp9", "yuva420p", 2.0),
    ("in.mov", "prores_ks", "yuva444p10le", 0.4),
    ("in.mkv", "ffv1", "yuva444p12le", 0.1),
    ("in.mkv", "ffv1", "gbrap10le", 0.4),
    ("in.mov", "qtrle", "argb", 1.5),
    ("in.png", "png", "rgba", 1.5),
    ("in.png", "png", "rgba64be", 0.01),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "encoder", "pixel_format", "most"), KINDS)
def test_alpha_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, encoder: str, pixel_format: str, most: float
) -> None:
    path = store(tmp_path / name, encoder, pixel_format, solid(ramp()))
    clip = read_clip(path)
    assert 255 * (alpha_of(clip)[0] - ramp()).abs().max() < most
    # Colours are as they look over black.
    over_black = SOLID[:, None, None] * ramp()
    torch.testing.assert_close(to_float(clip.pixels)[0, :, :, 8:-8], over_black[..., 8:-8], atol=0.02, rtol=0)
    small = read_clip(path, size=(12, 24))
    means = reduce(ramp(), "(h a) (w b) -> h w", "mean", a=4, b=4)
    torch.testing.assert_close(alpha_of(small)[0], means, atol=(most + 0.6) / 255, rtol=0)
    assert scan_clip(FilePart(path), lambda batches: sum(map(len, batches))).facts.has_alpha
    assert inspect_file(path).has_alpha
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(("name", "encoder", "pixel_format", "most"), KINDS)
def test_an_opaque_channel_is_no_alpha(tmp_path: Path, name: str, encoder: str, pixel_format: str, most: float) -> None:
    clip = read_clip(store(tmp_path / name, encoder, pixel_format, solid(torch.ones(SIZE))))
    assert clip.alpha is None
    assert not clip.facts.has_alpha
    middle = to_float(clip.pixels)[0, :, 8:-8, 8:-8]
    torch.testing.assert_close(middle, SOLID[:, None, None].expand_as(middle), atol=0.02, rtol=0)


def test_alpha_is_as_large_as_the_colours_of_white(tmp_path: Path) -> None:
    """At any size: white over black is alpha itself, so both are scaled alike."""
    noise = torch.rand(SIZE, generator=torch.Generator().manual_seed(0))
    white = torch.cat([torch.ones(3, *SIZE), noise[None]])
    for pixel_format, most in (("rgba", 255), ("rgba64be", 65535)):
        path = store(tmp_path / f"{most}.png", "png", pixel_format, white)
        for size in (SIZE, (13, 48), (48, 31), (96, 200)):
            clip = read_clip(path, size=size)
            expected = alpha_of(clip)[:, None].expand(-1, 3, -1, -1)
            # Between RGB of 16 bits swscale rounds each channel in its own way.
            atol = (1.1 if most == 255 else 8) / most
            torch.testing.assert_close(to_float(clip.pixels), expected, atol=atol, rtol=0)


def test_alpha_is_turned_with_its_picture(tmp_path: Path) -> None:
    path = store(tmp_path / "turned.mov", "prores_ks", "yuva444p10le", solid(ramp()), degrees=90)
    upright = torch.rot90(ramp(), probe(path).rotation // 90)
    clip = read_clip(path)
    assert alpha_of(clip).shape == (1, 96, 48)
    assert 255 * (alpha_of(clip)[0] - upright).abs().max() < 0.4
    assert alpha_of(read_clip(path, size=(48, 24))).shape == (1, 48, 24)


def test_webm_whose_alpha_mode_is_a_tag(tmp_path: Path) -> None:
    path = store(tmp_path / "a.webm", "libvpx-vp9", "yuva420p", solid(ramp()), tags={"alpha_mode": "1"})
    assert 255 * (alpha_of(read_clip(path))[0] - ramp()).abs().max() < 2


def test_alpha_that_begins_late(tmp_path: Path) -> None:
    """Frames that are opaque stay so beside others that are not."""
    options: dict[str, Any] = {"height": 16, "width": 16, "frame_rate": Fraction(25), "color": ColorInfo()}
    with VideoWriter(tmp_path / "a.mkv", alpha=True, codec="ffv1", **options) as writer:
        for alpha in (1.0, 1.0, 0.5, 1.0):
            writer.write(solid(torch.full((16, 16), alpha)))
    clip = read_clip(tmp_path / "a.mkv")
    assert reduce(alpha_of(clip), "t h w -> t", "mean").tolist() == pytest.approx([1, 1, 0.5, 1], abs=0.003)
    assert read_clip(tmp_path / "a.mkv", max_frames=2).alpha is None


def test_filling_keeps_alpha() -> None:
    """Of a first frame nobody saw, the copy that stands for it has the alpha of what it is a copy of."""
    frames = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    alpha = torch.stack([torch.full((16, 16), share) for share in (0.1, 0.5, 0.9)])
    visible = torch.ones(3, 16, 16, dtype=torch.bool)
    visible[0] = False
    times = tuple(Fraction(i, 25) for i in range(3))
    filled = fill(Clip(frames, times, Fraction(3, 25), Fraction(25), visible=visible, alpha=alpha))
    assert alpha_of(filled)[:, 0, 0].tolist() == pytest.approx([0.5, 0.5, 0.9])


# ------------------------------------------------------------------------------------------------ writing


@pytest.mark.slow
@pytest.mark.parametrize("size", [SIZE, (47, 95)])
@pytest.mark.parametrize(
    ("name", "bits", "options", "stored", "most"),
    [
        ("a.webm", 8, {}, ("vp9", "yuv420p"), 2.0),  # FFmpeg's own decoder, which names the format, sees no alpha
        ("a.mkv", 8, {}, ("vp9", "yuv420p"), 2.0),
        ("a.mov", 8, {}, ("prores", "yuva444p12le"), 0.2),
        ("a.mov", 10, {}, ("prores", "yuva444p12le"), 0.2),
        ("a.mkv", 8, {"codec": "ffv1"}, ("ffv1", "yuva444p"), 0.51),
        ("a.mkv", 10, {"codec": "ffv1"}, ("ffv1", "yuva444p10le"), 0.13),
        ("a.mkv", 14, {"codec": "ffv1"}, ("ffv1", "yuva444p16le"), 0.01),
        ("a.mkv", 8, {"codec": "ffv1", "pixel_format": "yuva420p"}, ("ffv1", "yuva420p"), 0.51),
        ("a.mkv", 8, {"codec": "ffv1", "pixel_format": "bgra"}, ("ffv1", "bgra"), 0.51),
        ("a.mov", 8, {"codec": "png"}, ("png", "rgba"), 0.51),
        ("a.png", 8, {}, ("png", "rgba"), 0.51),
        ("a.png", 12, {}, ("png", "rgba64be"), 0.01),
    ],
)
def test_alpha_is_written(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    size: tuple[int, int],
    name: str,
    bits: int,
    options: dict[str, Any],
    stored: tuple[str, str],
    most: float,
) -> None:
    height, width = size
    frame = solid(ramp())[:, :height, :width]
    facts: dict[str, Any] = {"height": height, "width": width, "frame_rate": Fraction(25)}
    with VideoWriter(tmp_path / name, color=ColorInfo(bit_depth=bits), alpha=True, **facts, **options) as writer:
        assert writer.alpha
        for _ in range(1 if name == "a.png" else 2):
            writer.write(frame)
    assert not [record for record in caplog.records if "alpha" in record.message]
    info = probe(tmp_path / name)
    assert (info.codec, info.pixel_format) == stored
    clip = read_clip(tmp_path / name)
    assert 255 * (alpha_of(clip) - frame[3]).abs().max() < most
    there = alpha_of(clip)[:, None].expand_as(clip.pixels) > 0.3
    straight = to_float(clip.pixels) / alpha_of(clip)[:, None].clamp(min=0.1)
    assert 255 * (straight - frame[:3])[there].abs().max() < 4.5


@pytest.mark.parametrize(
    ("name", "options"), [("a.webm", {}), ("a.mkv", {"codec": "ffv1", "pixel_format": "yuva420p"})]
)
def test_edges_keep_their_colour(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    """A red disc on nothing, whose outside is black where nobody sees it: over white it stays as red as it was."""
    y, x = torch.meshgrid(torch.arange(95).float(), torch.arange(97).float(), indexing="ij")
    alpha = (30.5 - ((x - 48) ** 2 + (y - 48) ** 2).sqrt()).clamp(0, 1)
    red = torch.tensor([0.9, 0.1, 0.1])[:, None, None] * (alpha > 0)
    facts: dict[str, Any] = {"height": 95, "width": 97, "frame_rate": Fraction(25), "color": ColorInfo()}
    with VideoWriter(tmp_path / name, alpha=True, **facts, **options) as writer:
        for _ in range(2):
            writer.write(torch.cat([red, alpha[None]]))
    clip = read_clip(tmp_path / name)
    over_white = to_float(clip.pixels) + 1 - alpha_of(clip)[:, None]
    # Without colours that go on beneath it would be 36 and more.
    assert 255 * (over_white - (red * alpha + 1 - alpha)).abs().max() < 8


def test_what_is_seen_is_not_touched_by_what_goes_on_beneath() -> None:
    noise = np.random.default_rng(0)
    rgb, seen = noise.integers(0, 256, (3, 13, 21)).astype(np.uint8), noise.random((13, 21)) < 0.1
    for picture in (rgb, (rgb / 255).astype(np.float32)):
        filled = extend_colours(picture, seen)
        assert filled.dtype == picture.dtype
        assert np.array_equal(filled[:, seen], picture[:, seen])
        flat = extend_colours(np.where(seen, picture[:, :1, :1], 0).astype(picture.dtype), seen)
        np.testing.assert_allclose(flat, np.broadcast_to(picture[:, :1, :1], flat.shape), rtol=1e-6)
        for uniform in (np.zeros_like(seen), np.ones_like(seen)):
            assert np.array_equal(extend_colours(picture, uniform), picture)


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("a.mp4", {}, "libx264 as yuv420p in .mp4"),
        ("a.mp4", {"codec": "vp9"}, "libvpx-vp9 as yuv420p in .mp4"),
        ("a.mov", {"codec": "h264"}, "libx264 as yuv420p in .mov"),
        ("a.webm", {"codec": "av1"}, "libsvtav1 as yuv420p in .webm"),
        ("a.mkv", {"pixel_format": "yuv444p"}, "libx264 as yuv444p in .mkv"),
        ("a.gif", {}, "a GIF as it is written here"),
    ],
)
def test_what_cannot_hold_alpha_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, options: dict[str, Any], what: str
) -> None:
    facts: dict[str, Any] = {"height": 48, "width": 96, "frame_rate": Fraction(25), "color": ColorInfo()}
    writer = VideoWriter(tmp_path / name, alpha=True, **facts, **options)
    assert not writer.alpha
    assert caplog.messages == [
        f"{tmp_path / name}: alpha is left out, {what} cannot hold it: the picture is as it looks over black; .webm, "
        ".mov, .mkv or .png keep it"
    ]
    caplog.clear()
    VideoWriter(tmp_path / name, **facts, **options)
    assert caplog.messages == []


# ------------------------------------------------------------------------------------------------ the whole way


def film(path: Path, pictures: list[Tensor], codec: str = "ffv1") -> Path:
    """A lossless film of (4, h, w) pictures."""
    height, width = pictures[0].shape[1:]
    facts: dict[str, Any] = {"height": height, "width": width, "frame_rate": Fraction(25), "color": ColorInfo()}
    with VideoWriter(path, alpha=True, codec=codec, **facts) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit to the chart as a file. Tests only read it."""
    folder = tmp_path_factory.mktemp("chart")
    source = film(folder / "chart.mkv", [chart(), chart()])
    assert train_main([*FAST, "--video", str(source), "--out", str(folder / "run")]) == 0
    return folder / "run"


# Most that the mean and the worst patch may be off, levels of 255: alpha, then straight colours.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words", "bounds"),
    [
        ("a.png", ["--end", "0.04"], (0.001, 0.001, 0.001, 0.001)),
        ("folder", [], (0.001, 0.001, 0.001, 0.001)),
        ("a.webm", [], (0.1, 0.5, 0.2, 2.5)),
        ("a.mkv", [], (0.1, 0.5, 0.2, 2.5)),
        ("a.mov", [], (0.1, 0.3, 0.2, 1.0)),
        ("b.mkv", ["--codec", "ffv1"], (0.001, 0.001, 0.4, 2.5)),  # colours by way of YUV of 8 bits, and of bytes
    ],
)
def test_alpha_and_colours_do_not_shift(
    run: Path, tmp_path: Path, name: str, words: list[str], bounds: tuple[float, ...]
) -> None:
    assert render_main([str(run), "-o", str(tmp_path / name), *words]) == 0
    made = read_clip(tmp_path / name / "000001.png" if name == "folder" else tmp_path / name)
    found = shifts(made, read_clip(run.parent / "chart.mkv"))
    assert all(shift < bound for shift, bound in zip(found, bounds, strict=True)), found


def test_video_that_holds_no_alpha_is_over_black(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert render_main([str(run), "-o", str(tmp_path / "a.mp4")]) == 0
    (line,) = [message for message in caplog.messages if "alpha" in message]
    assert "alpha is left out, libx264 as yuv420p in .mp4 cannot hold it" in line
    clip = read_clip(tmp_path / "a.mp4")
    assert clip.alpha is None
    over_black = chart()[:3] * chart()[3:]
    difference = patch_means(to_float(clip.pixels)) - patch_means(over_black[None])
    assert 255 * difference.abs().max() < 4


def test_a_part_of_the_picture_and_another_size_have_alpha(run: Path, tmp_path: Path) -> None:
    words = ["--crop", "48,0,24,24", "--size", "48x40", "--end", "0.04", "-o", str(tmp_path / "a.png")]
    assert render_main([str(run), *words]) == 0
    assert alpha_of(read_clip(tmp_path / "a.png"))[0, 12:-12, 12:-12].mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
def test_run_fits_and_exports_with_alpha(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = film(tmp_path / "in.mov", [chart(), chart()], codec="prores")
    assert main(["run", str(source), *FAST, "-o", "out.webm"]) == 0
    assert load_field(tmp_path / "runs" / "in").facts.has_alpha
    capfd.readouterr()
    for shown in ("in.mov", "out.webm", "runs/in"):
        assert main(["info", shown]) == 0
        assert "with alpha" in capfd.readouterr().out
    assert shifts(read_clip(tmp_path / "out.webm"), read_clip(source))[1] < 1.5


@pytest.mark.slow
def test_fields_that_cannot_keep_alpha_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    source = film(tmp_path / "in.mkv", [chart(), chart()])
    assert main(["run", str(source), *FAST, "--field.local.colours", "false", "-o", "out.webm"]) == 0
    (told,) = [message for message in caplog.messages if "alpha" in message]
    assert "alpha is dropped, a field without local.colours cannot keep it" in told
    assert not load_field(tmp_path / "runs" / "in").facts.has_alpha
    assert read_clip(tmp_path / "out.webm").alpha is None


@pytest.mark.slow
def test_several_clips_keep_each_its_own(tmp_path: Path) -> None:
    one = film(tmp_path / "one.mkv", [chart(), chart()])
    other = film(tmp_path / "other.mkv", [torch.cat([chart()[:3], torch.ones(1, *SIZE)])] * 2)
    assert train_main([*FAST, "--video", str(one), str(other), "--out", str(tmp_path / "run")]) == 0
    assert [load_field(tmp_path / "run" / name).facts.has_alpha for name in ("one", "other")] == [True, False]


# ------------------------------------------------------------------------------------------------ pieces


@pytest.mark.slow
def test_pieces_keep_alpha(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A matte that opens until nothing shows through: the last pieces are opaque throughout."""
    monkeypatch.setattr(import_module("vfield.output.export"), "_LEAST_IN_PIECES", 20)
    monkeypatch.setattr("vfield.output.pieces._PIECE_FRAMES", 8)
    texture = 0.3 + 0.5 * torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))
    shares = [min(1.0, 0.2 + 0.1 * frame) for frame in range(18)]
    source = film(tmp_path / "in.mkv", [torch.cat([texture, torch.full((1, 24, 32), share)]) for share in shares])
    assert train_main([*FAST, "--video", str(source), "--out", str(tmp_path / "run")]) == 0
    words = [str(tmp_path / "run"), "--slowmo", "2", "--codec", "ffv1", "-o", str(tmp_path / "out.mkv")]
    assert render_main(words) == 0
    found = reduce(alpha_of(read_clip(tmp_path / "out.mkv")), "t h w -> t", "mean")
    expected = torch.tensor([(shares[k // 2] + shares[min((k + 1) // 2, 17)]) / 2 for k in range(36)])
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
