"""What commands share: one way to end, one way to parse, and the options of clips, fits and run folders."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from vfield.config import CONFIG_NAME, config_from_values, load_values
from vfield.errors import UserError
from vfield.training import Config


def guarded(command: Callable[[list[str]], int], argv: Sequence[str] | None) -> int:
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
        return fail(str(error))
    except OSError as error:
        return fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def fail(message: str) -> int:
    """Print one line that says what was wrong; the exit code for it."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _one_spelling(word: str) -> str:
    """Options may be written with dashes or underscores; dotted config keys have underscores."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    name = name.replace("-", "_") if "." in name else name.replace("_", "-")
    return f"--{name}{equals}{value}"


def command_parser(name: str, description: str) -> ArgumentParser:
    """A parser that raises what is wrong instead of printing and ending, and guesses nothing."""
    return ArgumentParser(prog=name, description=description, exit_on_error=False, allow_abbrev=False)


def parse(parser: ArgumentParser, words: list[str]) -> Namespace:
    """The options that these words give; a UserError in one line where they make no sense."""
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


def exact_number(name: str, text: str) -> Fraction:
    """The number that an option's text means, exactly."""
    # Checked before it is built: "1e999999999" is a number, of a billion digits.
    if not re.fullmatch(r"\d{1,6}(\.\d{1,9}|/0{0,5}[1-9]\d{0,5})?", text):
        raise UserError(f"--{name} must be a number like 4, 2.5 or 5/2, got {text!r}")
    return Fraction(text)


def source_options(parser: ArgumentParser, video: str, several: bool = False) -> None:
    """Which part of which clip, at which size; the clip, or several, is the option `--{video}`."""
    if several:
        told = (
            "the clip: clip.mp4, or clip.mp4#t=2,5.5 for a part (seconds); several, or a folder, for one field of all"
        )
        parser.add_argument(f"--{video}", type=str, nargs="+", metavar="FILE", help=told)
    else:
        parser.add_argument(f"--{video}", type=str, metavar="FILE", help="the clip, for example clip.mp4")
    parser.add_argument("--holdout", type=int | None, metavar="K", help="see every K-th frame, judge on the others")
    part_options(parser)


def part_options(parser: ArgumentParser, size: str = "size", uses: str = "learn") -> None:
    """Which part of a clip, at which size: the option `--{size}`."""
    parser.add_argument("--start", type=float | None, metavar="SECONDS", help=f"{uses} from here on")
    parser.add_argument("--end", type=float | None, metavar="SECONDS", help=f"{uses} up to here")
    parser.add_argument(
        f"--{size}", type=str | None, metavar="WxH", help="reduce the frames first, for example 640x360"
    )
    parser.add_argument(
        "--deinterlace",
        type=str | None,
        metavar="frame|field",
        help="make interlaced video progressive first, at its frame rate or at twice that; default off",
    )


def mask_option(parser: ArgumentParser) -> None:
    """What of the clip is not to be believed."""
    parser.add_argument(
        "--mask",
        type=str | None,
        metavar="FILE",
        help="a picture, or a video with a frame for each of the clip's: white pixels are not believed but filled",
    )


def fit_options(
    parser: ArgumentParser, out: str = "out", replaces: str = "replace an earlier run in the folder"
) -> None:
    """How to fit and where to keep it (the option `--{out}`), and every value of the config."""
    parser.add_argument("--config", action=ActionConfigFile, help="a preset, for example configs/fast.yaml")
    parser.add_argument(f"--{out}", type=str | None, metavar="DIR", help="run folder; default runs/NAME")
    parser.add_argument("--steps", type=int | None, help="optimisation steps")
    parser.add_argument("--minutes", type=float | None, help="time budget of the whole fit, instead of steps")
    parser.add_argument(
        "--denoise", type=str | None, metavar="auto|off|LEVELS", help="take out noise of so many grey levels first"
    )
    parser.add_argument("--seed", type=int | None, help="seed of everything random")
    parser.add_argument("--device", type=str | None, help="auto, cpu, cuda or mps")
    parser.add_argument("--mixed-precision", type=str | None, help="no, bf16 or fp16; default as Accelerate is set")
    parser.add_argument("--overwrite", action="store_true", help=replaces)
    parser.add_class_arguments(Config)


def config_of(parsed: Namespace) -> Config:
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
    if parsed.denoise is not None:
        values["denoising"]["strength"] = _strength(parsed.denoise)
    return config_from_values(values)


def _strength(text: str) -> float | str:
    """What `--denoise` means in the config."""
    if text == "auto":
        return text
    try:
        return 0.0 if text == "off" else float(text)
    except ValueError:
        raise UserError(f"--denoise must be auto, off or a number of grey levels like 12, got {text!r}") from None


def run_folder(parsed: Namespace, video: str | list[str]) -> Path:
    """Where a run lies: `--out`, or in `runs` a folder of the clip's name; of several clips, "many"."""
    name = Path(video.partition("#t=")[0]).stem if isinstance(video, str) else "many"
    return Path(parsed.out) if parsed.out else Path("runs") / name


def check_folder(
    folder: Path, overwrite: bool, mark: str = CONFIG_NAME, kept: str = "run", also: str = "", option: str = "--out"
) -> None:
    """Refuse a folder that holds something, or that could not be made or written to.

    Args:
        folder: what the option named.
        overwrite: whether what this command left there earlier may be replaced.
        mark: name of the file by which a folder that this command made is known.
        kept: what such a folder holds, for the messages.
        also: another way to go on with what is there, for the message.
        option: for the message.

    Raises:
        UserError: when it may not or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{option} {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / mark).is_file():
            raise UserError(f"{option} {folder} holds something that is not a {kept}; name another folder")
        if not overwrite:
            raise UserError(f"{option} {folder} holds a {kept}; add {also}--overwrite to start anew")
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        # Tried, because permissions do not tell everything: read-only disks, and file systems of the kernel's own.
        tempfile.TemporaryDirectory(prefix=".vfield-", dir=there).cleanup()
    except OSError as error:
        raise UserError(f"{option} {folder} cannot be written to ({error.strerror}); name another folder") from error


def is_main_process() -> bool:
    """Whether this process is the one of several that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0
