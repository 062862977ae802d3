"""Where results go: files and folders that appear whole or not at all, and run folders that one process holds.

A result is made in a temporary folder beside its place and moved there when it is complete. The folder is locked by the
process that made it, and the lock ends with that process: so the next one that writes the same result knows what is
left of a dead process, clears it away, and leaves alone what a living one is at.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from vfield.core.errors import UserError

LOCK_NAME = ".lock"
"""In a run folder while a process holds it."""

_LONGEST_NAME = 100  # bytes: a temporary name fits wherever names of 143 do, as on encrypted disks
_TOKEN = r"\.partial-\d+-[0-9a-f]{8}"


def check_parent(path: Path) -> None:
    """Refuses, by a UserError, a path whose folder is missing or cannot be written into."""
    if path.name in ("", ".."):
        raise UserError(f"{path} is no name of a new file or folder; add one")
    if not path.parent.is_dir():
        raise UserError(f"folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write into folder {path.parent}; choose another or change its permissions")


def check_folder(path: Path, names: re.Pattern[str], kind: str, overwrite: bool) -> None:
    """Refuses, by a UserError, a folder that may not be replaced, where it exists: a file, or what holds other files.

    `names` is what its files are called, `kind` what they are, for the message; `overwrite` allows one that holds such
    files.
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


def check_result_folder(folder: Path, overwrite: bool, mark: str, kept: str) -> None:
    """Refuse a folder, named by `--out`, for the results of a benchmark or an experiment.

    A folder that this command made is known by the file `mark`, and may be replaced with `overwrite`; messages say what
    is `kept` in it. A UserError when it holds something else, or cannot be made or written to.
    """
    check_contents(folder, overwrite, mark, kept)
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        # Tried, because permissions do not tell everything: read-only disks, and file systems of the kernel's own.
        tempfile.TemporaryDirectory(prefix=".vfield-", dir=there).cleanup()
    except OSError as error:
        raise UserError(f"--out {folder} cannot be written to ({error.strerror}); name another folder") from error


def check_contents(folder: Path, overwrite: bool, mark: str, kept: str, also: str = "", option: str = "--out") -> None:
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

    What is read are files by what they are; None where none was given.
    """
    target = Path(os.path.realpath(output))
    for what, given in read.items():
        if given is None or not os.path.exists(given):
            continue
        source = Path(os.path.realpath(given))
        if target in (source, *source.parents) or (target.exists() and target.samefile(source)):
            raise UserError(f"{option} {output} would replace {what}, which is read; choose another name")


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there; a UserError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make folder {folder}: {error.strerror}; choose another name for it") from error


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------- temporary names


@contextmanager
def made_beside(path: Path) -> Iterator[Path]:
    """A name in a temporary folder beside a result's place, to make a file or a folder there; it is moved in the end.

    The folder holds a lock, the result as "new", for a moment what that replaces as "old": after an error that comes
    back. What dead processes have left for the same result is cleared away first. An OSError where the folder cannot be
    made, or the result not be moved.
    """
    clear_dead(path)
    lock = None
    while lock is None:
        folder = path.with_name(f".{_short_name(path)}.partial-{os.getpid()}-{secrets.token_hex(4)}")
        folder.mkdir()
        try:
            lock = locked(
                folder / "lock"
            )  # None where another process came between, and took the folder for a dead one's
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    made = folder / "new"
    try:
        yield made
        if not made.is_dir():
            # After a power cut a file that got its name before it was on the disk would be there, but empty.
            with made.open("r+b") as handle:
                os.fsync(handle.fileno())
        elif path.exists():
            # A folder cannot be replaced in one step. Whoever finds the second one missing undoes the first.
            os.replace(path, folder / "old")
        os.replace(made, path)
    finally:
        # What could not be removed is cleared away by the next that writes this result.
        _put_back(folder, path, lock)


def is_own_name(name: str) -> bool:
    """Whether a name in a folder is that of a lock or of a temporary folder."""
    return name == LOCK_NAME or re.fullmatch(rf"\..+{_TOKEN}", name) is not None


def clear_dead(path: Path) -> None:
    """Remove what processes that are dead have left of making a result; what they had moved aside comes back.

    An OSError where the folder of the result cannot be looked into.
    """
    name = re.compile(re.escape(f".{_short_name(path)}") + _TOKEN)
    if not os.access(path.parent, os.R_OK):  # a letter box: results can be put in, but nothing found
        return
    for folder in [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]:
        lock = None
        with suppress(OSError):
            lock = locked(folder / "lock")  # None where its process lives, or another is clearing it away
        if lock is not None:
            _put_back(folder, path, lock)


def _short_name(path: Path) -> str:
    """A result's name as part of another; one that is long enough to make that too long is shortened."""
    full = os.fsencode(path.name)
    return path.name if len(full) <= _LONGEST_NAME else f"{path.name[:20]}~{hashlib.sha256(full).hexdigest()[:16]}"


def locked(file: Path) -> BaseFileLock | None:
    """The lock that a file is, taken; None where another process has it."""
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _put_back(folder: Path, path: Path, lock: BaseFileLock) -> None:
    """Undo the first of the two steps by which a folder is replaced, where the second is missing; remove all else."""
    if (folder / "old").exists() and not path.exists():
        os.replace(folder / "old", path)
    lock.release()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary name to write to; what was written there gets its own name at the end, and is removed on failure.

    A UserError where it cannot be written.
    """
    try:
        with made_beside(path) as made:
            yield made
    except OSError as error:
        told = f"could not write {path}: {error.strerror or error}; free some space or choose another folder"
        raise UserError(told) from error


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all; names of files in it may be no text. A UserError where it cannot be written."""
    with replaced(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


# ------------------------------------------------------------------------------------------- run folders


@contextmanager
def held(folder: Path, wait_seconds: float = 0.5) -> Iterator[None]:
    """Hold a run folder against other processes that write, making it where it is missing.

    The same process may hold it again while it does. A folder that was made here, and that nothing came into, is gone
    in the end. A UserError where another process holds it for longer than is waited, or it cannot be written to.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.absolute() / LOCK_NAME, thread_local=False, is_singleton=True)
        lock.acquire(timeout=wait_seconds)
    except (Timeout, OSError) as error:
        _remove_empty(made)
        if isinstance(error, Timeout):
            told = f"another process is at work in {folder}; wait until it has ended, or name another folder"
            raise UserError(told) from None
        raise UserError(f"{folder} cannot be written to ({error.strerror}); name another folder") from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            # While it is held: who waits for the file that is removed here looks for it again. Windows keeps files that
            # are open, so there it stays, held by nobody.
            with suppress(PermissionError):
                (folder / LOCK_NAME).unlink(missing_ok=True)
        lock.release()
        _remove_empty(made)


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, each within the next, up to the first that holds something."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
