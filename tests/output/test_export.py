"""Exporting: real fields to real files. Times, sizes, colours and sound as asked, or a word before anything happens."""

from __future__ import annotations

import gc
import logging
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from einops import repeat
from PIL import Image
from torch import Tensor

from vfield.core.clip import Clip, ColorInfo, to_uint8
from vfield.core.errors import UserError
from vfield.field.checkpoint import SavedField
from vfield.field.config import FieldConfig
from vfield.field.decoder import DecoderConfig
from vfield.field.latents import LocalConfig
from vfield.field.motion import MotionConfig
from vfield.field.render import render
from vfield.learn.start import start_field
from vfield.output.config import ExportConfig, output_size
from vfield.output.export import export
from vfield.prepare.flow import FlowConfig
from vfield.video_io import VideoWriter, has_audio, inspect_file, probe, read_clip

NTSC = Fraction(30000, 1001)
SMALL = FieldConfig(local=LocalConfig(levels=(16,), channels=2), decoder=DecoderConfig(width=8, depth=1))
STILL = replace(SMALL, motion=MotionConfig(enabled=False))


def moving(count: int, height: int = 36, width: int = 64) -> Tensor:
    """A smooth texture that moves 1.5 pixels a frame: (count, 3, height, width) uint8."""
    x, y = torch.arange(width).float(), torch.arange(height).float()[:, None]
    phases = torch.tensor([0.0, 1.0, 2.0])[:, None, None]
    pictures = [0.5 + 0.2 * torch.sin((x - 1.5 * i) / 4 + phases) + 0.2 * torch.sin(y / 5) for i in range(count)]
    return to_uint8(torch.stack(pictures))


def clip_of(frames: Tensor, rate: Fraction = Fraction(25), **facts: Any) -> Clip:
    start = facts.pop("start", Fraction(0))
    facts.setdefault("pts_seconds", tuple(start + i / rate for i in range(len(frames))))
    facts.setdefault("end_seconds", start + len(frames) / rate)
    return Clip(frames, frame_rate=rate, **facts)


def fitted(clip: Clip, config: FieldConfig = SMALL) -> SavedField:
    return SavedField(start_field(clip, config, FlowConfig(), seed=0).field.eval(), clip.facts)


def made(saved: SavedField, path: Path | str, **config: Any) -> Clip:
    """Export, check the report against the file, and read the file back."""
    report = export(saved, path, ExportConfig(**config), progress=False)
    clip = read_clip(path)
    assert (report.frames, report.height, report.width) == (len(clip), clip.height, clip.width)
    assert report.path == Path(path)
    told = probe(path).duration_seconds
    assert told is not None
    assert abs(report.duration_seconds - told) <= Fraction(1, 1000)  # mkv, gif: no finer
    return clip


def same(decoded: Tensor, frames: Tensor) -> bool:
    """Equal up to the rounding of 8-bit limited-range YUV codes, which are up to 2 levels of RGB apart."""
    return int((decoded.int() - frames.int()).abs().max()) <= 2


@pytest.fixture(scope="module")
def six() -> Clip:
    """Six frames at 25 a second on a clock that starts late."""
    return clip_of(moving(6), start=Fraction(127995, 15360))


@pytest.fixture(scope="module")
def saved(six: Clip) -> SavedField:
    return fitted(six)


