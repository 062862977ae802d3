"""Frames by number: any frame of any file, in any order, is the one that reading it from its beginning gives."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from films import every, write_film
from PIL import Image

from vfield.core.clip import Clip, ColorInfo
from vfield.core.errors import UserError
from vfield.video_io import FileFrames, FilePart, VideoWriter, read_clip, reading, scan_clip

RATE = Fraction(25)
COUNT = 30
SIZE = (32, 48)


def drawn(number: int, size: tuple[int, int] = SIZE, deep: bool = False) -> np.ndarray:
    """(h, w, 3): a slope with a bright bar whose place tells the number; no two are alike."""
    height, width = size
    ramp = np.linspace(0.2, 0.6, width)[None, :, None] * np.linspace(1, 0.6, height)[:, None, None]
    picture = ramp * np.array([1.0, 0.8, 0.6])
    picture[:, number % width] = 1.0
    picture[number % height] *= 0.5
    most, kind = (65535, np.uint16) if deep else (255, np.uint8)
    return np.rint(picture * most).astype(kind)


def coded(
    path: Path,
    codec: str,
    *,
    count: int = COUNT,
    size: tuple[int, int] = SIZE,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """So many pictures in a file, by PyAV alone."""
    deep = "10" in pixels
    with av.open(path, "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(drawn(number, size, deep), "rgb48le" if deep else "rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = number, 1 / RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def x264(path: Path, options: str = "", **more: Any) -> Path:
    # One thread: frames are coded alike on any machine.
    return coded(path, "libx264", options={"x264-params": f"threads=1:scenecut=0:{options}", "crf": "30"}, **more)


def written(path: Path, **options: Any) -> Path:
    """So many pictures through the package's own writer."""
    channels = 4 if options.get("alpha") else 3
    with VideoWriter(
        path, height=SIZE[0], width=SIZE[1], **{"frame_rate": RATE, "color": ColorInfo(), **options}
    ) as writer:
        for number in range(COUNT):
            frame = torch.from_numpy(drawn(number)).permute(2, 0, 1)
            if channels == 4:
                alpha = torch.full((1, *SIZE), 255, dtype=torch.uint8)
                alpha[:, :, : 1 + number] = 8 * number
                frame = torch.cat([frame, alpha])
            writer.write(frame)
    return path


