"""Run folders: which may be begun or gone on with, by one process at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vfield.core.devices import is_main_process
from vfield.core.errors import UserError
from vfield.core.folders import check_contents, held, is_own_name
from vfield.core.printable import as_text
from vfield.field.checkpoint import clip_folders
from vfield.learn.config_files import CONFIG_NAME, load_values
from vfield.learn.kept import is_kept_name
from vfield.learn.run import EVENTS_NAME
from vfield.learn.saves import SUMMARY_NAMES
from vfield.learn.sources import RUN_NAME, file_of
from vfield.prepare.opening import SCAN_NAME

_RECORDS = {CONFIG_NAME, RUN_NAME}
# What else a run has without a field: its own names, which nothing else may have.
_BESIDE = {EVENTS_NAME, SCAN_NAME, *SUMMARY_NAMES}


def run_folder(given: str | None, video: str | list[str]) -> Path:
    """Where a run lies: where it was given, or in `runs` a folder of the clip's name; of several clips, "many"."""
    name = as_text(file_of(video).stem) if isinstance(video, str) else "many"
    return Path(given) if given else Path("runs") / name


def fields_and_values(run: Path) -> tuple[list[Path], dict[str, Any]]:
    """The field of a run, or of each of its clips; and the values of its config for one of them, where it has one."""
    fields = (clip_folders(run) if run.is_dir() else []) or [run]
    config = next((path for path in (run / CONFIG_NAME, run.parent / CONFIG_NAME) if path.is_file()), None)
    values = {} if config is None else load_values(config)
    training = values.get("training", {})
    if training.get("steps") is not None:
        training["steps"] = -(-training["steps"] // len(fields))
    return fields, values


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

    A UserError when it may not be replaced, another process holds it, or it cannot be written to.

    Args:
        folder: the folder.
        overwrite: whether an earlier run may be replaced.
        resume: whether the run is gone on with.
        also: another way to go on with what is there, for the message.
        option: that named the folder, for the message.
    """
    if not is_main_process():
        yield
        return

    def check() -> None:
        if resume or (folder.is_dir() and is_begun_at_most(folder)):
            return
        mark = next((name for name in sorted(_RECORDS) if (folder / name).is_file()), CONFIG_NAME)
        check_contents(folder, overwrite, mark, "run", also, option)

    check()
    with held(folder):
        check()  # another process may have ended there meanwhile
        yield


def check_not_of_run(output: str, folder: Path) -> None:
    """Refuse an output that takes the place of a run folder, or of what a run keeps there."""
    target, run = (Path(os.path.realpath(path)) for path in (output, folder))
    if target in (run, *run.parents) or (
        target.parent == run and (target.name in _RECORDS | _BESIDE or is_kept_name(target.name))
    ):
        raise UserError(f"-o {output} is the run folder {folder}, or part of it; choose another name")
