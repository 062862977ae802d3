"""Where commands write: run folders that one process at a time works in, and outputs that are no inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from jsonargparse import Namespace

from vfield.cli.options import check_contents
from vfield.cli.sources import RUN_NAME, file_of
from vfield.core.errors import UserError
from vfield.core.folders import held, is_own_name
from vfield.learn.config_files import CONFIG_NAME
from vfield.learn.kept import is_kept_name
from vfield.learn.run import EVENTS_NAME
from vfield.learn.saves import SUMMARY_NAMES
from vfield.prepare.opening import SCAN_NAME

_RECORDS = {CONFIG_NAME, RUN_NAME}
# What else a run has without a field: its own names, which nothing else may have.
_BESIDE = {EVENTS_NAME, SCAN_NAME, *SUMMARY_NAMES}


def is_begun_at_most(folder: Path) -> bool:
    """Whether a folder holds nothing, or only what a run leaves that ended before its first save.

    Such a run has no field and nothing to resume, so there is nothing to lose by beginning it anew.
    """
    names = {entry.name for entry in folder.iterdir()}
    taken = _RECORDS | _BESIDE if names & _RECORDS else set()
    return _holds_only(folder, taken)


def _holds_only(folder: Path, taken: set[str]) -> bool:
    """Whether there is nothing in a folder but these names and, for clips of a run, folders without others."""
    return all(
        entry.name in taken
        or is_own_name(entry.name)
        or is_kept_name(entry.name)
        or (entry.is_dir() and _holds_only(entry, taken - _RECORDS))
        for entry in folder.iterdir()
    )


@contextmanager
def run_held(
    folder: Path, *, is_main: bool, resume: bool, overwrite: bool, also: str = "", option: str = "--out"
) -> Iterator[None]:
    """Hold the folder of a run, which is to be begun or gone on with, against other processes.

    Args:
        folder: the folder.
        is_main: whether this process is the one of several that writes; the others hold nothing.
        resume: whether the run is gone on with.
        overwrite: whether an earlier run may be replaced.
        also: another way to go on with what is there, for the message.
        option: that named the folder, for the message.

    Raises:
        UserError: when it holds something that may not be replaced, another process holds it, or it cannot be written
            to.
    """
    if not is_main:
        yield
        return

    def check() -> None:
        if resume or (folder.is_dir() and is_begun_at_most(folder)):
            return
        mark = next((name for name in sorted(_RECORDS) if (folder / name).is_file()), CONFIG_NAME)
        check_contents(folder, overwrite, mark=mark, also=also, option=option)

    check()
    with held(folder):
        check()  # another process may have ended there meanwhile
        yield


def check_not_read(output: str, read: Mapping[str, str | None], option: str = "-o") -> None:
    """Refuse an output that would replace something that is read, or a folder that it lies in.

    Args:
        output: where a result goes.
        read: files that the command reads, by what they are; None where none was given.
        option: that named the output, for the message.

    Raises:
        UserError: then.
    """
    target = Path(os.path.realpath(output))
    for what, given in read.items():
        if given is None or not os.path.exists(given):
            continue
        source = Path(os.path.realpath(given))
        if target in (source, *source.parents) or (target.exists() and target.samefile(source)):
            raise UserError(f"{option} {output} would replace {what}, which is read; choose another name")


def check_not_of_run(output: str, folder: Path) -> None:
    """Refuse an output that takes the place of a run folder, or of what a run keeps there.

    Raises:
        UserError: then.
    """
    target, run = (Path(os.path.realpath(path)) for path in (output, folder))
    if target in (run, *run.parents) or (
        target.parent == run and (target.name in _RECORDS | _BESIDE or is_kept_name(target.name))
    ):
        raise UserError(f"-o {output} is the run folder {folder}, or part of it; choose another name")


def files_read(parsed: Namespace, videos: Sequence[str] = ()) -> dict[str, str | None]:
    """What the words of a command have it read besides a run, for `check_not_read`.

    Args:
        parsed: the words. A speed curve may also be no file.
        videos: clips, or parts of them.
    """
    read: dict[str, str | None] = {f"the clip {video}": str(file_of(video)) for video in videos}
    read |= {f"the config {config}": str(config) for config in getattr(parsed, "config", None) or ()}
    for name in ("mask", "path", "speed_curve"):
        read[f"what --{name.replace('_', '-')} names"] = getattr(parsed, name, None)
    return read