@pytest.fixture(scope="module")
def demo(demo_clip: Path) -> SavedField:
    """The whole demo clip, tiny: for its sound."""
    return fitted(read_clip(demo_clip, size=(18, 32)), STILL)


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"scale": 2, "size": (4, 4)}, "contradict"),
        ({"scale": 0}, "scale must be more than 0"),
        ({"scale": -1.5}, "-1.5"),
        ({"scale": float("nan")}, "nan"),
        ({"size": (0, 4)}, "4x0"),
        ({"size": (4, 16385)}, "16384"),
        ({"fps": Fraction(0)}, "fps"),
        ({"fps": Fraction(1001)}, "1000"),
        ({"fps": Fraction(1, 10**9)}, "1/1000 to 1000, got 1e-09"),
        ({"slowmo": Fraction(0)}, "slowmo"),
        ({"slowmo": Fraction(1, 10**9)}, "1/1000 to 1000, got 1e-09"),
        ({"slowmo": Fraction(2000)}, "1000"),
        ({"start": -1.0}, "start"),
        ({"end": float("inf")}, "end"),
        ({"start": 2.0, "end": 1.5}, "after start"),
        ({"crop": (0, 0, 0, 4)}, "crop"),
        ({"crop": (-1, 0, 4, 4)}, "crop"),
        ({"crop": (0, 0, 4, float("nan"))}, "crop"),
        ({"audio": "copy", "slowmo": Fraction(2)}, "audio stretch"),
        ({"audio": "loud"}, "auto, copy, stretch, varispeed, drop"),
    ],
)
def test_contradictions_are_refused_when_the_config_is_made(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        ExportConfig(**wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config", "word"),
    [
        ("out.mp4", {"scale": 1000}, "64000x36000"),
        ("out.mp4", {"scale": 0.001}, "0x0"),
        ("out.mp4", {"crop": (60, 0, 5, 5)}, "outside"),
        ("out.mp4", {"start": 0.24}, "covers 0 to 0.24"),
        ("out.mp4", {"end": 0.3}, "covers 0 to 0.24"),
        ("out.mp4", {"codec": "nonsense"}, "nonsense"),
        ("out.mp4", {"crf": 99}, "crf"),
        ("out.mp4", {"pixel_format": "yuv420p", "size": (35, 64)}, "odd"),
        ("out.avi", {}, "suffix"),
        ("out", {"codec": "h264"}, "codec"),
        ("out.gif", {"fps": Fraction(60)}, "GIF"),
        ("out.gif", {"fps": Fraction(1, 1000)}, "at most 655.35 s, got 1000"),
        ("out.gif", {"audio": "copy"}, "cannot hold sound"),
        ("frames/", {"audio": "stretch"}, "cannot hold sound"),
        ("out.mp4", {"audio": "copy"}, "in memory has no sound"),
        ("no/folder.mp4", {}, "does not exist"),
    ],
)
def test_impossible_exports_are_refused_before_a_frame_is_rendered(
    tmp_path: Path, saved: SavedField, name: str, config: dict[str, Any], word: str
) -> None:
    asked = []
    hook = saved.field.register_forward_hook(lambda *_: asked.append(1))
    try:
        with pytest.raises(UserError, match=word) as told:
            export(saved, f"{tmp_path}/{name}", ExportConfig(**config), progress=False)
    finally:
        hook.remove()
    assert "\n" not in str(told.value)
    assert not asked
    assert not list(tmp_path.iterdir())


def test_a_device_that_is_not_there(tmp_path: Path, saved: SavedField) -> None:
    with pytest.raises(UserError, match="device nowhere"):
        export(saved, tmp_path / "out.mp4", ExportConfig(), device="nowhere", progress=False)


# ------------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({}, (36, 64)),
        ({"scale": 2}, (72, 128)),
        ({"scale": 1.5}, (54, 96)),
        ({"scale": 0.1}, (4, 6)),  # 3.6 and 6.4
        ({"scale": Fraction(33, 64)}, (19, 33)),  # 18.5625
        ({"crop": (0, 0, 5, 3), "scale": 0.5}, (2, 3)),  # 1.5 and 2.5, half up
        ({"crop": (0.5, 0.5, 10, 10), "size": (7, 9)}, (7, 9)),
    ],
)
def test_output_size(six: Clip, config: dict[str, Any], size: tuple[int, int]) -> None:
    assert output_size(ExportConfig(**config), (six.height, six.width)) == size


def test_odd_sizes_keep_their_last_row_and_column(tmp_path: Path) -> None:
    frames = moving(3, 35, 63) // 2
    frames[:, :, -1] = 220
    frames[:, :, :, -1] = 220
    again = made(fitted(clip_of(frames), STILL), tmp_path / "out.mp4", crf=4)
    assert again.frames.shape == (3, 3, 35, 63)
    assert (again.pixels[:, :, -1].float() - 220).abs().mean() < 3
    assert (again.pixels[..., -1].float() - 220).abs().mean() < 3


@pytest.mark.slow
def test_a_size_of_another_shape_is_not_distorted(
    tmp_path: Path, saved: SavedField, caplog: pytest.LogCaptureFixture
) -> None:
    assert made(saved, tmp_path / "wide.mp4", size=(36, 128)).pixel_aspect == Fraction(1, 2)
    assert "0.5 times as wide" in caplog.text
    caplog.clear()
    anamorphic = SavedField(saved.field, replace(saved.facts, pixel_aspect=Fraction(3, 2)))
    assert made(anamorphic, tmp_path / "square.mp4", size=(36, 96)).pixel_aspect == 1
    assert made(anamorphic, tmp_path / "larger.mp4", scale=2).pixel_aspect == Fraction(3, 2)
    assert not caplog.text


