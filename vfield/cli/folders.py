"""Where commands write: run folders that one process at a time works in, and outputs that are no inputs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from jsonargparse import Namespace

from vfield.cli.printing import is_main_process
from vfield.cli.sources import RUN_NAME, file_of
from vfield.core.errors import UserError
from vfield.core.folders import held, is_own_name
from vfield.core.printable import as_text
from vfield.learn.config_files import CONFIG_NAME
from vfield.learn.kept import is_kept_name
from vfield.learn.run import EVENTS_NAME
from vfield.learn.saves import SUMMARY_NAMES
from vfield.prepare.opening import SCAN_NAME

_RECORDS = {CONFIG_NAME, RUN_NAME}
# What else a run has without a field: its own names, which nothing else may have.
_BESIDE = {EVENTS_NAME, SCAN_NAME, *SUMMARY_NAMES}


def run_folder(given: str | None, video: str | list[str]) -> Path:
    """Where a run lies: where it was given, or in `runs` a folder of the clip's name; of several clips, "many"."""
    name = as_text(file_of(video).stem) if isinstance(video, str) else "many"
    return Path(given) if given else Path("runs") / name


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
    folder: Path, overwrite: bool, *, resume: bool = False, also: str = "", option: str = "--out"
) -> Iterator[None]:
    """Hold the folder of a run, which is to be begun or gone on with; of several processes the main one does.

    Args:
        folder: the folder.
        overwrite: whether an earlier run may be replaced.
        resume: whether the run is gone on with.
        also: another way to go on with what is there, for the message.
        option: that named the folder, for the message.

    Raises:
        UserError: when it may not be replaced, another process holds it, or it cannot be written to.
    """
    if not is_main_process():
        yield
        return

    def check() -> None:
        if resume or (folder.is_dir() and is_begun_at_most(folder)):
            return
        mark = next((name for name in sorted(_RECORDS) if (folder / name).is_file()), CONFIG_NAME)
        _check_contents(folder, overwrite, mark, "run", also, option)

    check()
    with held(folder):
        check()  # another process may have ended there meanwhile
        yield


def check_result_folder(folder: Path, overwrite: bool, mark: str, kept: str) -> None:
    """Refuse a folder for the results of a benchmark or an experiment.

    Args:
        folder: what `--out` named.
        overwrite: whether what this command left there earlier may be replaced.
        mark: name of the file by which a folder that this command made is known.
        kept: what such a folder holds, for the messages.

    Raises:
        UserError: when it holds something else, or cannot be made or written to.
    """
    _check_contents(folder, overwrite, mark, kept)
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        # Tried, because permissions do not tell everything: read-only disks, and file systems of the kernel's own.
        tempfile.TemporaryDirectory(prefix=".vfield-", dir=there).cleanup()
    except OSError as error:
        raise UserError(f"--out {folder} cannot be written to ({error.strerror}); name another folder") from error


def _check_contents(folder: Path, overwrite: bool, mark: str, kept: str, also: str = "", option: str = "--out") -> None:
    """Refuse a folder that holds something which may not be replaced."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{option} {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / mark).is_file():
            raise UserError(f"{option} {folder} holds something that is not a {kept}; name another folder")
        if not overwrite:
            raise UserError(f"{option} {folder} holds a {kept}; add {also}--overwrite to start anew")


def check_not_read(output: str, read: Mapping[str, str | None], option: str = "-o") -> None:
    """Refuse an output, named by an option, that would replace what is read, or a folder that this lies in.

    Args:
        output: where a result goes.
        read: files that the command reads, by what they are; None where none was given.
        option: that named the output, for the message.
    """
    target = Path(os.path.realpath(output))
    for what, given in read.items():
        if given is None or not os.path.exists(given):
            continue
        source = Path(os.path.realpath(given))
        if target in (source, *source.parents) or (target.exists() and target.samefile(source)):
            raise UserError(f"{option} {output} would replace {what}, which is read; choose another name")


def check_not_of_run(output: str, folder: Path) -> None:
    """Refuse an output that takes the place of a run folder, or of what a run keeps there."""
    target, run = (Path(os.path.realpath(path)) for path in (output, folder))
    if target in (run, *run.parents) or (
        target.parent == run and (target.name in _RECORDS | _BESIDE or is_kept_name(target.name))
    ):
        raise UserError(f"-o {output} is the run folder {folder}, or part of it; choose another name")


def files_read(parsed: Namespace, videos: Sequence[str] = ()) -> dict[str, str | None]:
    """What the words of a command have it read besides a run, for `check_not_read`; a speed curve may be no file."""
    read: dict[str, str | None] = {f"the clip {video}": str(file_of(video)) for video in videos}
    read |= {f"the config {config}": str(config) for config in getattr(parsed, "config", None) or ()}
    for name in ("mask", "path", "speed_curve"):
        read[f"what --{name.replace('_', '-')} names"] = getattr(parsed, name, None)
    return read
