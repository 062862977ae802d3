"""Damage files of every kind that vfield reads, and see that it says so: python scripts/fuzz.py --inputs 1000 --seed 0

Sources are made here: videos, pictures, a field and a run folder. Each input is one of them, damaged by a generator of
its own seed (flipped bits, cut ends, inserted and swapped runs, extreme integers, hostile values in JSON and YAML), and
goes through a command in a process of its own with limits on time and memory. Success and a UserError's line are right;
a traceback, a signal, more than LIMIT_SECONDS of processor time or more than LIMIT_BYTES of memory is a finding.
Inputs are known by seed and number: --only 17 repeats number 17 and shows all it says.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import av  # noqa: E402, after the number of threads is set
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

LIMIT_SECONDS = 30  # of processor time
LIMIT_WALL_SECONDS = 300
LIMIT_BYTES = 1 << 30
_HARD_BYTES = 4 << 30  # of data: beyond it the process fails rather than the machine
_REPEATS = 3  # findings of one kind that are shown with their inputs

_CONFIG = str(Path(__file__).resolve().parents[1] / "configs" / "tiny.yaml")
_FIT = ["--config", _CONFIG, "--device", "cpu", "--steps", "1"]
_INTEGERS = [0, 1, 2**7, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
_VALUES = ["-1", "0", "1e99", "1e400", "NaN", "9" * 30, "9" * 5000, '"1e99999999"', "null", "[]", "{}", "true", '""']
_VALUES += ['"x"', "[" * 20000 + "]" * 20000, "[[[1]]]", "Infinity", '"\\u0000"', "30000", "1.5"]


class Source(NamedTuple):
    """A whole file, or a folder of some, of which one is damaged.

    Attributes:
        name: for reports.
        path: the file that is damaged.
        folder: what goes with it: the run that it is of; None where it stands alone.
    """

    name: str
    path: Path
    folder: Path | None = None


# ------------------------------------------------------------------------------------------------- sources


def make_sources(folder: Path) -> None:
    """One small file of each kind."""
    pictures = [_picture(i) for i in range(6)]
    for name, codec, sound in (
        ("mp4", "libx264", "aac"),
        ("mov", "mpeg4", "aac"),
        ("mkv", "libx264", "libopus"),
        ("avi", "mpeg4", "pcm_s16le"),
        ("webm", "libvpx-vp9", "libopus"),
        ("ts", "libx264", "aac"),
        ("gif", "gif", None),
    ):
        _write_video(folder / f"a.{name}", pictures, codec, sound)
    _write_y4m(folder / "a.y4m", pictures)
    still = Image.fromarray(pictures[0])
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    still.save(folder / "a.png")
    still.save(folder / "a.jpg", exif=exif)
    still.save(folder / "a.webp", exif=exif)
    still.save(folder / "a.tiff")
    run = folder / "run"
    from vfield.cli import main

    clip = ["-i", str(folder / "a.mp4")]
    assert main(["train", *clip, "-o", str(run), *_FIT[:-1], "2", "--training.save_seconds", "0.001"]) == 0
    assert main(["run", *clip, "--run", str(run), *_FIT[:-1], "2", "-o", str(folder / "out.mp4")]) == 0


def _picture(number: int) -> np.ndarray:
    y, x = np.mgrid[0:36, 0:48]
    colours = [128 + 100 * np.sin((x + 2 * number) / 5), 128 + 100 * np.cos(y / 4), (x * y + 9 * number) % 256]
    return np.stack(colours, axis=-1).astype(np.uint8)


def _write_video(path: Path, pictures: list[np.ndarray], codec: str, sound: str | None) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        track: Any = None if sound is None else container.add_stream(sound, rate=48000, layout="mono")
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
        if track is not None:
            resampler = av.AudioResampler(track.format.name, "mono", 48000, frame_size=track.frame_size or 1024)
            tone = (8000 * np.sin(np.arange(12000) / 9)).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48000, 0
            for part in [*resampler.resample(frame), *resampler.resample(None), None]:
                container.mux(track.encode(part))


def _write_y4m(path: Path, pictures: list[np.ndarray]) -> None:
    height, width = pictures[0].shape[:2]
    parts = [f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C444\n".encode()]
    for picture in pictures:
        parts += [b"FRAME\n", np.ascontiguousarray(picture.transpose(2, 0, 1)).tobytes()]
    path.write_bytes(b"".join(parts))


def found_sources(folder: Path) -> list[Source]:
    """Those that `make_sources` made."""
    sources = [Source(path.suffix[1:], path) for path in sorted(folder.glob("a.*"))]
    run = folder / "run"
    names = ["field.safetensors", "resume.safetensors", "config.yaml", "run.json", "summary.json"]
    return sources + [Source(name, run / name, run) for name in names if (run / name).is_file()]


# ------------------------------------------------------------------------------------------------- damage


def damaged(data: bytes, name: str, rng: random.Random) -> tuple[bytes, list[str]]:
    """The data with some damage, and what was done to it."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [flip, cut, insert, swap, integers, integers, drop]
    if name.endswith((".json", ".yaml")):
        ways = [values, values, values, lines, flip, cut, insert]
    elif name.endswith(".safetensors"):
        ways = [header_values, header_values, header_values, flip, cut, integers]
    chosen = [rng.choice(ways) for _ in range(rng.choice([1, 1, 2, 3]))]
    for way in chosen:
        data = way(data, rng)
    return data, [way.__name__ for way in chosen]


