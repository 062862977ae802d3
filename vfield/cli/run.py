"""`vfield run`: fit a clip and export from it in one go; of several clips, or a folder of them, one after the other."""

from __future__ import annotations

import mimetypes
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from vfield.cli.options import (
    config_of,
    config_options,
    files_read,
    flag,
    mask_option,
    option,
    pack_options,
    packing_of,
    part_options,
)
from vfield.cli.printing import say, tell, tell_packed
from vfield.cli.render import export_config, export_options
from vfield.core.devices import is_main_process
from vfield.core.errors import UserError
from vfield.core.interrupts import exit_code
from vfield.core.printable import printable

if TYPE_CHECKING:
    from vfield.learn import Config
    from vfield.output.config import ExportConfig
    from vfield.output.fit_and_export import Job


def run_arguments(parser: ArgumentParser) -> None:
    """Fit a clip and export from it in one go; several clips, or a folder of them, one after the other.

    The fit is kept and used again: another export of the same clip takes only the rendering.
    """
    about = "for example clip.mp4, or clip.mp4#t=2,5.5 for a part (seconds); several, or a folder"
    option(parser, "clips", f"{about}; required, here or after -i", str, nargs="*", metavar="CLIP")
    option(parser, "-i --input", f"{about}; default the first words", str, nargs="+", metavar="FILE")
    about = (
        "video, .gif, one .png, or a folder for PNGs, for example slow.mp4; of several clips, a folder for the videos"
    )
    export_options(parser, about)
    part_options(parser, size="fit-size")
    mask_option(parser)
    about = "run folder, of several clips the folder of theirs, for example runs/x; default runs/NAME of the clip"
    option(parser, "--run", about, metavar="DIR")
    about = "replace an earlier output, and a run that was fitted to something else or in another way"
    flag(parser, "--overwrite", about)
    flag(parser, "--dry-run", "say what the fit and the export will be, and end, writing nothing")
    pack_options(parser)
    config_options(parser)


def run(parsed: Namespace) -> int:
    """Fit or take the earlier fit, export, and say what was done."""
    from vfield.core.folders import check_not_read
    from vfield.learn import check_device
    from vfield.learn.folders import check_not_of_run, run_folder
    from vfield.learn.sources import Source, names_apart
    from vfield.output.fit_and_export import Job, fit_and_export
    from vfield.output.plan import plan
    from vfield.video_io import expanded

    config, wanted = config_of(parsed), export_config(parsed)
    check_device(config.training)
    clips = list(dict.fromkeys([*parsed.clips, *(parsed.input or [])]))
    if not clips:
        raise UserError("no clip given; name it, for example clip.mp4")
    found = expanded(clips)
    videos = [found] if isinstance(found, str) else found

    def job_of(video: str, folder: Path, output: str) -> Job:
        check_not_read(output, files_read(parsed, videos))
        check_not_of_run(output, folder)
        part = (parsed.start, parsed.end, parsed.fit_size)
        source = Source(video, *part, mask=parsed.mask, deinterlace=parsed.deinterlace)
        return Job(source, folder, output, packing_of(parsed))

    if isinstance(found, str) and not Path(clips[0]).is_dir():
        job = job_of(found, run_folder(parsed.run, found), parsed.output)
        if parsed.dry_run:
            say(*plan(job.source, config, job.folder, (job.output, wanted)))
            return 0
        done = fit_and_export(job, config, wanted)
        tell_packed(done.packed)
        if is_main_process():
            say("\n".join(done.lines()), done.figures())
        return exit_code() if done.fit == "stopped" else 0
    if parsed.dry_run:
        raise UserError(f"--dry-run is for one clip, got {clips[0] if isinstance(found, str) else len(videos)}")
    if parsed.mask is not None and len(videos) > 1:
        raise UserError(f"--mask is for one clip, got {len(videos)}; run the masked clip alone")
    with _output_folder(parsed.output, clips) as into:
        jobs = {
            video: job_of(video, Path(parsed.run or "runs") / name, f"{into / name}{suffix_for(video, parsed.codec)}")
            for video, name in zip(videos, names_apart(videos), strict=True)
        }
        outcomes = _fit_and_export_each(jobs, config, wanted)
    across = max(map(len, outcomes))
    lines = [f"{clip:<{across}}  {ended.how:<9}  {ended.what}".rstrip() for clip, ended in outcomes.items()]
    say("\n".join(["", *lines]), {"clips": [{"clip": clip, **ended._asdict()} for clip, ended in outcomes.items()]})
    ways = {ended.how for ended in outcomes.values()}
    return exit_code() if "stopped" in ways else 2 if "failed" in ways else 0


