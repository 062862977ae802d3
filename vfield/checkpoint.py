"""The field file: weights, config and clip facts in one safetensors file, which runs no code when it is read."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vfield.clip import ClipFacts, ColorInfo
from vfield.described import config_from_json
from vfield.devices import usable_device
from vfield.errors import UserError
from vfield.expectation import Expectation, Stretch
from vfield.field.config import FieldConfig
from vfield.field.timeline import gaps_between
from vfield.field.video_field import VideoField
from vfield.flow import FlowConfig
from vfield.folders import replaced
from vfield.frames import Frames, MadeFrames
from vfield.provenance import SourceError, frames_from_json, frames_to_json, times_from_json, times_to_json
from vfield.records import parse_json
from vfield.tracks import AskedCurves
from vfield.video_io import kept_in_file

FIELD_NAME = "field.safetensors"
_FORMAT = "vfield 4"
# Of a clip: nine days at 120 a second.
_MOST_FRAMES = 10**8


class SavedField(NamedTuple):
    """A field, and what is known of it.

    Attributes:
        field: the field.
        facts: of its clip.
        expectation: what it expects of itself on frames that it has not seen, if it can tell.
        folder: where it was loaded from; None for one that is in memory.
    """

    field: VideoField
    facts: ClipFacts
    expectation: Expectation | None = None
    folder: Path | None = None


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and JSON facts to a temporary name, and move it into place when complete.

    Raises:
        UserError: when the folder cannot be written to or is full.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with replaced(path) as partial:
            save_file(contiguous, partial, metadata={"format": _FORMAT, "facts": json.dumps(facts)})
            # safetensors makes files that only their owner can read; a field is as public as its folder.
            shutil.copymode(path.parent, partial)
            partial.chmod(partial.stat().st_mode & 0o666)
    except SafetensorError as error:
        raise UserError(f"could not write {path}: {error}; free some space or choose another folder") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        UserError: when the file is missing, damaged or not vfield's.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; give a run folder made by scripts/train.py")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise UserError(f"{path} is not a field file of this version ({_FORMAT}); fit the clip again")
            facts = parse_json(metadata["facts"])
            if not isinstance(facts, dict):
                raise ValueError("its facts are not a mapping of keys")
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except UserError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); fit the clip again") from error


def save_field(path: Path, field: VideoField, facts: ClipFacts, expectation: Expectation | None = None) -> None:
    """Write a field file: what was learnt, and where its frames are read.

    Frames that are in memory are kept beside it, losslessly (`NAME.frames.mkv`, and `NAME.alpha.mkv`).

    Raises:
        UserError: when the folder cannot be written to.
    """
    config, values = field.standalone()
    curves = None if field.motion is None else field.motion.source
    if curves is not None and not isinstance(curves, AskedCurves):
        raise UserError("a field is kept with curves that can be found again; start it from a clip")
    frames = alpha = None
    if field.colours is not None or curves is not None:
        frames = kept_in_file(field.frames, path.with_name(f"{path.stem}.frames.mkv"))
    if field.alpha is not None:
        alpha = kept_in_file(field.alpha, path.with_name(f"{path.stem}.alpha.mkv"))
    described = {
        "config": asdict(config),
        "clip": facts_to_json(facts),
        "t": times_to_json([Fraction(t) for t in field.timeline.t.tolist()]),
        "shots": [[shot.start, shot.stop] for shot in field.timeline.shots],
        "flow": None if curves is None else asdict(curves.config),
        "frames": None if frames is None else frames_to_json(frames, path.parent),
        "alpha": None if alpha is None else frames_to_json(alpha, path.parent),
        "expectation": None if expectation is None else asdict(expectation),
    }
    write_tensors(path, values, described)


def clip_folders(out: Path) -> list[Path]:
    """The folders of the clips' fields in that of a run of several. One with a config is a run of its own."""
    found = sorted(path.parent for path in out.glob(f"*/{FIELD_NAME}"))
    return [folder for folder in found if not any(folder.glob("*.yaml"))]