def _place(data: bytes, rng: random.Random) -> int:
    """A position, in the first part of the file more often than not: there headers are."""
    end = max(1, len(data))
    return rng.randrange(min(end, rng.choice([64, 512, 4096, end, end])))


def flip(data: bytes, rng: random.Random) -> bytes:
    """Flip some bits."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 3, 20, 100])):
        if out:
            out[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(data: bytes, rng: random.Random) -> bytes:
    """Leave the end out."""
    return data[: rng.randrange(len(data) + 1)]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Put in a run of bytes, equal or random."""
    count, at = rng.choice([1, 7, 64, 5000]), _place(data, rng)
    run = rng.randbytes(count) if rng.random() < 0.5 else bytes([rng.randrange(256)]) * count
    return data[:at] + run + data[at:]


def swap(data: bytes, rng: random.Random) -> bytes:
    """Exchange two parts."""
    a, b, c = sorted(_place(data, rng) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def drop(data: bytes, rng: random.Random) -> bytes:
    """Leave a part out."""
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice([1, 4, 100, 2000]) :]


def integers(data: bytes, rng: random.Random) -> bytes:
    """Put extreme integers over what was there."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        kind = rng.choice(["B", "<H", ">H", "<I", ">I", "<Q", ">Q"])
        number = rng.choice(_INTEGERS) & ((1 << 8 * struct.calcsize(kind)) - 1)
        at = _place(data, rng)
        out[at : at + struct.calcsize(kind)] = struct.pack(kind, number)
    return bytes(out)


def values(data: bytes, rng: random.Random) -> bytes:
    """Put a hostile value in a value's place, in text."""
    text = data.decode("utf-8", "replace")
    places = list(re.finditer(r'(?<=[:,\[ ])\s*("[^"\n]*"|-?[\d.]+|true|false|null)(?=[,\]}\n])', text))
    if not places:
        return flip(data, rng)
    place = rng.choice(places)
    return (text[: place.start(1)] + rng.choice(_VALUES) + text[place.end(1) :]).encode()


def lines(data: bytes, rng: random.Random) -> bytes:
    """Leave out, repeat or move a line."""
    rows = data.split(b"\n")
    at, row = rng.randrange(len(rows)), rng.choice(rows)
    rows[at : at + rng.randrange(2)] = [row] * rng.randrange(3)
    return b"\n".join(rows)


def header_values(data: bytes, rng: random.Random) -> bytes:
    """Put a hostile value in the JSON of a safetensors file, its own or the facts that it carries; the rest stays."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        if rng.random() < 0.8:
            header["__metadata__"]["facts"] = values(header["__metadata__"]["facts"].encode(), rng).decode()
            text = json.dumps(header).encode()
        else:
            text = values(json.dumps(header).encode(), rng)
    except (ValueError, KeyError, struct.error, TypeError, RecursionError):  # it was damaged before
        return flip(data, rng)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


# ------------------------------------------------------------------------------------------------- trials


class Outcome(NamedTuple):
    """What came of an input.

    Attributes:
        kind: "right", or what was wrong in a few words, by which findings are the same.
        told: all that was said.
        bytes: of memory, beyond what the process began with.
        seconds: of processor time.
    """

    kind: str
    told: str
    bytes: int
    seconds: float


def trials(source: Source, path: Path, folder: Path, rng: random.Random) -> Callable[[], int]:
    """What is done with an input: one of the ways in which such a file is read."""
    from vfield.cli import main
    from vfield.video_io import read_clip

    out, fresh = str(folder / "out"), str(folder / "fresh")

    def read() -> int:
        read_clip(path)
        return 0

    if source.folder is None:
        fit = ["train", "-i", str(path), "-o", fresh, *_FIT, "--end", "0.2"]
        ways: list[Callable[[], int]] = [lambda: main(["info", str(path)]), read, lambda: main(fit)]
        return rng.choices(ways, [4, 4, 2])[0]
    run = str(path.parent)
    clip = str(source.folder.parent / "a.mp4")
    render = ["render", run, "-o", f"{out}.png", "--start", "0.05", "--end", "0.06"]
    resume = ["train", "--resume", "-o", run]
    again = ["run", clip, "--run", run, *_FIT[:-1], "2", "-o", f"{out}.mp4"]
    if source.name == "field.safetensors":
        chosen = rng.choice([render, render, ["snapshot", run, "-o", f"{out}.png"]])
    elif source.name == "resume.safetensors":
        chosen = resume
    else:
        chosen = rng.choice([resume, again])
    return lambda: main(chosen)


def in_child(work: Callable[[], int], told_at: Path) -> Outcome:
    """Do it in a process of its own, within limits."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_child(work, told_at, writer)
    os.close(writer)
    began, status, killed = time.monotonic(), None, False
    while status is None:
        done, found = os.waitpid(child, os.WNOHANG)
        if done:
            status = found
        elif time.monotonic() - began > LIMIT_WALL_SECONDS:
            os.kill(child, signal.SIGKILL)
            killed = True
            _, status = os.waitpid(child, 0)
        else:
            time.sleep(0.005)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    told = told_at.read_text(errors="replace") if told_at.is_file() else ""
    if killed or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Outcome("hang", told, 0, LIMIT_SECONDS)
    if os.WIFSIGNALED(status):
        return Outcome(f"signal {signal.Signals(os.WTERMSIG(status)).name}", told, 0, 0)
    if not said:
        return Outcome(f"ended with {os.WEXITSTATUS(status)} and said nothing", told, 0, 0)
    kind, taken, seconds = json.loads(said)
    if kind == "right" and taken > LIMIT_BYTES:
        kind = f"more than {LIMIT_BYTES >> 20} MB"
    return Outcome(kind, told, taken, seconds)


