"""Pieces of a video joined without coding again: every frame once, at its own exact time, whatever the codec."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from scenes import translating

from vfield.core.clip import ColorInfo, to_uint8
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.video_io import VideoWriter, frames_in, read_clip

SIZE = (32, 48)
FRAMES = to_uint8(translating(SIZE, 26, (1.3, -0.6)))
NTSC = Fraction(30000, 1001)
PARTS = (range(0, 9), range(9, 10), range(10, 26))
HDR = ColorInfo("bt2020nc", "tv", "bt2020", "smpte2084", 10)


def writer_of(path: Path, **options: Any) -> VideoWriter:
    facts: dict[str, Any] = {
        "height": SIZE[0],
        "width": SIZE[1],
        "frame_rate": NTSC,
        "color": ColorInfo(),
        "overwrite": True,
    }
    return VideoWriter(path, **(facts | options))


def joined(path: Path, pts: Sequence[Fraction], lasting: Sequence[Fraction], **options: Any) -> list[Path]:
    """The frames, coded in parts and joined; the parts."""
    writer = writer_of(path, **options)
    pieces = []
    for number, part in enumerate(PARTS):
        pieces.append(path.with_name(f"piece{number}{path.suffix}"))
        with writer.piece(pieces[-1]) as piece:
            for frame in part:
                at = pts[frame] - pts[part.start]
                piece.write(FRAMES[frame], pts_seconds=at, duration_seconds=lasting[frame])
    writer.join(pieces, pts, lasting)
    return pieces


def packets_of(path: Path) -> list[tuple[Fraction, Fraction]]:
    """When each packet is decoded and shown, seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (packet.dts * packet.time_base, packet.pts * packet.time_base)
            for packet in container.demux(stream)
            if packet.size and packet.dts is not None and packet.pts is not None
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mkv", {}),
        ("a.mov", {"codec": "hevc"}),
        ("a.mp4", {"codec": "hevc", "color": HDR}),
        ("a.mp4", {"codec": "av1"}),
        ("a.webm", {}),
        ("a.mov", {"codec": "prores"}),
        ("a.mkv", {"codec": "ffv1"}),
    ],
)
def test_the_whole_has_the_frames_of_its_pieces_at_their_own_times(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    pts = [i / NTSC for i in range(len(FRAMES))]
    pieces = joined(tmp_path / name, pts, [1 / NTSC] * len(pts), **options)
    whole = read_clip(tmp_path / name)
    assert torch.equal(whole.pixels, torch.cat([read_clip(piece).pixels for piece in pieces]))
    rounding = Fraction(1, 2000) if Path(name).suffix in (".mkv", ".webm") else 0
    assert all(abs(found - due) <= rounding for found, due in zip(whole.pts_seconds, pts, strict=True))
    assert abs(whole.end_seconds - len(pts) / NTSC) <= 2 * rounding
    times = packets_of(tmp_path / name)
    assert all(decoded <= shown for decoded, shown in times)
    assert all(earlier[0] < later[0] for earlier, later in pairwise(times))
    # Everything said about it is what one writer says by itself.
    alone = tmp_path / f"alone{Path(name).suffix}"
    with writer_of(alone, **options) as writer:
        for frame in FRAMES:
            writer.write(frame)
    assert (whole.color, whole.frame_rate, whole.pixel_aspect) == (
        read_clip(alone).color,
        read_clip(alone).frame_rate,
        read_clip(alone).pixel_aspect,
    )
    with av.open(str(tmp_path / name)) as one, av.open(str(alone)) as other:
        stream, expected = one.streams.video[0].codec_context, other.streams.video[0].codec_context
        assert (stream.codec_tag, stream.pix_fmt) == (expected.codec_tag, expected.pix_fmt)


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    steps = [Fraction(1 + (7 * i) % 5, 90) for i in range(len(FRAMES))]
    pts = [sum(steps[:i], Fraction(0)) for i in range(len(FRAMES))]
    joined(tmp_path / "a.mp4", pts, steps, time_base=Fraction(1, 90))
    whole = read_clip(tmp_path / "a.mp4")
    assert list(whole.pts_seconds) == pts
    times = packets_of(tmp_path / "a.mp4")
    assert all(earlier[0] < later[0] for earlier, later in pairwise(times))
    with writer_of(tmp_path / "alone.mp4", time_base=Fraction(1, 90)) as writer:
        for frame, at, lasting in zip(FRAMES, pts, steps, strict=True):
            writer.write(frame, pts_seconds=at, duration_seconds=lasting)
    assert whole.end_seconds == read_clip(tmp_path / "alone.mp4").end_seconds


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.webm", "a.mkv", "a.mov"])
def test_alpha_is_joined_too(tmp_path: Path, name: str) -> None:
    matte = torch.linspace(0, 255, SIZE[1]).round().to(torch.uint8).expand(1, *SIZE)
    writer = writer_of(tmp_path / name, alpha=True)
    pieces = [tmp_path / f"{number}{Path(name).suffix}" for number in range(3)]
    for piece in pieces:
        with writer.piece(piece) as part:
            for frame in FRAMES[:4]:
                part.write(torch.cat([frame, matte]))
    writer.join(pieces, [i / NTSC for i in range(12)], [1 / NTSC] * 12)
    whole, parts = read_clip(tmp_path / name), [read_clip(piece) for piece in pieces]
    assert whole.alpha is not None
    assert torch.equal(whole.pixels, torch.cat([part.pixels for part in parts]))
    assert torch.equal(
        in_memory(whole.alpha), torch.cat([in_memory(part.alpha) for part in parts if part.alpha is not None])
    )


def test_pieces_that_lack_a_frame_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    pts = [i / NTSC for i in range(len(FRAMES))]
    pieces = joined(tmp_path / "a.mp4", pts, [1 / NTSC] * len(pts))
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(UserError, match="hold 25 frames, not 26"):
        writer_of(tmp_path / "a.mp4").join([pieces[0], pieces[2]], pts, [1 / NTSC] * len(pts))
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 4


def test_what_is_no_piece_holds_no_frames(tmp_path: Path) -> None:
    assert frames_in(tmp_path / "none.mp4") == 0
    (tmp_path / "text.mp4").write_text("no video")
    assert frames_in(tmp_path / "text.mp4") == 0
