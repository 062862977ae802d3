"""Exports of whole films: what is heard and read stays with what is seen, at any speed and in any direction."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from films import SOUND_RATE, every, hear, middle_of_sound, read_chapters, read_cues, read_packets, write_film

from vfield.core.errors import UserError
from vfield.core.timing import SpeedCurve
from vfield.field.checkpoint import SavedField
from vfield.field.config import FieldConfig
from vfield.field.decoder import DecoderConfig
from vfield.field.latents import LocalConfig
from vfield.field.motion import MotionConfig
from vfield.learn.start import start_field
from vfield.output.config import ExportConfig
from vfield.output.export import export
from vfield.prepare.flow import FlowConfig
from vfield.video_io import has_audio, inspect_file, read_clip

STILL = FieldConfig(
    local=LocalConfig(levels=(16,), channels=2),
    decoder=DecoderConfig(width=8, depth=1),
    motion=MotionConfig(enabled=False),
)
UNEVEN = [Fraction(n * 40 + (13 if n % 3 == 1 else 0), 1000) for n in range(40)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SavedField]:
    """Fields of films whose picture and sound swell at 0.7 s, by the kind of their times."""
    folder = tmp_path_factory.mktemp("films")
    write_film(
        folder / "even.mp4",
        every(40, 25),
        cues=[(0.6, 0.8, "Look")],
        chapters=[(0.0, 0.6, "Before"), (0.6, 1.6, "After")],
    )
    write_film(folder / "uneven.mp4", UNEVEN)
    # A transport stream that starts late.
    write_film(folder / "late.ts", every(40, 25), late_seconds=Fraction(5))
    fields = {}
    for path in folder.glob("*.[mt][ps]*"):
        clip = read_clip(path)
        fields[path.stem] = SavedField(start_field(clip, STILL, FlowConfig(), seed=0).field.eval(), clip.facts)
    assert set(fields) == {"even", "uneven", "late"}
    assert fields["late"].facts.pts_seconds[0] >= 5
    return fields


def middle_of_light(path: Path) -> float:
    """When the picture's light, over what it has in the dark, has its mean."""
    clip = read_clip(path)
    light = (clip.pixels.float().mean(dim=(1, 2, 3)) - 36).clamp_min(0)
    edges = (*clip.pts_seconds, clip.end_seconds)
    lit = [float(part) * float(b - a) for part, a, b in zip(light, edges, edges[1:], strict=False)]
    return sum(part * float(a + b) / 2 for part, a, b in zip(lit, edges, edges[1:], strict=False)) / sum(lit)


CURVE = SpeedCurve(tuple((Fraction(a, 10), Fraction(b, 10)) for a, b in ((0, 1), (4, 5), (14, 10), (16, 12))))
THERE_AND_BACK = SpeedCurve(tuple((Fraction(a, 10), Fraction(b, 10)) for a, b in ((0, 15), (10, 3), (12, 3))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "config", "name"),
    [
        ("late", {}, "out.mp4"),
        ("uneven", {"start": 0.3, "end": 1.3}, "out.mkv"),
        ("late", {"start": 0.3, "end": 1.3, "fps": Fraction(60)}, "out.mp4"),
        ("uneven", {"slowmo": Fraction(2), "audio": "stretch", "fps": "source"}, "out.mp4"),
        ("even", {"slowmo": Fraction(1, 2), "audio": "varispeed"}, "out.mkv"),
        ("late", {"reverse": True, "audio": "varispeed", "start": 0.1}, "out.mp4"),
        (
            "uneven",
            {"reverse": True, "audio": "stretch", "slowmo": Fraction(3, 2), "fps": Fraction(24000, 1001)},
            "out.mp4",
        ),
        ("late", {"speed_curve": CURVE, "audio": "stretch", "fps": Fraction(50)}, "out.mp4"),
        ("uneven", {"speed_curve": THERE_AND_BACK, "audio": "varispeed"}, "out.webm"),
    ],
)
def test_what_is_heard_stays_with_what_is_seen(
    tmp_path: Path, saved: dict[str, SavedField], source: str, config: dict[str, Any], name: str
) -> None:
    out = tmp_path / name
    report = export(saved[source], out, ExportConfig(**config), progress=False)
    assert report.audio == {"stretch": "stretched", "varispeed": "at the picture's speed"}.get(
        config.get("audio", "auto"), "copied"
    )
    # A frame lasts 0.04 s, and is lit as at its beginning.
    assert middle_of_sound(out) == pytest.approx(middle_of_light(out), abs=0.035)


def test_uneven_times_are_kept_backwards_and_in_slow_motion(tmp_path: Path, saved: dict[str, SavedField]) -> None:
    facts = saved["uneven"].facts
    assert list(facts.pts_seconds) == UNEVEN
    export(saved["uneven"], tmp_path / "back.mp4", ExportConfig(reverse=True), progress=False)
    clip = read_clip(tmp_path / "back.mp4")
    edges = [facts.end_seconds - edge for edge in (*facts.pts_seconds, facts.end_seconds)][::-1]
    assert [*clip.pts_seconds, clip.end_seconds] == edges
    config = ExportConfig(slowmo=Fraction(2), fps="source", end=0.2)
    export(saved["uneven"], tmp_path / "slow.mp4", config, progress=False)
    assert list(read_clip(tmp_path / "slow.mp4").pts_seconds[::2]) == [2 * at for at in UNEVEN[:5]]


def test_words_are_carried_through_an_export(tmp_path: Path, saved: dict[str, SavedField]) -> None:
    out = tmp_path / "out.mp4"
    export(saved["even"], out, ExportConfig(slowmo=Fraction(2), start=0.1), progress=False)
    ((begin, end, words),) = read_cues(out)
    assert (begin, end, words) == (pytest.approx(1.0, abs=0.002), pytest.approx(1.4, abs=0.002), "Look")
    assert [(begin, words) for begin, _, words in read_chapters(out)] == [(0, "Before"), (1, "After")]


