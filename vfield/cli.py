"""The command line: parse, call one function, print the result.

Every command ends with 0, or prints one line that says what was wrong and ends with 2 (bad input) or 130 (Ctrl-C).
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from vfield.checkpoint import FIELD_NAME, load_field
from vfield.clip import Clip
from vfield.config import CONFIG_NAME, config_from_values, config_text, load_values
from vfield.errors import UserError
from vfield.evaluation import as_json, evaluate_between, evaluate_scale, judge_held_out, split, table
from vfield.export import ExportConfig, export, parse_crop, parse_rate, parse_size
from vfield.panels import side_by_side
from vfield.training import RESUME_NAME, Config, check_device, fit
from vfield.video_io import probe, read_clip

RUN_NAME = "run.json"


@dataclass(frozen=True)
class Source:
    """Which frames of which file a run learns from: kept with the run, so that resuming needs no repeating.

    Attributes:
        video: path of the clip.
        start: seconds into the clip; None for its beginning.
        end: seconds into the clip to stop before; None for its end.
        size: "WIDTHxHEIGHT" to reduce the frames to; None keeps theirs.
        holdout: learn from every k-th frame and judge on the others; None learns from all.
    """

    video: str
    start: float | None = None
    end: float | None = None
    size: str | None = None
    holdout: int | None = None

    def read(self) -> Clip:
        """Read the clip."""
        size = None if self.size is None else parse_size(self.size)
        if size is not None:
            info = probe(self.video)
            if size[0] > info.height or size[1] > info.width:
                raise UserError(
                    f"--size {self.size} is larger than the clip's {info.width}x{info.height}: fit at its own size "
                    "and enlarge in the export"
                )
        return read_clip(self.video, start_seconds=self.start, end_seconds=self.end, size=size)


def train_main(argv: Sequence[str] | None = None) -> int:
    """Fit a field to a clip: `scripts/train.py` and `vfield train`."""
    return _guarded(_train, argv)


def render_main(argv: Sequence[str] | None = None) -> int:
    """Export a video from a fitted field: `scripts/render.py` and `vfield render`."""
    return _guarded(_render, argv)


def evaluate_main(argv: Sequence[str] | None = None) -> int:
    """Judge on what was held out, beside peers: `scripts/evaluate.py` and `vfield evaluate`."""
    return _guarded(_evaluate, argv)


def snapshot_main(argv: Sequence[str] | None = None) -> int:
    """Write one picture of what a fitted field adds: `vfield snapshot`."""
    return _guarded(_snapshot, argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The `vfield` command."""
    commands = {
        "train": train_main,
        "render": render_main,
        "snapshot": snapshot_main,
        "evaluate": evaluate_main,
    }
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: vfield {train,render,snapshot,evaluate} ...\n\nAdd --help after a command for its options.")
        return 0 if words else 2
    if words[0] not in commands:
        return _fail(f"unknown command {words[0]!r}; choose one of {', '.join(commands)}")
    return commands[words[0]](words[1:])


def _guarded(command: Callable[[list[str]], int], argv: Sequence[str] | None) -> int:
    """Run a command; turn a UserError into one line and exit code 2."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("vfield").setLevel(logging.INFO)
    # Libraries warn about machines without an accelerator, which is how most people run this.
    warnings.filterwarnings("ignore", category=UserWarning)
    # Accelerate still calls it so, and torch knows it only by a newer name.
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
    words = [_one_spelling(word) for word in (sys.argv[1:] if argv is None else argv)]
    try:
        return command(words)
    except UserError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _one_spelling(word: str) -> str:
    """Options may be written with dashes or underscores; dotted config keys have underscores."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    name = name.replace("-", "_") if "." in name else name.replace("_", "-")
    return f"--{name}{equals}{value}"


