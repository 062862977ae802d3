"""Records of a run that are damaged: one line each, whatever they hold, and a way on."""

from __future__ import annotations

import json
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import in_child, kill_child
from torch import Tensor, nn

from vfield.cli import main
from vfield.core.clip import Clip
from vfield.core.errors import UserError
from vfield.learn import RESUME_NAME, begin_folder
from vfield.learn.config_files import CONFIG_NAME, load_config
from vfield.learn.saves import read_resume, write_resume
from vfield.learn.sources import RUN_NAME, Source, recorded_source
from vfield.output.config import ExportConfig
from vfield.output.export import ExportReport
from vfield.output.summary import SUMMARY_NAME, add_export, exported_before, is_done, read_summary
from vfield.video_io import VideoWriter

PLAIN = ["--config", str(Path(__file__).parents[2] / "configs" / "fast.yaml"), "--device", "cpu"]  # Takes no steps.
WRONG: list[Any] = [None, True, -1, 0.5, 10**400, "x", "", "a\0b", "\ud800", [], {}, [[]], {"a": []}, [None], ["\0"]]
RAW = [b"", b"null", b"[]", b"{", b"[" * 100_000, b"9" * 5000, b'{"a": 1e999}', b"\xff\xfe{}", b'{"a": "\xe9"}']

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip and a run of it. Tests copy it."""
    folder = tmp_path_factory.mktemp("made")
    frames = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    clip = Clip(torch.zeros(1, 3, 32, 48), (Fraction(0),), Fraction(1, 25), Fraction(25))
    with VideoWriter(folder / "clip.mkv", height=32, width=48, frame_rate=Fraction(25), color=clip.color) as writer:
        for frame in frames:
            writer.write(frame)
    assert main(["train", *PLAIN, "--video", str(folder / "clip.mkv"), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def damaged(content: bytes) -> Iterator[bytes]:
    """What may be left of a JSON file."""
    draw = random.Random(0)
    yield from RAW
    for _ in range(40):
        yield content[: draw.randrange(len(content))]
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        yield bytes(flipped)
    for place in places(json.loads(content)):
        for wrong in WRONG:
            document = json.loads(content)
            *way, last = place
            held = document
            for key in way:
                held = held[key]
            held[last] = wrong
            yield json.dumps(document).encode()
        del held[last]
        yield json.dumps(document).encode()
    yield json.dumps({**json.loads(content), "surprise": 1}).encode()


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a JSON document values lie."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inside:
        yield (*way, key)
        yield from places(held, (*way, key))


def survives(use: Callable[[], object]) -> bool:
    """Whether something works; otherwise it says in one line of bounded length why not."""
    told = None
    try:
        use()
    except UserError as error:
        told = str(error)
    assert told is None or ("\n" not in told and len(told) < 500), told
    return told is None


@pytest.mark.slow
def test_a_damaged_source_is_told(run: Path) -> None:
    file = run / RUN_NAME
    told = [content for content in damaged(file.read_bytes()) if not _read(file, content, lambda: source_used(run))]
    assert len(told) > 150


def source_used(run: Path) -> None:
    """All that is done with a source but reading the clip, which has tests of its own."""
    source = recorded_source(run)
    assert Source(**json.loads(source.text())) == source
    json.dumps(asdict(source)).encode()
    for video in [source.video] if isinstance(source.video, str) else source.video:
        path, _, _ = source.part(video)
        Path(path).is_file()


def _read(file: Path, content: bytes, use: Callable[[], object]) -> bool:
    file.write_bytes(content)
    return survives(use)


@pytest.mark.slow
def test_a_damaged_summary_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = run / SUMMARY_NAME
    shutil.rmtree(run / "tensorboard")  # curves take long to read
    report = ExportReport(Path("clip.mkv"), 3, 32, 48, Fraction(25), Fraction(3, 25), 0.1, "none")
    add_export(run, report, ExportConfig())
    contents = list(damaged(file.read_bytes()))

    def used() -> None:
        is_done(read_summary(run))
        exported_before(run, Path("clip.mkv"), ExportConfig())
        add_export(run, report, ExportConfig())

    told = [content for content in random.Random(1).sample(contents, 300) if not _read(file, content, used)]
    assert len(told) > 50


@pytest.mark.slow
def test_a_damaged_config_is_told(run: Path) -> None:
    file = run / CONFIG_NAME
    content, draw = file.read_bytes(), random.Random(0)
    wrong = [b"field: 3", b"[1]", b"\xff\xfe", b"field: {local: [1, 2]}", content.replace(b"steps: ", b"steps: x")]
    for each in [*wrong, *(content[: draw.randrange(len(content))] for _ in range(10))]:
        _read(file, each, lambda: load_config(file))
    assert not _read(file, wrong[0], lambda: load_config(file))


class Resumed:
    """A parameter that Adam moves, and what resuming it needs."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.ones(2, 3))
        self.optimizer = torch.optim.Adam([self.weight])

    def step(self) -> None:
        self.weight.grad = torch.ones(2, 3)
        self.optimizer.step()

    def write(self, folder: Path, facts: dict[str, Any]) -> None:
        write_resume(folder, {"weight": self.weight}, self.optimizer, {**facts, "of": "this"})

    def read(self, folder: Path) -> None:
        facts = read_resume(folder, {"weight": self.weight}, self.optimizer, "this")
        assert facts["step"] + 1 > facts["elapsed"] - facts["elapsed"]
        self.step()