def _be_child(work: Callable[[], int], told_at: Path, writer: int) -> None:
    """The child's whole life: what came of it goes to the pipe."""
    from vfield.core.errors import UserError

    file = os.open(told_at, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_SECONDS, LIMIT_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (_HARD_BYTES + before, _HARD_BYTES + before))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kind = "right"
    try:
        code = work()
        if code not in (0, 2):
            kind = f"ended with {code}"
    except UserError as error:
        if "\n" in str(error) or len(str(error)) > 2000:
            kind = "a message of many lines"
    except BaseException as error:
        traceback.print_exc()
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/vfield/" in frame.filename]
        at = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        kind = f"{type(error).__name__} at {at}"
    sys.stdout.flush()
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = (kind, max(0, _memory("VmHWM") - before), used.ru_utime + used.ru_stime)
    os.write(writer, json.dumps(result).encode())
    os._exit(0)


def _memory(name: str) -> int:
    """Bytes of this process, by what Linux calls them."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def try_input(number: int, seed: int, sources: list[Source], folder: Path) -> tuple[str, Outcome]:
    """Damage a source, use it, and clear up: what the input was, and what came of it."""
    rng = random.Random(f"{seed}/{number}")
    source = sources[number % len(sources)]
    data, done = damaged(source.path.read_bytes(), source.path.name, rng)
    place = folder / f"input-{number}"
    if source.folder is None:
        place.mkdir()
        path = place / source.path.name
    else:
        shutil.copytree(source.folder, place)
        path = place / source.path.name
    path.write_bytes(data)
    outcome = in_child(trials(source, path, place, rng), folder / f"told-{number}")
    shutil.rmtree(place)
    return f"{number} ({source.name}: {', '.join(done)})", outcome


def main() -> int:
    """Try inputs; the number of kinds of findings is told, and 1 returned where there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000, help="how many, for example 30")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--only", type=int, help="try this number alone, and show what it says")
    parser.add_argument("--of", help="only sources whose name has this in it, for example safetensors")
    asked = parser.parse_args()
    import vfield.cli
    import vfield.learn
    import vfield.video_io  # noqa: F401

    numbers = range(asked.first, asked.first + asked.inputs) if asked.only is None else [asked.only]
    found: dict[str, list[str]] = {}
    most, slowest, tried = 0, 0.0, 0
    with tempfile.TemporaryDirectory(prefix="vfield-fuzz-") as name:
        folder = Path(name)

        def make() -> int:
            make_sources(folder)
            return 0

        made = in_child(make, folder / "told")
        if made.kind not in ("right", f"more than {LIMIT_BYTES >> 20} MB"):
            print(f"sources could not be made: {made.kind}\n{made.told}")
            return 1
        sources = found_sources(folder)
        for number in numbers:
            if asked.of and asked.of not in sources[number % len(sources)].name:
                continue
            what, outcome = try_input(number, asked.seed, sources, folder)
            tried, most, slowest = tried + 1, max(most, outcome.bytes), max(slowest, outcome.seconds)
            if outcome.kind != "right":
                found.setdefault(outcome.kind, []).append(what)
            if asked.only is not None:
                print(f"{what}: {outcome.kind}, {outcome.bytes >> 20} MB, {outcome.seconds:.1f} s\n{outcome.told}")
    for kind, inputs in sorted(found.items(), key=lambda item: -len(item[1])):
        print(f"{len(inputs)} x {kind}: {'; '.join(inputs[:_REPEATS])}")
    print(
        f"{tried} inputs, {len(found)} kinds of findings; at most {most >> 20} MB and {slowest:.1f} s of processor time"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
