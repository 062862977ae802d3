"""The command line from one end to the other: clips in, videos out, and one clear line for whatever is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
import yaml

from vfield.cli import evaluate_main, main, render_main, train_main
from vfield.field.checkpoint import FIELD_NAME, load_field
from vfield.learn import RESUME_NAME, Config
from vfield.learn.config_files import CONFIG_NAME, load_config
from vfield.learn.saves import SUMMARY_NAMES
from vfield.learn.sources import RUN_NAME
from vfield.prepare.opening import SCAN_NAME
from vfield.video_io import read_clip

Command = Callable[[Sequence[str]], int]
Refused = Callable[[Command, Sequence[str]], str]

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = ["--config", str(CONFIGS / "tiny.yaml"), "--device", "cpu"]
FEW = ["--end", "0.2", "--size", "96x54"]  # five frames of the demo clip
FILES = {SCAN_NAME, CONFIG_NAME, RUN_NAME, FIELD_NAME, RESUME_NAME, "tensorboard", *SUMMARY_NAMES}

pytestmark = [pytest.mark.usefixtures("own_folder"), pytest.mark.slow]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def settings(run: Path) -> Config:
    """The config that was saved with a run."""
    return load_config(run / CONFIG_NAME)


@pytest.fixture(scope="module")
def video(demo_clip: Path) -> list[str]:
    return ["--video", str(demo_clip), *FEW]


@pytest.fixture(scope="module")
def run(video: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run. Tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "demo"
    assert train_main([*TINY, *video, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Runs a command that must be refused: exit code 2, one line, nothing written. The function gives the line."""

    def check(command: Command, words: Sequence[str]) -> str:
        before = contents(tmp_path)
        capfd.readouterr()
        assert command(words) == 2
        told = capfd.readouterr()
        assert told.out == ""
        assert told.err.startswith("error: ")
        assert told.err.count("\n") == 1, told.err
        assert len(told.err) < 400, told.err
        assert contents(tmp_path) == before
        return told.err

    return check


# ------------------------------------------------------------------------------------------------ the whole way


def test_a_clip_becomes_slow_motion(
    video: list[str], demo_clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train_main([*TINY, *video]) == 0
    folder = tmp_path / "runs" / demo_clip.stem
    assert {path.name for path in folder.iterdir()} == FILES
    told = capfd.readouterr()
    assert told.out.startswith("done after 12 steps and ")
    assert f"s: runs/{demo_clip.stem}/{FIELD_NAME}\n" in told.out
    assert "vfield render" in told.out
    assert "error" not in told.err
    assert render_main([f"runs/{demo_clip.stem}", "--slowmo", "4", "-o", "slow.mp4"]) == 0
    assert "slow.mp4: 20 frames of 96x54 at 25 fps, 0.80 s" in capfd.readouterr().out
    slow = read_clip("slow.mp4")
    assert slow.pts_seconds == tuple(Fraction(i, 25) for i in range(20))
    assert (slow.height, slow.width) == (54, 96)


@pytest.mark.parametrize(
    ("words", "frames", "size", "rate"),
    [
        (["--scale", "2"], 5, (108, 192), 25),
        (["--size", "48x27", "--fps", "60"], 12, (27, 48), 60),
        (["--fps", "30000/1001"], 6, (54, 96), Fraction(30000, 1001)),
        (["--slowmo", "5/2", "--start", "0.04", "--end", "0.16"], 8, (54, 96), 25),
        (["--reverse", "--fps", "source", "--slowmo", "2"], 10, (54, 96), 25),
        (["--speed-curve", "0:0,0.1:0.1,0.4:0.2", "--fps", "50"], 20, (54, 96), 50),
        (["--crop", "10,4,20,12", "--codec", "ffv1", "--pix-fmt", "yuv444p"], 5, (12, 20), 25),
    ],
)
def test_what_is_asked_is_what_is_written(
    run: Path, words: list[str], frames: int, size: tuple[int, int], rate: Fraction
) -> None:
    assert render_main([str(run), *words, "-o", "out.mkv"]) == 0
    clip = read_clip("out.mkv")
    assert (len(clip), (clip.height, clip.width), clip.frame_rate) == (frames, size, rate)


def test_one_command_reaches_all(video: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, *video, "--steps", "1", "--out", "again"]) == 0
    assert main(["render", "again", "-o", "frames"]) == 0
    assert len(list(Path("frames").glob("*.png"))) == 5
    assert main(["evaluate", *TINY, "--steps", "1", "--clip", *video[1:], "--holdout", "2", "--json", "rows.json"]) == 0
    shown = capfd.readouterr().out
    document = json.loads(Path("rows.json").read_text())
    assert [row["name"] for row in document["rows"]] == ["vfield", "repeat", "blend", "minterpolate", "DIS"]
    assert (document["holdout"], document["scale"], document["frames"]) == (2, None, 5)
    for row in document["rows"]:
        assert f"{row['held_out']['psnr']:.2f}" in shown


