"""What resuming needs: the learnt values, the optimiser's state and how far the run was, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vfield.checkpoint import read_tensors, write_tensors
from vfield.errors import UserError
from vfield.folders import remove
from vfield.records import taken

RESUME_NAME = "resume.safetensors"
_ANEW = "start anew with --overwrite"
# What Adam keeps of each parameter, and whether that has the parameter's shape.
_ADAM = {"step": False, "exp_avg": True, "exp_avg_sq": True}
# What is told about a run at its end (`vfield.summary`): its figures, a page, and a folder of the page's pictures.
SUMMARY_NAMES = ("summary.json", "summary.html", "summary")


def remove_summary(folder: Path) -> None:
    """Remove what was told of an earlier fit, which is not true of the next."""
    for name in SUMMARY_NAMES:
        remove(folder / name)


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


def read_resume(out: Path | None, learnt: Mapping[str, Tensor], optimizer: Any) -> dict[str, Any]:
    """Put what was saved back into the learnt values and the optimiser.

    Returns:
        The facts that were kept with it.

    Raises:
        UserError: when there is none, or it belongs to another config or clip.
    """
    if out is None or not (out / RESUME_NAME).is_file():
        raise UserError(f"nothing to resume in {out}: it has no {RESUME_NAME}; start without --resume")
    tensors, facts = read_tensors(out / RESUME_NAME)
    saved = {name.removeprefix("field."): value for name, value in tensors.items() if name.startswith("field.")}
    if {name: value.shape for name, value in learnt.items()} != {name: v.shape for name, v in saved.items()}:
        raise UserError(f"{out / RESUME_NAME} belongs to another clip or config; {_ANEW}")
    whole = optimizer.state_dict()
    try:
        _check_facts(facts)
        state = _states(tensors, whole["param_groups"], optimizer.param_groups)
    except ValueError as error:
        raise UserError(f"{out / RESUME_NAME} is damaged ({error}); {_ANEW}") from error
    with torch.no_grad():
        for name, value in saved.items():
            learnt[name].copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    return facts


def _check_facts(facts: dict[str, Any]) -> None:
    """Raises a ValueError unless they are what a run keeps: how far it was, and which learnt parts were in force."""
    if min(taken(facts, "step", int), taken(facts, "elapsed", int, float)) < 0:
        raise ValueError("it is of before its own beginning")
    forces = taken(facts, "forces", dict, type(None))
    for name in forces or ():
        taken(forces, name, int, float)


def _states(tensors: Mapping[str, Tensor], described: Any, groups: Any) -> dict[int, dict[str, Tensor]]:
    """The state of each parameter that had one; a ValueError where they are not those of an optimiser like this."""
    parameters = {
        number: parameter
        for numbers, group in zip(described, groups, strict=True)
        for number, parameter in zip(numbers["params"], group["params"], strict=True)
    }
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            state.setdefault(int(index), {})[key] = value
    for number, values in state.items():
        if number not in parameters or values.keys() != _ADAM.keys():
            raise ValueError("the optimiser had other states")
        for key, value in values.items():
            if value.shape != (parameters[number].shape if _ADAM[key] else ()) or not value.is_floating_point():
                raise ValueError(f"the optimiser's {key} is of {tuple(value.shape)} {value.dtype}")
    return state
