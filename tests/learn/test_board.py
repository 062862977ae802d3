"""What the board writes is there to be read back, at the right size, and its scores are those of `metrics`."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import reduce
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from vfield.core.clip import Clip
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.core.metrics import score
from vfield.field.config import FieldConfig
from vfield.field.decoder import DecoderConfig
from vfield.field.detail import Detail
from vfield.field.fourier import FourierConfig
from vfield.field.latents import ColourKeyframes, GlobalConfig, LocalConfig
from vfield.field.motion import MotionConfig
from vfield.field.render import render
from vfield.field.video_field import VideoField
from vfield.learn import Config, fit
from vfield.learn import board as board_module
from vfield.learn import run as run_module
from vfield.learn.board import Board, Glimpse, HeldOut, Raster, TimeShare
from vfield.learn.config import TrainingConfig
from vfield.learn.start import start_field
from vfield.prepare.flow import FlowConfig

HEIGHT, WIDTH = 48, 80
RATE = Fraction(25)
FULL = FieldConfig()
MADE = FieldConfig(local=LocalConfig(colours=False))
PLAIN = FieldConfig(
    fourier=FourierConfig(),
    shared=GlobalConfig(enabled=False),
    local=LocalConfig(colours=False, levels=()),
    motion=MotionConfig(enabled=False),
    decoder=DecoderConfig(),
)
PICTURES = ["field/1 observed", "field/2 in between", "field/3 held out", "field/4 enlarged", "field/5 motion"]
# Small pictures are magnified fourfold and go two by two, each under a caption, with margins around them.
MARGIN = 8
CAPTION = (2 * 4 * WIDTH // 26) * 3 // 2
ROW = CAPTION + 4 * HEIGHT + MARGIN
DEMO = "field/6 slow motion, 4 times slower"


def panning(count: int, height: int = HEIGHT, width: int = WIDTH) -> Clip:
    """A smooth texture that moves two pixels to the right a frame."""
    x, y = torch.arange(width + 2 * count).float(), torch.arange(height).float()[:, None]
    wide = torch.stack([torch.sin(x / a) * torch.cos(y / b) for a, b in ((3, 5), (7, 4), (5, 9))])
    frames = torch.stack([wide[:, :, 2 * (count - i) :][:, :, :width] for i in range(count)])
    pts = tuple(i / RATE for i in range(count))
    return Clip((127.5 + 120 * frames).to(torch.uint8), pts, count / RATE, RATE)


def split(clip: Clip) -> tuple[Clip, HeldOut]:
    """Every second frame, and those between."""
    hidden = list(range(1, len(clip), 2))
    return clip.select(range(0, len(clip), 2)), HeldOut(clip.pixels[hidden], [float(i / RATE) for i in hidden])


def field_of(clip: Clip, config: FieldConfig) -> VideoField:
    return start_field(clip, config, FlowConfig(), seed=0).field


@pytest.fixture(scope="module")
def observed() -> Clip:
    return split(panning(9))[0]


@pytest.fixture(scope="module")
def held_out() -> HeldOut:
    return split(panning(9))[1]


@pytest.fixture(scope="module")
def field(observed: Clip) -> VideoField:
    return field_of(observed, FULL)


@pytest.fixture
def read_back(tmp_path: Path) -> Callable[[Callable[[SummaryWriter], None]], Any]:
    """A function that has somebody write events, and reads all of them."""

    def write_and_read(write: Callable[[SummaryWriter], None]) -> Any:
        with SummaryWriter(str(tmp_path)) as writer:
            write(writer)
        return EventAccumulator(str(tmp_path), size_guidance={"images": 0, "histograms": 0, "tensors": 0}).Reload()

    return write_and_read


def opened(event: Any) -> Image.Image:
    picture = Image.open(io.BytesIO(event.encoded_image_string))
    assert picture.size == (event.width, event.height)
    return picture


@pytest.mark.slow
def test_pictures_are_written(read_back: Any, field: VideoField, observed: Clip, held_out: HeldOut) -> None:
    def write(writer: SummaryWriter) -> None:
        board = Board(writer, observed, held_out, "cpu")
        for step in (0, 10):
            board.pictures(field, step)

    events = read_back(write)
    assert sorted(events.Tags()["images"]) == PICTURES
    for tag in PICTURES:
        assert [event.step for event in events.Images(tag)] == [0, 10]
        picture = opened(events.Images(tag)[0])
        if tag != "field/4 enlarged":
            rows = 1 if tag == "field/5 motion" else 2
            assert picture.size == (2 * (4 * WIDTH + MARGIN) + MARGIN, rows * ROW + MARGIN)
    speeds = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}
    assert speeds["motion/99th percentile, px per s"] == pytest.approx(50, rel=0.3)
    assert speeds["motion/fastest point, px per s"] >= speeds["motion/99th percentile, px per s"]


@pytest.mark.slow
def test_observed_panel_shows_source_field_and_error(
    read_back: Any, field: VideoField, observed: Clip, held_out: HeldOut
) -> None:
    events = read_back(lambda writer: Board(writer, observed, held_out, "cpu").pictures(field, 0))
    picture = opened(events.Images("field/1 observed")[0])
    shown = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width, 3)
    source, made, error = (
        reduce(shown[top:, left:][: 4 * HEIGHT, : 4 * WIDTH].float(), "(h a) (w b) c -> c h w", "mean", a=4, b=4)
        for top, left in (
            (MARGIN + CAPTION, MARGIN),
            (MARGIN + CAPTION, 4 * WIDTH + 2 * MARGIN),
            (MARGIN + CAPTION + ROW, MARGIN),
        )
    )
    # As exact as JPEG is: a field with keyframe colours starts exact.
    assert (source - observed.frames[len(observed) // 2]).abs().mean() <= 2
    assert (made - source).abs().mean() <= 2
    assert error.max() <= 20


@pytest.mark.slow
def test_large_pictures_are_shrunk_to_whole_pixels(read_back: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "_WIDEST", 400)
    clip = panning(3, height=101, width=1001)
    field = field_of(clip, FULL)
    events = read_back(lambda writer: Board(writer, clip, None, "cpu").pictures(field, 0))
    event = events.Images("field/1 observed")[0]
    picture = opened(event)
    assert picture.width == 2 * (1001 // 3 + MARGIN) + MARGIN
    # The field and its source are seen through one footprint, so that no error comes from shrinking.
    error = picture.crop((MARGIN, picture.height - MARGIN - 101 // 3, MARGIN + 1001 // 3, picture.height - MARGIN))
    assert max(high for _, high in error.getextrema()) <= 20  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16000, 16), (2, 20000), (1, 1), (1080, 1920), (3840, 2160)])
def test_rasters_are_bounded_for_any_shape(size: tuple[int, int]) -> None:
    raster = Raster.within(*size, 480)
    assert 1 <= raster.width <= 480
    assert 1 <= raster.height <= 480
    assert max(raster.region(*size)) <= 1
    assert raster.shrink(torch.zeros(3, *size, dtype=torch.uint8)).shape == (3, raster.height, raster.width)


@pytest.mark.slow
def test_portrait_pictures_lie_side_by_side(read_back: Any) -> None:
    clip = panning(3, height=80, width=40)
    field = field_of(clip, PLAIN)
    events = read_back(lambda writer: Board(writer, clip, None, "cpu").pictures(field, 0))
    assert opened(events.Images("field/1 observed")[0]).width == 3 * (8 * 40 + MARGIN) + MARGIN


@pytest.mark.slow
def test_quality_is_what_metrics_say(field: VideoField, observed: Clip, held_out: HeldOut, tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        scores = Board(writer, observed, held_out, "cpu").quality(field, 0)

    def expected(frames: Tensor, t: list[float]) -> dict[str, float]:
        made = score(torch.stack(list(render(field, (HEIGHT, WIDTH), t))), frames)
        return {"psnr": made.psnr, "ssim": made.ssim}

    chosen = [0, 2]
    seen = expected(observed.pixels[chosen], [2 * i / 25 for i in chosen])
    unseen = expected(in_memory(held_out.frames), held_out.t)
    assert scores == pytest.approx(
        {f"{name}/observed": value for name, value in seen.items()}
        | {f"{name}/held out": value for name, value in unseen.items()},
        abs=1e-4,
    )
    assert scores["psnr/observed"] > scores["psnr/held out"]


def test_quality_leaves_out_what_does_not_apply(tmp_path: Path) -> None:
    clip = panning(2, height=8, width=8)
    with SummaryWriter(str(tmp_path)) as writer:
        board = Board(writer, clip, HeldOut(clip.pixels[:0], []), "cpu")
        assert set(board.quality(field_of(clip, PLAIN), 0)) == {"psnr/observed"}


@pytest.fixture(scope="module")
def made(observed: Clip) -> VideoField:
    """A field that makes everything, and so has codes."""
    return field_of(observed, MADE)


def test_histograms_of_all_codes(read_back: Any, made: VideoField, observed: Clip) -> None:
    events = read_back(lambda writer: Board(writer, observed, None, "cpu").histograms(made, 3))
    assert sorted(events.Tags()["histograms"]) == [
        "values/global code",
        "values/global track",
        "values/latents, cells of 32 px",
        "values/latents, cells of 8 px",
    ]
    assert events.Histograms("values/global code")[0].histogram_value.num == MADE.shared.width


def test_a_field_without_codes_has_no_histograms(read_back: Any, field: VideoField, observed: Clip) -> None:
    events = read_back(lambda writer: Board(writer, observed, None, "cpu").histograms(field, 3))
    assert events.Tags()["histograms"] == []


def test_histograms_survive_values_that_are_not_finite(read_back: Any, observed: Clip) -> None:
    field = field_of(observed, MADE)
    assert field.shared is not None
    with torch.no_grad():
        field.shared.code.fill_(float("nan"))
        field.shared.track[0] = float("inf")
    events = read_back(lambda writer: Board(writer, observed, None, "cpu").histograms(field, 0))
    assert "values/global code" not in events.Tags()["histograms"]
    assert "values/global track" in events.Tags()["histograms"]


def test_histograms_of_large_parts_are_sampled(
    read_back: Any, made: VideoField, observed: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_module, "_MOST_VALUES", 50)
    events = read_back(lambda writer: Board(writer, observed, None, "cpu").histograms(made, 0))
    assert events.Histograms("values/latents, cells of 8 px")[0].histogram_value.num == 50


@pytest.mark.slow
def test_demo_is_an_animated_gif(read_back: Any, field: VideoField, observed: Clip) -> None:
    events = read_back(lambda writer: Board(writer, observed, None, "cpu").demo(field, 7))
    (event,) = events.Images(DEMO)
    assert event.step == 7
    assert event.encoded_image_string.startswith(b"GIF89a")
    gif = opened(event)
    assert gif.size == (WIDTH, HEIGHT)
    # 0.32 s between the first frame and the last, four times slower, at 25/2 frames a second.
    assert gif.n_frames == 16  # type: ignore[attr-defined]
    assert gif.info["loop"] == 0  # for ever
    assert gif.info["duration"] == 80


def test_plain_field(read_back: Any, observed: Clip, held_out: HeldOut) -> None:
    field = field_of(observed, PLAIN)

    def write(writer: SummaryWriter) -> None:
        board = Board(writer, observed, held_out, "cpu")
        board.pictures(field, 0)
        board.histograms(field, 0)
        assert len(board.quality(field, 0)) == 4

    tags = read_back(write).Tags()
    assert sorted(tags["images"]) == PICTURES[:4]
    assert tags["histograms"] == []
    assert tags["scalars"] == []


@pytest.mark.slow
@pytest.mark.parametrize("config", [FULL, PLAIN], ids=["full", "plain"])
def test_clip_of_one_frame(read_back: Any, config: FieldConfig) -> None:
    clip = panning(1)
    field = field_of(clip, config)

    def write(writer: SummaryWriter) -> None:
        board = Board(writer, clip, None, "cpu")
        board.pictures(field, 0)
        board.histograms(field, 0)
        board.demo(field, 0)
        assert set(board.quality(field, 0)) == {"psnr/observed", "ssim/observed"}

    assert sorted(read_back(write).Tags()["images"]) == ["field/1 observed", "field/4 enlarged"]


def test_the_row_in_between_avoids_cuts(tmp_path: Path) -> None:
    bright = panning(6)
    dark = torch.zeros_like(bright.pixels[:3])
    dark[:, 0] = 255
    clip = replace(bright, frames=torch.cat([bright.pixels[:3], dark]))
    field = field_of(clip, PLAIN)
    assert len(field.timeline.shots) == 2
    with SummaryWriter(str(tmp_path)) as writer:
        between = Board(writer, clip, None, "cpu")._between(field)
    assert between is not None
    assert (between.left, between.right) in ((1, 2), (3, 4))


def test_held_out_frames_outside_the_observed_ones_are_only_scored(read_back: Any) -> None:
    clip = panning(4)
    observed, held_out = clip.select([0, 1]), HeldOut(clip.pixels[3:], [3 / 25])
    field = field_of(observed, PLAIN)

    def write(writer: SummaryWriter) -> None:
        board = Board(writer, observed, held_out, "cpu")
        board.pictures(field, 0)
        assert "psnr/held out" in board.quality(field, 0)

    assert sorted(read_back(write).Tags()["images"]) == [PICTURES[0], PICTURES[1], PICTURES[3]]


def test_settings_and_facts_are_kept_line_by_line(read_back: Any, observed: Clip) -> None:
    settings = "field:\n  local:\n    levels: [8, 32]\n"
    events = read_back(lambda writer: Board(writer, observed, None, "cpu").describe(settings, repr(observed)))
    (event,) = events.Tensors("about/settings/text_summary")
    assert event.tensor_proto.string_val[0].decode() == "    field:\n      local:\n        levels: [8, 32]\n"
    assert "about/clip/text_summary" in events.Tags()["tensors"]


# ------------------------------------------------------------------------------------------------ what looking takes


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_that_may_be_taken_is_counted() -> None:
    clock = Clock()
    share = TimeShare(0.05, clock)
    assert share.allows_more()
    clock.now += 10
    with share:
        clock.now += 2
    assert not share.allows_more()
    clock.now += 67
    assert not share.allows_more()  # 2 s of 79, and 2 more would be too many
    clock.now += 2
    assert share.allows_more()
    assert share.spent == 2


def test_what_fails_has_taken_time_all_the_same() -> None:
    clock = Clock()
    share = TimeShare(0.05, clock)
    with suppress(UserError), share:
        clock.now += 3
        raise UserError("no room")
    assert share.spent == 3


def test_sets_of_pictures_are_few_and_even(observed: Clip, tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        board = Board(writer, observed, None, "cpu")
        when = []
        for done in range(100):
            if board.is_due(done / 100):
                when.append(done)
                board.sets += 1
        assert when == [0, 20, 40, 60, 80]
        going_on = Board(writer, observed, None, "cpu")
        assert [done for done in (50, 59, 60) if going_on.is_due(done / 100)] == [60]
        crowded = Board(writer, observed, None, "cpu", clips=30)
        crowded.sets = 1
        assert not crowded.is_due(0.99)


def shown_at(folder: Path) -> list[int]:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0}).Reload()
    steps = [event.step for event in events.Images("field/1 observed")]
    assert [event.step for event in events.Scalars("psnr/observed")] == steps
    return steps


@pytest.mark.slow
def test_a_fit_shows_what_there_is_time_for(observed: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(field=PLAIN, training=TrainingConfig(steps=60, picture_seconds=1e-9, device="cpu"))
    monkeypatch.setattr(run_module, "_LOOKING", 0.0)
    fit(observed, config, out=tmp_path / "none", progress=False)
    assert shown_at(tmp_path / "none") == [0, 60]
    monkeypatch.setattr(run_module, "_LOOKING", 1e9)
    fit(observed, config, out=tmp_path / "all", progress=False)
    steps = shown_at(tmp_path / "all")
    assert len(steps) == 6
    assert all(abs(step - 60 * i / 5) < 2 for i, step in enumerate(steps))


@pytest.fixture(scope="module")
def noise() -> Clip:
    """What no picture format makes small."""
    frames = torch.randint(0, 256, (5, 3, 270, 480), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Clip(frames, tuple(i / RATE for i in range(5)), 5 / RATE, RATE)


@pytest.mark.slow
def test_events_of_noise_are_small(noise: Clip, tmp_path: Path) -> None:
    clip, held_out = split(noise)
    field = field_of(clip, FULL)

    def sizes_of(clips: int) -> list[int]:
        """Of the events after the first set of pictures, after one on the way, and after the last."""
        folder = tmp_path / str(clips)
        with SummaryWriter(str(folder)) as writer:
            board, sizes = Board(writer, clip, held_out, "cpu", clips), list[int]()
            for step, is_last in enumerate((False, False, True)):
                board.show(field, step, moving=is_last)
                sizes.append(sum(path.stat().st_size for path in folder.iterdir()))
        return sizes

    first, second, last = sizes_of(1)
    assert last + 3 * (second - first) < 3e6
    # Of eight clips, two sets each.
    first, second, last = sizes_of(8)
    assert 8 * (first + last - second) < 3e6


@pytest.mark.slow
def test_pictures_fit_into_their_bytes() -> None:
    noise = torch.randint(0, 256, (6, 3, 300, 500), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = torch.full_like(noise, 100)
    for most in (100_000, 20_000, 4000):
        jpegs = board_module._jpegs([noise[0], plain[0]], most)
        gif, gif_size = board_module._gif(noise, 10 * most)
        assert sum(len(jpeg) for jpeg, _ in jpegs) <= most
        assert len(gif) <= 10 * most
        for encoded, (height, width) in (*jpegs, (gif, gif_size)):
            with Image.open(io.BytesIO(encoded)) as picture:
                assert picture.size == (width, height)
                assert width / height == pytest.approx(5 / 3, rel=0.1)
    # What is easy to say is said as well as can be.
    (jpeg, size), *_ = board_module._jpegs([plain[0]], 4000)
    assert size == (300, 500)
    with Image.open(io.BytesIO(jpeg)) as picture:
        assert picture.getextrema() == ((100, 100),) * 3


def learnt(clip: Clip) -> VideoField:
    """A field whose encoder of detail says something."""
    field = field_of(clip, FULL)
    assert field.detail is not None
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        field.detail.last.weight.copy_(0.05 * torch.randn(field.detail.last.weight.shape, generator=generator))
    return field.eval()


@pytest.mark.slow
def test_an_enlarged_glimpse_is_as_the_field_enlarges() -> None:
    clip = panning(5, height=150, width=260)
    field, crop, t = learnt(clip), (40, 90, 48), 2 / 25
    whole = next(render(field, (192, 192), [t], region=(90 / 260, 40 / 150, 138 / 260, 88 / 150)))
    seen = Glimpse.to_enlarge(field, crop).enlarged(field, crop, t, "cpu")
    assert field.detail is not None
    with torch.no_grad():
        field.detail.last.weight.zero_()
    plain = next(render(field, (192, 192), [t], region=(90 / 260, 40 / 150, 138 / 260, 88 / 150)))
    assert (seen - whole).abs().mean() < 0.1 * (plain - whole).abs().mean()


@pytest.mark.slow
def test_detail_is_made_of_small_pieces_alone(read_back: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clip = panning(5, height=250, width=500)
    field = learnt(clip)
    sizes: list[tuple[int, ...]] = []
    finer = Detail.finer

    def watched(self: Detail, colours: ColourKeyframes, *others: Any) -> Tensor:
        sizes.append(tuple(colours.frames.shape[-2:]))
        return finer(self, colours, *others)

    monkeypatch.setattr(Detail, "finer", watched)
    events = read_back(lambda writer: Board(writer, *split(clip), "cpu").show(field, 0, moving=True))
    assert sizes
    assert max(max(size) for size in sizes) <= 160
    for tag in events.Tags()["images"]:
        assert max(opened(events.Images(tag)[0]).size) <= 1300


def test_held_out_frames_need_instants() -> None:
    with pytest.raises(UserError, match="2 held-out frames but 1 instants"):
        HeldOut(panning(2).frames, [0.0])
