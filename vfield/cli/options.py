"""What commands share: how words are parsed, and the options of clips, fits and run folders. Nothing loads torch."""

from __future__ import annotations

import os
from argparse import Action
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter, Namespace

from vfield.cli.values import check_words
from vfield.core.errors import UserError, brief
from vfield.core.parsing import explained, plain_parser
from vfield.learn import Config
from vfield.learn.config_files import config_from_values, load_values
from vfield.measure.benchmark.suite import SUITE

if TYPE_CHECKING:
    from vfield.output.packing import Packing

# Parts of help texts that several options share.
STEPS = "optimisation steps, for example 400"
SEED = "seed of everything random, for example 1"
DEVICE = "where to compute: auto, cpu, cuda or mps, for example cuda"


class _HelpFormatter(DefaultHelpFormatter):
    """Says no more of an option than its help where nothing is its default: what that means is said there."""

    def _get_help_string(self, action: Action) -> str:
        if action.default is None or action.nargs == 0:
            return action.help or ""
        return super()._get_help_string(action)


def new_parser(name: str, description: str, json_file: bool = False) -> ArgumentParser:
    """A parser that raises what is wrong instead of printing and ending, and guesses nothing.

    `name` is the command's, as it is typed after "vfield"; with `json_file` its `--json` may name a file.
    """
    parser = plain_parser(
        prog=f"vfield {name}", description=description, allow_abbrev=False, formatter_class=_HelpFormatter
    )
    if json_file:
        about = "the figures as JSON: instead of the table, or into a file, for example rows.json; default off"
        option(parser, "--json", about, str, nargs="?", const="-", metavar="FILE")
    else:
        flag(parser, "--json", 'print one JSON object on stdout instead of text, errors too ({"error": ...})')
    return parser


def option(parser: ArgumentParser, names: str, about: str, kind: Any = str | None, **more: Any) -> None:
    """Add an option ("-o --output"), or a word without a name of its own ("run"); `more` is as in argparse.

    Its help says what it is, its unit, an example, and what it means to leave it out where that is nothing.
    """
    parser.add_argument(*names.split(), type=kind, help=about, **more)


def flag(parser: ArgumentParser, name: str, about: str) -> None:
    """Add an option that is given or not."""
    parser.add_argument(name, action="store_true", help=about)


def parse(parser: ArgumentParser, words: list[str]) -> Namespace:
    """The options that these words give; a UserError in one line where they make no sense."""
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


def files_read(parsed: Namespace, videos: Sequence[str] = ()) -> dict[str, str | None]:
    """What the words of a command have it read besides a run, for `check_not_read`; a speed curve may be no file."""
    from vfield.learn.sources import file_of

    read: dict[str, str | None] = {f"the clip {video}": str(file_of(video)) for video in videos}
    read |= {f"the config {config}": str(config) for config in getattr(parsed, "config", None) or ()}
    for name in ("mask", "path", "speed_curve"):
        read[f"what --{name.replace('_', '-')} names"] = getattr(parsed, name, None)
    return read


def run_options(parser: ArgumentParser, kind: str = "run folder or field file", example: str = "runs/clip") -> None:
    """What a command reads, a run in most: its first word, or `-i` (`run_of` gives it); and where its clip lies now."""
    about = f"{kind}, for example {example}"
    option(parser, "run", f"{about}; required, here or after -i", nargs="?")
    option(parser, "-i --input", f"{about}; default the first word", metavar="FILE")
    about = "where the clip lies now that the run reads its frames from, for example moved.mp4; default where it was"
    option(parser, "--source", about, metavar="FILE")


def run_of(parsed: Namespace) -> str:
    """The run that `run_options` named; a UserError when none is named, or two are."""
    if parsed.run is None and parsed.input is None:
        raise UserError("nothing to read given; name it, for example runs/clip")
    if parsed.run is not None and parsed.input is not None:
        raise UserError(f"two things to read given, {parsed.run} and --input {parsed.input}; name one")
    return str(parsed.run if parsed.input is None else parsed.input)


def render_device(parser: ArgumentParser) -> None:
    """Where a fitted field is asked."""
    option(parser, "--device", DEVICE, str, default="cpu", metavar="NAME")


def source_options(parser: ArgumentParser, video: str, several: bool = False) -> None:
    """Which part of which clip, at which size; the clip, or several, is the option `-i`, `--input` or `--{video}`."""
    names = f"-i --input --{video}"
    if several:
        about = (
            "the clip: for example clip.mp4, or clip.mp4#t=2,5.5 for a part (seconds); several, or a folder, for one "
            "field of all; required unless resumed"
        )
        option(parser, names, about, str, dest=video, nargs="+", metavar="FILE")
    else:
        option(parser, names, "the clip, for example clip.mp4; required", str, dest=video, metavar="FILE")
    about = "see every K-th frame and judge on the others, for example 2; default off, every frame is seen"
    option(parser, "--holdout", about, int | None, metavar="K")
    part_options(parser)