def load_field(path: str | Path, device: str = "cpu", source: str | Path | None = None) -> SavedField:
    """Read a field file, or the one in a run folder.

    Args:
        path: the file or folder.
        device: where to put the field: "auto", "cpu", "cuda" or "mps".
        source: where the clip lies now that the field reads its frames from; None for where it was.

    Raises:
        UserError: when it is missing, damaged or foreign, its clip is gone or another one, or there is no such device.
    """
    put_on = usable_device(device)
    path = Path(path)
    if path.is_dir():
        if not (path / FIELD_NAME).is_file() and (several := clip_folders(path)):
            raise UserError(f"{path} is the run of {len(several)} clips; name one of their folders, like {several[0]}")
        if not (path / FIELD_NAME).is_file():
            raise UserError(f"{path} is not a run folder: it has no {FIELD_NAME}")
        path = path / FIELD_NAME
    tensors, described = read_tensors(path)
    try:
        facts = facts_from_json(described["clip"])
        config = config_from_json(FieldConfig, described["config"])
        t = torch.tensor(times_from_json(described["t"], _MOST_FRAMES), dtype=torch.float64).float()
        shots = [range(*shot) for shot in described["shots"]]
        unread = MadeFrames((len(t), 3, facts.height, facts.width), torch.uint8, _no_frame)
        frames = _opened(described["frames"], path.parent, facts, source) or unread
        flow = None if described["flow"] is None else config_from_json(FlowConfig, described["flow"])
        views = config.motion.visibility and config.local.colours
        field = VideoField(
            config,
            keyframes=frames,
            t=t,
            shots=shots,
            duration_seconds=float(facts.end_seconds - facts.pts_seconds[0]),
            curves=None
            if flow is None
            else AskedCurves(frames, t, gaps_between(shots), config.motion.cell, flow, views=views),
            generator=torch.Generator().manual_seed(0),
            alpha=_opened(described["alpha"], path.parent, facts, source),
        )
        field.load_state_dict(tensors)
        expectation = _expectation_from_json(described["expectation"])
        if field.size != (facts.height, facts.width) or not field.timeline.segments:
            raise UserError(f"it is of {field.size[1]}x{field.size[0]}, its clip {facts.width}x{facts.height}")
    except UserError as error:
        if isinstance(error, SourceError):
            raise
        raise UserError(f"{path} does not hold a whole field ({error}); fit again") from error
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, RuntimeError) as error:
        raise UserError(f"{path} does not hold a whole field ({str(error).splitlines()[0]}); fit again") from error
    return SavedField(field.to(put_on).eval(), facts, expectation, path.parent)


def _opened(
    described: dict[str, Any] | None, folder: Path, facts: ClipFacts, source: str | Path | None
) -> Frames | None:
    if described is None:
        return None
    return frames_from_json(described, folder, facts, _MOST_FRAMES, None if source is None else Path(source))


def _no_frame(_: int) -> Tensor:
    raise UserError("this field makes everything itself and reads no frames")


def load(path: str | Path, device: str = "cpu", source: str | Path | None = None) -> VideoField:
    """The field of a run folder or field file, ready to be asked: field(uvt) -> rgb.

    Raises:
        UserError: as `load_field`.
    """
    return load_field(path, device, source).field


def _expectation_from_json(described: dict[str, Any] | None) -> Expectation | None:
    if described is None:
        return None
    return Expectation(*(tuple(Stretch(**stretch) for stretch in described[name]) for name in ("shots", "doubtful")))


def facts_to_json(facts: ClipFacts) -> dict[str, Any]:
    """A clip's facts as JSON; times stay exact. Without alpha nothing is said of it, as before there was any."""
    said = {name: value for name, value in asdict(facts).items() if name != "has_alpha" or value}
    return {
        **said,
        "pts_seconds": times_to_json(facts.pts_seconds),
        "end_seconds": str(facts.end_seconds),
        "frame_rate": str(facts.frame_rate),
        "pixel_aspect": str(facts.pixel_aspect),
    }


def facts_from_json(described: dict[str, Any]) -> ClipFacts:
    """What `facts_to_json` was made of."""
    return ClipFacts(
        height=described["height"],
        width=described["width"],
        pts_seconds=times_from_json(described["pts_seconds"], _MOST_FRAMES),
        end_seconds=Fraction(described["end_seconds"]),
        frame_rate=Fraction(described["frame_rate"]),
        color=config_from_json(ColorInfo, described["color"]),
        pixel_aspect=Fraction(described["pixel_aspect"]),
        source=described["source"],
        missing=tuple(described.get("missing", ())),
        has_alpha=described.get("has_alpha", False),
    )
