"""What commands share: one way to end, one way to parse, and the options of clips, fits and run folders."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from argparse import Action
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_type_hints

from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter, Namespace

from vfield.cli.says import answering, say_error
from vfield.cli.values import check_words
from vfield.core.errors import UserError, brief, is_out_of_memory, out_of_memory_message
from vfield.core.interrupts import ending_in_order, exit_code, what_ended_it
from vfield.core.parsing import explained, plain_parser
from vfield.core.printable import PrintableFormatter, as_text
from vfield.learn import Config
from vfield.learn.config_files import CONFIG_NAME, config_from_values, load_values
from vfield.measure.benchmark.suite import SUITE

# How a command ends after Ctrl-C, as shells have it of programs that end by that signal; `guarded` makes it that of the
# signal which did end it.
INTERRUPTED = 130

# Parts of help texts that several options share.
CLIP = "for example clip.mp4"
PRESET = "for example configs/fast.yaml"
STEPS = "optimisation steps, for example 400"
SEED = "seed of everything random, for example 1"
DEVICE = "where to compute: auto, cpu, cuda or mps, for example cuda"


def guarded(command: Callable[[list[str]], int], argv: Sequence[str] | None, json_file: bool = False) -> int:
    """Run a command; turn a UserError into one line and exit code 2, Ctrl-C into 130, SIGTERM 143 and SIGHUP 129.

    Args:
        command: from its words to its exit code.
        argv: the words; None for the process's own.
        json_file: whether the command's `--json` may name a file, which leaves stdout to people.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("vfield").setLevel(logging.INFO)
    # Libraries warn about machines without an accelerator, which is how most people run this.
    warnings.filterwarnings("ignore", category=UserWarning)
    # Accelerate still calls it so, and torch knows it only by a newer name.
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
    words = [_one_spelling(word) for word in (sys.argv[1:] if argv is None else argv)]
    with answering(_for_scripts(words, json_file)), ending_in_order():
        try:
            code = command(words)
            # Work that lets its step end tells of any of the signals as of Ctrl-C.
            return exit_code() if code == INTERRUPTED else code
        except UserError as error:
            return fail(str(error))
        except OSError as error:
            if is_out_of_memory(error):
                return fail(out_of_memory_message("this", error))
            return fail(f"{error.filename or 'the system'}: {error.strerror or error}")
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return fail(out_of_memory_message("this", error))
        except KeyboardInterrupt:
            say_error(what_ended_it(), what_ended_it())
            return exit_code()


def fail(message: str) -> int:
    """Say in one line what was wrong; the exit code for it."""
    line = " ".join(message.split())
    say_error(f"error: {line}", line)
    return 2


def _for_scripts(words: Sequence[str], json_file: bool) -> bool:
    """Whether `--json` asks for an object on stdout. Seen before words are parsed: their errors are told so, too."""
    if "--json" not in words:
        return False
    following = words[words.index("--json") + 1 :]
    return not json_file or not following or following[0].startswith("-")


def _one_spelling(word: str) -> str:
    """Options may be written with dashes or underscores; dotted config keys have underscores."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    name = name.replace("-", "_") if "." in name else name.replace("_", "-")
    return f"--{name}{equals}{value}"


class _HelpFormatter(DefaultHelpFormatter):
    """Says no more of an option than its help where nothing is its default: what that means is said there."""

    def _get_help_string(self, action: Action) -> str:
        if action.default is None or action.nargs == 0:
            return action.help or ""
        return super()._get_help_string(action)


def command_parser(name: str, description: str, json_file: bool = False) -> ArgumentParser:
    """A parser that raises what is wrong instead of printing and ending, and guesses nothing.

    Args:
        name: of the command, as it is typed after "vfield".
        description: for its help.
        json_file: whether `--json` may name a file.
    """
    parser = plain_parser(
        prog=f"vfield {name}",
        description=description,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
    )
    about = 'print one JSON object on stdout instead of text, errors too ({"error": ...})'
    if json_file:
        about = "the figures as JSON: instead of the table, or into a file, for example rows.json; default off"
        parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help=about)
    else:
        parser.add_argument("--json", action="store_true", help=about)
    return parser


class _ParserMade(BaseException):
    """Carries a command's parser out of it."""

    def __init__(self, parser: ArgumentParser) -> None:
        self.parser = parser


