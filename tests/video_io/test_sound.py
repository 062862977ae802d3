"""Sound beside a written picture: bit for bit where time goes on as it did, and in step with the picture elsewhere."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.audio.stream import AudioStream
from av.packet import Packet
from films import SOUND_RATE, WIDTH_SECONDS, every, hear, middle_of_sound, pitch_of, read_packets, write_film

from vfield.core.clip import ClipFacts, ColorInfo
from vfield.core.errors import UserError
from vfield.core.timing import SpeedCurve, TimeMap
from vfield.video_io import AudioPlan, CarryPlan, VideoWriter, read_clip
from vfield.video_io.audio import Feed
from vfield.video_io.retime import sound_along

SECONDS = Fraction(2)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds with a swell of 440 Hz at 0.7 s, and one of 660 Hz in another language."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_film(path, every(50, 25), tones=(("eng", 440.0), ("fra", 660.0)))
    return path


def with_sound(path: Path, film: Path, timing: TimeMap, mode: Any) -> None:
    """A black picture as long as the sound, with it."""
    with VideoWriter(
        path,
        height=16,
        width=16,
        frame_rate=Fraction(25),
        color=ColorInfo(),
        audio=AudioPlan(str(film), timing, mode),
        overwrite=True,
    ) as writer:
        for _ in range(int(timing.duration_seconds * 25)):
            writer.write(torch.zeros(3, 16, 16, dtype=torch.uint8))


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_whole_copy_is_heard_as_the_original(tmp_path: Path, film: Path, suffix: str) -> None:
    """AAC begins with a packet that is decoded but not heard; without it the first 1024 samples are wrong."""
    with_sound(tmp_path / f"out{suffix}", film, TimeMap.uniform(Fraction(0), SECONDS), "copy")
    for track in (0, 1):
        assert read_packets(tmp_path / f"out{suffix}", track) == read_packets(film, track)
        assert np.array_equal(hear(tmp_path / f"out{suffix}", track), hear(film, track))


@pytest.mark.slow
def test_several_tracks_keep_their_languages(tmp_path: Path, film: Path) -> None:
    modes = (("copy", Fraction(1)), ("stretch", Fraction(2)))
    for name in ("out.mp4", "out.mkv"):
        for mode, slowmo in modes:
            with_sound(tmp_path / name, film, TimeMap.uniform(Fraction(0), SECONDS, slowmo=slowmo), mode)
            with av.open(tmp_path / name) as container:
                assert [stream.language for stream in container.streams.audio] == ["eng", "fra"]
            assert pitch_of(tmp_path / name, 1) == pytest.approx(660, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("start", [Fraction(1, 2), Fraction(617, 1000)])
def test_a_trimmed_copy_begins_at_the_sample(tmp_path: Path, film: Path, start: Fraction) -> None:
    end = start + 1
    whole, begin = hear(film), round(start * SOUND_RATE)
    for suffix in (".mp4", ".mov", ".mkv"):
        with_sound(tmp_path / f"out{suffix}", film, TimeMap.uniform(start, end), "copy")
        part = hear(tmp_path / f"out{suffix}")
        if suffix == ".mkv":  # which begins with the first whole packet, and rounds its time to 1/1000 s
            assert middle_of_sound(tmp_path / "out.mkv") == pytest.approx(0.7 - float(start), abs=0.012)
        else:
            assert np.abs(part[:SOUND_RATE] - whole[begin : begin + SOUND_RATE]).max() < 1e-3
        assert SOUND_RATE <= len(part) < SOUND_RATE + 1024 + 1024
        assert read_clip(tmp_path / f"out{suffix}").start_seconds == 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stretch", "varispeed"])
@pytest.mark.parametrize(
    ("slowmo", "reverse", "suffix"),
    [
        (Fraction(2), False, ".mp4"),
        (Fraction(3), False, ".mkv"),
        (Fraction(2, 3), False, ".webm"),
        (Fraction(1), True, ".mp4"),
        (Fraction(5, 2), True, ".mkv"),
    ],
)
def test_sound_at_another_speed_stays_with_the_picture(
    tmp_path: Path, film: Path, mode: str, slowmo: Fraction, reverse: bool, suffix: str
) -> None:
    start, end = Fraction(2, 5), Fraction(9, 5)
    timing = TimeMap.uniform(start, end, slowmo=slowmo, reverse=reverse, delay=Fraction(1, 50) if reverse else 0)
    out = tmp_path / f"out{suffix}"
    with_sound(out, film, timing, mode)
    (shown, _) = timing.shown(Fraction(7, 10), Fraction(71, 100))[0]
    assert middle_of_sound(out) == pytest.approx(float(shown), abs=0.03)
    assert len(hear(out)) / SOUND_RATE == pytest.approx(float(timing.duration_seconds), abs=0.05)
    lowered = 440 / float(slowmo) if mode == "varispeed" else 440
    assert pitch_of(out) == pytest.approx(lowered, rel=0.01)


@pytest.mark.slow
def test_reversed_twice_is_the_original(tmp_path: Path, film: Path) -> None:
    timing = TimeMap.uniform(Fraction(0), SECONDS, reverse=True)
    with_sound(tmp_path / "once.mp4", film, timing, "varispeed")
    with_sound(tmp_path / "twice.mp4", tmp_path / "once.mp4", timing, "varispeed")
    original, twice = hear(film)[: 2 * SOUND_RATE], hear(tmp_path / "twice.mp4")[: 2 * SOUND_RATE]
    assert np.abs(original - twice).max() < 0.05  # coded three times
    assert np.abs(original - hear(tmp_path / "once.mp4")[: 2 * SOUND_RATE]).max() > 0.4


# ------------------------------------------------------------------------------------------------ what files hold


def write_tracks(path: Path, codec: str, *channels: int) -> None:
    """Half a second with a tone of 440 Hz in every channel, in tracks of so many; the codec's words have 16 bits."""
    rate, seconds = 44100, Fraction(1, 2)
    with av.open(path, "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.height, picture.width, picture.pix_fmt = 16, 16, "yuv420p"
        tracks = [container.add_stream(codec, rate=rate) for _ in channels]
        for track, count in zip(tracks, channels, strict=True):
            assert isinstance(track, AudioStream)
            track.codec_context.layout = f"{count} channels" if count > 2 else f"{count}c"
        for _ in range(int(seconds * 25)):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")))
        container.mux(picture.encode(None))
        for track, count in zip(tracks, channels, strict=True):
            assert isinstance(track, AudioStream)
            tone = np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
            words = np.rint(16000 * tone).astype(np.int16)
            samples = np.tile(words, (count, 1)) if track.format.is_planar else np.repeat(words, count)[None]
            frame = av.AudioFrame.from_ndarray(samples, track.format.name, track.layout.name)
            frame.sample_rate, frame.pts = rate, 0
            container.mux(track.encode(frame))
            container.mux(track.encode(None))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("name", "codec"), [("in.avi", "pcm_s16le"), ("in.mkv", "pcm_s16le"), ("in.avi", "adpcm_ms")])