def test_enlarging_is_judged(demo_clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert evaluate_main([*TINY, "--steps", "1", "--clip", str(demo_clip), *FEW, "--scale", "2", "--frames", "2"]) == 0
    shown = capfd.readouterr().out
    assert "2 frames of 96x54" in shown
    assert all(f"\n{name} " in shown for name in ("vfield", "bicubic", "Lanczos"))
    assert {path.name for path in Path.cwd().iterdir()} == set()


def test_frames_held_out_are_not_learnt_from(video: list[str], demo_clip: Path) -> None:
    assert train_main([*TINY, *video, "--steps", "1", "--holdout", "2", "--out", "half"]) == 0
    facts = load_field("half").facts
    assert facts.pts_seconds == read_clip(demo_clip, max_frames=5).pts_seconds[::2]


# ------------------------------------------------------------------------------------------------ options


def test_dashes_and_underscores_are_equal(video: list[str]) -> None:
    assert train_main([*TINY, *video, "--steps", "0", "--mixed-precision", "no", "--training.save-seconds=7"]) == 0
    assert settings(Path("runs/bigbuckbunny")).training.save_seconds == 7
    words = ["--steps=0", "--mixed_precision=no", "--training.save_seconds", "7", "--out", "b"]
    assert train_main([*TINY, *video, *words]) == 0
    assert settings(Path("b")) == settings(Path("runs/bigbuckbunny"))


def test_dashes_in_values_are_left_alone(video: list[str]) -> None:
    assert train_main([*TINY, *video, "--steps", "0", "--out=a-b_c"]) == 0
    assert Path("a-b_c", FIELD_NAME).is_file()


def test_every_value_can_be_given_on_the_command_line(video: list[str]) -> None:
    words = {
        "--training.steps": "3",
        "--training.learning_rate": "1e-3",
        "--sampling.patch_size": "8",
        "--objective.detail": "0",
        "--field.local.levels": "[8, 16]",
        "--field.motion.curved": "false",
        "--field.decoder.conditioning": "concatenate",
        "--flow.patch_size": "12",
    }
    assert train_main([*TINY, *video, *(word for pair in words.items() for word in pair), "--out", "run"]) == 0
    config = settings(Path("run"))
    assert (config.training.steps, config.training.learning_rate, config.sampling.patch_size) == (3, 1e-3, 8)
    assert (config.objective.detail, config.flow.patch_size, config.field.local.levels) == (0, 12, (8, 16))
    assert (config.field.motion.curved, config.field.decoder.conditioning) == (False, "concatenate")
    assert config.sampling.patches == 4  # the preset's


def test_the_whole_config_is_saved_with_the_run(run: Path) -> None:
    saved = yaml.safe_load((run / CONFIG_NAME).read_text())
    assert set(saved) == set(Config.__dataclass_fields__)
    assert settings(run).field == load_field(run).field.config
    assert settings(run).training.steps == 12


def test_what_comes_later_and_what_is_shorter_wins(video: list[str]) -> None:
    Path("mine.yaml").write_text("training:\n  steps: 5\n  seed: 7\nsampling:\n  patch_size: 9\n")
    mine = ["--config", "mine.yaml"]
    assert train_main([*TINY, *mine, *video, "--sampling.patch_size", "10", "--steps", "2", "--out", "a"]) == 0
    config = settings(Path("a"))
    assert (config.training.steps, config.training.seed, config.sampling.patch_size) == (2, 7, 10)
    assert config.sampling.patches == 4
    assert train_main([*mine, *TINY, *video, "--seed", "8", "--steps", "1", "--out", "b"]) == 0
    assert (settings(Path("b")).training.seed, settings(Path("b")).sampling.patch_size) == (8, 16)


@pytest.mark.parametrize(("said", "meant"), [("auto", "auto"), ("off", 0.0), ("12.5", 12.5)])
def test_noise_is_taken_out_as_told(
    video: list[str], said: str, meant: float | str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="vfield")
    assert train_main([*TINY, *video, "--steps", "0", "--denoise", said, "--out", "run"]) == 0
    assert settings(Path("run")).denoising.strength == meant
    lines = [line for line in caplog.messages if line.startswith("noise of about")]
    assert [line.partition(": ")[2] for line in lines] == {
        "auto": ["kept as content"],
        "off": [],
        "12.5": ["taken out"],
    }[said]


def test_minutes_replace_the_steps(video: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert train_main([*TINY, *video, "--minutes", "0.01", "--out", "run"]) == 0
    training = settings(Path("run")).training
    assert (training.steps, training.minutes) == (None, 0.01)
    assert "done after" in capfd.readouterr().out
    assert train_main([*TINY, *video, "--minutes", "1", "--steps", "2", "--out", "both"]) == 0
    assert settings(Path("both")).training.steps == 2


def test_half_precision_runs_to_the_end(video: list[str]) -> None:
    assert train_main([*TINY, *video, "--mixed-precision", "bf16", "--steps", "4", "--out", "run"]) == 0
    assert render_main(["run", "-o", "out.mp4"]) == 0
    words = ["--clip", *video[1:], "--holdout", "2", "--mixed-precision", "bf16", "--steps", "4"]
    assert evaluate_main([*TINY, *words]) == 0


@pytest.mark.parametrize("command", [train_main, render_main, evaluate_main, main])
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_prints_usage(command: Command, word: str, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        code = command([word])
    except SystemExit as ended:
        code = int(ended.code or 0)
    told = capfd.readouterr()
    assert code == 0
    assert told.out.lower().startswith("usage: ")
    assert told.err == ""


def test_no_command_prints_usage_and_fails(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capfd.readouterr()
    assert "usage: " in told.out + told.err


# ------------------------------------------------------------------------------------------------ runs that are there


def test_a_run_is_replaced_only_when_told(video: list[str], run: Path, refused: Refused) -> None:
    words = [*TINY, *video, "--out", "run"]
    assert train_main([*words, "--steps", "2"]) == 0
    assert "--overwrite" in refused(train_main, words)
    assert train_main([*words, "--steps", "1", "--overwrite"]) == 0
    assert settings(Path("run")).training.steps == 1
    assert {path.name for path in Path("run").iterdir()} == FILES
    # The curves of the run that was replaced would be drawn into those of the new one.
    assert len(list(Path("run").rglob("events.*"))) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_fit_that_cannot_begin_leaves_the_earlier_one(video: list[str], refused: Refused) -> None:
    words = [*TINY, *video, "--steps", "1", "--out", "run"]
    assert train_main(words) == 0
    assert "cuda" in refused(train_main, [*words, "--overwrite", "--device", "cuda"])
    assert "0.3" in refused(train_main, [*words, "--overwrite", "--start", "0.3"])
    assert "patch_size" in refused(train_main, [*words, "--overwrite", "--flow.patch_size", "0"])


def test_a_run_goes_on_with_its_own_clip_and_config(video: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert train_main([*TINY, *video, "--steps", "3", "--seed", "5", "--holdout", "2", "--out", "run"]) == 0
    capfd.readouterr()
    assert train_main(["--resume", "--out", "run"]) == 0
    assert "done after 3 steps" in capfd.readouterr().out
    assert settings(Path("run")).training.seed == 5
    assert len(load_field("run").facts.pts_seconds) == 3
    # A longer fit is asked for: the config that is saved says so, or the next resume would not know.
    assert train_main(["--resume", "--out", "run", "--steps", "5"]) == 0
    assert "done after 5 steps" in capfd.readouterr().out
    assert settings(Path("run")).training.steps == 5


def test_a_run_that_has_not_saved_yet_starts_again(video: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """Killed while the motion was found, before the first save: there is nothing to lose, so nothing to refuse."""
    assert train_main([*TINY, *video, "--steps", "2", "--out", "run"]) == 0
    for name in (FIELD_NAME, RESUME_NAME):
        Path("run", name).unlink()
    capfd.readouterr()
    assert train_main(["--resume", "--out", "run"]) == 0
    assert "done after 2 steps" in capfd.readouterr().out


def test_a_resume_that_contradicts_the_run_is_refused(video: list[str], refused: Refused) -> None:
    assert train_main([*TINY, *video, "--steps", "1", "--out", "run"]) == 0
    go_on = ["--resume", "--out", "run"]
    assert "--overwrite" in refused(train_main, [*go_on, "--overwrite"])
    assert "--video" in refused(train_main, [*go_on, "--video", "other.mp4"])
    assert "--size" in refused(train_main, [*go_on, "--size", "64x36"])
    assert "--holdout" in refused(train_main, [*go_on, "--holdout", "2"])
    Path("run", RUN_NAME).write_text("{")
    assert RUN_NAME in refused(train_main, go_on)


def test_another_field_than_the_saved_one_is_refused(video: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert train_main([*TINY, *video, "--steps", "1", "--out", "run"]) == 0
    before = contents(Path("run"))
    assert train_main(["--resume", "--out", "run", "--field.decoder.width", "16"]) == 2
    assert "another clip or config" in capfd.readouterr().err.splitlines()[-1]
    assert contents(Path("run")) == before


# ------------------------------------------------------------------------------------------------ bad clips


@pytest.fixture
def bad_clips(tmp_path: Path, demo_clip: Path) -> Path:
    """A folder of files that are no clips."""
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "folder.mp4").mkdir()
    (folder / "text.mp4").write_text("This is not a video.\n" * 50)
    (folder / "empty.mp4").touch()
    (folder / "truncated.mp4").write_bytes(demo_clip.read_bytes()[:500_000])  # its index is at the end
    with av.open(folder / "sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 8000
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return folder


@pytest.mark.parametrize("name", ["nowhere.mp4", "folder.mp4", "text.mp4", "empty.mp4", "truncated.mp4", "sound.mp4"])
def test_files_that_are_no_clips(bad_clips: Path, name: str, refused: Refused) -> None:
    path = str(bad_clips / name)
    assert name in refused(train_main, [*TINY, "--video", path])
    assert name in refused(evaluate_main, [*TINY, "--clip", path, "--holdout", "2"])


def test_the_audio_only_file_is_a_real_one(bad_clips: Path) -> None:
    with av.open(bad_clips / "sound.mp4") as container:
        assert (len(container.streams.audio), len(container.streams.video)) == (1, 0)


def test_a_name_too_long_for_the_system(refused: Refused, video: list[str]) -> None:
    long = "a" * 300
    refused(train_main, [*TINY, "--video", f"{long}.mp4"])
    refused(train_main, [*TINY, *video, "--out", long])


# ------------------------------------------------------------------------------------------------ bad words


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--size", "0x0"], "0x0"),
        (["--size", "99999x99999"], "99999x99999"),
        (["--size", "abc"], "'abc'"),
        (["--start", "0.3"], "0.3"),
        (["--start", "-1"], "-1"),
        (["--start", "soon"], "soon"),
        (["--start", "900", "--end", "901"], "900"),
        (["--holdout", "1"], "--holdout"),
        (["--holdout", "50"], "--holdout 50"),
        (["--surprise", "1"], "--surprise"),
        (["surprise"], "surprise"),
        (["--training.surprise", "1"], "training.surprise"),
        (["--field.motion.surprise", "1"], "field.motion.surprise"),
        (["--training.steps", "many"], "many"),
        (["--sampling.patches", "1.5"], "1.5"),
        (["--training.device", "abacus"], "abacus"),
        (["--training", "3"], "training"),
        (["--steps", "-1"], "-1"),
        (["--steps", "1.5"], "1.5"),
        (["--denoise", "strongly"], "'strongly'"),
        (["--denoise", "-3"], "-3"),
        (["--denoise", "nan"], "nan"),
        (["--minutes", "0"], "minutes"),
        (["--minutes", "nan"], "minutes"),
        (["--seed", "99999999999999999999"], "seed"),
        (["--device", "abacus"], "abacus"),
        (["--mixed-precision", "fp1"], "fp1"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", "."], "config"),
        (["--out", "file"], "file"),
        (["--out", "file/run"], "file/run"),
        (["--out", "mine"], "mine"),
        (["--out", "/proc/run"], "/proc/run"),
        (["--out"], "--out"),
        (["--overwrite", "--resume"], "--overwrite"),
        (["--resume"], "cannot be resumed"),
        (["--resume", "--out", "mine"], "cannot be resumed"),
    ],
)
def test_words_that_make_no_fit(video: list[str], words: list[str], told: str, refused: Refused) -> None:
    Path("file").write_text("keep me")
    Path("mine").mkdir()
    Path("mine", "diary.txt").write_text("keep me, too")
    assert told in refused(train_main, [*TINY, *video, *words])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("surprise: 1", "surprise"),
        ("field:\n  surprise: 1", "surprise"),
        ("training: 3", "training"),
        ("training:\n  steps: many", "many"),
        ("sampling:\n  patches: null", "patches"),
        ("- 1", "mine.yaml"),
        ("a: [1", "mine.yaml"),
        ("training:\n  accumulation: 0", "accumulation"),
    ],
)
def test_config_files_that_are_wrong(video: list[str], text: str, told: str, refused: Refused) -> None:
    Path("mine.yaml").write_text(text)
    assert told in refused(train_main, [*TINY, *video, "--config", "mine.yaml"])


def test_a_fit_needs_a_clip(refused: Refused) -> None:
    assert "--video" in refused(train_main, TINY)
    assert "--video" in refused(train_main, [])
    assert "--out" in refused(train_main, ["--resume"])
    assert "--clip" in refused(evaluate_main, ["--holdout", "2"])
    assert "surprise" in refused(main, ["surprise"])


@pytest.mark.parametrize("device", ["cuda", "abacus"])
def test_a_device_that_is_not_there(video: list[str], run: Path, device: str, refused: Refused) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert device in refused(train_main, [*TINY, *video, "--device", device])
    assert device in refused(render_main, [str(run), "-o", "out.mp4", "--device", device])
    assert device in refused(
        evaluate_main, [*TINY, "--clip", *video[1:], "--holdout", "2", "--out", "run", "--device", device]
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scale", "2", "--size", "64x48"], "contradict"),
        (["--scale", "0"], "scale"),
        (["--scale", "nan"], "scale"),
        (["--scale", "1e300"], "scale"),
        (["--size", "0x0"], "0x0"),
        (["--slowmo", "0"], "slowmo"),
        (["--slowmo", "abc"], "abc"),
        (["--slowmo", "1e999999999"], "1e999999999"),
        (["--slowmo", "1/0"], "1/0"),
        (["--slowmo", "-2"], "-2"),
        (["--slowmo", "5000"], "1000"),
        (["--fps", "0"], "'0'"),
        (["--fps", "25fps"], "25fps"),
        (["--fps", "999999"], "1000"),
        (["--crop", "90,50,20,20"], "outside"),
        (["--crop", "1,2,3"], "1,2,3"),
        (["--codec", "nonsense"], "nonsense"),
        (["--crf", "99"], "99"),
        (["--crf", "low"], "low"),
        (["--pix-fmt", "nonsense"], "nonsense"),
        (["--audio", "loud"], "loud"),
        (["--audio", "copy", "--slowmo", "2"], "stretch"),
        (["--audio", "copy", "--reverse"], "stretch"),
        (["--speed-curve", "0:0,1:0.1", "--slowmo", "2"], "contradict"),
        (["--speed-curve", "0:0,1:0.1", "--reverse"], "contradict"),
        (["--speed-curve", "0:0,1:9"], "shows 9 s"),
        (["--speed-curve", "0:0,1"], "got '1'"),
        (["--speed-curve", "gone.txt"], "gone.txt does not exist"),
        (["--start", "9"], "0.2 s"),
        (["--start", "0.1", "--end", "0.05"], "after start"),
        (["--surprise"], "--surprise"),
    ],
)
def test_words_that_make_no_video(run: Path, words: list[str], told: str, refused: Refused) -> None:
    assert told in refused(render_main, [str(run), "-o", "out.mp4", *words])


PATH = "- {at: 0, crop: [0, 0, 96, 54]}\n- {at: 0.2, crop: [50.5, 20, 32, 18]}\n"


def test_a_path_pans_and_zooms(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("zoom.yaml").write_text(PATH)
    assert render_main([str(run), "--path", "zoom.yaml", "--size", "48x27", "-o", "frames"]) == 0
    assert "5 frames of 48x27" in capfd.readouterr().out
    # Frame 0 is the crop of all; the path's end is the clip's, a frame after the last.
    assert render_main([str(run), "--size", "48x27", "--end", "0.04", "-o", "first"]) == 0
    assert torch.equal(read_clip("frames/000000.png").pixels, read_clip("first/000000.png").pixels)
    assert not torch.equal(read_clip("frames/000001.png").pixels, read_clip("frames/000000.png").pixels)


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        (None, [], "zoom.yaml does not exist"),
        ("- [", [], "not YAML"),
        (PATH + "- {at: 0.3, crop: [0, 0, 16, 9]}", [], "0.3 s is after the end of the clip"),
        (PATH.replace("50.5", "70.5"), [], "70.5,20,32,18 reaches outside"),
        (PATH.replace("18]", "20]"), [], "not the shape of the first"),
        (PATH.replace("at: 0.2", "at: 0"), [], "must increase"),
        (PATH.replace("crop", "corp"), [], "corp"),
        (PATH[:30], [], "zoom.yaml"),
        (PATH.splitlines()[0], [], "two keyframes"),
        (PATH, ["--crop", "0,0,16,9"], "contradict"),
        (PATH, ["--scale", "0.001"], "0x0"),
    ],
)
def test_paths_that_make_no_video(run: Path, text: str | None, words: list[str], told: str, refused: Refused) -> None:
    if text is not None:
        Path("zoom.yaml").write_text(text)
    assert told in refused(render_main, [str(run), "-o", "out.mp4", "--path", "zoom.yaml", *words])


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("out.xyz", ".xyz"),
        ("there.mp4", "--overwrite"),
        ("no/such/folder.mp4", "no/such"),
        ("there.mp4/out.mp4", "there.mp4"),
        ("full.mp4", "is a folder"),
        ("a" * 300 + ".mp4", "name"),
    ],
)
def test_outputs_that_cannot_be_written(run: Path, output: str, told: str, refused: Refused) -> None:
    Path("there.mp4").write_text("keep me")
    Path("full.mp4").mkdir()
    Path("full.mp4", "diary.txt").write_text("keep me, too")
    assert told in refused(render_main, [str(run), "-o", output])