def test_a_crop_is_that_part_of_the_picture(tmp_path: Path, saved: SavedField, six: Clip) -> None:
    again = made(saved, tmp_path / "out.mkv", crop=(10, 4, 20, 12), codec="ffv1")
    part = six.pixels[:, :, 4:16, 10:30]
    assert again.frames.shape == part.shape
    assert same(again.pixels, part)


# ------------------------------------------------------------------------------------------------ times


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "count", "rate"),
    [
        ({}, 6, Fraction(25)),
        ({"slowmo": Fraction(4)}, 24, Fraction(25)),
        ({"fps": Fraction(60)}, 15, Fraction(60)),  # 0.24 s: 14.4
        ({"fps": NTSC}, 8, NTSC),  # 7.19
        ({"fps": Fraction(60), "slowmo": Fraction(5, 2)}, 36, Fraction(60)),
        ({"slowmo": Fraction(1, 2)}, 3, Fraction(25)),
        ({"start": 0.05, "end": 0.17}, 4, None),  # 0.05, 0.08, 0.12, 0.16
        ({"start": 0.05, "end": 0.17, "fps": Fraction(50)}, 6, Fraction(50)),
        ({"start": 0.2}, 1, Fraction(25)),
    ],
)
def test_counts_and_times_are_exact(
    tmp_path: Path, saved: SavedField, config: dict[str, Any], count: int, rate: Fraction | None
) -> None:
    again = made(saved, tmp_path / "out.mp4", **config)
    assert len(again) == count
    if rate is not None:
        assert again.pts_seconds == tuple(i / rate for i in range(count))
        assert again.frame_rate == rate
    else:
        assert again.pts_seconds == tuple(Fraction(n, 100) for n in (0, 3, 7, 11))


@pytest.mark.slow
def test_slow_motion_shows_every_source_frame_at_its_instant(tmp_path: Path, saved: SavedField, six: Clip) -> None:
    again = made(saved, tmp_path / "out.mkv", slowmo=Fraction(3), codec="ffv1")
    assert same(again.pixels[::3], six.pixels)
    assert not same(again.frames[1], six.frames[0])
    # After the last source frame there is nothing to move to.
    assert torch.equal(again.frames[15], again.frames[17])


@pytest.mark.slow
def test_held_frames_are_held_at_the_clips_own_times_and_run_past_at_others(tmp_path: Path) -> None:
    distinct = moving(5)
    held = fitted(clip_of(repeat(distinct, "t c h w -> (t 2) c h w"), start=Fraction(3)))
    assert len(held.field.timeline.t) == 5
    again = made(held, tmp_path / "own.mkv", codec="ffv1")
    assert same(again.pixels[::2], distinct)
    assert torch.equal(again.pixels[1::2], again.pixels[::2])
    # From within a held frame to one that is not a frame's own instant.
    part = made(held, tmp_path / "part.mkv", codec="ffv1", start=0.13, end=0.3)
    assert same(part.pixels[1:], distinct[[2, 2, 3, 3]])
    faster = made(held, tmp_path / "faster.mkv", codec="ffv1", fps=Fraction(50))
    assert same(faster.pixels[::4], distinct)
    assert not any(same(faster.frames[k + 2], faster.frames[k]) for k in (0, 4, 8))


def test_uneven_times_survive(tmp_path: Path) -> None:
    times = tuple(Fraction(n, 1000) for n in (500, 533, 600, 617, 700))
    clip = clip_of(moving(5), Fraction(20), pts_seconds=times, end_seconds=Fraction(780, 1000))
    uneven = fitted(clip, STILL)
    for name in ("out.mp4", "out.mkv"):
        again = made(uneven, tmp_path / name)
        assert again.pts_seconds == tuple(at - times[0] for at in times)
        assert probe(tmp_path / name).duration_seconds == Fraction(280, 1000)
    assert made(uneven, tmp_path / "even.mp4", fps=Fraction(50)).pts_seconds == tuple(
        Fraction(i, 50) for i in range(14)
    )


