"""Names and tags of files are shown, and never obeyed; those that are not UTF-8 are read, kept and given back."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from vfield.cli import main
from vfield.cli.printing import tell
from vfield.core.errors import UserError
from vfield.core.printable import PrintableFormatter, as_text, printable
from vfield.learn import Config, fit
from vfield.video_io import inspect_file, read_clip

LATIN = os.fsdecode(b"caf\xe9")
QUICK = ["--steps", "2", "--field.decoder.width", "16", "--field.fourier.count", "8", "--sampling.patches", "2"]


def write_clip(path: Path, **tags: str) -> None:
    """Four frames of 32x16; tags may hold bytes as surrogates."""
    with av.open(f"file:{path}", "w", format="mp4", metadata_errors="surrogateescape") as container:
        container.metadata.update(tags)
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for level in range(0, 200, 50):
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 👩‍🚀", "plain é 日本 👩‍🚀"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b2J\x7f\r", r"\x9b2J\x7f\x0d"),
        ("a\nb\tc", r"a\nb\tc"),
        ("gpj\u202e4pm.", r"gpj\u202e4pm."),
        (LATIN, r"caf\xe9"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_lines_where_they_are_meant() -> None:
    out = io.StringIO()
    tell("a\tb\n\x1b]0;c", out)
    assert out.getvalue() == "a\tb\n\\x1b]0;c\n"


def test_log_lines_are_printable_and_single() -> None:
    shown = PrintableFormatter("%(message)s")
    record = logging.LogRecord("vfield", logging.INFO, "", 0, "left out %s", ("a\x1b[2J\nb",), None)
    assert shown.format(record) == r"left out a\x1b[2J\nb"
    record = logging.LogRecord("torch", logging.INFO, "", 0, "one\ntwo", (), None)
    assert shown.format(record) == "one\ntwo"


def test_names_become_text_that_can_be_coded() -> None:
    assert as_text(LATIN) == "café"
    assert as_text("café 日本") == "café 日本"


def test_info_shows_tags_and_does_not_obey_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a\x1b[31m.mp4"
    write_clip(path, title="\x1b]0;owned\x07\nframes:  lots", artist=LATIN)
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\nframes:  lots" not in shown
    assert r"\x1b]0;owned\x07\nframes:  lots" in shown
    assert main(["info", str(tmp_path / "b\x1b[31m.mp4")]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_title_in_latin_1_is_read_as_such(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", title=LATIN)
    assert inspect_file(tmp_path / "a.mp4").tags["title"] == "café"


@pytest.mark.slow
def test_a_clip_whose_name_is_not_utf_8_goes_all_the_way(tmp_path: Path) -> None:
    write_clip(tmp_path / f"{LATIN}.mp4", title=LATIN)
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as most locales have it

    def vfield(*words: str) -> str:
        call = [sys.executable, "-c", "import sys; from vfield.cli import main; sys.exit(main())", *words]
        done = subprocess.run(call, cwd=tmp_path, env=strict, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    vfield("run", f"{LATIN}.mp4", "--slowmo", "2", "-o", f"{LATIN}-slow.mp4", *QUICK)
    run = tmp_path / "runs" / "café"
    assert json.loads((run / "run.json").read_text())["video"] == f"{LATIN}.mp4"
    assert r"caf\xe9.mp4" in vfield("info", str(run))
    slow = inspect_file(tmp_path / f"{LATIN}-slow.mp4")
    assert slow.info.frame_count == 8
    assert slow.tags["title"] == "café"
    told = json.loads(vfield("info", f"{LATIN}.mp4", "--json"))
    assert told["path"] == f"{LATIN}.mp4"


def test_a_run_folder_that_is_not_utf_8_is_refused_before_the_fit(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4")
    with pytest.raises(UserError, match="not UTF-8"):
        fit(read_clip(tmp_path / "a.mp4"), Config(), out=tmp_path / LATIN)
    assert not (tmp_path / LATIN).exists()
