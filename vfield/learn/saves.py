"""What resuming needs: the learnt values, the optimiser's state and how far the run was, in one file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vfield.core.clip import ClipFacts
from vfield.core.errors import UserError, brief
from vfield.core.facts import facts_to_json
from vfield.core.folders import remove
from vfield.core.json_files import is_number, mapping, whole
from vfield.field.checkpoint import read_tensors, write_tensors
from vfield.field.config import FieldConfig

RESUME_NAME = "resume.safetensors"
_ANEW = "start anew with --overwrite"
# What Adam keeps of each parameter, and whether that has the parameter's shape.
_ADAM = {"step": False, "exp_avg": True, "exp_avg_sq": True}
# What is told about a run at its end (`vfield.output.summary`): figures, a page, and a folder of the page's pictures.
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
        raise UserError(f"{out / RESUME_NAME} belongs to another clip or config; {_ANEW}")
    try:
        _check_facts(facts)
        state = _optimizer_state(tensors, [value for group in optimizer.param_groups for value in group["params"]])
    except UserError as error:
        raise UserError(f"{out / RESUME_NAME} is damaged ({error}); {_ANEW}") from error
    with torch.no_grad():
        for name, value in saved.items():
            learnt[name].copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return facts


def _check_facts(facts: Mapping[str, Any]) -> None:
    """Refuse facts that are not what a run keeps: how far it was, and which learnt parts were in force."""
    for name in ("step", "elapsed", "forces"):
        if name not in facts:
            raise UserError(f"it has no {name}")
    whole(facts["step"], "step", 0, 10**12)
    forces = {} if facts["forces"] is None else mapping(facts["forces"], "forces")
    for name, value in {"elapsed": facts["elapsed"], **forces}.items():
        if not is_number(value):
            raise UserError(f"{name:.80} must be a finite number, got {brief(value)}")
    if facts["elapsed"] < 0:
        raise UserError(f"elapsed must not be negative, got {facts['elapsed']}")


def _optimizer_state(tensors: Mapping[str, Tensor], learning: Sequence[Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimiser's state of each value that learns, by its number.

    Raises:
        UserError: when it is not of an optimiser of such values.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind != "optimizer":
            continue
        index, _, key = rest.partition(".")
        if not re.fullmatch(r"[0-9]{1,6}", index) or int(index) >= len(learning) or key not in _ADAM:
            raise UserError(f"{brief(name)} is of nothing that learns")
        shape = learning[int(index)].shape if _ADAM[key] else torch.Size()
        if value.shape != shape or not value.is_floating_point():
            raise UserError(f"{name} is {tuple(value.shape)} {value.dtype}, and must be {tuple(shape)} of floats")
        state.setdefault(int(index), {})[key] = value
    if any(kept.keys() != _ADAM.keys() for kept in state.values()):
        raise UserError("the optimiser's state is not whole")
    return state
