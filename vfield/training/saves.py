"""What resuming needs: the learnt values, the optimiser's state and how far the run was, in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vfield.checkpoint import facts_to_json, read_tensors, write_tensors
from vfield.clip import ClipFacts
from vfield.errors import UserError
from vfield.field.config import FieldConfig
from vfield.folders import remove

RESUME_NAME = "resume.safetensors"
# What is told about a run at its end (`vfield.summary`): its figures, a page, and a folder of the page's pictures.
SUMMARY_NAMES = ("summary.json", "summary.html", "summary")


def remove_summary(folder: Path) -> None:
    """Remove what was told of an earlier fit, which is not true of the next."""
    for name in SUMMARY_NAMES:
        remove(folder / name)


def fingerprint(config: FieldConfig, clips: Mapping[str, ClipFacts]) -> str:
    """Tells a run from those of another field, or of clips of another size or other times; of a file of any name.

    The shapes of what is learnt do not: a field that shows its frames learns as much from any clip.
    """
    of = {name: facts_to_json(replace(facts, source="")) for name, facts in clips.items()}
    return hashlib.sha256(json.dumps([asdict(config), of], sort_keys=True).encode()).hexdigest()


def write_resume(out: Path, learnt: Mapping[str, Tensor], optimizer: Any, facts: dict[str, Any]) -> None:
    """Write it to a run folder.

    Args:
        out: the folder.
        learnt: the learnt values by name.
        optimizer: a `torch.optim.Optimizer`, or what Accelerate made of one.
        facts: what else to keep, JSON.
    """
    tensors = {f"field.{name}": tensor for name, tensor in learnt.items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
    write_tensors(out / RESUME_NAME, tensors, facts)


def read_resume(out: Path | None, learnt: Mapping[str, Tensor], optimizer: Any, of: str) -> dict[str, Any]:
    """Put what was saved back into the learnt values and the optimiser.

    Args:
        out: the folder.
        learnt: as in `write_resume`; the values are overwritten.
        optimizer: likewise.
        of: the `fingerprint` of the run that would go on, which the save must have among its facts, as "of".

    Returns:
        The facts that were kept with it.

    Raises:
        UserError: when there is none, or it belongs to another config or clip.
    """
    if out is None or not (out / RESUME_NAME).is_file():
        raise UserError(f"nothing to resume in {out}: it has no {RESUME_NAME}; start without --resume")
    tensors, facts = read_tensors(out / RESUME_NAME)
    saved = {name.removeprefix("field."): value for name, value in tensors.items() if name.startswith("field.")}
    shapes, saved_shapes = ({name: value.shape for name, value in some.items()} for some in (learnt, saved))
    if facts.get("of") != of or shapes != saved_shapes:
        raise UserError(f"{out / RESUME_NAME} belongs to another clip or config; start without --resume")
    with torch.no_grad():
        for name, value in saved.items():
            learnt[name].copy_(value)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            state.setdefault(int(index), {})[key] = value
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    return facts