@pytest.mark.parametrize(
    ("start", "end"), [(0.04, 0.12), (0.0396, 0.1203), (0.0404, 0.1197), (Fraction(1, 25), Fraction(3, 25))]
)
def test_times_typed_as_decimals_mean_the_frame(
    tmp_path: Path, saved: SavedField, six: Clip, start: Fraction | float, end: Fraction | float
) -> None:
    again = made(saved, tmp_path / "out.mkv", start=start, end=end, codec="ffv1")
    assert same(again.pixels, six.pixels[1:3])
    assert again.pts_seconds == (0, Fraction(1, 25))


def test_a_picture_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    frames = moving(1)
    again = made(fitted(clip_of(frames)), f"{tmp_path}/still.mp4", slowmo=Fraction(3))
    assert len(again) == 3
    assert torch.equal(again.frames[0], again.frames[2])


# ------------------------------------------------------------------------------------------------ pictures


@pytest.mark.slow
def test_colours_do_not_shift(tmp_path: Path, demo_clip: Path) -> None:
    clip = read_clip(demo_clip, max_frames=6, size=(90, 160))
    again = made(fitted(clip), tmp_path / "out.mp4")
    assert again.color == clip.color
    shift = (again.pixels.float() - clip.pixels.float()).mean(dim=(0, 2, 3))
    assert shift.abs().max() < 0.5


def test_ten_bits_survive(tmp_path: Path) -> None:
    ramp = repeat(torch.linspace(0.1, 0.9, 640), "w -> t c h w", t=2, c=3, h=4)
    clip = clip_of(ramp.contiguous(), color=ColorInfo(bit_depth=10))
    again = made(fitted(clip, STILL), tmp_path / "out.mkv", codec="ffv1")
    assert again.color.bit_depth == 10
    assert (again.pixels - ramp).abs().max() < 1 / 800  # a code is 1/876
    assert len(again.pixels[0, 0, 0].unique()) > 500


def test_frames_as_pictures(tmp_path: Path, saved: SavedField, six: Clip, caplog: pytest.LogCaptureFixture) -> None:
    sounding = SavedField(saved.field, replace(saved.facts, source="gone.mp4"))
    report = export(sounding, tmp_path / "frames", ExportConfig(fps=Fraction(50)), progress=False)
    assert (report.frames, report.audio) == (12, "none")
    files = sorted((tmp_path / "frames").iterdir())
    assert [file.name for file in files] == [f"{i:06d}.png" for i in range(12)]
    for i in range(6):
        assert torch.equal(read_clip(files[2 * i]).frames[0], six.frames[i])
    again = made(sounding, tmp_path / "out.gif")
    assert (len(again), again.pts_seconds[1]) == (6, Fraction(4, 100))
    assert not caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("loops", [None, 0, 3])
def test_a_gif_comes_again_as_often_as_its_source(tmp_path: Path, loops: int | None) -> None:
    pictures = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in moving(3)]
    told: dict[str, Any] = {} if loops is None else {"loop": loops}
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=40, **told)
    saved = fitted(read_clip(tmp_path / "a.gif"), STILL)
    for name, expected in (("slow.gif", told), ("slow.mp4", None)):
        made(saved, tmp_path / name, slowmo=Fraction(2))
        if expected is not None:
            with Image.open(tmp_path / name) as slow:
                assert {key: slow.info[key] for key in ("loop",) if key in slow.info} == expected
    # Of a video, a GIF goes on for ever.
    saved = SavedField(saved.field, replace(saved.facts, source=str(tmp_path / "slow.mp4")))
    made(saved, tmp_path / "again.gif", fps=Fraction(25))
    with Image.open(tmp_path / "again.gif") as again:
        assert again.info["loop"] == 0


@pytest.mark.slow
def test_what_is_written_is_what_is_rendered(tmp_path: Path, saved: SavedField) -> None:
    export(saved, tmp_path / "out", ExportConfig(scale=1.5, fps=Fraction(75)), progress=False, chunk_points=1001)
    frames = list(render(saved.field, (54, 96), [i / 75 for i in range(18)]))
    for i in (0, 4, 17):
        written = read_clip(tmp_path / "out" / f"{i:06d}.png").frames[0]
        assert (written.int() - to_uint8(frames[i]).int()).abs().max() <= 1


# ------------------------------------------------------------------------------------------------ sound


def packets(path: Path) -> list[bytes]:
    with av.open(path) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