def test_an_export_needs_a_run_and_an_output(run: Path, refused: Refused) -> None:
    Path("empty").mkdir()
    Path("text.safetensors").write_text("not weights")
    for path in ("nowhere", "empty", "text.safetensors"):
        assert path in refused(render_main, [path, "-o", "out.mp4"])
    assert "output" in refused(render_main, [str(run)])
    assert "run" in refused(render_main, ["-o", "out.mp4"])


def test_a_damaged_field_is_refused(run: Path, refused: Refused) -> None:
    Path("run").mkdir()
    for damaged in ((run / FIELD_NAME).read_bytes()[:-100], b"", b"\x00" * 5000):
        Path("run", FIELD_NAME).write_bytes(damaged)
        assert "run" in refused(render_main, ["run", "-o", "out.mp4"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--holdout"),
        (["--holdout", "2", "--scale", "2"], "--holdout"),
        (["--holdout", "1"], "--holdout"),
        (["--holdout", "9"], "--holdout 9"),
        (["--scale", "1"], "--scale"),
        (["--scale", "nan"], "scale"),
        (["--scale", "1e9"], "--scale"),
        (["--frames", "0", "--holdout", "2"], "frames"),
        (["--frames", "2", "--holdout", "2"], "the clip has 2"),
        (["--holdout", "2", "--json", "no/such/rows.json"], "no/such"),
        (["--holdout", "2", "--json", "."], "."),
        (["--holdout", "2", "--out", "mine"], "mine"),
    ],
)
def test_words_that_make_no_evaluation(video: list[str], words: list[str], told: str, refused: Refused) -> None:
    Path("mine").mkdir()
    Path("mine", "diary.txt").write_text("keep me")
    assert told in refused(evaluate_main, [*TINY, "--steps", "1", "--clip", *video[1:], *words])