_LOOKED_AT: ContextVar[bool] = ContextVar("looked_at", default=False)


def parser_of(command: Callable[[list[str]], int], words: list[str]) -> ArgumentParser:
    """The parser that a command makes for these words, which it then does not obey.

    jsonargparse's own `capture_parser` is an error among others to `parse`.
    """
    token = _LOOKED_AT.set(True)
    try:
        command(words)
    except _ParserMade as made:
        return made.parser
    finally:
        _LOOKED_AT.reset(token)
    raise TypeError("the command does not parse its words with vfield.cli.options.parse")


def parse(parser: ArgumentParser, words: list[str]) -> Namespace:
    """The options that these words give; a UserError in one line where they make no sense."""
    if _LOOKED_AT.get():
        raise _ParserMade(parser)
    _check_config_files(words)
    try:
        parsed: Namespace = parser.parse_args(words)
    except UserError:
        raise
    except Exception as error:  # jsonargparse raises ArgumentError, TypeError or a YAML error by what is wrong
        raise UserError(f"{explained(parser, error, prefix='--')}; see --help") from error
    check_words(parsed)
    return parsed


def _groups(kind: type, prefix: str) -> Iterator[str]:
    """The options of a config's parts that have parts, which a file may give, too: --field, --field.local, ..."""
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint) and isinstance(hint, type):
            yield f"{prefix}{name}"
            yield from _groups(hint, f"{prefix}{name}.")


_GROUPS = frozenset(_groups(Config, "--"))


def _check_config_files(words: list[str]) -> None:
    """Read the config files first: the parser's own errors do not name the file."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        value = value if equals else "".join(words[i + 1 : i + 2])
        if name == "--config" and (equals or i + 1 < len(words)):
            config_from_values(load_values(value))
        elif name in _GROUPS and os.path.exists(value):
            load_values(value)


def run_options(parser: ArgumentParser, kind: str = "run folder or field file", example: str = "runs/clip") -> None:
    """What a command reads, a run in most: its first word, or `-i`; `run_of` gives it."""
    about = f"{kind}, for example {example}"
    parser.add_argument("run", type=str | None, nargs="?", help=f"{about}; required, here or after -i")
    parser.add_argument("-i", "--input", type=str | None, metavar="FILE", help=f"{about}; default the first word")


def clip_of_run_option(parser: ArgumentParser) -> None:
    """Where the clip of a run lies now."""
    told = "where the clip lies now that the run reads its frames from, for example moved.mp4; default where it was"
    parser.add_argument("--source", type=str | None, metavar="FILE", help=told)


def run_of(parsed: Namespace) -> str:
    """The run that `run_options` named.

    Raises:
        UserError: when none is named, or two are.
    """
    if parsed.run is None and parsed.input is None:
        raise UserError("nothing to read given; name it, for example runs/clip")
    if parsed.run is not None and parsed.input is not None:
        raise UserError(f"two things to read given, {parsed.run} and --input {parsed.input}; name one")
    return str(parsed.run if parsed.input is None else parsed.input)


def output_option(parser: ArgumentParser, about: str, metavar: str = "FILE") -> None:
    """Where a command's result goes."""
    names = ("-o", "--output")
    parser.add_argument(*names, type=str, required=True, metavar=metavar, help=f"{about}; required")


def result_folder(parser: ArgumentParser, default: str) -> None:
    """Where an experiment or a benchmark leaves its results, and whether it may replace earlier ones."""
    told = "folder for the results, for example runs/mine"
    parser.add_argument("-o", "--output", "--out", dest="out", type=str, default=default, metavar="DIR", help=told)
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in the folder")