def joined_streams(path: Path) -> Path:
    """Two recordings in one transport stream: the clock goes back."""
    whole = b""
    for number, late in enumerate((50.0, 3.0)):
        piece = path.with_suffix(f".{number}.ts")
        write_film(piece, every(COUNT // 2, 25), tones=(), late_seconds=Fraction(late), mark_seconds=0.2 * number + 0.2)
        whole += piece.read_bytes()
    path.write_bytes(whole)
    return path


def doubled_times(path: Path) -> Path:
    """Some packets have the time of the one before."""
    ticks = [0, 40, 40, 80, 120, 120, 120, 160, 200, 240, 240, 280]
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(drawn(number), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.pts = packet.dts = tick
                container.mux(packet)
    return path


def painted_over(path: Path) -> Path:
    """A GIF or an animated PNG whose later pictures hold only what changes."""
    back = Image.fromarray(drawn(0))
    pictures = [back]
    for number in range(1, COUNT):
        picture = pictures[-1].copy()
        picture.paste((255, 255 - 8 * number, 8 * number), (number, number, number + 3, number + 2))
        pictures.append(picture)
    pictures = [picture.quantize(32) for picture in pictures] if path.suffix == ".gif" else pictures
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40, loop=0)
    return path


def larger_in_its_middle(path: Path) -> Path:
    """A transport stream whose pictures become larger."""
    whole = b""
    for number, size in enumerate((SIZE, (64, 96))):
        piece = x264(path.with_suffix(f".{number}.ts"), "keyint=5:bframes=0", size=size, count=COUNT // 2)
        whole += piece.read_bytes()
    path.write_bytes(whole)
    return path


def rotated(path: Path) -> Path:
    """Stored lying on its side: the matrix of the track's header says so."""
    content = bytearray(x264(path, "keyint=12").read_bytes())
    header = content.index(b"tkhd")
    matrix = content.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), header)
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def one_picture(path: Path) -> Path:
    Image.fromarray(drawn(3)).save(path)
    return path


FILES: dict[str, Callable[[Path], Path]] = {
    "pyramid.mp4": lambda path: x264(path, "keyint=12:bframes=3:b-pyramid=normal"),
    "one group.mp4": lambda path: x264(path, "keyint=infinite:bframes=3"),
    "open groups.mp4": lambda path: x264(path, "keyint=8:bframes=3:open-gop=1"),
    "open groups.mkv": lambda path: x264(path, "keyint=8:bframes=3:open-gop=1"),
    "refreshed.mkv": lambda path: x264(path, "keyint=10:intra-refresh=1:bframes=0"),
    "groups.ts": lambda path: x264(path, "keyint=8:bframes=3"),
    "open groups.ts": lambda path: x264(path, "keyint=8:bframes=3:open-gop=1"),
    "mpeg2.ts": lambda path: coded(path, "mpeg2video", options={"g": "9", "bf": "2"}),
    "mpeg2.mpg": lambda path: coded(path, "mpeg2video", options={"g": "9", "bf": "2"}),
    "mpeg4.avi": lambda path: coded(path, "mpeg4", options={"g": "9", "bf": "2"}),
    "h264.avi": lambda path: x264(path, "keyint=9:bframes=2"),
    "h264.flv": lambda path: x264(path, "keyint=9:bframes=2"),
    "hevc.mp4": lambda path: coded(
        path, "libx265", options={"x265-params": "log-level=none:keyint=8:bframes=3:open-gop=1:pools=none"}
    ),
    "raw.h264": lambda path: x264(path, "keyint=9:bframes=2"),
    "raw.m2v": lambda path: coded(path, "mpeg2video", options={"g": "9", "bf": "2"}),
    "frames.ivf": lambda path: coded(path, "libvpx-vp9", options={"g": "9", "cpu-used": "8", "lag-in-frames": "8"}),
    "frames.y4m": lambda path: coded(path, "wrapped_avframe", count=12),
    "alpha.webm": lambda path: written(path, alpha=True),
    "deep.mp4": lambda path: x264(path, "keyint=9:bframes=2", pixels="yuv420p10le"),
    "deep alpha.mov": lambda path: written(path, alpha=True, codec="prores", color=ColorInfo(bit_depth=10)),
    "painted over.gif": painted_over,
    "painted over.png": painted_over,
    "picture.jpg": one_picture,
    "joined.ts": joined_streams,
    "larger.ts": larger_in_its_middle,
    "doubled.mkv": doubled_times,
    "rotated.mp4": rotated,
    "pictures.mjpeg": lambda path: coded(path, "mjpeg", pixels="yuvj420p", count=12),
    "uneven.mp4": lambda path: written_film(path, [0, 33, 100, 117, 200, 250, 333, 350, 351, 600, 620]),
    "early.mp4": lambda path: written_film(path, range(-200, 600, 40)),
    "late.mp4": lambda path: written_film(path, range(5000, 5800, 40)),
}


def written_film(path: Path, milliseconds: Sequence[int]) -> Path:
    write_film(path, [Fraction(at, 1000) for at in milliseconds], mark_seconds=0.3, options={"g": "5"})
    return path


def looked_through(path: Path, **part: Any) -> Callable[[int], FileFrames]:
    """What opens the file's frames by number, with a cache of so many."""
    where = FilePart(path, *(part.get(name) for name in ("start_seconds", "end_seconds", "size", "deinterlace")))
    scan = scan_clip(where, lambda batches: [len(batch) for batch in batches])
    facts = scan.facts
    bytes_each = facts.height * facts.width * (3 + facts.has_alpha) * (1 if facts.color.bit_depth == 8 else 4)
    return lambda kept: FileFrames(where, facts, scan.origin, kept_bytes=kept * bytes_each)


def orders(count: int) -> dict[str, list[int]]:
    shuffled = list(range(count))
    random.Random(0).shuffle(shuffled)
    pairs = [number for first in range(count - 2, -1, -1) for number in (first, first + 1)]
    return {
        "forward": list(range(count)),
        "backward": list(range(count))[::-1],
        "shuffled": shuffled,
        "pairs backward": pairs,
        "from both ends": [number for pair in zip(range(count), range(count)[::-1], strict=True) for number in pair],
    }


def check_same(frames: FileFrames, clip: Clip, numbers: Sequence[int]) -> None:
    for number in numbers:
        assert torch.equal(frames.rgb[number], clip.frames[number]), f"frame {number}"
        assert (frames.alpha is None) == (clip.alpha is None)
        if frames.alpha is not None and clip.alpha is not None:
            assert torch.equal(frames.alpha[number], clip.alpha[number]), f"alpha of frame {number}"


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_any_frame_in_any_order(name: str, tmp_path: Path) -> None:
    path = FILES[name](tmp_path / name)
    check_any_order(looked_through(path), read_clip(path))


def check_any_order(open_with: Callable[[int], FileFrames], clip: Clip) -> None:
    count = len(clip)
    for kept, numbers in zip((4, 4, 4, 9, 9), orders(count).values(), strict=True):
        frames = open_with(kept)
        assert (tuple(frames.rgb.shape), frames.rgb.dtype) == (tuple(clip.frames.shape), clip.frames.dtype)
        check_same(frames, clip, numbers)
        frames.close()
    for number in range(count):  # each as the first that is asked for
        frames = open_with(4)
        check_same(frames, clip, [number])
        frames.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    [
        {"start_seconds": Fraction(7, 25), "end_seconds": Fraction(23, 25)},
        {"start_seconds": Fraction(1, 3), "size": (20, 30)},
        {"size": (16, 24)},
        {"deinterlace": "frame"},
        {"deinterlace": "field"},
        {"deinterlace": "field", "start_seconds": Fraction(7, 50), "end_seconds": Fraction(4, 5), "size": (24, 32)},
    ],
)
def test_any_frame_of_a_part(part: dict[str, Any], tmp_path: Path) -> None:
    path = x264(tmp_path / "film.mkv", "keyint=8:bframes=2" + (":tff=1" if "deinterlace" in part else ""))
    check_any_order(looked_through(path, **part), read_clip(path, **part))