FACTS: dict[str, Any] = {"step": 1, "elapsed": 0.5, "forces": {"detail": 1.0}}


@pytest.mark.slow
def test_what_resuming_needs_is_told_when_it_is_damaged(tmp_path: Path) -> None:
    begun = Resumed()
    begun.step()
    begun.write(tmp_path, FACTS)
    content, draw = (tmp_path / RESUME_NAME).read_bytes(), random.Random(0)
    told = 0
    for _ in range(300):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        for left in (bytes(flipped), content[: draw.randrange(len(content))]):
            told += not _read(tmp_path / RESUME_NAME, left, lambda: Resumed().read(tmp_path))
    assert told > 400


@pytest.mark.parametrize("key", FACTS)
def test_impossible_facts_of_resuming_are_told(key: str, tmp_path: Path) -> None:
    begun = Resumed()
    begun.step()
    for wrong in (*WRONG, float("nan"), [[]]):
        begun.write(tmp_path, {**FACTS, key: wrong})
        survives(lambda: Resumed().read(tmp_path))
    begun.write(tmp_path, {name: value for name, value in FACTS.items() if name != key})
    with pytest.raises(UserError, match=f"has no {key}"):
        Resumed().read(tmp_path)


@pytest.mark.parametrize(
    "state",
    [
        {"optimizer.0.exp_avg": torch.zeros(2, 3)},
        {"optimizer.x.step": torch.zeros(())},
        {"optimizer.7.step": torch.zeros(())},
        {f"optimizer.0.{name}": torch.zeros(5) for name in ("step", "exp_avg", "exp_avg_sq")},
    ],
)
def test_states_of_another_optimiser_are_told(state: dict[str, Tensor], tmp_path: Path) -> None:
    from vfield.field.checkpoint import write_tensors

    write_tensors(tmp_path / RESUME_NAME, {"field.weight": torch.ones(2, 3), **state}, {**FACTS, "of": "this"})
    with pytest.raises(UserError, match="is damaged"):
        Resumed().read(tmp_path)


def test_a_full_disk_leaves_the_records_that_were_there(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_text("old")

    def begin() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
        with pytest.raises(UserError, match="could not write"):
            begin_folder(tmp_path, {CONFIG_NAME: "new " * 50}, [""], keep_events=True)

    kill_child(in_child(begin, tmp_path / "sign"))
    assert (tmp_path / CONFIG_NAME).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG_NAME]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "left"), [(CONFIG_NAME, b"{"), (RUN_NAME, b""), (RUN_NAME, None)])
def test_a_run_whose_records_are_lost_is_begun_anew(
    name: str, left: bytes | None, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As an earlier version left them, with a full disk."""
    (run / name).unlink()
    if left is not None:
        (run / name).write_bytes(left)
    words = ["train", *PLAIN, "--video", "clip.mkv", "--out", "run"]
    assert main(["train", "--resume", "--out", "run"]) == 2
    assert "--overwrite" in capfd.readouterr().err
    assert main(words) == 2
    assert "--overwrite" in capfd.readouterr().err
    assert main(["run", "clip.mkv", *PLAIN, "--run", "run", "-o", "out.mkv"]) == 2
    assert "--overwrite" in capfd.readouterr().err
    assert main([*words, "--overwrite"]) == 0


@pytest.mark.slow
def test_a_folder_without_a_field_is_begun_anew_unless_it_holds_something_else(run: Path) -> None:
    for entry in ("field.safetensors", RESUME_NAME, CONFIG_NAME):
        (run / entry).unlink()
    (run / "notes.txt").write_text("keep me")
    words = ["train", *PLAIN, "--video", "clip.mkv", "--out", "run"]
    assert main(words) == 2
    (run / "notes.txt").unlink()
    assert main(words) == 0


def test_a_folder_of_somebodys_pictures_is_not_taken_for_a_run(run: Path) -> None:
    for entry in ("field.safetensors", RESUME_NAME, CONFIG_NAME, RUN_NAME):
        (run / entry).unlink()
    assert main(["train", *PLAIN, "--video", "clip.mkv", "--out", "run"]) == 2
    assert (run / "tensorboard").is_dir()
