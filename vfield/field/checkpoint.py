"""The field file: weights, config and clip facts in one safetensors file, which runs no code when it is read."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vfield.core.allowance import Allowance
from vfield.core.clip import ClipFacts
from vfield.core.coords import keyframe_t
from vfield.core.devices import usable_device
from vfield.core.errors import UserError, enough_memory, is_out_of_memory, shortened
from vfield.core.facts import facts_from_json, facts_to_json, numbers_from_json, numbers_to_json, shots_from_json
from vfield.core.folders import replaced
from vfield.core.frames import Frames, MadeFrames
from vfield.core.json_files import listed, mapping, parse_json, record
from vfield.core.parsing import config_from_json
from vfield.field.config import FieldConfig
from vfield.field.expectation import Expectation, Stretch
from vfield.field.latents import tensor_bytes
from vfield.field.provenance import SourceError, frames_from_json, frames_to_json
from vfield.field.timeline import gaps_between
from vfield.field.tracks import AskedCurves
from vfield.field.video_field import VideoField
from vfield.prepare.flow import FlowConfig
from vfield.video_io import kept_in_file

FIELD_NAME = "field.safetensors"
PACKED_STEM = "field.source."  # of a clip that was packed into the run folder of its field
EXPORTS_NAME = "exports"  # the folder of a run in which pieces of exports lie
_FORMAT = "vfield 4"
_SPARE_BYTES = 64 << 20  # that a field may take beside its values


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


class KeptFrames(NamedTuple):
    """Keyframes as a field file has them read, and their alpha; None for what it reads not at all."""

    frames: Frames | None
    alpha: Frames | None


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


@enough_memory("reading the field")
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
            if metadata.get("format") == _FORMAT:
                facts = mapping(parse_json(metadata["facts"]), "its description")
                return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{path} is damaged ({shortened(error, 200)}); fit the clip again") from error
    raise UserError(f"{path} is not a field file of this version ({_FORMAT}); fit the clip again")


def save_field(
    path: Path,
    field: VideoField,
    facts: ClipFacts,
    expectation: Expectation | None = None,
    kept: KeptFrames | None = None,
) -> KeptFrames:
    """Write a field file: what was learnt, and where its frames are read.

    Frames that are in memory are kept beside it, losslessly (`NAME.frames.mkv`, and `NAME.alpha.mkv`).

    Args:
        path: of the file.
        field: the field.
        facts: of its clip.
        expectation: what it expects of itself, if it can tell.
        kept: what an earlier call gave for this field and file: frames in memory are not written again.

    Returns:
        Where the frames are read; to be given to the next call.

    Raises:
        UserError: when the folder cannot be written to.
    """
    config, values = field.standalone()
    curves = None if field.motion is None else field.motion.source
    if curves is not None and not isinstance(curves, AskedCurves):
        raise UserError("a field is kept with curves that can be found again; start it from a clip")
    frames, alpha = kept or (None, None)
    if frames is None and (field.colours is not None or curves is not None):
        frames = kept_in_file(field.frames, path.with_name(f"{path.stem}.frames.mkv"))
    if alpha is None and field.alpha is not None:
        alpha = kept_in_file(field.alpha, path.with_name(f"{path.stem}.alpha.mkv"))
    described = {
        "config": asdict(config),
        "clip": facts_to_json(_beside(facts, path.parent)),
        "keyframes": numbers_to_json(keyframes_of(field, facts)),
        "shots": [[shot.start, shot.stop] for shot in field.timeline.shots],
        "flow": None if curves is None else asdict(curves.config),
        "frames": None if frames is None else frames_to_json(frames, path.parent),
        "alpha": None if alpha is None else frames_to_json(alpha, path.parent),
        "expectation": None if expectation is None else asdict(expectation),
    }
    write_tensors(path, values, described)
    return KeptFrames(frames, alpha)


def repack(path: Path, facts: ClipFacts, frames: Frames | None, alpha: Frames | None) -> None:
    """Have a field file read its clip elsewhere; what was learnt stays.

    Args:
        path: of the file.
        facts: of the clip, its new place among them.
        frames: the keyframes, and
        alpha: theirs; None where they are read as before.

    Raises:
        UserError: as `read_tensors` and `write_tensors`.
    """
    tensors, described = read_tensors(path)
    described["clip"] = facts_to_json(_beside(facts, path.parent))
    for name, read in (("frames", frames), ("alpha", alpha)):
        if read is not None:
            described[name] = frames_to_json(read, path.parent)
    write_tensors(path, tensors, described)


def _beside(facts: ClipFacts, folder: Path) -> ClipFacts:
    """A clip that was packed into the folder of its field is named by its place there, and goes where that goes."""
    source = Path(facts.source or "")
    packed = source.parent == folder.absolute() and source.name.startswith(PACKED_STEM)
    return replace(facts, source=source.name) if packed else facts


def keyframes_of(field: VideoField, facts: ClipFacts) -> list[int]:
    """Which of its clip's frames are a field's keyframes."""
    times = keyframe_t(facts.pts_seconds)
    numbers = torch.searchsorted(times, field.timeline.t.cpu())
    if not torch.equal(times[numbers.clamp(max=len(times) - 1)], field.timeline.t.cpu()):
        raise UserError("a field is kept with the facts of its own clip, and these are another's")
    return [int(number) for number in numbers]


def clip_folders(out: Path) -> list[Path]:
    """The folders of the clips' fields in that of a run of several. One with a config is a run of its own."""
    found = sorted(path.parent for path in out.glob(f"*/{FIELD_NAME}"))
    return [folder for folder in found if not any(folder.glob("*.yaml"))]