def test_an_untouched_film_keeps_its_sound_bit_for_bit(tmp_path: Path, saved: dict[str, SavedField]) -> None:
    film = Path(saved["even"].facts.source)
    assert export(saved["even"], tmp_path / "out.mov", ExportConfig(), progress=False).audio == "copied"
    assert read_packets(tmp_path / "out.mov") == read_packets(film)
    assert (hear(tmp_path / "out.mov") == hear(film)).all()


def test_sound_that_cannot_be_decoded_is_left_out(
    tmp_path: Path, saved: dict[str, SavedField], caplog: pytest.LogCaptureFixture
) -> None:
    """As broadcasters' AC-4: FFmpeg knows its name, and has no decoder."""
    film, source = Path(saved["even"].facts.source), tmp_path / "ac4.mp4"
    source.write_bytes(film.read_bytes().replace(b"mp4a", b"ac-4").replace(b"esds", b"free"))
    assert [track.codec for track in inspect_file(source).audio] == ["unknown"]
    field = SavedField(saved["even"].field, replace(saved["even"].facts, source=str(source)))
    for config in (ExportConfig(end=0.2), ExportConfig(end=0.2, slowmo=Fraction(2), audio="stretch", overwrite=True)):
        caplog.clear()
        assert export(field, tmp_path / "out.mp4", config, progress=False).audio == "left out"
        assert caplog.messages[0].startswith(f"{source}: sound track 1 is left out, it cannot be written to mp4")


def with_pcm(path: Path) -> None:
    """A film whose sound is PCM."""
    with av.open(path, "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        assert isinstance(picture, VideoStream)
        picture.width, picture.height, picture.pix_fmt = 32, 18, "yuv420p"
        track = container.add_stream("pcm_s16le", rate=SOUND_RATE, layout="stereo")
        assert isinstance(track, AudioStream)
        for _ in range(10):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((18, 32, 3), np.uint8), "rgb24")))
        container.mux(picture.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 2 * SOUND_RATE * 2 // 5), np.int16), "s16", "stereo")
        sound.sample_rate = SOUND_RATE
        container.mux(track.encode(sound))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "audio", "codec", "told"),
    [
        ("out.mp4", "auto", "aac", ["most players do not play pcm_s16le sound in .mp4 files"]),
        ("out.mov", "auto", "pcm_s16le", []),
        ("out.mp4", "copy", "pcm_s16le", []),
    ],
)
def test_sound_that_most_players_do_not_play_from_mp4_is_coded_again(
    tmp_path: Path, name: str, audio: Any, codec: str, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "in.mov"  # which names the layout
    with_pcm(source)
    clip = read_clip(source)
    field = SavedField(start_field(clip, STILL, FlowConfig(), seed=0).field.eval(), clip.facts)
    caplog.clear()
    report = export(field, tmp_path / name, ExportConfig(audio=audio), progress=False)
    assert report.audio == ("coded again" if told else "copied")
    with av.open(tmp_path / name) as made:
        assert made.streams.audio[0].codec.canonical_name == codec
    assert [message.partition(";")[0] for message in caplog.messages] == told


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"reverse": True}, "reverse playback"),
        ({"speed_curve": CURVE}, "a speed curve"),
        ({"slowmo": Fraction(1, 2)}, "fast motion"),
    ],
)
def test_sound_is_left_out_with_a_word(
    tmp_path: Path, saved: dict[str, SavedField], config: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    report = export(saved["even"], tmp_path / "out.mp4", ExportConfig(**config), progress=False)
    assert report.audio == "left out"
    assert not has_audio(tmp_path / "out.mp4")
    assert caplog.messages == [f"the sound is left out of {told}; add --audio stretch to keep it"]


def test_a_source_that_is_gone_is_told_once(
    tmp_path: Path, saved: dict[str, SavedField], caplog: pytest.LogCaptureFixture
) -> None:
    gone = SavedField(saved["even"].field, replace(saved["even"].facts, source="gone.mp4"))
    for audio, word in (("auto", "left out"), ("drop", "dropped")):
        caplog.clear()
        config = ExportConfig(audio=audio, end=0.08, overwrite=True)  # type: ignore[arg-type]
        assert export(gone, tmp_path / "out.mp4", config, progress=False).audio == word
        (message,) = caplog.messages
        assert "subtitles, chapters and metadata are left out: gone.mp4 does not exist" in message


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"speed_curve": CURVE, "slowmo": Fraction(2)}, "a speed curve and slowmo 2 contradict"),
        ({"speed_curve": CURVE, "reverse": True}, "times of the clip fall plays backwards"),
        ({"speed_curve": CURVE, "start": 1.0}, "the curve says which part"),
        ({"speed_curve": CURVE, "fps": "source"}, "give a number of frames"),
        ({"speed_curve": CURVE, "audio": "copy"}, "audio copy contradicts a speed curve"),
        ({"reverse": True, "audio": "copy"}, "audio copy contradicts reverse"),
    ],
)
def test_contradictions_about_time(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        ExportConfig(**wrong)


def test_a_curve_beyond_the_clip_leaves_nothing(tmp_path: Path, saved: dict[str, SavedField]) -> None:
    beyond = SpeedCurve(((Fraction(0), Fraction(0)), (Fraction(1), Fraction(3))))
    with pytest.raises(UserError, match=r"covers 0 to 1\.6 s"):
        export(saved["even"], tmp_path / "out.mp4", ExportConfig(speed_curve=beyond), progress=False)
    assert not list(tmp_path.iterdir())
