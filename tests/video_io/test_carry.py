"""Subtitles, chapters and metadata of a source, carried over to what is written and moved with its picture."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from films import Cue, every, read_chapters, read_cues, write_film

from vfield.core.clip import ColorInfo
from vfield.core.timing import Leg, TimeMap
from vfield.video_io import CarryPlan, VideoWriter

CUES: list[Cue] = [(0.2, 0.6, "Hello"), (0.7, 1.1, "Good morning"), (1.5, 1.9, "Goodbye")]
CHAPTERS: list[Cue] = [(0.0, 1.0, "Morning"), (1.0, 2.0, "Evening")]
TAGS = {"title": "A day", "artist": "Somebody", "comment": "Filmed", "creation_time": "2020-01-02T03:04:05.000000Z"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same film in two containers, by suffix: the subtitles are mov_text in one and SubRip in the other."""
    folder = tmp_path_factory.mktemp("films")
    made = {suffix: folder / f"film{suffix}" for suffix in (".mp4", ".mkv")}
    for path in made.values():
        write_film(path, every(50, 25), tones=(), cues=CUES, chapters=CHAPTERS, metadata=TAGS)
    return made


def written(path: Path, source: Path, timing: TimeMap) -> None:
    options = {"height": 16, "width": 16, "frame_rate": Fraction(25), "color": ColorInfo()}
    with VideoWriter(path, **options, carry=CarryPlan(str(source), timing)) as writer:  # type: ignore[arg-type]
        for _ in range(int(timing.duration_seconds * 25)):
            writer.write(torch.zeros(3, 16, 16, dtype=torch.uint8))


def near(found: list[Cue], expected: list[Cue]) -> bool:
    """The same words, within 2/1000 s."""
    if [words for _, _, words in found] != [words for _, _, words in expected]:
        return False
    times = zip([at for cue in found for at in cue[:2]], [at for cue in expected for at in cue[:2]], strict=True)
    return all(abs(one - other) <= 0.002 for one, other in times)


WHOLE = TimeMap.uniform(Fraction(0), Fraction(2))