@enough_memory("reading the field")
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
        if facts.source and not Path(facts.source).is_absolute():
            facts = replace(facts, source=str((path.parent / facts.source).absolute()))
        if source is not None:
            facts = replace(facts, source=str(Path(source).absolute()))  # its sound is there, too
        field = _built(described, tensors, facts, path.parent, source)
        field.load_state_dict(tensors)
        expectation = _expectation_from_json(described["expectation"])
    except SourceError:
        raise
    except UserError as error:
        raise UserError(f"{path} does not hold a whole field ({error}); fit again") from error
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{path} does not hold a whole field ({shortened(error, 200)}); fit again") from error
    return SavedField(field.to(put_on).eval(), facts, expectation, path.parent)


def _built(
    described: dict[str, Any], tensors: dict[str, Tensor], facts: ClipFacts, folder: Path, source: str | Path | None
) -> VideoField:
    """The field that a file describes, before its values are put in."""
    config = config_from_json(FieldConfig, described["config"])
    if config.codes != "autodecoder":
        raise UserError("its codes are still to be predicted")
    keyframes = numbers_from_json(described["keyframes"], len(facts.pts_seconds))
    if any(later <= earlier for earlier, later in pairwise(keyframes)):
        raise UserError("its keyframes repeat")
    t = keyframe_t(facts.pts_seconds)[keyframes]
    shots = shots_from_json(described["shots"], len(t))
    _check_values(tensors)
    unread = MadeFrames((len(t), 3, facts.height, facts.width), torch.uint8, _no_frame)
    frames = _opened(described["frames"], folder, facts, source) or unread
    alpha = _opened(described["alpha"], folder, facts, source)
    if any(len(read) != len(t) for read in (frames, alpha) if read is not None):
        raise UserError(f"it reads another number of frames than its {len(t)} keyframes")
    curves = None
    if described["flow"] is not None:
        flow, views = config_from_json(FlowConfig, described["flow"]), config.motion.visibility and config.local.colours
        found = (frames, t, gaps_between(shots), config.motion.cell, flow)
        curves = AskedCurves(*found, views=views, least_kept=config.gaps_beside)
    with Allowance(_SPARE_BYTES + 2 * sum(map(tensor_bytes, tensors.values()))):
        return VideoField(
            config,
            keyframes=frames,
            t=t,
            shots=shots,
            duration_seconds=float(facts.end_seconds - facts.pts_seconds[0]),
            curves=curves,
            generator=torch.Generator().manual_seed(0),
            alpha=alpha,
        )


def _opened(
    described: dict[str, Any] | None, folder: Path, facts: ClipFacts, source: str | Path | None
) -> Frames | None:
    if described is None:
        return None
    return frames_from_json(described, folder, facts, None if source is None else Path(source))


def _no_frame(_: int) -> Tensor:
    raise UserError("this field makes everything itself and reads no frames")


def load(path: str | Path, device: str = "cpu", source: str | Path | None = None) -> VideoField:
    """The field of a run folder or field file, ready to be asked: field(uvt) -> rgb.

    Raises:
        UserError: as `load_field`.
    """
    return load_field(path, device, source).field


def _expectation_from_json(described: Any) -> Expectation | None:
    if described is None:
        return None
    values = mapping(described, "expectation")
    shots, doubtful = (
        tuple(record(Stretch, stretch, "a stretch") for stretch in listed(values.get(name), name))
        for name in ("shots", "doubtful")
    )
    if not shots or any(stretch.gaps < 1 for stretch in (*shots, *doubtful)):
        raise UserError("its expectation is of no gaps")
    return Expectation(shots, doubtful)


def _check_values(tensors: dict[str, Tensor]) -> None:
    """Refuse values that are no numbers: what is made with them would be none either."""
    for name, values in tensors.items():
        if values.is_floating_point() and values.numel():
            least, most = values.aminmax()
            if not (math.isfinite(least) and math.isfinite(most)):
                raise UserError(f"{name} holds values that are no numbers")