def suite_options(parser: ArgumentParser, frames: int | None = None) -> None:
    """Which clips a benchmark or an experiment uses, and how much of each where `frames` is the default."""
    told = "names in the suite, or files, for example bear or clip.mp4"
    parser.add_argument("--clips", nargs="+", type=str, default=list(SUITE), metavar="CLIP", help=told)
    told = "folder of suite clips that are not in data/, for example clips"
    parser.add_argument("--clip-folder", type=str, default="../shared/clips", metavar="DIR", help=told)
    if frames is not None:
        frames_option(parser, frames)


def frames_option(parser: ArgumentParser, default: int | None) -> None:
    """How many frames of each clip are used."""
    told = f"use only the first N frames of a clip, for example 9; default {'all' if default is None else default}"
    parser.add_argument("--frames", type=int | None, default=default, metavar="N", help=told)


def middle_option(parser: ArgumentParser, default: str) -> None:
    """Which part of the pictures an experiment or a benchmark uses."""
    told = "only the middle of the pictures, pixels, for example 64x64"
    parser.add_argument("--middle", type=str, default=default, metavar="WxH", help=told)


def image_option(parser: ArgumentParser, about: str) -> None:
    """The picture of an experiment; `about` says what it may be."""
    told = f"{about}, for example photo.png"
    names = ("-i", "--input", "--image")
    parser.add_argument(*names, dest="image", type=str, default="data/bigbuckbunny.mp4", metavar="FILE", help=told)


def render_device(parser: ArgumentParser) -> None:
    """Where a fitted field is asked."""
    parser.add_argument("--device", type=str, default="cpu", metavar="NAME", help=DEVICE)


def source_options(parser: ArgumentParser, video: str, several: bool = False) -> None:
    """Which part of which clip, at which size; the clip, or several, is the option `-i`, `--input` or `--{video}`."""
    names = ("-i", "--input", f"--{video}")
    if several:
        told = (
            "the clip: for example clip.mp4, or clip.mp4#t=2,5.5 for a part (seconds); several, or a folder, for one "
            "field of all; required unless resumed"
        )
        parser.add_argument(*names, dest=video, type=str, nargs="+", metavar="FILE", help=told)
    else:
        parser.add_argument(*names, dest=video, type=str, metavar="FILE", help=f"the clip, {CLIP}; required")
    parser.add_argument(
        "--holdout",
        type=int | None,
        metavar="K",
        help="see every K-th frame and judge on the others, for example 2; default off, every frame is seen",
    )
    part_options(parser)


def part_options(parser: ArgumentParser, size: str = "size") -> None:
    """Which part of a clip, at which size: the option `--{size}`."""
    span_options(parser)
    parser.add_argument(
        f"--{size}", type=str | None, metavar="WxH", help="reduce the frames first, for example 640x360; default theirs"
    )
    parser.add_argument(
        "--deinterlace",
        type=str | None,
        metavar="frame|field",
        help="make interlaced video progressive first, at its frame rate or at twice that, for example field; "
        "default off",
    )


def span_options(parser: ArgumentParser) -> None:
    """From when to when, in seconds of the clip."""
    parser.add_argument(
        "--start",
        type=float | None,
        metavar="SECONDS",
        help="from here on, seconds from the first frame, for example 2; default the beginning",
    )
    parser.add_argument(
        "--end",
        type=float | None,
        metavar="SECONDS",
        help="up to here (without what is shown then), seconds from the first frame, for example 5.5; default the end",
    )


def mask_option(parser: ArgumentParser) -> None:
    """What of the clip is not to be believed."""
    parser.add_argument(
        "--mask",
        type=str | None,
        metavar="FILE",
        help="a picture, or a video with a frame for each of the clip's: white pixels are not believed but filled; for "
        "example mask.png; default none",
    )