@pytest.mark.slow
def test_the_whole_clip_at_twice_the_rate_keeps_its_sound_bit_for_bit(
    tmp_path: Path, demo: SavedField, demo_clip: Path
) -> None:
    report = export(demo, tmp_path / "out.mp4", ExportConfig(fps=Fraction(50)), progress=False)
    assert (report.frames, report.audio) == (264, "copied")
    originals = packets(demo_clip)
    copies = packets(tmp_path / "out.mp4")
    # The sound track outlasts the picture; what begins after the picture's end stays out.
    kept = -(-Fraction(132, 25) * 48000 // 1024)
    assert copies == originals[: int(kept)]


@pytest.mark.slow
def test_slow_motion_leaves_the_sound_out_with_a_word(
    tmp_path: Path, demo: SavedField, caplog: pytest.LogCaptureFixture
) -> None:
    part: dict[str, Any] = {"start": 1, "end": 1.2, "slowmo": Fraction(4)}
    report = export(demo, tmp_path / "out.mp4", ExportConfig(**part), progress=False)
    assert report.audio == "left out"
    assert not has_audio(tmp_path / "out.mp4")
    assert [record.message for record in caplog.records] == [
        "the sound is left out of slow motion; add --audio stretch to keep it"
    ]
    caplog.clear()
    report = export(demo, tmp_path / "kept.mp4", ExportConfig(audio="stretch", **part), progress=False)
    assert report.audio == "stretched"
    with av.open(tmp_path / "kept.mp4") as container:
        sound = container.streams.audio[0]
        assert sound.duration is not None
        assert sound.time_base is not None
        assert abs(sound.duration * sound.time_base - Fraction(4, 5)) < Fraction(1, 20)
    assert not caplog.text


@pytest.mark.slow
def test_sound_is_trimmed_with_the_picture(tmp_path: Path, demo: SavedField, demo_clip: Path) -> None:
    export(demo, tmp_path / "out.mkv", ExportConfig(start=2, end=2.4), progress=False)
    first, last = 2 * 48000 // 1024 + 1, -(-24 * 4800 // 1024)
    assert packets(tmp_path / "out.mkv") == packets(demo_clip)[first:last]


@pytest.mark.slow
def test_sound_that_webm_cannot_hold_is_coded_again(
    tmp_path: Path, demo: SavedField, caplog: pytest.LogCaptureFixture
) -> None:
    config = ExportConfig(start=1, end=1.2)
    assert export(demo, tmp_path / "out.webm", config, progress=False).audio == "coded again"
    assert [track.codec for track in inspect_file(tmp_path / "out.webm").audio] == ["opus"]
    assert "Opus" in caplog.text
    with pytest.raises(UserError, match="aac sound as it is"):
        export(demo, tmp_path / "copy.webm", replace(config, audio="copy"), progress=False)


def test_no_sound_where_none_is_wanted_or_found(
    tmp_path: Path, demo: SavedField, caplog: pytest.LogCaptureFixture
) -> None:
    part: dict[str, Any] = {"start": 1, "end": 1.08}
    assert export(demo, tmp_path / "a.mp4", ExportConfig(audio="drop", **part), progress=False).audio == "dropped"
    silent = SavedField(demo.field, replace(demo.facts, source=str(tmp_path / "a.mp4")))
    assert export(silent, tmp_path / "b.mp4", ExportConfig(**part), progress=False).audio == "none"
    with pytest.raises(UserError, match="has no sound"):
        export(silent, tmp_path / "c.mp4", ExportConfig(audio="stretch", slowmo=Fraction(2)), progress=False)
    assert not caplog.text
    moved = SavedField(demo.field, replace(demo.facts, source=str(tmp_path / "moved.mp4")))
    assert export(moved, tmp_path / "d.mp4", ExportConfig(**part), progress=False).audio == "left out"
    assert "moved.mp4 does not exist" in caplog.text
    with pytest.raises(UserError, match=r"moved\.mp4 does not exist"):
        export(moved, tmp_path / "e.mp4", ExportConfig(audio="copy"), progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "d.mp4"]


# ------------------------------------------------------------------------------------------------ files and memory


@pytest.mark.slow
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["out.mp4", "out"])
def test_an_interrupted_export_leaves_what_was_there(
    tmp_path: Path, saved: SavedField, name: str, error: type[BaseException]
) -> None:
    target = tmp_path / name

    def content() -> list[bytes]:
        return [file.read_bytes() for file in sorted(target.iterdir() if target.is_dir() else [target])]

    def interrupted(*_: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise error("in the middle")

    for earlier in (False, True):
        if earlier:
            export(saved, target, ExportConfig(), progress=False)
            before = content()
        calls: list[int] = []
        hook = saved.field.register_forward_hook(interrupted)
        try:
            with pytest.raises(error, match="in the middle"):
                export(saved, target, ExportConfig(slowmo=Fraction(2), overwrite=True), progress=False)
        finally:
            hook.remove()
        assert [path.name for path in tmp_path.iterdir()] == ([name] if earlier else [])
    assert content() == before


@pytest.mark.slow
def test_existing_files_need_overwrite_and_the_source_is_never_replaced(tmp_path: Path, six: Clip) -> None:
    source = tmp_path / "source.mp4"
    with VideoWriter(source, height=36, width=64, frame_rate=six.frame_rate, color=six.color) as writer:
        for frame in six.pixels:
            writer.write(frame)
    saved = fitted(read_clip(source), STILL)
    with pytest.raises(UserError, match="fitted to"):
        export(saved, source, ExportConfig(overwrite=True), progress=False)
    made(saved, tmp_path / "out.mp4")
    with pytest.raises(UserError, match="--overwrite"):
        export(saved, tmp_path / "out.mp4", ExportConfig(), progress=False)
    assert len(made(saved, tmp_path / "out.mp4", overwrite=True, slowmo=Fraction(2))) == 12


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path, saved: SavedField) -> None:
    """Pictures alive when a frame is asked for: as many late in the export as early on."""
    alive = []
    asked = 0

    def watch(*_: object) -> None:
        nonlocal asked
        asked += 1
        # All between two source frames: at and after the last one a frame is read without its neighbours.
        if asked in (10, 90, 170):
            # type() and not isinstance: some objects of torch warn when they are asked for their class.
            alive.append(sum(type(o) is Tensor and o.numel() == 3 * 37 * 61 for o in gc.get_objects()))

    hook = saved.field.register_forward_hook(watch)
    try:
        config = ExportConfig(slowmo=Fraction(40), size=(37, 61))
        assert export(saved, tmp_path / "out.mp4", config, progress=False).frames == asked == 240
    finally:
        hook.remove()
    assert alive[0] == alive[1] == alive[2] <= 5, alive