def _parse(parser: ArgumentParser, words: list[str]) -> Namespace:
    _check_config_files(words)
    try:
        parsed: Namespace = parser.parse_args(words)
    except UserError:
        raise
    except Exception as error:  # jsonargparse raises ArgumentError, TypeError or a YAML error by what is wrong
        raise UserError(f"{error}; see --help") from error
    return parsed


def _check_config_files(words: list[str]) -> None:
    """Read the config files first: the parser's own errors do not name the file."""
    for i, word in enumerate(words):
        if word == "--config" and i + 1 < len(words):
            config_from_values(load_values(words[i + 1]))
        elif word.startswith("--config="):
            config_from_values(load_values(word.partition("=")[2]))


def _source_options(parser: ArgumentParser, video: str) -> None:
    parser.add_argument(f"--{video}", type=str, metavar="FILE", help="the clip, for example clip.mp4")
    parser.add_argument("--start", type=float | None, metavar="SECONDS", help="learn from here on")
    parser.add_argument("--end", type=float | None, metavar="SECONDS", help="learn up to here")
    parser.add_argument("--size", type=str | None, metavar="WxH", help="reduce the frames first, for example 640x360")
    parser.add_argument("--holdout", type=int | None, metavar="K", help="see every K-th frame, judge on the others")


def _fit_options(parser: ArgumentParser) -> None:
    parser.add_argument("--config", action=ActionConfigFile, help="a preset, for example configs/fast.yaml")
    parser.add_argument("--out", type=str | None, metavar="DIR", help="run folder; default runs/NAME")
    parser.add_argument("--steps", type=int | None, help="optimisation steps")
    parser.add_argument("--minutes", type=float | None, help="time budget of the whole fit, instead of steps")
    parser.add_argument("--seed", type=int | None, help="seed of everything random")
    parser.add_argument("--device", type=str | None, help="auto, cpu, cuda or mps")
    parser.add_argument("--mixed-precision", type=str | None, help="no, bf16 or fp16; default as Accelerate is set")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run in the folder")
    parser.add_class_arguments(Config)


def _config(parsed: Namespace) -> Config:
    """The config that was parsed, with the short options laid over it."""
    groups = {name: getattr(parsed, name) for name in Config.__dataclass_fields__}
    for name, group in groups.items():
        if not isinstance(group, Namespace):
            raise UserError(f"{name} must be a mapping of keys, got {group!r}")
    values = {name: group.as_dict() for name, group in groups.items()}
    training = values["training"]
    if parsed.minutes is not None:
        training |= {"minutes": parsed.minutes, "steps": None}
    for name in ("steps", "seed", "device", "mixed_precision"):
        if getattr(parsed, name) is not None:
            training[name] = getattr(parsed, name)
    return config_from_values(values)


def _run_folder(parsed: Namespace, video: str) -> Path:
    return Path(parsed.out) if parsed.out else Path("runs") / Path(video).stem


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a run folder that holds something, or that could not be made or written to."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / CONFIG_NAME).is_file():
            raise UserError(f"--out {folder} holds something that is not a run; name another folder")
        if not overwrite:
            raise UserError(f"--out {folder} holds a run; add --resume to go on or --overwrite to start anew")
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        # Tried, because permissions do not tell everything: read-only disks, and file systems of the kernel's own.
        tempfile.TemporaryDirectory(prefix=".vfield-", dir=there).cleanup()
    except OSError as error:
        raise UserError(f"--out {folder} cannot be written to ({error.strerror}); name another folder") from error


def _main_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _train_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="train", description="Fit a neural field to a video clip.", exit_on_error=False, allow_abbrev=False
    )
    _source_options(parser, "video")
    parser.add_argument("--resume", action="store_true", help="go on from the last save in --out")
    _fit_options(parser)
    return parser