class _Ended(NamedTuple):
    """How it ended with a clip: "stopped" by Ctrl-C, which leaves the clips after it "not begun"."""

    how: Literal["done", "skipped", "failed", "stopped", "not begun"]
    what: str  # the file that was written, or why there is none


def _fit_and_export_each(jobs: Mapping[str, Job], config: Config, wanted: ExportConfig) -> dict[str, _Ended]:
    """How it ended with each of several clips; a bad clip is told in one line, and Ctrl-C ends it all."""
    outcomes = dict.fromkeys(jobs, _Ended("not begun", ""))
    for number, (clip, job) in enumerate(jobs.items(), start=1):
        tell(f"\n{number}/{len(jobs)}  {printable(clip)}")
        try:
            outcomes[clip] = _fit_and_export_once(job, config, wanted)
        except UserError as error:
            outcomes[clip] = _Ended("failed", " ".join(str(error).split()))
        except OSError as error:
            outcomes[clip] = _Ended("failed", f"{error.filename or 'the system'}: {error.strerror or error}")
        except KeyboardInterrupt:
            outcomes[clip] = _Ended("stopped", "")
        if outcomes[clip].how == "failed":
            tell(f"error: {printable(clip)}: {outcomes[clip].what}", sys.stderr)
        if outcomes[clip].how == "stopped":
            break
    return outcomes


def _fit_and_export_once(job: Job, config: Config, wanted: ExportConfig) -> _Ended:
    from vfield.output.fit_and_export import fit_and_export, is_complete

    if is_complete(job, config, wanted):
        return _Ended("skipped", f"{job.output} is complete")
    done = fit_and_export(job, config, wanted)
    if is_main_process():
        tell("\n".join(done.lines()))
    tell_packed(done.packed)
    return _Ended("stopped" if done.fit == "stopped" else "done", job.output)


@contextmanager
def _output_folder(output: str, inputs: Sequence[str]) -> Iterator[Path]:
    """The folder for the results of several clips, made where it is missing, and gone again if nothing came into it.

    It must be none of those that the clips come from, which are among `inputs`.
    """
    from vfield.core.folders import make_folder
    from vfield.video_io import CONTAINERS

    folder = Path(output)
    if folder.is_file() or (folder.suffix.lower() in (*CONTAINERS, ".gif", ".png") and not folder.is_dir()):
        raise UserError(f"-o {output} is one file, and several clips go into a folder; name a folder")
    if folder.is_dir() and any(Path(given).is_dir() and folder.samefile(given) for given in inputs):
        raise UserError(f"-o {output} is the folder of the clips, and would hold more of them next time; name another")
    make_folder(folder)
    try:
        yield folder
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def suffix_for(clip: str, codec: str | None) -> str:
    """What kind of file a clip's result is: .mp4 unless the codec needs another; of a picture .png."""
    from vfield.video_io import CONTAINERS, cannot_hold

    kind = mimetypes.guess_type(clip)[0] or ""
    if kind.startswith("image/") and kind != "image/gif":
        return ".png"
    if codec is None:
        return ".mp4"
    return next((suffix for suffix in CONTAINERS if not cannot_hold(suffix, [codec.lower()])), ".mp4")