def part_options(parser: ArgumentParser, size: str = "size") -> None:
    """Which part of a clip, at which size: the option `--{size}`."""
    span_options(parser)
    option(parser, f"--{size}", "reduce the frames first, for example 640x360; default theirs", metavar="WxH")
    about = (
        "make interlaced video progressive first, at its frame rate or at twice that, for example field; default off"
    )
    option(parser, "--deinterlace", about, metavar="frame|field")


def span_options(parser: ArgumentParser) -> None:
    """From when to when, in seconds of the clip."""
    about = "from here on, seconds from the first frame, for example 2; default the beginning"
    option(parser, "--start", about, float | None, metavar="SECONDS")
    about = "up to here (without what is shown then), seconds from the first frame, for example 5.5; default the end"
    option(parser, "--end", about, float | None, metavar="SECONDS")


def mask_option(parser: ArgumentParser) -> None:
    """What of the clip is not to be believed."""
    about = (
        "a picture, or a video with a frame for each of the clip's: white pixels are not believed but filled; for "
        "example mask.png; default none"
    )
    option(parser, "--mask", about, metavar="FILE")


def frames_option(parser: ArgumentParser, default: int | None) -> None:
    """How many frames of each clip are used."""
    about = f"use only the first N frames of a clip, for example 9; default {'all' if default is None else default}"
    option(parser, "--frames", about, int | None, default=default, metavar="N")


def fit_options(parser: ArgumentParser) -> None:
    """How to fit and where to keep it, and every value of the config."""
    about = "run folder, for example runs/x; default runs/NAME of the clip, none for evaluate"
    option(parser, "-o --output --out", about, dest="out", metavar="DIR")
    flag(parser, "--overwrite", "replace an earlier run in the folder")
    config_options(parser)


def config_options(parser: ArgumentParser) -> None:
    """How to fit: the options that people change most, and every value of the config."""
    about = "a preset, for example configs/fast.yaml; default the built-in values"
    parser.add_argument("--config", action=ActionConfigFile, metavar="FILE", help=about)
    option(parser, "--steps", f"{STEPS}; default the config's", int | None, metavar="N")
    about = "time budget of the whole fit, instead of steps, minutes, for example 10; default none"
    option(parser, "--minutes", about, float | None)
    about = "take out noise of so many grey levels of 255 first, for example 8; default the config's, auto"
    option(parser, "--denoise", about, metavar="auto|off|LEVELS")
    option(parser, "--seed", f"{SEED}; default the config's, 0", int | None, metavar="N")
    option(parser, "--device", f"{DEVICE}; default auto, an accelerator where there is one", metavar="NAME")
    about = "shipped begins with what other clips taught, none with nothing, for example none; default the config's"
    option(parser, "--prior", about, metavar="shipped|none")
    option(parser, "--mixed-precision", "no, bf16 or fp16, for example bf16; default as Accelerate is set")
    parser.add_class_arguments(Config)


def pack_options(parser: ArgumentParser) -> None:
    """Whether the clip goes into the run folder, so that this stands alone."""
    flag(parser, "--pack", "copy the clip, or the packets of the part that is used, into the run folder")
    about = "put its frames there coded anew (AV1), smaller and not exact, at this quality, for example 30; default not"
    option(parser, "--pack-crf", about, int | None, metavar="N")


def packing_of(parsed: Namespace) -> Packing | None:
    """What `pack_options` ask for."""
    return "copy" if parsed.pack and parsed.pack_crf is None else parsed.pack_crf


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
    for name in ("steps", "seed", "prior", "device", "mixed_precision"):
        if getattr(parsed, name) is not None:
            training[name] = getattr(parsed, name)
    if parsed.denoise is not None:
        values["denoising"]["strength"] = _strength(parsed.denoise)
    return config_from_values(values)


def _strength(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return 0.0 if text == "off" else float(text)
    except ValueError:
        raise UserError(f"--denoise must be auto, off or a number of grey levels like 12, got {brief(text)}") from None


def result_folder(parser: ArgumentParser, default: str) -> None:
    """Where an experiment or a benchmark leaves its results, and whether it may replace earlier ones."""
    about = "folder for the results, for example runs/mine"
    option(parser, "-o --output --out", about, str, dest="out", default=default, metavar="DIR")
    flag(parser, "--overwrite", "replace earlier results in the folder")


def suite_options(parser: ArgumentParser, frames: int | None = None) -> None:
    """Which clips a benchmark or an experiment uses, and how much of each where `frames` is the default."""
    about = "names in the suite, or files, for example bear or clip.mp4"
    option(parser, "--clips", about, str, nargs="+", default=list(SUITE), metavar="CLIP")
    about = "folder of suite clips that are not in data/, for example clips"
    option(parser, "--clip-folder", about, str, default="../shared/clips", metavar="DIR")
    if frames is not None:
        frames_option(parser, frames)