def _train(words: list[str]) -> int:
    parser = _train_parser()
    parsed = _parse(parser, words)
    source: Source | None = None
    if parsed.resume:
        folder = _resumable(parsed)
        source = _recorded_source(folder)
        for name in ("video", "start", "end", "size", "holdout"):
            given = getattr(parsed, name)
            if given is not None and given != getattr(source, name):
                raise UserError(f"--{name} {given} differs from the run's {getattr(source, name)}; leave it out")
        # What the run was made with comes first, what is given now over it.
        parser.set_defaults(load_values(folder / CONFIG_NAME))
        parsed = _parse(parser, words)
    elif parsed.video is None:
        raise UserError("no clip given; add --video clip.mp4")
    else:
        source = Source(parsed.video, parsed.start, parsed.end, parsed.size, parsed.holdout)
        folder = _run_folder(parsed, source.video)
    config = _config(parsed)
    check_device(config.training)
    clip = source.read()
    parts = split(clip, source.holdout) if source.holdout is not None else None
    observed, held_out = (clip, None) if parts is None else (parts.observed, parts.held_out)
    if not parsed.resume and _main_process():
        _check_folder(folder, parsed.overwrite)
    records = {CONFIG_NAME: config_text(config), RUN_NAME: json.dumps(asdict(source), indent=1)}
    # A run that was stopped before its first save has nothing to lose by starting again.
    resume = parsed.resume and (folder / RESUME_NAME).is_file()
    result = fit(observed, config, out=folder, records=records, held_out=held_out, resume=resume)
    if result.is_main:
        ended = "stopped" if result.interrupted else "done"
        print(f"{ended} after {result.steps} steps and {result.seconds:.0f} s: {folder / FIELD_NAME}")
        if held_out is not None:
            scores = judge_held_out(result.field, held_out)
            print(f"frames never seen: PSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.4f} over {scores.frames} frames")
        print(f"watch:  tensorboard --logdir {folder}")
        print(f"export: vfield render {folder} --slowmo 4 -o slow.mp4")
    return 0


