"""The field file: weights, config and clip facts in one safetensors file, which runs no code when it is read."""

from __future__ import annotations

import json
import math
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vfield.allowance import Allowance
from vfield.clip import ClipFacts
from vfield.compact.config import CompressionConfig
from vfield.compact.packed import LATENTS, Packed, field_of, unpack
from vfield.coords import keyframe_t
from vfield.described import config_from_json
from vfield.devices import usable_device
from vfield.errors import UserError, enough_memory, is_out_of_memory, shortened
from vfield.expectation import Expectation, Stretch
from vfield.facts import facts_from_json, facts_to_json, instants_from_json, shots_from_json
from vfield.field.config import FieldConfig
from vfield.field.latents import tensor_bytes
from vfield.field.motion import CURVE_CHANNELS, EVIDENCE_CHANNELS, LONE_CHANNELS, Curves
from vfield.field.video_field import VideoField
from vfield.folders import replaced
from vfield.json_files import listed, mapping, parse_json, record

FIELD_NAME = "field.safetensors"
WINDOWS_NAME = "windows.json"
_FORMAT = "vfield 3"
_COMPACT_FORMAT = 1
_OF_FRAMES = (torch.uint8, torch.float16, torch.float32)
_SPARE_BYTES = 64 << 20  # that a field may take beside its values


class SavedField(NamedTuple):
    """A field, what its clip was, and what it expects of itself on frames that it has not seen, if it can tell."""

    field: VideoField
    facts: ClipFacts
    expectation: Expectation | None = None


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


def save_field(path: Path, field: VideoField, facts: ClipFacts, expectation: Expectation | None = None) -> None:
    """Write a field file, on its own enough to render from."""
    config, values = field.standalone()
    described = {
        "config": asdict(config),
        "clip": facts_to_json(facts),
        "t": field.timeline.t.tolist(),
        "shots": [[shot.start, shot.stop] for shot in field.timeline.shots],
        "expectation": None if expectation is None else asdict(expectation),
    }
    write_tensors(path, values, described)


def clip_folders(out: Path) -> list[Path]:
    """The folders of the clips' fields in that of a run of several. One with a config is a run of its own."""
    found = sorted(path.parent for path in out.glob(f"*/{FIELD_NAME}"))
    return [folder for folder in found if not any(folder.glob("*.yaml"))]


def save_compact(path: Path, packed: Packed, config: FieldConfig, facts: ClipFacts) -> None:
    """Write a field file of a compact field: coded latents instead of frames and motion."""
    times = {t: index for index, t in enumerate(keyframe_t(facts.pts_seconds).tolist())}
    described = {
        "config": asdict(config),
        "clip": facts_to_json(facts),
        "compact": _COMPACT_FORMAT,
        "compression": asdict(packed.config),
        "checksum": _checksum(packed.tensors),
        "frames": [times[t] for t in packed.t.tolist()],
        "shots": [[shot.start, shot.stop] for shot in packed.shots],
    }
    write_tensors(path, packed.tensors, described)


def _checksum(tensors: dict[str, Tensor]) -> int:
    return zlib.crc32(tensors[LATENTS].numpy().tobytes())


def _unpacked(
    tensors: dict[str, Tensor], described: dict[str, Any], config: FieldConfig, facts: ClipFacts
) -> VideoField:
    if described["compact"] != _COMPACT_FORMAT:
        raise UserError(f"it is a compact field of version {described['compact']}, not {_COMPACT_FORMAT}")
    # A range coder makes something of any words.
    if described["checksum"] != _checksum(tensors):
        raise UserError("its coded latents are not those that were written")
    shots = [range(*shot) for shot in described["shots"]]
    if [frame for shot in shots for frame in shot] != list(range(len(described["frames"]))):
        raise UserError("its shots are not those of its frames")
    packed = Packed(
        tensors,
        config_from_json(CompressionConfig, described["compression"]),
        keyframe_t(facts.pts_seconds)[described["frames"]],
        shots,
        (facts.height, facts.width),
    )
    return field_of(packed, unpack(packed), config, float(facts.end_seconds - facts.pts_seconds[0]))