def test_channels_that_are_only_counted_are_coded_again(tmp_path: Path, name: str, codec: str, channels: int) -> None:
    write_tracks(tmp_path / name, codec, channels)
    with av.open(tmp_path / name) as source:
        assert source.streams.audio[0].layout.name == f"{channels} channels"
    for out in ("out.mp4", "out.mkv", "out.webm"):
        timing = TimeMap.uniform(Fraction(0), Fraction(1, 2), slowmo=Fraction(2))
        with_sound(tmp_path / out, tmp_path / name, timing, "stretch")
        with av.open(tmp_path / out) as made:
            (track,) = made.streams.audio
            assert track.layout.name == ("mono", "stereo")[channels - 1]
            heard = np.concatenate([frame.to_ndarray() for frame in made.decode(track)], axis=1)
        assert heard.shape[1] / track.rate == pytest.approx(1, abs=0.05)
        assert np.abs(heard).max() > 0.3


def test_a_track_that_cannot_be_written_is_left_out_before_the_picture_is_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No layout has nine channels, so nothing tells how to mix them."""
    source = tmp_path / "in.mkv"
    write_tracks(source, "pcm_s16le", 9, 2)
    timing = TimeMap.uniform(Fraction(0), Fraction(1, 2), slowmo=Fraction(2))
    plan = AudioPlan(str(source), timing, "stretch")
    facts: dict[str, Any] = {"height": 16, "width": 16, "frame_rate": Fraction(25), "color": ColorInfo()}
    writer = VideoWriter(tmp_path / "out.mp4", **facts, audio=plan)
    (message,) = caplog.messages
    assert message.startswith(f"{source}: sound track 1 is left out, it cannot be written to mp4")
    with writer:
        writer.write(torch.zeros(3, 16, 16, dtype=torch.uint8))
    with av.open(tmp_path / "out.mp4") as made:
        assert [stream.type for stream in made.streams] == ["video", "audio"]
        assert made.streams.audio[0].layout.name == "stereo"
    assert len(caplog.messages) == 1


def test_more_channels_than_the_encoder_takes_are_mixed_down_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tracks(tmp_path / "in.mkv", "pcm_s16le", 6)
    timing = TimeMap.uniform(Fraction(0), Fraction(1, 2), slowmo=Fraction(2))
    with_sound(tmp_path / "out.mp4", tmp_path / "in.mkv", timing, "stretch")
    assert not caplog.messages
    with_sound(tmp_path / "out.webm", tmp_path / "in.mkv", timing, "stretch")
    assert caplog.messages == [
        f"{tmp_path / 'in.mkv'}: sound track 1 of 6 channels is mixed down to stereo, which Opus can code"
    ]


def test_sound_whose_file_is_gone_by_the_time_of_writing_does_not_cost_the_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.mp4"
    write_tracks(source, "pcm_s16le", 1)
    timing = TimeMap.uniform(Fraction(0), Fraction(1, 2))
    facts: dict[str, Any] = {"height": 16, "width": 16, "frame_rate": Fraction(25), "color": ColorInfo()}
    sound, rest = AudioPlan(str(source), timing, "stretch"), CarryPlan(str(source), timing)
    writer = VideoWriter(out, **facts, audio=sound, carry=rest)
    source.unlink()
    with writer:
        writer.write(torch.zeros(3, 16, 16, dtype=torch.uint8))
    (message,) = caplog.messages
    assert len(read_clip(out)) == 1
    assert "what goes beside the picture" in message
    assert f"{source} does not exist" in message


def test_packets_that_the_file_refuses_end_their_track_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tracks(tmp_path / "in.mkv", "pcm_s16le", 1)
    with av.open(tmp_path / "in.mkv") as source, av.open(tmp_path / "out.mkv", "w") as output:
        track = source.streams.audio[0]
        target = output.add_stream_from_template(track)
        packets = [Packet(b"some") for _ in range(4)]
        for packet, pts in zip(packets, (0, 400, 200, 600), strict=True):  # which goes back
            packet.stream, packet.pts, packet.dts, packet.time_base = target, pts, pts, Fraction(1, 1000)
        Feed(source, iter([(Fraction(0), packet) for packet in packets])).mux_until(output, None)
    assert [message.split(":")[0] for message in caplog.messages] == ["audio track 0 of the result ends early"]
    assert len(read_packets(tmp_path / "out.mkv")) == 2


def test_an_encoder_that_does_not_open_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mpeg2video cannot write 16x16 as yuv420p with 7 frames a second"):
        VideoWriter(
            tmp_path / "out.mkv",
            height=16,
            width=16,
            frame_rate=Fraction(7),
            color=ColorInfo(),
            codec="mpeg2video",
        )
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ speed curves


CURVE = ((0, 0), (0.5, 0.5), (2.5, 1), (3.2, 1.7), (3.4, 1.7), (4.5, 0.6))


def on_the_film(pairs: tuple[tuple[float, float], ...]) -> TimeMap:
    times = tuple(every(50, 25))
    facts = ClipFacts(18, 32, times, SECONDS, Fraction(25), ColorInfo(), Fraction(1), "")
    return SpeedCurve(tuple((Fraction(str(output)), Fraction(str(clip))) for output, clip in pairs)).on(facts)


RATE = 16000  # less to compute


def ticks(*at_seconds: float) -> np.ndarray:
    """(1, n) two seconds of silence with a short tick at these instants."""
    instants = np.arange(int(2 * RATE)) / RATE
    silence = np.zeros(len(instants))
    for at in at_seconds:
        silence += np.exp(-(((instants - at) / 0.003) ** 2))
    return silence[None].astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("keeps_pitch", "tolerance"), [(True, 0.015), (False, 0.001)])
def test_sound_follows_a_curve_there_and_back(keeps_pitch: bool, tolerance: float) -> None:
    timing = on_the_film(CURVE)
    for tick in (0.3, 0.8, 1.3):
        heard = sound_along(ticks(tick), RATE, timing, keeps_pitch=keeps_pitch)
        assert heard.shape == (1, round(4.5 * RATE))
        power = heard[0].astype(np.float64) ** 2
        spans = timing.shown(Fraction(str(tick)), Fraction(str(tick)) + Fraction(1, 10**6))
        assert len(spans) == (1 if tick < 0.6 else 2)
        expected = [float(begin) for begin, _ in spans]
        for at in expected:
            near = slice(max(0, round((at - 0.15) * RATE)), round((at + 0.15) * RATE))
            middle = (power[near] * np.arange(len(power))[near]).sum() / power[near].sum() / RATE
            # What is heard is near in the source's time: in slow motion by more in the output's, as the picture is.
            shown = float(timing.source_at(Fraction(middle)))
            assert shown == pytest.approx(tick, abs=tolerance)
            power[near] = 0
        assert power.max() < 1e-3  # and nowhere else


def test_pitch_along_a_curve() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)[None].astype(np.float32)
    timing = on_the_film(((0, 0), (1, 0.5), (3, 1.5), (3.5, 2)))

    def pitch(heard: np.ndarray, begin: float, end: float) -> float:
        piece = heard[0, int(begin * RATE) : int(end * RATE)]
        return float(np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 1 << 18)).argmax() * RATE / (1 << 18))

    kept = sound_along(tone, RATE, timing, keeps_pitch=True)
    tape = sound_along(tone, RATE, timing, keeps_pitch=False)
    for begin, end in ((0.2, 0.8), (1.9, 2.1), (3.1, 3.3)):
        speed = (timing.source_at(Fraction(end)) - timing.source_at(Fraction(begin))) / Fraction(end - begin)
        assert pitch(kept, begin, end) == pytest.approx(440, abs=2)
        assert pitch(tape, begin, end) == pytest.approx(440 * float(speed), rel=0.05)
    # Neither louder nor softer, and no gaps between grains.
    for heard in (kept, tape):
        loudness = np.sqrt((heard[0, 1600:-1600].reshape(-1, 160) ** 2).mean(axis=1))
        assert loudness.min() > 0.8 / np.sqrt(2)
        assert loudness.max() < 1.1 / np.sqrt(2)


@pytest.mark.slow
def test_a_tape_plays_no_aliases() -> None:
    # 10 kHz at four times the speed would be 40 kHz, beyond what 48,000 samples a second hold.
    tone = np.sin(2 * np.pi * 10_000 * np.arange(2 * SOUND_RATE) / SOUND_RATE)[None].astype(np.float32)
    heard = sound_along(tone, SOUND_RATE, on_the_film(((0, 0), (0.5, 2))), keeps_pitch=False)
    assert np.abs(heard[0, 1000:-1000]).max() < 0.01


def test_sound_fades_where_the_picture_stands_still() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * SOUND_RATE) / SOUND_RATE)[None].astype(np.float32)
    heard = sound_along(tone, SOUND_RATE, on_the_film(((0, 0), (0.5, 0.5), (1.5, 0.5), (2, 1))), keeps_pitch=True)
    assert np.abs(heard[0, int(0.6 * SOUND_RATE) : int(1.4 * SOUND_RATE)]).max() < 1e-6
    assert np.abs(heard[0, : int(0.3 * SOUND_RATE)]).max() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stretch", "varispeed"])
def test_a_curve_in_a_file(tmp_path: Path, film: Path, mode: str) -> None:
    timing = on_the_film(((0, 0.2), (0.4, 0.6), (1.6, 0.9), (2, 1.3)))
    with_sound(tmp_path / "out.webm", film, timing, mode)
    # The swell's power, bent as the curve bends time.
    instants = [Fraction(k, 200) for k in range(400)]
    power = [math.exp(-2 * ((float(timing.source_at(at)) - 0.7) / WIDTH_SECONDS) ** 2) for at in instants]
    middle = sum(float(at) * part for at, part in zip(instants, power, strict=True)) / sum(power)
    assert middle_of_sound(tmp_path / "out.webm") == pytest.approx(middle, abs=0.02)
    assert len(hear(tmp_path / "out.webm")) / SOUND_RATE == pytest.approx(2, abs=0.05)
