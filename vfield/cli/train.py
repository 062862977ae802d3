"""Fit a field to a clip."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from vfield.checkpoint import FIELD_NAME
from vfield.cli.options import (
    check_folder,
    command_parser,
    config_of,
    fit_options,
    is_main_process,
    parse,
    run_folder,
    source_options,
)
from vfield.cli.values import parse_size
from vfield.clip import Clip
from vfield.config import CONFIG_NAME, config_text, load_values
from vfield.errors import UserError
from vfield.evaluation import judge_held_out, split
from vfield.training import RESUME_NAME, check_device, fit
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


def _train_parser() -> ArgumentParser:
    parser = command_parser("train", "Fit a neural field to a video clip.")
    source_options(parser, "video")
    parser.add_argument("--resume", action="store_true", help="go on from the last save in --out")
    fit_options(parser)
    return parser


def run(words: list[str]) -> int:
    """Fit, save, and say what was reached on frames held out."""
    parser = _train_parser()
    parsed = parse(parser, words)
    source: Source | None = None
    if parsed.resume:
        folder = _resumable(parsed)
        source = recorded_source(folder)
        for name in ("video", "start", "end", "size", "holdout"):
            given = getattr(parsed, name)
            if given is not None and given != getattr(source, name):
                raise UserError(f"--{name} {given} differs from the run's {getattr(source, name)}; leave it out")
        # What the run was made with comes first, what is given now over it.
        parser.set_defaults(load_values(folder / CONFIG_NAME))
        parsed = parse(parser, words)
    elif parsed.video is None:
        raise UserError("no clip given; add --video clip.mp4")
    else:
        source = Source(parsed.video, parsed.start, parsed.end, parsed.size, parsed.holdout)
        folder = run_folder(parsed, source.video)
    config = config_of(parsed)
    check_device(config.training)
    clip = source.read()
    parts = split(clip, source.holdout) if source.holdout is not None else None
    observed, held_out = (clip, None) if parts is None else (parts.observed, parts.held_out)
    if not parsed.resume and is_main_process():
        check_folder(folder, parsed.overwrite, also="--resume to go on or ")
    records = {CONFIG_NAME: config_text(config), RUN_NAME: json.dumps(asdict(source), indent=1)}
    # A run that was stopped before its first save has nothing to lose by starting again.
    resume = parsed.resume and (folder / RESUME_NAME).is_file()
    result = fit(observed, config, out=folder, records=records, held_out=held_out, resume=resume)
    if result.is_main:
        ended = "stopped" if result.interrupted else "done"
        print(f"{ended} after {result.steps} steps and {result.seconds:.0f} s: {folder / FIELD_NAME}")
        if result.expectation is not None:
            print(f"expected on frames never seen: PSNR {result.expectation}")
        if held_out is not None:
            scores = judge_held_out(result.field, held_out)
            print(f"frames never seen: PSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.4f} over {scores.frames} frames")
        print(f"watch:  tensorboard --logdir {folder}")
        print(f"export: vfield render {folder} --slowmo 4 -o slow.mp4")
    return 0


def recorded_source(folder: Path) -> Source:
    """The clip of a run.

    Raises:
        UserError: when the run's record of it is damaged.
    """
    try:
        return Source(**json.loads((folder / RUN_NAME).read_text()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / RUN_NAME} is damaged ({error}); fit the clip again") from error


def _resumable(parsed: Namespace) -> Path:
    if parsed.overwrite:
        raise UserError("--resume and --overwrite contradict each other; choose one")
    if parsed.out is None and parsed.video is None:
        raise UserError("--resume needs --out DIR, the run to go on with")
    folder = run_folder(parsed, parsed.video or "")
    for name in (CONFIG_NAME, RUN_NAME):
        if not (folder / name).is_file():
            raise UserError(f"{folder} cannot be resumed: it has no {name}; start without --resume")
    return folder