def fit_options(parser: ArgumentParser) -> None:
    """How to fit and where to keep it, and every value of the config."""
    told = "run folder, for example runs/x; default runs/NAME of the clip, none for evaluate"
    parser.add_argument(*("-o", "--output", "--out"), dest="out", type=str | None, metavar="DIR", help=told)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run in the folder")
    config_options(parser)


def config_options(parser: ArgumentParser) -> None:
    """How to fit: the options that people change most, and every value of the config."""
    told = f"a preset, {PRESET}; default the built-in values"
    parser.add_argument("--config", action=ActionConfigFile, metavar="FILE", help=told)
    parser.add_argument("--steps", type=int | None, metavar="N", help=f"{STEPS}; default the config's")
    parser.add_argument(
        "--minutes",
        type=float | None,
        help="time budget of the whole fit, instead of steps, minutes, for example 10; default none",
    )
    parser.add_argument(
        "--denoise",
        type=str | None,
        metavar="auto|off|LEVELS",
        help="take out noise of so many grey levels of 255 first, for example 8; default the config's, auto",
    )
    parser.add_argument("--seed", type=int | None, metavar="N", help=f"{SEED}; default the config's, 0")
    told = f"{DEVICE}; default auto, an accelerator where there is one"
    parser.add_argument("--device", type=str | None, metavar="NAME", help=told)
    parser.add_argument(
        "--mixed-precision", type=str | None, help="no, bf16 or fp16, for example bf16; default as Accelerate is set"
    )
    parser.add_class_arguments(Config)


def config_of(parsed: Namespace) -> Config:
    """The config that was parsed, with the short options laid over it."""
    groups = {name: getattr(parsed, name) for name in Config.__dataclass_fields__}
    for name, group in groups.items():
        if not isinstance(group, Namespace):
            raise UserError(f"{name} must be a mapping of keys, got {brief(group)}")
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
        raise UserError(f"--denoise must be auto, off or a number of grey levels like 12, got {brief(text)}") from None


def run_folder(parsed: Namespace, video: str | list[str]) -> Path:
    """Where a run lies: `--out`, or in `runs` a folder of the clip's name; of several clips, "many"."""
    name = as_text(Path(video.partition("#t=")[0]).stem) if isinstance(video, str) else "many"
    return Path(parsed.out) if parsed.out else Path("runs") / name


def check_folder(
    folder: Path, overwrite: bool, mark: str = CONFIG_NAME, kept: str = "run", also: str = "", option: str = "--out"
) -> None:
    """Refuse a folder that holds something (`check_contents`), or that could not be made or written to.

    Raises:
        UserError: when it may not or cannot be written to.
    """
    check_contents(folder, overwrite, mark, kept, also, option)
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        # Tried, because permissions do not tell everything: read-only disks, and file systems of the kernel's own.
        tempfile.TemporaryDirectory(prefix=".vfield-", dir=there).cleanup()
    except OSError as error:
        raise UserError(f"{option} {folder} cannot be written to ({error.strerror}); name another folder") from error


def check_contents(
    folder: Path, overwrite: bool, mark: str = CONFIG_NAME, kept: str = "run", also: str = "", option: str = "--out"
) -> None:
    """Refuse a folder that holds something.

    Args:
        folder: what the option named.
        overwrite: whether what this command left there earlier may be replaced.
        mark: name of the file by which a folder that this command made is known.
        kept: what such a folder holds, for the messages.
        also: another way to go on with what is there, for the message.
        option: for the message.

    Raises:
        UserError: when it may not be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{option} {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / mark).is_file():
            raise UserError(f"{option} {folder} holds something that is not a {kept}; name another folder")
        if not overwrite:
            raise UserError(f"{option} {folder} holds a {kept}; add {also}--overwrite to start anew")


def is_main_process() -> bool:
    """Whether this process is the one of several that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0
