"""Several clips one after the other: what fails is told and the rest goes on."""

from __future__ import annotations

import mimetypes
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from vfield.cli.options import INTERRUPTED
from vfield.cli.says import tell
from vfield.core.errors import UserError
from vfield.core.printable import printable
from vfield.video_io import CONTAINERS, cannot_hold


class Ended(NamedTuple):
    """How it ended with a clip.

    Attributes:
        how: "stopped" by Ctrl-C, which leaves the clips after it "not begun".
        what: the file that was written, or why there is none.
    """

    how: Literal["done", "skipped", "failed", "stopped", "not begun"]
    what: str


def run_each(clips: Sequence[str], one: Callable[[str], Ended]) -> dict[str, Ended]:
    """Do something with each clip; a bad clip is told in one line, and Ctrl-C ends it all.

    Args:
        clips: their names.
        one: what to do with one of them.

    Returns:
        How it ended with each clip.
    """
    outcomes = dict.fromkeys(clips, Ended("not begun", ""))
    for number, clip in enumerate(clips, start=1):
        tell(f"\n{number}/{len(clips)}  {printable(clip)}")
        try:
            outcomes[clip] = one(clip)
        except UserError as error:
            outcomes[clip] = Ended("failed", " ".join(str(error).split()))
        except OSError as error:
            outcomes[clip] = Ended("failed", f"{error.filename or 'the system'}: {error.strerror or error}")
        except KeyboardInterrupt:
            outcomes[clip] = Ended("stopped", "")
        if outcomes[clip].how == "failed":
            tell(f"error: {printable(clip)}: {outcomes[clip].what}", sys.stderr)
        if outcomes[clip].how == "stopped":
            break
    return outcomes


def table(outcomes: dict[str, Ended]) -> str:
    """What happened, a line a clip."""
    across = max(len(clip) for clip in outcomes)
    lines = [f"{clip:<{across}}  {ended.how:<9}  {ended.what}".rstrip() for clip, ended in outcomes.items()]
    return "\n".join(["", *lines])


def exit_code(outcomes: dict[str, Ended]) -> int:
    """130 when Ctrl-C ended it, 2 when a clip failed, else 0."""
    ways = {ended.how for ended in outcomes.values()}
    return INTERRUPTED if "stopped" in ways else 2 if "failed" in ways else 0


@contextmanager
def output_folder(output: str, inputs: Sequence[str]) -> Iterator[Path]:
    """The folder for the results of several clips, made where it is missing, and gone again if nothing came into it.

    Args:
        output: its name.
        inputs: files and folders that the clips come from.

    Raises:
        UserError: when it cannot be that.
    """
    folder = Path(output)
    if folder.is_file() or (folder.suffix.lower() in (*CONTAINERS, ".gif", ".png") and not folder.is_dir()):
        raise UserError(f"-o {output} is one file, and several clips go into a folder; name a folder")
    if folder.is_dir() and any(Path(given).is_dir() and folder.samefile(given) for given in inputs):
        raise UserError(
            f"-o {output} is the folder of the clips, whose results would be clips the next time; name another"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make folder {output}: {error.strerror}; name another") from error
    try:
        yield folder
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def suffix_for(clip: str, codec: str | None) -> str:
    """What kind of file a clip's result is: .mp4 unless the codec needs another; of a picture .png."""
    kind = mimetypes.guess_type(clip)[0] or ""
    if kind.startswith("image/") and kind != "image/gif":
        return ".png"
    if codec is None:
        return ".mp4"
    return next((suffix for suffix in CONTAINERS if not cannot_hold(suffix, [codec.lower()])), ".mp4")
