"""What resuming needs: the learnt values, the optimiser's state and how far the run was, in one file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vfield.checkpoint import read_tensors, write_tensors
from vfield.errors import UserError, brief
from vfield.facts import is_number
from vfield.folders import remove
from vfield.json_files import mapping, whole

RESUME_NAME = "resume.safetensors"
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
        raise UserError(f"{out / RESUME_NAME} belongs to another clip or config; start without --resume")
    try:
        _check_facts(facts)
        state = _optimizer_state(tensors, [value for group in optimizer.param_groups for value in group["params"]])
    except UserError as error:
        raise UserError(f"{out / RESUME_NAME} is damaged ({error}); start without --resume") from error
    with torch.no_grad():
        for name, value in saved.items():
            learnt[name].copy_(value)
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    return facts


def _check_facts(facts: Mapping[str, Any]) -> None:
    """Refuse facts that are not how far a run was."""
    whole(facts.get("step"), "step", 0, 10**12)
    forces = {} if facts.get("forces") is None else mapping(facts["forces"], "forces")
    if not is_number(facts.get("elapsed")) or not all(map(is_number, forces.values())) or "forces" not in facts:
        raise UserError("elapsed and forces are not as a run keeps them")


def _optimizer_state(tensors: Mapping[str, Tensor], learning: Sequence[Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimiser's state of each value that learns, by its number."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind != "optimizer":
            continue
        index, _, key = rest.partition(".")
        if not re.fullmatch(r"\d{1,6}", index) or int(index) >= len(learning):
            raise UserError(f"{brief(name)} is of nothing that learns")
        if key != "step" and value.shape != learning[int(index)].shape:
            raise UserError(f"{name} is {tuple(value.shape)}, not {tuple(learning[int(index)].shape)}")
        state.setdefault(int(index), {})[key] = value
    if any(set(kept) != {"step", "exp_avg", "exp_avg_sq"} for kept in state.values()):
        raise UserError("the optimiser's state is not whole")
    return state