def test_progress_is_shown_on_stderr(tmp_path: Path, saved: SavedField, capsys: pytest.CaptureFixture[str]) -> None:
    export(saved, tmp_path / "a.mp4", ExportConfig(), progress=False)
    assert capsys.readouterr().err == ""
    export(saved, tmp_path / "b.mp4", ExportConfig())
    shown = capsys.readouterr()
    assert "rendering" in shown.err
    assert "6/6" in shown.err
    assert shown.out == ""


@pytest.mark.slow
def test_the_first_and_last_frames_are_there(tmp_path: Path, saved: SavedField, six: Clip) -> None:
    configs: list[dict[str, Any]] = [{}, {"fps": Fraction(60)}, {"slowmo": Fraction(7, 2)}]
    for config in configs:
        again = made(saved, tmp_path / "out.mkv", codec="ffv1", overwrite=True, **config)
        assert same(again.frames[0], six.frames[0])
        assert same(again.frames[-1], six.frames[-1])


def test_logging_is_by_the_package_name(tmp_path: Path, demo: SavedField, caplog: pytest.LogCaptureFixture) -> None:
    export(demo, tmp_path / "out.mp4", ExportConfig(start=1, end=1.04, slowmo=Fraction(2)), progress=False)
    assert [(record.name, record.levelno) for record in caplog.records] == [("vfield", logging.WARNING)]


def test_after_each_frame_somebody_is_told_and_may_end_it(saved: SavedField, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def listen(written: int, frames: int) -> None:
        told.append((written, frames))
        if len(told) == 8:
            raise InterruptedError

    export(saved, tmp_path / "whole.mkv", ExportConfig(), progress=False, after_frame=listen)
    assert told == [(k, 6) for k in range(1, 7)]
    with pytest.raises(InterruptedError):
        export(saved, tmp_path / "part.mkv", ExportConfig(), progress=False, after_frame=listen)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.mkv"]
