"""Where results go: folders that are replaced whole, and checks before anything is made that could not be put there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vfield.errors import UserError


def check_parent(path: Path) -> None:
    """Refuses a path whose folder is missing or cannot be written into.

    Raises:
        UserError: then.
    """
    if not path.parent.is_dir():
        raise UserError(f"folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write into folder {path.parent}; choose another or change its permissions")


def check_folder(path: Path, names: re.Pattern[str], kind: str, overwrite: bool) -> None:
    """Refuses a folder that may not be replaced.

    Args:
        path: the folder; it need not exist.
        names: what its files are called.
        kind: what they are, for the message.
        overwrite: allow a folder that holds such files.

    Raises:
        UserError: when it is a file, holds anything else, or holds such files without `overwrite`.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"{path} is a file, and a folder of {kind} files is to be written; choose another name")
    found = [entry.name for entry in path.iterdir()]
    others = [name for name in found if not names.fullmatch(name)]
    if others:
        # Replacing a folder deletes it: never one that holds anything but what was made before.
        raise UserError(f"folder {path} holds other files ({others[0]}); choose an empty or new folder")
    if found and not overwrite:
        raise UserError(f"{path} exists; add --overwrite or choose another name")


def partial_name(path: Path) -> Path:
    """The temporary name beside a path."""
    return path.with_name(f".{path.name}.partial-{os.getpid()}")


def move_into_place(partial: Path, path: Path) -> None:
    """Give what was made under a temporary name its own, replacing what is there."""
    if not partial.is_dir() or not path.exists():
        os.replace(partial, path)
        return
    # A folder cannot be replaced in one step; the old files step aside and come back if the new ones cannot move.
    aside = path.with_name(f".{path.name}.old-{os.getpid()}")
    os.replace(path, aside)
    try:
        os.replace(partial, path)
    except BaseException:
        os.replace(aside, path)
        raise
    shutil.rmtree(aside)


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary name to write to; what was written there gets its own name at the end, and is removed on failure.

    Raises:
        UserError: when it cannot be written.
    """
    partial = partial_name(path)
    try:
        yield partial
        move_into_place(partial, path)
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror}; choose another folder") from error
    finally:
        remove(partial)