@pytest.mark.parametrize("source", [".mp4", ".mkv"])
@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv"])
def test_all_is_carried_over(
    tmp_path: Path, films: dict[str, Path], source: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / f"out{target}"
    written(out, films[source], WHOLE)
    assert near(read_cues(out), CUES)
    assert near(read_chapters(out), CHAPTERS)
    with av.open(out) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
        assert {key: tags[key] for key in TAGS} == TAGS
        assert container.streams.subtitles[0].language in ("deu", "ger")
    assert not caplog.text


def test_webm_takes_subtitles_as_webvtt(tmp_path: Path, films: dict[str, Path]) -> None:
    for suffix, film in films.items():
        out = tmp_path / f"from{suffix}.webm"
        written(out, film, WHOLE)
        assert near(read_cues(out), CUES)
        with av.open(out) as container:
            assert container.streams.subtitles[0].codec_context.codec.canonical_name == "webvtt"


@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_words_follow_slow_motion_and_trims(tmp_path: Path, films: dict[str, Path], target: str) -> None:
    out = tmp_path / f"out{target}"
    written(out, films[".mkv"], TimeMap.uniform(Fraction(1, 2), Fraction(8, 5), slowmo=Fraction(3)))
    # What has begun before the start is there from the start on, what lasts beyond the end is there up to it.
    assert near(read_cues(out), [(0, 0.3, "Hello"), (0.6, 1.8, "Good morning"), (3.0, 3.3, "Goodbye")])
    assert near(read_chapters(out), [(0, 1.5, "Morning"), (1.5, 3.3, "Evening")])


def test_words_follow_backwards(tmp_path: Path, films: dict[str, Path]) -> None:
    written(tmp_path / "out.mkv", films[".mp4"], TimeMap.uniform(Fraction(0), Fraction(2), reverse=True))
    assert near(read_cues(tmp_path / "out.mkv"), [(2 - end, 2 - begin, words) for begin, end, words in CUES[::-1]])
    assert near(read_chapters(tmp_path / "out.mkv"), [(0, 1, "Evening"), (1, 2, "Morning")])


def test_a_chapter_that_begins_late_does_so_in_quicktime_too(tmp_path: Path) -> None:
    write_film(tmp_path / "late.mkv", every(25, 25), tones=(), chapters=[(0.4, 1.0, "Late")])
    written(tmp_path / "out.mp4", tmp_path / "late.mkv", TimeMap.uniform(Fraction(0), Fraction(1)))
    assert near(read_chapters(tmp_path / "out.mp4")[1:], [(0.4, 1.0, "Late")])


def test_what_a_container_cannot_hold_is_named_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    film = tmp_path / "film.mkv"
    write_film(film, every(25, 25), tones=(), metadata={"title": "Kept", "mood": "grey", "camera": "old"})
    rich = tmp_path / "rich.mkv"
    with av.open(film) as source, av.open(rich, "w") as container:
        container.metadata.update(source.metadata)
        pictures = container.add_stream_from_template(source.streams.video[0])
        container.add_attachment("letters.ttf", "font/ttf", b"not a font")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = pictures
                container.mux(packet)
    with caplog.at_level(logging.WARNING, "vfield"):
        written(tmp_path / "out.mp4", rich, TimeMap.uniform(Fraction(0), Fraction(1)))
    (record,) = caplog.records
    assert record.message == (
        f"mp4 files cannot hold all of {rich}: left out attachment letters.ttf; the tags camera, mood"
    )
    caplog.clear()
    written(tmp_path / "out.mkv", rich, TimeMap.uniform(Fraction(0), Fraction(1)))
    with av.open(tmp_path / "out.mkv") as container:
        assert container.metadata["MOOD"] == "grey"
        assert [stream.type for stream in container.streams] == ["video", "attachment"]
    assert not caplog.text


def test_a_line_that_cannot_be_coded_costs_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """QuickTime's text counts its letters with 16 bits."""
    film = tmp_path / "film.mkv"
    long_lines: list[Cue] = [(0.2, 0.4, "a" * (1 << 16)), (0.5, 0.7, "b" * ((1 << 20) + 1))]
    write_film(film, every(25, 25), tones=(), cues=[*long_lines, (0.8, 0.9, "Short")])
    written(tmp_path / "out.mp4", film, TimeMap.uniform(Fraction(0), Fraction(1)))
    assert near(read_cues(tmp_path / "out.mp4"), [(0.8, 0.9, "Short")])
    assert caplog.messages == [f"mp4 files cannot hold all of {film}: left out 2 lines of subtitle track 1"]


def read_lines(path: Path) -> list[str]:
    """Lines of ASS as they are stored."""
    with av.open(path) as container:
        return [bytes(packet).decode() for packet in container.demux(subtitles=0) if packet.size]


def test_effects_of_lines_follow_the_tempo(tmp_path: Path) -> None:
    film, signs, script = tmp_path / "film.mkv", tmp_path / "signs.mkv", tmp_path / "signs.ass"
    write_film(film, every(50, 25), tones=())
    script.write_text(
        "[Script Info]\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:00.20,0:00:00.60,Default,,0,0,0,,{\\k10}one {\\k30}two\n"
        "Dialogue: 0,0:00:01.50,0:00:01.90,Default,,0,0,0,,{\\move(0,0,9,9,0,400)}three\n"
    )
    with av.open(film) as source, av.open(script) as told, av.open(signs, "w") as container:
        pictures = container.add_stream_from_template(source.streams.video[0])
        words = container.add_stream_from_template(told.streams.subtitles[0])
        for stream, packets in ((pictures, source.demux(video=0)), (words, told.demux(subtitles=0))):
            for packet in packets:
                if packet.size:
                    packet.stream = stream
                    container.mux(packet)
    written(tmp_path / "slow.mkv", signs, TimeMap.uniform(Fraction(0), Fraction(2), slowmo=Fraction(3)))
    one, three = read_lines(tmp_path / "slow.mkv")
    assert one.endswith(r"{\k30}one {\k90}two")
    assert three.endswith(r"{\move(0,0,9,9,0,1200)}three")
    # From 1 s of the source on it runs at a quarter of the speed.
    legs = (
        Leg(Fraction(0), Fraction(1), Fraction(0), Fraction(1), (Fraction(1), Fraction(1))),
        Leg(Fraction(1), Fraction(5), Fraction(1), Fraction(2), (Fraction(1, 4), Fraction(1, 4))),
    )
    written(tmp_path / "curve.mkv", signs, TimeMap(legs))
    one, three = read_lines(tmp_path / "curve.mkv")
    assert one.endswith(r"{\k10}one {\k30}two")
    assert three.endswith(r"{\move(0,0,9,9,0,1600)}three")
