"""A name is a file of this machine: whatever FFmpeg would take it for, whatever the file says, whatever it is."""

from __future__ import annotations

import ast
import os
import socket
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vfield.core.clip import ColorInfo
from vfield.core.errors import UserError
from vfield.video_io import VideoWriter, frames_in, probe, read_clip

PACKAGE = Path(__file__).parents[2] / "vfield"
GREY, WHITE = 90, 235
# Names that FFmpeg takes for protocols, patterns and lists of other files; folders that some of them need.
ODD_NAMES = [
    "10:30:05.mp4",
    "tcp:127.0.0.1:9.mp4",
    "concat:a.mp4|b.mp4",
    "subfile,,start,0,end,9,,:a.mp4",
    "file:a.mp4",
]
ODD_NAMES += ["http:/host/x.mp4", "data:x.mp4", "%03d.mp4", "[a]*?.mp4", "-.mp4", "pipe:0.mp4"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative names, as people type them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:" / "host").mkdir(parents=True)


def write_grey(name: str | Path, level: int, frames: int = 2) -> None:
    """A clip of 32x16 of one grey."""
    with VideoWriter(name, height=16, width=32, frame_rate=Fraction(25), color=ColorInfo("bt709", "tv")) as writer:
        for _ in range(frames):
            writer.write(torch.full((3, 16, 32), level, dtype=torch.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_written_and_read_as_the_file_it_is(name: str) -> None:
    for other in ("a.mp4", "b.mp4"):
        write_grey(other, GREY)
    write_grey(name, WHITE)
    assert Path(name).is_file()
    assert abs(float(read_clip(name).pixels.float().mean()) - WHITE) < 3
    assert frames_in(Path(name)) == 2


def test_pieces_of_odd_names_are_joined() -> None:
    writer = VideoWriter("1:2.mp4", height=16, width=32, frame_rate=Fraction(25), color=ColorInfo("bt709", "tv"))
    for name in ("p:0.mp4", "p:1.mp4"):
        with writer.piece(Path(name)) as piece:
            piece.write(torch.full((3, 16, 32), GREY, dtype=torch.uint8))
    writer.join([Path("p:0.mp4"), Path("p:1.mp4")], [Fraction(0), Fraction(1, 25)], [Fraction(1, 25)] * 2)
    assert len(read_clip("1:2.mp4").frames) == 2


@pytest.mark.parametrize("name", ["img%03d.png", "img*.png", "img[1].png", "img?.png"])
def test_a_pattern_is_a_name(name: str) -> None:
    Image.new("RGB", (32, 16), (GREY,) * 3).save("img001.png")
    Image.new("RGB", (32, 16), (WHITE,) * 3).save(name)
    assert read_clip(name).pixels.float().mean() == WHITE
    Path(name).unlink()
    with pytest.raises(UserError, match="does not exist"):
        probe(name)


def test_addresses_are_names_of_files_that_are_not_there() -> None:
    for name in ("tcp:127.0.0.1:9", "http://127.0.0.1/x.mp4", "concat:a.mp4|b.mp4", "data:,x", "-"):
        with pytest.raises(UserError, match="does not exist"):
            probe(name)


SCRIPTS = {
    "ffconcat": "ffconcat version 1.0\nfile a.mp4\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    "DASH": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>\n',
    "tty": "\033[1;31mtext\033[0m\n" * 40,
    "IMF": '<?xml version="1.0"?>\n<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">\n',
}


@pytest.mark.parametrize("kind", SCRIPTS)
@pytest.mark.parametrize("suffix", [".mp4", ".txt", ".m3u8", ".mpd", ".sdp", ".nfo"])
def test_scripts_that_name_other_files_are_refused(kind: str, suffix: str) -> None:
    write_grey("a.mp4", GREY)
    name = f"script{suffix}"
    Path(name).write_text(SCRIPTS[kind])
    with pytest.raises(UserError, match="script"):
        probe(name)


def test_what_is_no_file_is_refused() -> None:
    os.mkfifo("fifo.mp4")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket.mp4")
    for name in ("fifo.mp4", "socket.mp4", "/dev/zero"):
        with pytest.raises(UserError, match="not a file but a device"):
            read_clip(name)
    listening.close()
    Path("folder.mp4").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        probe("folder.mp4")


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_pictures_stand_as_their_exif_says(turn: int, suffix: str) -> None:
    # FFmpeg hands EXIF over as a kind of side data that PyAV does not list.
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :8], stored[:8, 24:] = (0, 0, 255), (0, 255, 0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = turn, "Maker"
    Image.fromarray(stored).save(f"a{suffix}", exif=exif)
    # What each of the eight orientations means (EXIF 2.32, 4.6.4 A).
    flipped = stored[:, ::-1] if turn in (2, 4, 5, 7) else stored
    upright = np.rot90(flipped, {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[turn])
    read = read_clip(f"a{suffix}").frames[0].permute(1, 2, 0).numpy()
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < 20
    assert probe(f"a{suffix}").width == upright.shape[1]


def test_frames_of_mjpeg_with_exif_are_read() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.new("RGB", (32, 16), (GREY,) * 3).save("a.jpg", exif=exif)
    Path("a.mjpeg").write_bytes(3 * Path("a.jpg").read_bytes())
    assert len(read_clip("a.mjpeg").frames) == 3


@pytest.mark.slow
def test_every_file_goes_through_one_door() -> None:
    def opens(path: Path) -> bool:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        return any(ast.unparse(call) in ("av.open", "open_container", "InputContainer") for call in calls)

    assert {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if opens(path)} == {
        "video_io/files.py"
    }
    assert not any("from av import open" in path.read_text() for path in PACKAGE.rglob("*.py"))