def _recorded_source(folder: Path) -> Source:
    try:
        return Source(**json.loads((folder / RUN_NAME).read_text()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / RUN_NAME} is damaged ({error}); start without --resume") from error


def _resumable(parsed: Namespace) -> Path:
    if parsed.overwrite:
        raise UserError("--resume and --overwrite contradict each other; choose one")
    if parsed.out is None and parsed.video is None:
        raise UserError("--resume needs --out DIR, the run to go on with")
    folder = _run_folder(parsed, parsed.video or "")
    for name in (CONFIG_NAME, RUN_NAME):
        if not (folder / name).is_file():
            raise UserError(f"{folder} cannot be resumed: it has no {name}; start without --resume")
    return folder


def _render(words: list[str]) -> int:
    parser = ArgumentParser(
        prog="render", description="Export a video from a fitted field.", exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("run", type=str, help="run folder or field file")
    parser.add_argument("-o", "--output", type=str, required=True, help="video, .gif, or a folder for PNGs")
    parser.add_argument("--scale", type=float | None, help="enlarge by this factor, for example 2")
    parser.add_argument("--size", type=str | None, metavar="WxH", help="output size, for example 1920x1080")
    parser.add_argument("--fps", type=str | None, help="frames per second, same duration: 60 or 30000/1001")
    parser.add_argument("--slowmo", type=str, default="1", help="how many times longer it lasts, for example 4")
    parser.add_argument("--start", type=float | None, metavar="SECONDS", help="export from here on")
    parser.add_argument("--end", type=float | None, metavar="SECONDS", help="export up to here")
    parser.add_argument("--crop", type=str | None, metavar="x,y,w,h", help="part of the picture, in source pixels")
    parser.add_argument("--codec", type=str | None, help="h264, hevc, av1, vp9, prores, ffv1 or an FFmpeg encoder")
    parser.add_argument("--crf", type=int | None, help="constant quality: 0 best, about 16 looks lossless")
    parser.add_argument("--pix-fmt", type=str | None, help="FFmpeg pixel format, for example yuv444p")
    parser.add_argument("--audio", type=str, default="auto", help="auto, copy, stretch or drop")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier output")
    parsed = _parse(parser, words)
    config = ExportConfig(
        scale=parsed.scale,
        size=None if parsed.size is None else parse_size(parsed.size),
        fps=None if parsed.fps is None else parse_rate(parsed.fps),
        slowmo=_factor(parsed.slowmo),
        start=parsed.start,
        end=parsed.end,
        crop=None if parsed.crop is None else parse_crop(parsed.crop),
        codec=parsed.codec,
        crf=parsed.crf,
        pixel_format=parsed.pix_fmt,
        audio=parsed.audio,
        overwrite=parsed.overwrite,
    )
    report = export(load_field(parsed.run, parsed.device), parsed.output, config, device=parsed.device)
    print(
        f"{report.path}: {report.frames} frames of {report.width}x{report.height} at {float(report.frame_rate):g} fps, "
        f"{float(report.duration_seconds):.2f} s, made in {report.seconds_taken:.0f} s; sound: {report.audio}"
    )
    return 0


def _snapshot(words: list[str]) -> int:
    parser = ArgumentParser(
        prog="snapshot", description="Picture what a fitted field adds.", exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("run", type=str, help="run folder or field file")
    parser.add_argument("-o", "--output", type=str, required=True, help="a .png file")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier picture")
    parsed = _parse(parser, words)
    saved = load_field(parsed.run, parsed.device)
    side_by_side(saved, Path(parsed.output), device=parsed.device, overwrite=parsed.overwrite)
    print(parsed.output)
    return 0


def _factor(text: str) -> Fraction:
    # Checked before it is built: "1e999999999" is a number, of a billion digits.
    if not re.fullmatch(r"\d{1,6}(\.\d{1,9}|/\d{1,6})?", text) or text.endswith("/0"):
        raise UserError(f"--slowmo must be a number like 4, 2.5 or 5/2, got {text!r}")
    return Fraction(text)


def _evaluate(words: list[str]) -> int:
    parser = ArgumentParser(
        prog="evaluate", description="Judge a fit on what it never saw.", exit_on_error=False, allow_abbrev=False
    )
    _source_options(parser, "clip")
    parser.add_argument(
        "--scale", type=float | None, help="judge enlarging by this factor instead of in-between frames"
    )
    parser.add_argument("--frames", type=int | None, help="use only so many frames")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="figures as JSON: into a file, or instead of the table"
    )
    _fit_options(parser)
    parsed = _parse(parser, words)
    if parsed.clip is None:
        raise UserError("no clip given; add --clip clip.mp4")
    if (parsed.scale is None) == (parsed.holdout is None):
        raise UserError("give either --holdout K (frames in between) or --scale S (enlarging)")
    config = _config(parsed)
    check_device(config.training)
    size = None if parsed.size is None else parse_size(parsed.size)
    clip = read_clip(
        parsed.clip, start_seconds=parsed.start, end_seconds=parsed.end, size=size, max_frames=parsed.frames
    )
    folder = Path(parsed.out) if parsed.out else None
    if folder is not None and _main_process():
        _check_folder(folder, parsed.overwrite)
    if parsed.json not in (None, "-"):
        _check_json(Path(parsed.json))
    records = {CONFIG_NAME: config_text(config)}
    if parsed.holdout is not None:
        rows = evaluate_between(clip, parsed.holdout, config, folder, records)
    else:
        rows = evaluate_scale(clip, parsed.scale, config, folder, records)
    if _main_process():
        document = {
            "clip": parsed.clip,
            "frames": len(clip),
            "holdout": parsed.holdout,
            "scale": parsed.scale,
            "rows": as_json(rows),
        }
        if parsed.json == "-":
            print(json.dumps(document, indent=1))
            return 0
        print(f"{parsed.clip}: {clip!r}")
        print(table(rows))
        if parsed.json is not None:
            _write_json(Path(parsed.json), document)
    return 0


def _check_json(path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--json {path} cannot be written: name a file in a folder that exists")


def _write_json(path: Path, document: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(document, indent=1))
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
