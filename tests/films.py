"""Small real files, made with PyAV: a picture that lights up, a tone that swells with it, and what else films hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import Packet
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle

SOUND_RATE = 48000
WIDTH_SECONDS = 0.1
"""Of the swell: the light and the power of the tone are exp(-2 (t / WIDTH_SECONDS)^2)."""

Cue = tuple[float, float, str]


def every(count: int, rate: Fraction | int) -> list[Fraction]:
    """The times of so many frames."""
    return [i / Fraction(rate) for i in range(count)]


def write_film(
    path: Path,
    times: Sequence[Fraction],
    *,
    mark_seconds: float = 0.7,
    tones: Sequence[tuple[str, float]] = (("eng", 440.0),),
    late_seconds: Fraction = Fraction(0),
    cues: Sequence[Cue] = (),
    chapters: Sequence[Cue] = (),
    metadata: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """A film of 32x18 whose picture and tones swell at one instant.

    Args:
        path: .mp4, .mov, .mkv or .ts.
        times: of the frames; the first may be negative.
        mark_seconds: when the swell is.
        tones: language and pitch in Hz of each sound track.
        late_seconds: by how much all of it is later in the file.
        cues: subtitles, from, to, text.
        chapters: from, to, title.
        metadata: of the file.
        options: of the picture's encoder.
    """
    tick = Fraction(1, 90000)
    with av.open(path, "w") as container:
        container.metadata.update(metadata or {})
        picture = container.add_stream("libx264", rate=25, options=options or {})
        picture.height, picture.width, picture.pix_fmt, picture.codec_context.time_base = 18, 32, "yuv420p", tick
        picture.time_base = tick
        tracks = [container.add_stream("aac", rate=SOUND_RATE, layout="mono") for _ in tones]
        for track, (language, _) in zip(tracks, tones, strict=True):
            track.metadata["language"] = language
        container.set_chapters(
            [
                {
                    "id": number,
                    "start": round(begin * 1000),
                    "end": round(end * 1000),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for number, (begin, end, title) in enumerate(chapters, start=1)
            ]
        )
        said = _subtitles(container, path, cues) if cues else []
        for at in times:
            light = 30 + 200 * np.exp(-2 * ((float(at) - mark_seconds) / WIDTH_SECONDS) ** 2)
            frame = av.VideoFrame.from_ndarray(np.full((18, 32, 3), light, np.uint8), "rgb24")
            frame.pts, frame.time_base = round((at + late_seconds) / tick), tick
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        seconds = float(times[-1]) + 0.04
        for track, (_, pitch) in zip(tracks, tones, strict=True):
            instants = np.arange(int(seconds * SOUND_RATE)) / SOUND_RATE
            swell = 0.5 * np.exp(-(((instants - mark_seconds) / WIDTH_SECONDS) ** 2))
            tone = (swell * np.sin(2 * np.pi * pitch * instants)).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
            sound.sample_rate, sound.time_base = SOUND_RATE, Fraction(1, SOUND_RATE)
            sound.pts = round(late_seconds * SOUND_RATE)
            container.mux(track.encode(sound))
            container.mux(track.encode(None))
        container.mux(said)


def _subtitles(container: Any, path: Path, cues: Iterable[Cue]) -> list[Packet]:
    written = path.with_suffix(".srt")
    written.write_text(
        "".join(f"{n}\n{_clock(b)} --> {_clock(e)}\n{text}\n\n" for n, (b, e, text) in enumerate(cues, start=1))
    )
    with av.open(written) as source:
        (told,) = source.streams.subtitles
        packets = [packet for packet in source.demux(told) if packet.size]
        if path.suffix == ".mkv":
            target = container.add_stream_from_template(told)
        else:
            told.codec_context.open(strict=False)
            target = container.add_stream("mov_text")
            assert isinstance(target, SubtitleStream)
            target.codec_context.subtitle_header = told.codec_context.subtitle_header
            target.codec_context.time_base = Fraction(1, 1000)
            coded = []
            for packet in packets:
                read = told.codec_context.decode2(packet)
                assert read is not None
                made = target.codec_context.encode_subtitle(read)
                made.time_base, made.pts, made.dts = packet.time_base, packet.pts, packet.pts
                made.duration = packet.duration
                coded.append(made)
            packets = coded
        target.metadata["language"] = "deu"
        for packet in packets:
            packet.stream = target
        return packets


def _clock(seconds: float) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02},{milliseconds:03}"


# ------------------------------------------------------------------------------------------- what a file holds


def hear(path: Path, track: int = 0) -> np.ndarray:
    """Samples of a mono sound track from 0 s of the file on, at SOUND_RATE."""
    with av.open(path) as container:
        stream = container.streams.audio[track]
        assert stream.rate == SOUND_RATE
        heard = np.zeros(0, np.float32)
        for frame in container.decode(stream):
            begin = round((frame.pts or 0) * (frame.time_base or 1) * SOUND_RATE)
            if len(heard) and abs(begin - len(heard)) <= SOUND_RATE // 1000:
                begin = len(heard)  # Matroska rounds times to 1/1000 s
            samples = frame.to_ndarray()[0][max(0, -begin) :]
            begin = max(begin, 0)
            heard = np.pad(heard, (0, max(0, begin + len(samples) - len(heard))))
            heard[begin : begin + len(samples)] = samples
        return heard


def middle_of_sound(path: Path) -> float:
    """When the sound's power has its mean, in seconds."""
    power = hear(path).astype(np.float64) ** 2
    return float((power * np.arange(len(power))).sum() / power.sum() / SOUND_RATE)


def pitch_of(path: Path, track: int = 0) -> float:
    """The strongest frequency in Hz."""
    samples = hear(path, track)
    size = 1 << 20
    return float(np.abs(np.fft.rfft(samples, size)).argmax() * SOUND_RATE / size)


def read_cues(path: Path) -> list[Cue]:
    """The texts of the first subtitle track, and when they are shown."""
    cues = []
    with av.open(path) as container:
        (stream,) = container.streams.subtitles
        for packet in container.demux(stream):
            read = stream.codec_context.decode2(packet) if packet.size else None
            for rectangle in read or ():
                assert isinstance(rectangle, AssSubtitle)
                begin, lasts = (float((ticks or 0) * packet.time_base) for ticks in (packet.pts, packet.duration))
                cues.append((begin, begin + lasts, rectangle.ass.decode().rsplit(",", 1)[-1]))
    return cues


def read_chapters(path: Path) -> list[Cue]:
    """Begin, end and title of every chapter."""
    with av.open(path) as container:
        return [
            (float(one["start"] * (one["time_base"] or 0)), float(one["end"] * (one["time_base"] or 0)), title)
            for one in container.chapters()
            for title in [one["metadata"]["title"]]
        ]


def read_packets(path: Path, track: int = 0) -> list[bytes]:
    """What the packets of a sound track hold."""
    with av.open(path) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[track]) if packet.size]