@pytest.mark.slow
def test_two_threads_ask_at_once(tmp_path: Path) -> None:
    path = x264(tmp_path / "film.mp4", "keyint=10:bframes=3")
    clip, frames = read_clip(path), looked_through(path)(5)
    ways = [*orders(len(clip)).values()][:4]
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(check_same, frames, clip, way) for way in ways]:
            done.result()


def test_no_more_is_kept_than_asked_for(tmp_path: Path) -> None:
    path = x264(tmp_path / "film.mp4", "keyint=10:bframes=3")
    frames = looked_through(path)(6)
    for number in [*range(COUNT), *range(COUNT)[::-1], 3, 20]:
        frames.rgb[number]
        assert len(frames._kept) <= 6
    frames.close()
    assert not frames._kept


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "decoded"),
    [
        ("film.mp4", "keyint=60:bframes=3", 9),
        ("film.ts", "keyint=60:bframes=3", 18),
        ("film.mp4", "keyint=12:bframes=3:open-gop=1", 5),
        ("film.ts", "keyint=12:bframes=3:open-gop=1", 12),
    ],
)
def test_going_backward_does_not_decode_from_far_before_each_frame(
    name: str, options: str, decoded: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for 12 frames no frame is decoded more often than so, however long the film."""
    count = 240
    path = x264(tmp_path / name, options, count=count)
    frames = looked_through(path)(12)
    decoding, decodings = reading._Decoder.frames, [0]

    def counted(decoder: reading._Decoder) -> Iterator[Any]:
        for frame in decoding(decoder):
            decodings[0] += 1
            yield frame

    monkeypatch.setattr(reading._Decoder, "frames", counted)
    for number in range(count)[::-1]:
        frames.rgb[number]
    assert decodings[0] <= decoded * count
    # One alone, in the middle: its group of pictures, and not all before it.
    frames.close()
    decodings[0] = 0
    frames.rgb[200]
    assert decodings[0] <= 75


def test_a_file_that_became_another_is_told(tmp_path: Path) -> None:
    path = x264(tmp_path / "film.mp4", "keyint=10")
    for change in (
        lambda: x264(path, "keyint=10", size=(64, 96)),
        lambda: x264(path, "keyint=10", count=12),
        lambda: coded(path, "mpeg4"),  # as many frames, at the same times
        lambda: path.write_bytes(b"no video at all"),
        lambda: path.write_bytes(path.read_bytes()[:800]),
    ):
        frames = looked_through(path)(4)
        frames.rgb[3]
        frames.close()
        kept = path.read_bytes()
        change()
        os.utime(path, ns=(1, 1))
        with pytest.raises(UserError, match=r"film\.mp4 gives other frames than when it was first read") as caught:
            frames.rgb[20]
        assert "\n" not in str(caught.value)
        path.write_bytes(kept)
    path.unlink()
    with pytest.raises(UserError, match=r"film\.mp4 does not exist"):
        looked_through_before(frames)


def looked_through_before(frames: FileFrames) -> None:
    frames.close()
    frames.rgb[0]


def test_a_file_that_was_only_touched_is_read_on(tmp_path: Path) -> None:
    path = x264(tmp_path / "film.mp4", "keyint=10")
    clip, frames = read_clip(path), looked_through(path)(4)
    frames.digest()
    os.utime(path, ns=(1, 1))
    check_same(frames, clip, [20, 3])


def test_what_was_decoded_ahead_is_let_go(tmp_path: Path) -> None:
    path = x264(tmp_path / "film.mp4", "keyint=10")
    frames = looked_through(path)(20)
    frames.rgb[0], frames.rgb[1]
    frames.close()
    if frames._under_way is not None:
        frames._under_way.result()
    assert not frames._kept
    assert frames._reading is None