@enough_memory("reading the field")
def load_field(path: str | Path, device: str = "cpu") -> SavedField:
    """Read a field file, or the one in a run folder.

    Args:
        path: the file or folder.
        device: where to put the field: "auto", "cpu", "cuda" or "mps".

    Raises:
        UserError: when it is missing, damaged or foreign, or there is no such device.
    """
    put_on = usable_device(device)
    path = Path(path)
    if path.is_dir():
        if (path / WINDOWS_NAME).is_file():
            raise UserError(
                f"{path} is the run of a long clip, a field for each window of it, which only render takes whole; name "
                f"the folder of a window, like {path / '000'}"
            )
        if not (path / FIELD_NAME).is_file() and (several := clip_folders(path)):
            raise UserError(f"{path} is the run of {len(several)} clips; name one of their folders, like {several[0]}")
        if not (path / FIELD_NAME).is_file():
            raise UserError(f"{path} is not a run folder: it has no {FIELD_NAME}")
        path = path / FIELD_NAME
    tensors, described = read_tensors(path)
    try:
        facts = facts_from_json(described["clip"])
        config = config_from_json(FieldConfig, described["config"])
        if config.codes != "autodecoder":
            raise UserError("its codes are still to be predicted")
        if "compact" in described:
            return SavedField(_unpacked(tensors, described, config, facts).to(put_on).eval(), facts)
        t = instants_from_json(described["t"])
        shots = shots_from_json(described["shots"], len(t))
        _check_tensors(tensors, facts, t, shots)
        curves = None
        if "motion.coefficients" in tensors:
            curves = Curves(*(tensors[f"motion.{name}"] for name in Curves._fields))
        alpha = tensors.get("opacity.frames")
        # Of the keyframes' size, and no memory, where only that is asked for.
        unseen = torch.zeros((), dtype=torch.uint8).expand(1, 3, facts.height, facts.width)
        with Allowance(_SPARE_BYTES + 2 * sum(map(tensor_bytes, tensors.values()))):
            field = VideoField(
                config,
                keyframes=tensors.get("colours.frames", unseen),
                t=torch.tensor(t, dtype=torch.float32),
                shots=shots,
                duration_seconds=float(facts.end_seconds - facts.pts_seconds[0]),
                curves=curves,
                generator=torch.Generator().manual_seed(0),
                alpha=None if alpha is None else alpha[:, 0],
            )
        field.load_state_dict(tensors)
        expectation = _expectation_from_json(described["expectation"])
        if field.size != (facts.height, facts.width) or not field.timeline.segments:
            raise UserError(f"it is of {field.size[1]}x{field.size[0]}, its clip {facts.width}x{facts.height}")
    except UserError as error:
        raise UserError(f"{path} does not hold a whole field ({error}); fit again") from error
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{path} does not hold a whole field ({shortened(error, 200)}); fit again") from error
    return SavedField(field.to(put_on).eval(), facts, expectation)


def load(path: str | Path, device: str = "cpu") -> VideoField:
    """The field of a run folder or field file, ready to be asked: field(uvt) -> rgb.

    Raises:
        UserError: as `load_field`.
    """
    return load_field(path, device).field


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


def _check_tensors(tensors: dict[str, Tensor], facts: ClipFacts, t: Sequence[float], shots: Sequence[range]) -> None:
    """Refuse values that are not of the clip's shape, or no numbers: what is built from them would fail later."""
    size = (facts.height, facts.width)
    gaps = sum(len(shot) - 1 for shot in shots)
    for name, channels in (("colours.frames", 3), ("opacity.frames", 1)):
        frames = tensors.get(name)
        if frames is not None and (tuple(frames.shape) != (len(t), channels, *size) or frames.dtype not in _OF_FRAMES):
            shown = f"{tuple(frames.shape)} {frames.dtype}"
            raise UserError(f"{name} are {shown}, and its {len(t)} keyframes {size[1]}x{size[0]}")
    grids = [tensors[f"motion.{name}"] for name in Curves._fields if f"motion.{name}" in tensors]
    for grid, channels in zip(grids, (CURVE_CHANNELS, LONE_CHANNELS, EVIDENCE_CHANNELS), strict=False):
        if grid.ndim != 4 or grid.shape[:2] != (gaps, channels) or min(grid.shape[2:]) < 1 or len(grids) != 3:
            raise UserError(f"its motion is {tuple(grid.shape)}, and it has {gaps} gaps")
    for name, values in tensors.items():
        if values.is_floating_point() and values.numel():
            least, most = values.aminmax()
            if not (math.isfinite(least) and math.isfinite(most)):
                raise UserError(f"{name} holds values that are no numbers")
